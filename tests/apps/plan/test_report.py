"""The plan as a command gives it, and its lines in notebooks."""

import dataclasses
import json
import re

import pytest
from test_measurements import as_measured, event, row, write_run
from typer.testing import CliRunner

from lib import config as configs
from lib.apps.cli.main import app
from lib.apps.plan import machines, measurements, report
from lib.apps.plan.estimate import UNMEASURED, Estimate, of_preset
from lib.apps.plan.machines import DEVICES, ENVIRONMENTS, NOTED, at_hand
from lib.apps.plan.report import actuals_line, actuals_text, estimate_line, format_estimate, format_hours, format_size
from lib.config import ConfigError
from lib.google_colab_shim import Folders


def run(*words):
    """python -m lib WORDS in this process: what it prints, or the error it raises."""
    done = CliRunner().invoke(app, list(words))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(autouse=True)
def nothing_measured_and_quiet(monkeypatch):
    """Whoever runs the tests may have measured the machine, and others may be computing."""
    monkeypatch.setattr(report, "remembered", lambda: {})
    monkeypatch.setattr(machines, "others_share", lambda: 0.0)


def plan(*words, data_dir="nowhere", runs_dir="nowhere"):
    return run("plan", "--no-calibrate", "--data-dir", str(data_dir), "--runs-dir", str(runs_dir), *words)


def test_every_stage_preset_and_environment():
    values = json.loads(plan("--json"))
    assert values["prices_of"] == NOTED and not values["measured"]
    names = {row["environment"] for row in values["plans"]}
    assert {"here", "colab-free", "colab-t4", "colab-a100", "runpod-3090-spot", "runpod-4090", "m1", "cpu"} <= names
    for whole in values["plans"]:
        assert [stage["stage"] for stage in whole["stages"]] == list(configs.STAGES)
        assert whole["hours"] == pytest.approx(sum(stage["hours"] for stage in whole["stages"]), abs=1e-3)
        assert {"usd", "runtimes", "memory_gb", "disk_gb", "drive_gb", "low_hours", "high_hours"} <= set(whole["stages"][0])
    rented = {name for name in names if name.startswith(("colab-", "runpod-"))} - {"colab-free"}
    assert {row["environment"] for row in values["budget"]} == rented
    assert {"words", "hours", "usd"} == set(values["budget"][0]["give_up"][0])


def test_the_text_has_the_table_the_budget_and_the_expected_figures():
    text = plan("--budget-usd", "20")
    assert "all four stages" in text and "runpod-3090-spot ($0.34/h)" in text
    assert "$20 on Runpod RTX 3090, spot: preset" in text and "Give up first, one after another:" in text
    assert "Often said of an RTX 3090" in text and "8 to 10 h" in text and "10 to 15 h" in text
    assert "Prices are options" in text and text.isascii() and "computing" not in text


def test_one_environment_one_preset_and_own_prices():
    text = plan("--environment", "runpod-4090", "--preset", "large", "--price", "runpod-4090=2")
    assert "Preset large on Runpod RTX 4090 (table)" in text and "runpod-4090 ($2/h)" in text and "Colab" not in text
    rich = json.loads(plan("--json", "--environment", "runpod-4090", "--price", "runpod-4090=2"))
    usual = json.loads(plan("--json", "--environment", "runpod-4090"))
    assert rich["plans"][-1]["usd"] == pytest.approx(usual["plans"][-1]["usd"] * 2 / 0.79, rel=0.01)


def test_a_full_drive_is_foreseen():
    assert "Drive has 15 GB for free" in plan("--environment", "colab-l4", "--preset", "large")
    assert "15 GB for free" not in plan("--environment", "colab-l4", "--preset", "colab")
    assert "15 GB for free" not in plan("--environment", "runpod-4090", "--preset", "large"), "no Drive there"


def test_the_table_of_devices():
    text = plan("--devices")
    assert "NVIDIA RTX 3090" in text and "https://" in text and "reached" in text
    lines = {line.partition("  ")[0]: line.split() for line in text.splitlines()}
    assert lines["NVIDIA RTX 3090"][3:6] == ["71", "35.6", "17.8"], "a quarter of the peak"


def test_other_settings():
    def steps(*words):
        return json.loads(plan("--json", "--environment", "rtx3090", *words))["plans"][0]["stages"][0]["steps"]

    assert steps("--set", "vqvae.steps=77") == 77 != steps()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "larg"], "large"),
        (["--environment", "runpod-309"], "runpod-3090"),
        (["--price", "runpod=1"], "runpod-"),
        (["--set", "epochs=3"], "STAGE.key=value"),
        (["--set", "vqva.epochs=3"], "vqvae"),
        (["--set", "vqvae.epoch=3"], "epochs"),
    ],
)
def test_mistakes_are_named(words, message):
    with pytest.raises(ConfigError, match=message):
        plan(*words)


def test_what_stages_took_is_shown(tiny_runs, demo_data):
    text = plan("--environment", "here", data_dir=demo_data, runs_dir=tiny_runs)
    assert "What stages really took:" in text
    for stage in configs.STAGES:
        assert f"{stage}, preset tiny: took" in text


def test_it_measures_once(monkeypatch, tmp_path):
    """Unless it is asked not to; what was measured is used for this machine and for no other."""
    requests = []

    def measure(preset, seconds):
        requests.append((preset, seconds))
        return {stage: as_measured(stage) for stage in measurements.STAGES}

    monkeypatch.setattr(measurements, "measure", measure)
    words = ("plan", "--json", "--data-dir", str(tmp_path), "--runs-dir", str(tmp_path))
    values = json.loads(run(*words, "--preset", "laptop", "--seconds", "30"))
    assert requests == [("laptop", 30.0)] and set(values["measured"]) == set(measurements.STAGES)
    stages = [
        (whole["environment"], stage["stage"], stage["basis"])
        for whole in values["plans"]
        for stage in whole["stages"]
        if whole["preset"] == "laptop"
    ]
    assert ("here", "vqvae", "measured") in stages and ("here", "fine_tune", "measured, other preset") in stages
    assert ("rtx3090", "vqvae", "table") in stages
    run(*words, "--environment", "rtx3090")
    assert len(requests) == 1, "elsewhere nothing is measured here"
    monkeypatch.setattr(report, "remembered", lambda: {"vqvae": as_measured("vqvae")})
    run(*words)
    assert len(requests) == 1, "it was measured before"
    run(*words, "--calibrate")
    assert len(requests) == 2


def test_a_busy_machine_is_named_and_gives_a_range(monkeypatch):
    monkeypatch.setattr(report, "remembered", lambda: {"vqvae": as_measured("vqvae")})
    quiet = plan("--environment", "here", "--preset", "laptop")
    assert "measured here" in quiet and "computing" not in quiet
    monkeypatch.setattr(machines, "others_share", lambda: 0.6)
    now = plan("--environment", "here", "--preset", "laptop")
    assert "Others are computing here: they take 60% of the processors now. Low is without them, high with them." in now
    monkeypatch.setattr(report, "remembered", lambda: {"vqvae": as_measured("vqvae", others=0.6)})
    monkeypatch.setattr(machines, "others_share", lambda: 0.0)
    then = plan("--environment", "here", "--preset", "laptop")
    assert "Others took 60% of the processors while this machine was measured: measure again" in then


# --- Notebooks and runs ------------------------------------------------------------------------------------------


@pytest.fixture
def demo_run(tmp_path):
    """400 steps of preset demo in an hour and a half."""
    rows = [row("a", time, step) for time, step in ((600, 100), (1200, 200), (1800, 300), (2400, 400))]
    events = [event("a", 0, 0, "start", "of 450"), event("a", 5400, 400, "saved")]
    return write_run(tmp_path / "runs" / "vqvae", configs.preset("vqvae", "demo"), rows, events)


def test_actuals_stand_beside_the_estimate(demo_run):
    machine = ENVIRONMENTS["cpu"]
    text = actuals_text(demo_run, machine)
    assert text.startswith("vqvae, preset demo: took 1.5 h for 400 of 450 steps, 6 s a step; estimated, without starting")
    steps_s = Estimate(configs.preset("vqvae", "demo"), machine, steps=400).parts_s["steps"]
    low, high = re.findall(r"encoding, ([\d.]+) (?:s|min) to ([\d.]+) (s|min)", text)[0][:2]
    assert float(low) - 1 <= steps_s / UNMEASURED * 2 and float(high) > 0


def test_a_run_that_says_nothing_stops_nobody(tmp_path):
    assert "nothing was trained there yet" in actuals_text(tmp_path / "vqvae", ENVIRONMENTS["cpu"])
    folder = write_run(tmp_path / "old", configs.preset("vqvae", "tiny"), [row("a", 0, 1)], [])
    (folder / "config.json").write_text('{"a_knob_that_is_gone": 1}')
    text = actuals_text(folder, ENVIRONMENTS["cpu"])
    assert text.startswith("old: ") and "is of no stage that this version knows" in text
    (folder / "config.json").write_text("{")
    assert "nothing was trained there yet" in actuals_text(folder, ENVIRONMENTS["cpu"])


def test_lines_of_a_notebook(demo_run, demo_data, tmp_path):
    folders = Folders(demo_data, demo_run.parent, tmp_path, tmp_path)
    for stage in configs.STAGES:
        line = estimate_line(configs.preset(stage, "demo"), folders)
        assert line.startswith(f"{stage}, preset demo, on ") and "of memory" in line and "\n" not in line and "$" not in line
    assert actuals_line(configs.preset("vqvae", "demo"), folders).startswith("vqvae, preset demo: took 1.5 h")
    assert "nothing was trained" in actuals_line(configs.preset("diffusion", "demo"), folders)


def test_on_colab_dollars_runtimes_and_drive_are_named(monkeypatch):
    monkeypatch.setattr(machines, "like", lambda *words: DEVICES["t4"])
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    machine = dataclasses.replace(at_hand(), device=DEVICES["t4"])
    text = format_estimate(Estimate(of_preset("diffusion", "large"), machine), machine)
    assert machine.usd_per_hour == ENVIRONMENTS["colab-t4"].usd_per_hour and machine.title.startswith("Colab, ")
    assert "$" in text and "runtimes of 12 h" in text and "on Drive" in text and "a table of devices" in text


def test_hours_and_sizes_for_people():
    assert [format_hours(hours) for hours in (0.005, 0.2, 3.44, 45.6, 1234)] == ["18 s", "12 min", "3.4 h", "46 h", "1,234 h"]
    assert [format_size(gb) for gb in (0.034, 2.16)] == ["34 MB", "2.2 GB"]
