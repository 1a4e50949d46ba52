"""The plan as a command gives it, and the minute in which a machine is measured."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from lib import config as configs
from lib.apps.cli.main import app
from lib.apps.plan import calibration, planning
from lib.apps.plan.calibration import CalibrationError, Measured, calibrate, remembered
from lib.apps.plan.prices import NOTED
from lib.apps.plan.work import of_preset, step_work
from lib.config import ConfigError


def run(*words):
    """python -m lib WORDS in this process: what it prints, or the error it raises."""
    done = CliRunner().invoke(app, list(words))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch):
    """Whoever runs the tests may have measured the machine."""
    monkeypatch.setattr(planning.calibration, "remembered", lambda: {})


def plan(*words, data_dir="nowhere", runs_dir="nowhere"):
    return run("plan", "--no-calibrate", "--data-dir", str(data_dir), "--runs-dir", str(runs_dir), *words)


def test_every_stage_preset_and_environment():
    found = json.loads(plan("--json"))
    assert found["prices_of"] == NOTED and not found["measured"]
    places = {row["environment"] for row in found["plans"]}
    assert {"here", "colab-free", "colab-t4", "colab-a100", "runpod-3090-spot", "runpod-4090", "rtx3060", "m1", "cpu"} <= places
    for row in found["plans"]:
        assert [stage["stage"] for stage in row["stages"]] == list(configs.STAGES)
        assert row["hours"] == pytest.approx(sum(stage["hours"] for stage in row["stages"]), abs=1e-3)
        assert {"usd", "runtimes", "memory_gb", "disk_gb", "drive_gb", "low_hours", "high_hours"} <= set(row["stages"][0])
    rented = {name for name in places if name.startswith(("colab-", "runpod-"))} - {"colab-free"}
    assert {row["environment"] for row in found["budget"]} == rented


def test_the_text_has_the_table_the_budget_and_the_figures_in_mind():
    said = plan("--budget-usd", "20")
    assert "all four stages" in said and "runpod-3090-spot ($0.34/h)" in said
    assert "$20 on Runpod RTX 3090, spot: preset" in said and "Give up first, one after another:" in said
    assert "Often said of an RTX 3090" in said and "8 to 10 h" in said and "10 to 15 h" in said
    assert "Prices are knobs" in said and said.isascii()


def test_one_environment_one_preset_and_own_prices():
    said = plan("--environment", "runpod-4090", "--preset", "large", "--price", "runpod-4090=2")
    assert "Preset large on Runpod RTX 4090 (table)" in said and "runpod-4090 ($2/h)" in said and "Colab" not in said
    rich = json.loads(plan("--json", "--environment", "runpod-4090", "--price", "runpod-4090=2"))
    usual = json.loads(plan("--json", "--environment", "runpod-4090"))
    assert rich["plans"][0]["usd"] == pytest.approx(usual["plans"][0]["usd"] * 2 / 0.79, abs=0.01)


def test_a_full_drive_is_foreseen():
    assert "Drive has 15 GB for free" in plan("--environment", "colab-l4", "--preset", "large")
    assert "15 GB for free" not in plan("--environment", "colab-l4", "--preset", "colab")
    assert "15 GB for free" not in plan("--environment", "runpod-4090", "--preset", "large"), "no Drive there"


def test_the_table_of_devices():
    said = plan("--devices")
    assert "NVIDIA RTX 3090" in said and "https://" in said and "reached" in said
    lines = {line.partition("  ")[0]: line.split() for line in said.splitlines()}
    assert lines["NVIDIA RTX 3090"][3:6] == ["71", "35.6", "17.8"], "a quarter of the peak"


def test_other_knobs():
    def steps(*words):
        return json.loads(plan("--json", "--environment", "rtx3090", *words))["plans"][0]["stages"][0]["steps"]

    assert steps("--set", "vqvae.steps=77") == 77 != steps()


@pytest.mark.parametrize(("words", "said"), [
    (["--preset", "larg"], "large"), (["--environment", "runpod-309"], "runpod-3090"), (["--price", "runpod=1"], "runpod-"),
    (["--set", "epochs=3"], "STAGE.key=value"), (["--set", "vqva.epochs=3"], "vqvae"), (["--set", "vqvae.epoch=3"], "epochs"),
])  # fmt: skip
def test_mistakes_are_named(words, said):
    with pytest.raises(ConfigError, match=said):
        plan(*words)


def test_what_stages_took_is_shown(tiny_runs, demo_data):
    said = plan(data_dir=demo_data, runs_dir=tiny_runs)
    assert "What stages really took:" in said
    for stage in configs.STAGES:
        assert f"{stage}, preset tiny: took" in said


def as_measured(stage, preset="laptop"):
    work = step_work(of_preset(stage, preset))
    return Measured(stage, preset, "no", work.chunks, work.flops, 1.0, 0.01, work.flops / 50, 0.1, 1.0, 0.1, 2.0, 0.1, 0.3, 6, 2.0,
                    0.3, 400_000_000)  # fmt: skip


def test_it_measures_once(monkeypatch, tmp_path):
    """Unless it is asked not to; what was measured is used for this machine and for no other."""
    asked = []

    def measure(preset, seconds):
        asked.append((preset, seconds))
        return {stage: as_measured(stage) for stage in calibration.SHARES}

    monkeypatch.setattr(planning.calibration, "calibrate", measure)
    words = ("plan", "--json", "--data-dir", str(tmp_path), "--runs-dir", str(tmp_path))
    found = json.loads(run(*words, "--preset", "laptop", "--seconds", "30"))
    assert asked == [("laptop", 30.0)] and set(found["measured"]) == set(calibration.SHARES)
    bases = {(row["environment"], stage["stage"]): stage["basis"] for row in found["plans"] for stage in row["stages"]
             if row["preset"] == "laptop"}  # fmt: skip
    assert bases["here", "vqvae"] == "measured" and bases["here", "fine_tune"] == "measured, other preset"
    assert bases["rtx3090", "vqvae"] == "table"
    run(*words, "--environment", "rtx3090")
    assert len(asked) == 1, "elsewhere nothing is measured here"
    monkeypatch.setattr(planning.calibration, "remembered", lambda: {"vqvae": as_measured("vqvae")})
    run(*words)
    assert len(asked) == 1, "it was measured before"
    in_words = [word for word in words if word != "--json"]
    assert "measured here" in run(*in_words) and "Something else" not in run(*in_words)
    busy = dataclasses.replace(as_measured("vqvae"), waited=0.6)
    monkeypatch.setattr(planning.calibration, "remembered", lambda: {"vqvae": busy})
    assert "Something else took 60% of the processor" in run(*in_words)
    run(*words, "--calibrate")
    assert len(asked) == 2


def test_what_was_measured_is_kept_for_this_machine_alone(monkeypatch, tmp_path):
    row = {name: getattr(as_measured("vqvae"), name) for name in Measured.__dataclass_fields__}
    monkeypatch.setattr(calibration, "_in_a_process", lambda stage, *words: Measured(**{**row, "stage": stage}))
    cache = tmp_path / "cache" / "plan.json"
    calibrate("laptop", 5, ["vqvae"], cache=cache)
    calibrate("laptop", 5, ["diffusion"], cache=cache)
    assert set(remembered(cache)) == {"vqvae", "diffusion"}
    assert remembered(cache)["vqvae"] == as_measured("vqvae")
    monkeypatch.setattr(calibration, "machine_key", lambda: "another machine")
    assert remembered(cache) == {}
    cache.write_text("[")
    assert remembered(cache) == {}


def test_a_stage_that_can_not_be_measured_is_named():
    with pytest.raises(CalibrationError, match="vqvae of preset tiny can't be measured here: .*colour"):
        calibrate("tiny", 5, ["vqvae"], ["colour=red"], cache=None)


@pytest.mark.slow
def test_a_machine_is_measured(tmp_path):
    found = calibrate("tiny", 6, cache=tmp_path / "plan.json")
    assert set(found) == set(calibration.SHARES) == set(remembered(tmp_path / "plan.json"))
    for stage, one in found.items():
        assert (one.stage, one.preset) == (stage, "tiny")
        assert 0 < one.step_s < 10 and one.validate_s > 0 and one.save_s > 0 and one.start_s > 0.3
        assert 200e6 < one.peak_bytes < 3e9 and one.chunks == 4
    assert found["diffusion"].encode_s > 0 and found["vqvae"].encode_s == 0
