"""The table of devices and prices, the machine at hand, and what trainings on it have logged."""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest

from lib import config as configs
from lib.apps.plan import machines
from lib.apps.plan.machines import (
    DEVICES,
    ENVIRONMENTS,
    at_hand,
    environments,
    like,
    logged,
    measurements,
    others_now,
    probe,
)
from lib.checkpoints.history import EVENTS, NAME
from lib.config import ConfigError
from lib.devices import device_name


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    """Whoever runs the tests may have measured the machine, and others may be computing."""
    monkeypatch.setattr(machines, "PROBES", tmp_path / "probes")
    monkeypatch.setattr(machines, "others_now", lambda: 0.0)


def write_run(folder, config, steps_ms=(), device=None, peak_bytes=400_000_000):
    """A run's logs as a training writes them."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(configs.as_values(config)))
    rows = [{"step": n, "split": "train", "time": n, "ms_per_step": ms} for n, ms in enumerate(steps_ms, 1)]
    end = {"event": "finished", "step": len(rows), "time": 9, "peak_bytes": peak_bytes}
    start = {"event": "start", "step": 0, "time": 0, "device": at_hand().title if device is None else device}
    for name, lines in ((NAME, [*rows, {"split": "validation", "step": len(rows)}]), (EVENTS, [start, end])):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


# --- The table ---------------------------------------------------------------------------------------------------


def test_prices_are_options():
    changed = environments(["runpod-3090=0.2", "rtx3090=.05"])
    assert changed["runpod-3090"].usd_per_hour == 0.2 and ENVIRONMENTS["runpod-3090"].usd_per_hour == 0.44
    assert changed["rtx3090"].usd_per_hour == 0.05, "your own card wants electricity"
    for wrong, message in (("runpod-390=0.2", "runpod-3090"), ("colab-t4=cheap", "dollars an hour"), ("colab-t4=-1", "dollars")):
        with pytest.raises(ConfigError, match=message):
            environments([wrong])


def test_every_device_has_a_source_and_every_environment_a_device():
    for name, device in DEVICES.items():
        assert device.source and device.single_tflops > 0 and device.flops_per_s() < 0.6e12 * max(
            device.half_tflops, device.single_tflops
        )
        assert "http" in device.source or name.startswith("cpu")
    named = "colab-free colab-t4 colab-v100 colab-l4 colab-a100 runpod-3090-spot runpod-3090 runpod-4090-spot runpod-4090"
    assert {*named.split(), "rtx3060", "m1", "m2", "cpu"} <= set(ENVIRONMENTS)
    prices = {"runpod-3090-spot": 0.34, "runpod-3090": 0.44, "runpod-4090-spot": 0.69, "runpod-4090": 0.79}
    assert {name: ENVIRONMENTS[name].usd_per_hour for name in prices} == prices
    assert all(row.on_colab == name.startswith("colab") for name, row in ENVIRONMENTS.items())


@pytest.mark.parametrize(
    ("kind", "name", "key"),
    [
        ("cuda", "Tesla T4", "t4"),
        ("cuda", "NVIDIA GeForce RTX 3090", "rtx3090"),
        ("cuda", "NVIDIA A100-SXM4-40GB", "a100"),
        ("cuda", "NVIDIA L4", "l4"),
        ("cuda", "Tesla V100-SXM2-16GB", "v100"),
        ("cuda", "Unheard Of 9", "rtx3060"),
        ("cuda", "NVIDIA L40S", "rtx3060"),
        ("mps", "Apple silicon", "m1"),
    ],
)
def test_the_drivers_names_are_known(kind, name, key):
    assert like(kind, name, 8) == DEVICES[key]


def test_a_cpu_counts_by_its_threads():
    assert like("cpu", "x86_64 CPU", 6).single_tflops == pytest.approx(3 * DEVICES["cpu"].single_tflops)


# --- This machine ------------------------------------------------------------------------------------------------


def test_this_machine(monkeypatch):
    here = at_hand()
    assert here.memory_gb > 0.5 and here.title == device_name(here.kind) and not here.usd_per_hour and not here.on_colab
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    monkeypatch.setattr(machines, "like", lambda *words: DEVICES["t4"])
    assert at_hand().on_colab and at_hand().usd_per_hour == ENVIRONMENTS["colab-t4"].usd_per_hour


@pytest.mark.parametrize(("percent", "load", "others"), [(30.0, 7.0, 0.3), (100.0, 6.0, 3.0), (100.0, 0.5, 1.0)])
def test_others_count_by_the_load_where_the_processors_are_full(monkeypatch, percent, load, others):
    stand_in = {"cpu_percent": lambda seconds: percent, "getloadavg": lambda: (load, 0, 0), "cpu_count": lambda: 2}
    monkeypatch.setattr(machines, "psutil", SimpleNamespace(**stand_in))
    assert others_now() == others


# --- What trainings have logged ----------------------------------------------------------------------------------


def test_the_log_of_a_run(tmp_path):
    config = configs.preset("vqvae", "demo")
    row = logged(write_run(tmp_path / "run", config, [900.0, 200.0, 210.0, 220.0], "Tesla T4"))
    assert row == (config, "Tesla T4", 0.21, 400_000_000), "the first step warms up"
    assert logged(tmp_path / "none") is None and logged(write_run(tmp_path / "new", config)) is None
    other = write_run(tmp_path / "other", config, [5.0])
    (other / "config.json").write_text('{"a_knob_that_is_gone": 1}')
    assert logged(other) is None


def test_a_real_run_logs_device_and_memory(tiny_runs):
    for stage in configs.STAGES:
        row = logged(tiny_runs / stage)
        assert configs.stage_of(row.config) == stage and row.device == device_name("cpu")
        assert 0 < row.step_s < 60 and 100e6 < row.peak_bytes < 30e9
    here = at_hand()
    assert len(measurements(here, tiny_runs)) == (4 if here.kind == "cpu" else 0)


def test_runs_of_this_machine_count_the_newest_first(tmp_path):
    runs = tmp_path / "runs"
    write_run(runs / "laptop" / "vqvae", configs.preset("vqvae", "laptop"), [300.0])
    write_run(runs / "elsewhere", configs.preset("vqvae", "demo"), [1.0], "Tesla T4")
    write_run(machines.PROBES / "diffusion", configs.preset("diffusion", "demo"), [50.0])
    for age, path in enumerate(sorted(tmp_path.glob(f"**/{NAME}"))):
        os.utime(path, (1000 - age, 1000 - age))
    assert [row.config.preset for row in measurements(at_hand(), runs)] == ["demo", "laptop"]


# --- A probe -----------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(monkeypatch):
    """Instead of training, log two steps: list of the commands."""
    commands = []

    def run(command, **options):
        commands.append(command[3:])
        if command[3] == "train":
            folder = machines.PROBES / command[4]
            write_run(folder, configs.preset(command[4], command[command.index("--preset") + 1]), [900.0, 200.0])
            (folder / "checkpoints").mkdir()
        return subprocess.CompletedProcess(command, 75, "", "")

    monkeypatch.setattr(machines.subprocess, "run", run)
    return commands


def test_a_probe_is_a_short_training_whose_log_is_kept(trained):
    row = probe("vqvae", "laptop", 20.0)
    assert row.step_s == 0.2 and row.config.preset == "laptop"
    (train,) = trained
    assert train[:4] == ["train", "vqvae", "--preset", "laptop"] and train[train.index("--time-budget") + 1] == "20s"
    assert measurements(at_hand(), machines.PROBES / "none") == [row]
    assert not (machines.PROBES / "vqvae" / "checkpoints").exists(), "they may be large"
    assert probe("vqvae", "demo", 20.0).config.preset == "demo" and len(measurements(at_hand(), machines.PROBES / "none")) == 1


def test_beside_other_programs_a_probe_is_not_kept(trained):
    assert probe("vqvae", "laptop", 20.0, others=1.0).step_s == 0.1, "as it would be without them"
    assert measurements(at_hand(), machines.PROBES / "none") == []


def test_a_stage_that_can_not_be_measured_is_named(monkeypatch):
    done = subprocess.CompletedProcess([], 2, "", "a line\nError: Out of memory with one chunk at a time\n")
    monkeypatch.setattr(machines.subprocess, "run", lambda *words, **options: done)
    with pytest.raises(ConfigError, match="vqvae of preset tiny can't be measured here: Error: Out of memory.*\n--no-calibrate"):
        probe("vqvae", "tiny", 5)


@pytest.mark.slow
def test_a_machine_is_measured(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the tests themselves
    for stage in machines.PROBED:
        row = probe(stage, "tiny", 3)
        assert (configs.stage_of(row.config), row.config.preset) == (stage, "tiny") and row.config.corpora == ("demo",)
        assert 0 < row.step_s < 10 and row.device == at_hand().title and 200e6 < row.peak_bytes < 3e9
    assert len(measurements(at_hand(), machines.PROBES / "none")) == 3
