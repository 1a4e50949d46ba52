"""A machine that is measured for some seconds, and what stages took, read from their runs."""

import json

import pytest

from lib import config as configs
from lib.apps.plan import measurements
from lib.apps.plan.estimate import of_preset
from lib.apps.plan.measurements import Measurement, MeasurementError, actuals, best_for, measure, remembered
from lib.checkpoints.history import EVENTS, NAME


def as_measured(stage, preset="laptop", others=0.0):
    return Measurement(of_preset(stage, preset), 2.0, 1.0, 3.0, spread=0.01, own=1.0, others=others, peak_bytes=400_000_000)


# --- Measuring ---------------------------------------------------------------------------------------------------


def test_what_was_measured_is_kept_for_this_machine_alone(monkeypatch, tmp_path):
    printed = []

    class Done:
        returncode, stderr = 0, ""

        def __init__(self, command, **options):
            stage = json.loads(command[-1])["stage"]
            printed.append(stage)
            self.stdout = "a line of another\n" + json.dumps(as_measured(stage).as_values())

    monkeypatch.setattr(measurements.subprocess, "run", Done)
    monkeypatch.setattr(measurements, "machine_key", lambda: "this machine")
    cache = tmp_path / "cache" / "plan.json"
    measure("laptop", 5, ["vqvae"], cache=cache)
    measure("laptop", 5, ["diffusion"], cache=cache)
    assert printed == ["vqvae", "diffusion"] == list(remembered(cache))
    assert remembered(cache)["vqvae"] == as_measured("vqvae")
    assert best_for("fine_tune", remembered(cache)) == as_measured("diffusion") and not best_for("fine_tune", {})
    rows = json.loads(cache.read_text())
    rows["this machine"]["vqvae"] = {"stage": "vqvae", "preset": "laptop", "step_s": 1.0}  # of another version
    cache.write_text(json.dumps(rows))
    assert list(remembered(cache)) == ["diffusion"]
    monkeypatch.setattr(measurements, "machine_key", lambda: "another machine")
    assert remembered(cache) == {}
    cache.write_text("[")
    assert remembered(cache) == {}


def test_a_stage_that_can_not_be_measured_is_named():
    with pytest.raises(MeasurementError, match="vqvae of preset tiny can't be measured here: .*colour"):
        measure("tiny", 5, ["vqvae"], ["colour=red"], cache=None)


@pytest.mark.slow
def test_a_machine_is_measured(tmp_path):
    measured = measure("tiny", 3, cache=tmp_path / "plan.json")
    assert set(measured) == set(measurements.STAGES) == set(remembered(tmp_path / "plan.json"))
    for stage, row in measured.items():
        assert (configs.stage_of(row.config), row.config.preset) == (stage, "tiny")
        assert row.start_s > 0.3 and 0 < row.step_s < 10 and row.validate_s > 0 and row.own > 0 and 0 <= row.others <= 1
        assert 200e6 < row.peak_bytes < 3e9 and row.config.corpora == ("demo",)


# --- Runs --------------------------------------------------------------------------------------------------------


def write_run(folder, config, rows, events):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(configs.as_values(config)))
    (folder / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / EVENTS).write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def row(runtime, time, step, split="train", **figures):
    return {"runtime": runtime, "time": time, "step": step, "split": split, "epoch": 1, "loss": 1.0, **figures}


def event(runtime, time, step, name, text=""):
    return {"runtime": runtime, "time": time, "step": step, "event": name, "text": text}


@pytest.fixture
def run(tmp_path):
    """Two runtimes, half an hour and an hour, with a night between them."""
    rows = [row("a", 600, 100), row("a", 1200, 200), row("a", 1500, 200, "validation")]
    rows += [row("b", 50_000, 300), row("b", 50_600, 400)]
    events = [event("a", 0, 0, "start", "of 1000"), event("a", 1800, 250, "stopped")]
    events += [event("b", 49_000, 250, "start", "of 800"), event("b", 52_600, 400, "saved")]
    return write_run(tmp_path / "runs" / "vqvae", configs.preset("vqvae", "demo"), rows, events)


def test_nights_do_not_count(run):
    taken = actuals(run)
    assert taken.hours == pytest.approx(1.5) and taken.runtimes == 2
    assert (taken.config.preset, taken.steps, taken.total) == ("demo", 400, 800)
    assert taken.step_s == pytest.approx(6.0), "the pause between runtimes is no step"


def test_the_speed_is_the_one_that_was_logged(tmp_path):
    rows = [row("a", 0, 1, ms_per_step=900.0), row("a", 50, 2, ms_per_step=200.0), row("a", 90, 3, ms_per_step=210.0)]
    assert actuals(write_run(tmp_path / "run", configs.preset("vqvae", "tiny"), rows, [])).step_s == 0.21


@pytest.mark.parametrize("stage", configs.STAGES)
def test_each_stage_is_known_by_its_config(stage, tmp_path):
    rows = [row("a", 0, 1), row("a", 5, 2)]
    assert configs.stage_of(actuals(write_run(tmp_path / stage, configs.preset(stage, "tiny"), rows, [])).config) == stage


def test_a_real_run(tiny_runs):
    taken = actuals(tiny_runs / "diffusion")
    assert (taken.steps, taken.total, taken.runtimes) == (4, 4, 1)
    assert 0 < taken.hours < 1 and 0 < taken.step_s < 60
