"""The benchmark that compares this tree with another commit: it finds every difference that it is for."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))

import differences  # noqa: E402
import layouts  # noqa: E402
import same_as  # noqa: E402

from lib.music.midi_writer import write_midi
from lib.music.notes import Notes


@pytest.mark.parametrize("name", layouts.NAMES)
def test_every_name_is_found_in_this_tree(name):
    assert layouts.name_in_tree(name) is not None or "" in layouts.NAMES[name]


def test_a_name_that_is_nowhere_is_said(monkeypatch):
    monkeypatch.setitem(layouts.NAMES, "nowhere", ("lib.config:no_such_name", "lib.no_such_module:name"))
    with pytest.raises(LookupError, match="nowhere is at none of"):
        layouts.name_in_tree("nowhere")


def write_notes(path, pitch=60, velocity=64):
    count = np.arange(3)
    notes = Notes(count * 0.5, count * 0.5 + 0.4, np.full(3, pitch), np.full(3, velocity), np.zeros((0, 2)))
    return Path(write_midi(notes, path))


def test_solos_are_compared_note_for_note(tmp_path):
    there, same = write_notes(tmp_path / "there.mid"), write_notes(tmp_path / "same.mid")
    assert differences.compare_solos("solo", there, same) == []
    (line,) = differences.compare_solos("solo", there, write_notes(tmp_path / "here.mid", velocity=65))
    assert line.startswith("solo: 3 notes there, 3 here; first (0.0, 60, 64")


def test_arrays_are_compared_bit_for_bit():
    values = np.ones((2, 3), dtype=np.float32)
    other = values.copy()
    other[0, 0] = np.nextafter(other[0, 0], 2)
    assert differences.compare_arrays("rolls", {"a": values}, {"a": values.copy()}) == []
    assert "a differs in 1 of 6 places" in differences.compare_arrays("rolls", {"a": values}, {"a": other})[0]
    assert (
        "a is (2, 3) float32 there, (6,)"
        in differences.compare_arrays("rolls", {"a": values}, {"a": values.ravel()})[0]
    )
    assert differences.compare_arrays("rolls", {"a": values}, {}) == ["rolls: a is only there"]


def write_run(folder, losses, weight=1.0, name="blocks.0.hidden.weight", moment=0.5):
    """A run as small as one can be: history, and one checkpoint a loss."""
    rows = [{"step": step, "split": "train", "loss": loss} for step, loss in enumerate(losses, 1)]
    folder.mkdir()
    for file in ("history.jsonl", "events.jsonl"):
        (folder / file).write_text("".join(json.dumps({**row, "event": "saved"}) + "\n" for row in rows))
    for row in rows:
        checkpoint = folder / "checkpoints" / f"step-{row['step']:08d}"
        checkpoint.mkdir(parents=True)
        save_file({name: torch.full((2,), weight)}, checkpoint / "model.safetensors")
        torch.save({"state": {0: {"exp_avg": torch.tensor([moment])}}}, checkpoint / "optimizer.pt")
    return folder


def test_runs_are_compared_by_weights_optimizer_and_losses(tmp_path, monkeypatch):
    there = write_run(tmp_path / "there", [3.0, 2.0])
    assert differences.compare_runs("vqvae", there, write_run(tmp_path / "same", [3.0, 2.0]), {}) == []
    renamed = write_run(tmp_path / "renamed", [3.0, 2.0], name="blocks.0.width.weight")
    assert differences.compare_runs("vqvae", there, renamed, {"hidden": "width", "blocks.1": "x"}) == []
    assert len(differences.compare_runs("vqvae", there, renamed, {})) == 2
    other = write_run(tmp_path / "other", [3.0, 2.00001], weight=1.0001, moment=0.6)
    found = differences.compare_runs("vqvae", there, other, {})
    assert [line.split(":")[1].split()[0] for line in found] == ["loss", "model.safetensors", "optimizer.pt"]
    assert differences.compare_runs("vqvae", there, write_run(tmp_path / "short", [3.0]), {}) == [
        "vqvae: ends at step-00000002 there, step-00000001 here"
    ]
    monkeypatch.setitem(differences.ONLY_CLOSE, "vqvae", "a reason")
    assert differences.compare_runs("vqvae", there, other, {}) == []


def test_the_second_half_of_a_run_is_taken_away(tmp_path):
    run = write_run(tmp_path / "run", [4.0, 3.0, 2.0, 1.0])
    (run / "finished").write_text("4")
    same_as.keep_first_half(run, 2)
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step-00000001", "step-00000002"]
    assert list(differences.losses_of(run)) == [(1, "train"), (2, "train")] and not (run / "finished").exists()
