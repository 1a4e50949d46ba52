"""The Drive's benchmark in small: what lies in the bin is counted, and what has not reached the cloud is missed."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def drive():
    sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
    import drive

    yield drive
    sys.path.remove(str(ROOT / "tests" / "benchmarks"))


def test_a_short_training_fits_and_loses_nothing(drive, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["drive.py", "--preset", "demo", "--hours", "0.0005"])
    drive.main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["lost_steps_at_release"] == 0 and 0 < figures["peak_gb"] < 1 and figures["runtimes"] > 4


def test_deleted_replaced_and_emptied_files_lie_in_the_bin(drive, tmp_path):
    clock = drive.Clock()
    storage = drive.SimulatedDrive(tmp_path / "drive", clock)
    storage.open()
    storage.write_text("a", "x" * 1000)
    storage.delete("a")
    assert storage.binned == 0
    storage.write_text("b", "x" * 1000)
    (tmp_path / "other").write_text("y" * 10)
    (tmp_path / "other").replace(tmp_path / "drive" / "b")  # as a rename would
    worst = drive.SimulatedDrive(tmp_path / "drive", clock, frees=False)
    worst.write_text("c", "x" * 1000)
    worst.write_text("c", "x")
    assert worst.binned == 1000
    worst.delete("c")
    assert worst.binned == 1001


def test_what_is_on_its_way_has_not_reached_the_cloud(drive, tmp_path):
    clock = drive.Clock()
    storage = drive.SimulatedDrive(tmp_path / "drive", clock)
    storage.open()
    with pytest.raises(OSError, match="quota"):
        storage.write_text("large", "x" * 16_000_000)
    storage.delete("large")
    storage.write_text("file", "x" * 10_000)
    assert storage.reached["file"] > clock() + 1
