"""The plan as a command gives it, and its lines in notebooks."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from lib import config as configs
from lib.apps.cli.main import app
from lib.apps.plan import machines, report
from lib.apps.plan.estimate import of_preset
from lib.apps.plan.machines import DEVICES, ENVIRONMENTS, NOTED, PROBED, Logged, at_hand
from lib.apps.plan.report import BY_SIZE, Plan, _savings, estimate_line, format_hours, format_size, train_with_estimate
from lib.config import ConfigError
from lib.google_colab_shim import Folders, SecretError


def run(*words):
    """python -m lib WORDS in this process: what it prints, or the error it raises."""
    done = CliRunner().invoke(app, list(words))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(autouse=True)
def nothing_measured_and_quiet(monkeypatch, tmp_path):
    """Whoever runs the tests may have measured the machine, and others may be computing."""
    monkeypatch.setattr(machines, "PROBES", tmp_path / "probes")
    monkeypatch.setattr(machines, "others_now", lambda: 0.0)


def as_measured(stage, preset="laptop"):
    return Logged(of_preset(stage, preset), at_hand().title, 1.0, 400_000_000)


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
    assert set(values["budget"]) == {"budget_usd", "bought", "wanted", "give_up"}


def test_the_text_has_the_table_the_budget_and_the_expected_figures():
    text = plan("--budget-usd", "5")
    assert "all four stages" in text and "runpod-3090-spot ($0.34/h)" in text
    assert "$5 buys preset colab on colab-t4: " in text and "Give up first:\n   - train " in text
    assert "Often said of an RTX 3090" in text and "8 to 10 h" in text and "10 to 15 h" in text
    assert "Prices are options" in text and text.isascii() and "computing" not in text


def test_one_environment_one_preset_and_own_prices():
    text = plan("--environment", "runpod-4090", "--preset", "large", "--price", "runpod-4090=2")
    assert "Preset large on runpod-4090, NVIDIA RTX 4090 (table)" in text and "runpod-4090 ($2/h)" in text
    assert "colab-" not in text.partition("Often said")[0]
    rich = json.loads(plan("--json", "--environment", "runpod-4090", "--price", "runpod-4090=2"))
    usual = json.loads(plan("--json", "--environment", "runpod-4090"))
    assert rich["plans"][-1]["usd"] == pytest.approx(usual["plans"][-1]["usd"] * 2 / 0.79, rel=0.01)


def test_a_full_drive_is_foreseen():
    huge = ("--set", "diffusion.width=4096", "--set", "diffusion.heads=16", "--set", "diffusion.depth=24")
    text = plan("--environment", "colab-l4", "--preset", "large", *huge)
    assert "Drive has 15 GB for free" in text and "too much for it: a copy every hour" in text
    text = plan("--environment", "colab-l4", "--preset", "colab")
    assert "Drive holds up to 3.6 GB in the end, its bin none of it; at most 39.0 GB a day are uploaded, of 750 GB" in text
    text = plan("--environment", "colab-l4", "--preset", "large")
    assert "15 GB for free: buy more, or empty it, and its bin, after each stage" in text and "too much" not in text
    assert "15 GB for free" not in plan("--environment", "colab-l4", "--preset", "colab")
    assert "15 GB for free" not in plan("--environment", "runpod-4090", "--preset", "large"), "no Drive there"


def test_the_table_of_devices():
    text = plan("--devices")
    assert "NVIDIA RTX 3090" in text and "https://" in text and NOTED in text
    (line,) = (line.split() for line in text.splitlines() if line.startswith("NVIDIA RTX 3090"))
    assert line[3:6] == ["71", "35.6", "17.8"], "a quarter of the peak"


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
        (["--set", "diffusion.width=321"], "width=321 is no multiple of heads"),
    ],
)
def test_mistakes_are_named(words, message):
    with pytest.raises(ConfigError, match=message):
        plan(*words)


@pytest.fixture
def probes(monkeypatch):
    """Stages that were probed, as (stage, preset, seconds)."""
    requests = []

    def probe(stage, preset, seconds, others):
        requests.append((stage, preset, seconds))
        return as_measured(stage, preset)

    monkeypatch.setattr(machines, "probe", probe)
    return requests


def test_it_measures_once(monkeypatch, probes, tmp_path):
    """Unless it is asked not to; what was measured is used for this machine and for no other."""
    words = ("plan", "--json", "--data-dir", str(tmp_path), "--runs-dir", str(tmp_path))
    values = json.loads(run(*words, "--preset", "laptop", "--seconds", "30"))
    assert probes == [(stage, "laptop", 30.0) for stage in PROBED] and len(values["measured"]) == 3
    stages = [
        (whole["environment"], stage["stage"], stage["basis"])
        for whole in values["plans"]
        for stage in whole["stages"]
        if whole["preset"] == "laptop"
    ]
    assert ("here", "vqvae", "measured") in stages and ("here", "fine_tune", "measured, other preset") in stages
    assert ("rtx3090", "vqvae", "table") in stages
    run(*words, "--environment", "rtx3090")
    assert len(probes) == 3, "elsewhere nothing is measured here"


def test_what_was_logged_before_is_not_measured_again(probes, tiny_runs, demo_data, tmp_path):
    words = ("plan", "--environment", "here", "--data-dir", str(demo_data))
    text = run(*words, "--runs-dir", str(tiny_runs))
    if at_hand().kind == "cpu":
        assert not probes and "Preset laptop on here" in text and "measured, other preset" in text
    run(*words, "--runs-dir", str(tiny_runs), "--calibrate")
    assert len(probes) == 3
    (tmp_path / "runs").mkdir()
    run(*words, "--runs-dir", str(tmp_path / "runs"))
    assert len(probes) == 6


def test_a_busy_machine_is_named_and_gives_a_range(monkeypatch):
    assert "computing" not in plan("--environment", "here", "--preset", "laptop")
    monkeypatch.setattr(machines, "others_now", lambda: 0.6)
    text = plan("--environment", "here", "--preset", "laptop")
    assert "Others are computing here: they want 60% of the processors. Low is without them, high with them." in text


# --- The budget --------------------------------------------------------------------------------------------------


def advice(budget_usd, *names, preset=None):
    """(advice, the totals by preset of the first machine) of a plan for some machines."""
    made = Plan(budget_usd, preset, {name: ENVIRONMENTS[name] for name in names}, {}, "nowhere", [])
    totals = [made.total(name, preset) for name in names for preset in BY_SIZE]
    return made.advice(totals), {row["preset"]: row["usd"] for row in totals[: len(BY_SIZE)]}


def test_what_a_budget_buys():
    rich, usd = advice(10_000, "runpod-3090", "runpod-4090")
    assert (rich["bought"]["preset"], rich["bought"]["environment"]) == ("large", "runpod-4090"), "it is the cheaper one"
    assert not rich["give_up"]
    poor, _ = advice(0.0, "runpod-3090", "runpod-4090", "rtx3090")
    assert poor["bought"] is None and poor["wanted"]["preset"] == "demo", "your own card is not for rent"
    between = (usd["colab"] + usd["large"]) / 2
    some, _ = advice(between, "runpod-3090")
    assert some["bought"]["preset"] == "colab" and some["wanted"]["preset"] == "large"
    savings = [row["usd"] for row in some["give_up"]]
    assert savings[-1] <= between < usd["large"] and all(x > between for x in savings[:-1]), "until it fits, and no more"


def test_what_to_give_up_first_saves_each_time():
    all_of_them, usd = advice(0.0, "runpod-3090")
    costs = [row["usd"] for row in all_of_them["give_up"]]
    assert all_of_them["wanted"]["preset"] == "demo" and all(after <= before for before, after in zip([usd["demo"], *costs], costs))
    own, _ = advice(20, "rtx3060")
    hours = [own["wanted"]["hours"], *(row["hours"] for row in own["give_up"])]
    assert own["bought"]["preset"] == "large" and len(hours) >= 5, "of a card of your own: how to be done sooner"
    assert all(after < before for before, after in zip(hours, hours[1:]))
    assert "gradient_accumulation=4" in own["give_up"][0]["words"]
    assert advice(20, "rtx3060", preset="colab")[0]["wanted"]["preset"] == "colab", "the one asked for"
    assert not any("gradient_accumulation" in words for words, *_ in _savings("laptop")), "Muon's part is small"


# --- Notebooks ---------------------------------------------------------------------------------------------------


def test_lines_of_a_notebook(tiny_runs, demo_data, tmp_path):
    folders = Folders(demo_data, tmp_path, tmp_path, tmp_path)
    for stage in configs.STAGES:
        line = estimate_line(configs.preset(stage, "demo"), folders)
        assert line.startswith(f"{stage}, preset demo, on ") and "of memory" in line and "\n" not in line and "$" not in line
        assert "a table of devices" in line
        assert ("to encode the music" in line) == (stage in ("diffusion", "fine_tune"))
    line = estimate_line(configs.preset("vqvae", "tiny"), dataclasses.replace(folders, runs=tiny_runs))
    assert "From what was logged here." in line or at_hand().kind != "cpu"


def test_on_colab_dollars_runtimes_and_drive_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(machines, "like", lambda *words: DEVICES["t4"])
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    text = estimate_line(configs.preset("diffusion", "large"), Folders(tmp_path, tmp_path, tmp_path, tmp_path))
    assert "$" in text and "runtime(s) of 12 h" in text and "on Drive" in text and "a table of devices" in text


def test_hours_and_sizes_for_people():
    assert [format_hours(hours) for hours in (0.005, 0.2, 3.44, 45.6, 1234)] == ["18 s", "12 min", "3.4 h", "46 h", "1,234 h"]
    assert [format_size(gb) for gb in (0.034, 2.16)] == ["34 MB", "2.2 GB"]


def test_a_big_preset_without_a_gpu_is_said_before_training(tmp_path, monkeypatch, capsys):
    trained = []

    def train(settings, *words, **named):
        trained.append((settings.preset, named["take_over"], named["wandb_project"]))
        return SimpleNamespace(message="done")

    monkeypatch.setattr(report, "train", train)
    monkeypatch.setenv("WANDB_API_KEY", "key")
    folders = Folders(tmp_path, tmp_path, tmp_path, tmp_path)
    for preset in ("colab", "laptop"):
        train_with_estimate(configs.preset("vqvae", preset, device="cpu"), folders, "jazz", True)
        assert ("this runtime has none" in capsys.readouterr().out) == (preset == "colab")
    assert trained == [("colab", True, "jazz"), ("laptop", True, "jazz")]
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(SecretError, match="export WANDB_API_KEY"):
        train_with_estimate(configs.preset("vqvae", "tiny"), folders, "jazz")
