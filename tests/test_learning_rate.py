"""The benchmark of learning rates in small: its table, and that it continues where it was stopped."""

import json
import sys
from pathlib import Path

import pytest

from lib.checkpoints.history import read_events

BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"


@pytest.fixture(scope="module")
def learning_rate():
    sys.path.insert(0, str(BENCHMARKS))
    import learning_rate

    yield learning_rate
    sys.path.remove(str(BENCHMARKS))


def rows_of(losses, lrs=(1e-3, 1e-2, 1e-1), width=256):
    return [{"name": "x", "width": width, "lr": lr, "loss": loss} for lr, loss in zip(lrs, losses, strict=True)]


def test_the_best_rate_is_the_vertex_or_at_an_edge(learning_rate):
    assert learning_rate.best_lr(rows_of([3.0, 2.0, 3.0])) == 0.01
    assert 0.01 < learning_rate.best_lr(rows_of([3.0, 2.0, 2.5])) < 0.1
    assert learning_rate.best_lr(rows_of([1.0, 2.0, 3.0])) == 0.001


def test_a_width_is_summed_up_when_it_is_done(learning_rate):
    rows = rows_of([3.0, 2.0, 3.0]) + rows_of([3.0, None, None], width=512)
    found = learning_rate.summary(rows)
    assert found["best_lr"] == {"256": 0.01} and not found["finished"]
    assert learning_rate.summary(rows[:3])["finished"]


def test_cells_differ_in_rate_and_width_alone(learning_rate, tmp_path):
    words = ["diffusion", "--runs-dir", str(tmp_path), "--steps", "40"]
    asked = learning_rate.parsed(words)
    cells = learning_rate.cells_of(asked)
    assert [cell["name"] for cell in cells[:4]] == ["width-256-lr-0.0007", "width-256-lr-0.002", "width-256-lr-0.006",
                                                    "width-512-lr-0.0007"]  # fmt: skip
    one, other = (learning_rate.command(cells[index], asked, None) for index in (0, 3))
    differing = [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
    assert differing[1:] == [("width=256", "width=512"), ("heads=4", "heads=8")]
    assert {"warmup_steps=4", "steps=40", "mixed_precision=bf16"} <= set(one)
    assert [cell["name"] for cell in learning_rate.cells_of(learning_rate.parsed(["vqvae", *words[1:]]))][0] == "vqvae-lr-0.0007"


@pytest.mark.slow
def test_it_trains_stops_and_continues(learning_rate, demo_data, tmp_path, monkeypatch, capsys):
    words = ["x", "vqvae", "--preset", "tiny", "--data-dir", str(demo_data), "--runs-dir", str(tmp_path / "runs"),
             "--lrs", "1e-3,3e-3", "--steps", "40"]  # fmt: skip
    monkeypatch.setattr(learning_rate, "LEAST_S", 0.0)
    monkeypatch.setattr(sys, "argv", [*words, "--minutes", "0.001"])
    learning_rate.main()
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not first["finished"] and first["rows"][0]["loss"] is None
    monkeypatch.setattr(sys, "argv", words)
    learning_rate.main()
    whole = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert whole["finished"] and all(row["loss"] > 0 for row in whole["rows"]) and whole["best_lr"]["preset"] in (1e-3, 3e-3)
    starts = [event["step"] for event in read_events(tmp_path / "runs" / "vqvae-lr-0.001") if event["event"] == "start"]
    assert starts[0] == 0 < starts[1] < 40
