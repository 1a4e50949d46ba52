"""The benchmarks that prove the promise, in small: kills in every stage, corruptions, the price of saving."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.slow


def benchmark(name, *words):
    """The figures of a benchmark's last line."""
    command = [sys.executable, ROOT / "tests" / "benchmarks" / f"{name}.py", *words]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_kills_leave_no_trace():
    figures = benchmark("kill_resume", "--kills", 8, "--seed", 5)
    assert figures["kills"] == figures["identical"] == 8 and figures["lost"] == 0
    assert figures["kills_in_save"] >= 1 and figures["kills_in_mirror"] >= 1


def test_damage_is_never_loaded():
    figures = benchmark("corrupt", "--cases", 60, "--seed", 3)
    assert figures["recovered"] + figures["refused"] == 60 and figures["recovered"] > 20
    assert figures["silent"] == figures["crashed"] == figures["refused_with_valid"] == 0


def test_the_price_of_saving_is_measured():
    figures = benchmark("checkpoint_cost", "--preset", "tiny", "--rounds", 2, "--save-every", 20)
    assert 0.5 < figures["ratio"] < 2 and figures["checkpoints_mirrored"] >= 3
