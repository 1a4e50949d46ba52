"""What stages took, read from their runs."""

import json
import re

import pytest

from lib import config as configs
from lib.apps.plan.forecast import seconds_of
from lib.apps.plan.machines import UNMEASURED
from lib.apps.plan.music import music_of
from lib.apps.plan.outlook import at_hand, hindsight, in_words, outlook, size
from lib.apps.plan.prices import ENVIRONMENTS
from lib.apps.plan.took import beside, length, took
from lib.apps.plan.work import step_work
from lib.checkpoints.history import EVENTS, NAME
from lib.google_colab_shim import Folders


def write_run(folder, config, rows, events):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(configs.as_values(config)))
    (folder / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / EVENTS).write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def row(runtime, time, step, split="train"):
    return {"runtime": runtime, "time": time, "step": step, "split": split, "epoch": 1, "loss": 1.0}


def event(runtime, time, step, name, text=""):
    return {"runtime": runtime, "time": time, "step": step, "event": name, "text": text}


@pytest.fixture
def run(tmp_path):
    """Two runtimes, half an hour and an hour, with a night between them."""
    rows = [row("a", 600, 100), row("a", 1200, 200), row("a", 1500, 200, "validation"), row("b", 50_000, 300),
            row("b", 50_600, 400)]  # fmt: skip
    events = [event("a", 0, 0, "start", "of 1000"), event("a", 1800, 250, "stopped"), event("b", 49_000, 250, "start", "of 800"),
              event("b", 52_600, 400, "saved")]  # fmt: skip
    return write_run(tmp_path / "runs" / "vqvae", configs.preset("vqvae", "demo"), rows, events)


def test_nights_do_not_count(run):
    found = took(run)
    assert found.hours == pytest.approx(1.5) and found.runtimes == 2
    assert (found.stage, found.preset, found.steps, found.total) == ("vqvae", "demo", 400, 800)
    assert found.step_s == pytest.approx(6.0), "the pause between runtimes is no step"


def test_it_is_said_beside_what_was_foreseen(run):
    place = ENVIRONMENTS["cpu"]
    said = beside(run, place)
    assert said.startswith("vqvae, preset demo: took 1.5 h for 400 of 450 steps, 6 s a step; foreseen, without starting")
    config = configs.preset("vqvae", "demo")
    steps_s = seconds_of(config, step_work(config), music_of(config), 400, place.device)["steps"]
    low_s, high_s = (float(text) for text in re.findall(r"encoding, ([\d.]+) s to ([\d.]+) s", said)[0])
    assert low_s - 1 <= steps_s / UNMEASURED * 1.3 and steps_s * UNMEASURED <= high_s + 1


@pytest.mark.parametrize("stage", configs.STAGES)
def test_each_stage_is_known_by_its_config(stage, tmp_path):
    folder = write_run(tmp_path / stage, configs.preset(stage, "tiny"), [row("a", 0, 1), row("a", 5, 2)], [])
    assert took(folder).stage == stage


def test_a_run_that_says_nothing_stops_nobody(tmp_path):
    assert took(tmp_path) is None and "nothing was trained there yet" in beside(tmp_path / "vqvae", at_hand())
    folder = write_run(tmp_path / "old", configs.preset("vqvae", "tiny"), [row("a", 0, 1)], [])
    (folder / "config.json").write_text('{"a_knob_that_is_gone": 1}')
    assert "old: " in beside(folder, at_hand()) and "is of no stage that this version knows" in beside(folder, at_hand())
    (folder / "config.json").write_text("{")
    assert took(folder) is None


def test_a_real_run(tiny_runs):
    found = took(tiny_runs / "diffusion")
    assert (found.stage, found.steps, found.total, found.runtimes) == ("diffusion", 4, 4, 1)
    assert 0 < found.hours < 1


def test_lines_of_a_notebook(run, demo_data, tmp_path):
    folders = Folders(demo_data, run.parent, tmp_path, tmp_path)
    for stage in configs.STAGES:
        said = outlook(configs.preset(stage, "demo"), folders)
        assert said.startswith(f"{stage}, preset demo, on ") and "of memory" in said and "\n" not in said and "$" not in said
    assert hindsight(configs.preset("vqvae", "demo"), folders).startswith("vqvae, preset demo: took 1.5 h")
    assert "nothing was trained" in hindsight(configs.preset("diffusion", "demo"), folders)


def test_on_colab_dollars_runtimes_and_drive_are_told(monkeypatch, demo_data, tmp_path):
    from lib.apps.plan import outlook as module
    from lib.apps.plan.forecast import forecast
    from lib.apps.plan.machines import DEVICES, Here
    from lib.apps.plan.work import of_preset

    monkeypatch.setattr(module, "here", lambda: Here("cuda", "Tesla T4", 2, DEVICES["t4"]))
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    place = at_hand()
    said = in_words(forecast(of_preset("diffusion", "large"), place), place)
    assert place.usd_per_hour == ENVIRONMENTS["colab-t4"].usd_per_hour
    assert "$" in said and "runtimes of 12 h" in said and "on Drive" in said and "a table of devices" in said


def test_lengths_and_sizes_for_people():
    assert [length(hours) for hours in (0.005, 0.2, 3.44, 45.6, 1234)] == ["18 s", "12 min", "3.4 h", "46 h", "1,234 h"]
    assert [size(gb) for gb in (0.034, 2.16)] == ["34 MB", "2.2 GB"]
