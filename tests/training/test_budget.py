"""When a training stops: the budget leaves room for a last save, Colab's twelve hours are counted."""

import dataclasses

import pytest

from lib.checkpoints.history import read_events
from lib.config import preset
from lib.training.budget import Budget, StopReason, runtime_age_s
from lib.training.loop import train


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_last_save_must_still_fit():
    clock = Clock()
    budget = Budget(100.0, clock=clock)
    clock.now = 80.0
    assert budget.spent(10.0, 5, 4, 0) is None and budget.spent(20.0, 5, 4, 0) is StopReason.TIME_BUDGET


def test_epochs_of_this_runtime_count_from_where_it_began():
    budget = Budget(epochs=2)
    assert [budget.spent(0.0, step, 10, 35) for step in (40, 54, 55)] == [None, None, StopReason.EPOCHS]


def test_no_limit_but_on_colab(monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    assert Budget().deadline is None
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-20261101")
    monkeypatch.setattr("lib.training.budget.runtime_age_s", lambda: 3600.0)
    assert Budget(clock=Clock()).deadline == 11 * 3600 - 120
    assert Budget(60.0, clock=Clock()).deadline == 60.0
    for age_s in (None, 13 * 3600.0):  # not known, or a runtime that may live for a day
        monkeypatch.setattr("lib.training.budget.runtime_age_s", lambda age_s=age_s: age_s)
        assert Budget().deadline is None


def test_the_age_of_a_machine(tmp_path):
    (tmp_path / "1").mkdir()
    fields = ["S", *"0" * 18, "150", "0"]  # the 22nd field is the start, in clock ticks
    (tmp_path / "1" / "stat").write_text(f"1 (a (strange) name) {' '.join(fields)}")
    (tmp_path / "uptime").write_text("101.50 7.0\n")
    assert runtime_age_s(tmp_path) == pytest.approx(100.0)
    assert runtime_age_s(tmp_path / "none") is None


def test_epochs_this_runtime_stops_saves_and_goes_on(demo_data, tmp_path):
    config = dataclasses.replace(preset("vqvae", "tiny", epochs=3, batch_size=64, validate_every=1000), steps=None)
    first = train(config, demo_data, tmp_path, epochs_this_runtime=1)
    assert not first.finished and first.reason is StopReason.EPOCHS
    assert "epochs of this runtime done and saved" in first.message
    second = train(config, demo_data, tmp_path, epochs_this_runtime=1)
    assert second.resumed_from_step == first.step and abs(second.step - 2 * first.step) <= 1
    assert [event["reason"] for event in read_events(second.run) if event["event"] == "stopped"] == ["epochs", "epochs"]
