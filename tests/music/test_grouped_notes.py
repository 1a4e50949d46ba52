"""Notes as the style encoder reads them whatever grid they stand on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.music import grouped_notes
from lib.music.note_windows import note_windows
from lib.music.notes import Notes
from lib.music.time_grid import put_on_grid

LAGS = 3


def chords(seed=0, count=60):
    """Chords of three, whose notes begin within 12 ms in any order, at least 120 ms apart."""
    generator = np.random.default_rng(seed)
    begin_s = np.cumsum(generator.uniform(0.12, 0.6, count))
    onset_s = (begin_s[:, None] + generator.uniform(0, 0.012, (count, 3))).ravel()
    pitch = (generator.integers(36, 80, count)[:, None] + [0, 4, 7]).ravel()
    return Notes.from_arrays(onset_s, generator.uniform(0.1, 1, 3 * count), pitch, generator.integers(30, 100, 3 * count),
                             np.arange(0, 10, 1.0)[:, None] + [0.2, 0.8])  # fmt: skip


def read(notes):
    """(hard, soft) features."""
    return grouped_notes.features(note_windows([grouped_notes.grouped_values(notes)]), LAGS)


def test_notes_of_a_chord_are_in_order_of_pitch():
    """Whatever the order in which its keys went down; one that begins later stays later in time."""
    values = grouped_notes.grouped_values(Notes.from_arrays([0.01, 0.0, 0.05, 0.5], [1, 1, 1, 1], [67, 64, 60, 72], [9, 9, 9, 9]))
    assert values[2].tolist() == [60, 64, 67, 72]
    np.testing.assert_allclose(values[0], [0.05, 0.0, 0.01, 0.5], atol=1e-6)
    np.testing.assert_array_equal(grouped_notes.linked_chords(np.array([0.0, 0.04, 0.08, 0.13, 0.5])), [0, 0, 0, 1, 2])


def test_what_comes_next_is_not_the_chord_itself():
    """Notes of a chord are left out, the more the sooner they begin; the last note has the usual gap."""
    notes = Notes.from_arrays([0, 0.01, 0.4, 0.8], *np.ones((3, 4)))
    windows = note_windows([grouped_notes.grouped_values(notes)])
    gaps = grouped_notes.gap_to_next(windows.values[:, 0], windows.mask, LAGS)[0, :4]
    torch.testing.assert_close(gaps, torch.tensor([0.4, 0.39, 0.4, grouped_notes.LAST_GAP_S]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("step_s", (0.001, 0.005, 0.01, 0.02, 60 / 120 / 24))
def test_a_grid_changes_little(step_s):
    """The same pitches in the same order, and the measured choices move by less than one on average."""
    hard, soft = read(chords())
    same, moved = read(put_on_grid(chords(), step_s))
    assert torch.equal(hard, same)
    assert float((soft - moved).abs().sum(-1).mean()) < 60 * step_s * (LAGS + 2)


def test_weights_are_nearness_to_two_neighbours():
    """They sum to 1; whole numbers have one alone; beyond the last choice it is the last."""
    found = grouped_notes.weights(torch.tensor([0.0, 1.25, 99.0, -1.0]), 4)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0, 0, 0], [0, 0.75, 0.25, 0], [0, 0, 0, 1.0], [1.0, 0, 0, 0]]))


def test_sizes_are_those_of_the_features():
    """Choices within their tables, and each measured feature sums to 1 where there is an earlier note."""
    hard, soft = read(chords())
    sizes = grouped_notes.hard_sizes(LAGS)
    assert hard.shape[-1] == len(sizes) and soft.shape[-1] == grouped_notes.soft_size(LAGS)
    assert (hard >= 0).all() and (hard < torch.tensor(sizes)).all()
    torch.testing.assert_close(soft[0, LAGS:180].sum(-1), torch.full((180 - LAGS,), LAGS + 7.0))
    assert (hard[0, 0, :LAGS] == 0).all()


def test_a_transposed_passage_differs_by_register_alone():
    """Nothing is said of the key."""
    notes = chords()
    higher = Notes(notes.onset_s, notes.duration_s, notes.pitch + 4, notes.velocity, notes.pedal_s)
    (hard, soft), (moved, same) = read(notes), read(higher)
    assert torch.equal(hard[..., :LAGS], moved[..., :LAGS]) and torch.equal(soft, same)


def test_pedal_shares():
    """How much of 300 ms around an onset the pedal is down; without pedals none."""
    spans_s = np.array([[0.0, 1.0], [2.0, 2.1]])
    found = grouped_notes.pedal_shares(np.array([0.5, 0.9, 1.5, 2.0]), spans_s)
    np.testing.assert_allclose(found, [1.0, 0.15 / 0.3, 0.0, 0.1 / 0.3], atol=1e-9)
    assert not grouped_notes.pedal_shares(np.array([0.5]), np.zeros((0, 2))).any()


def test_no_notes_are_an_empty_window():
    """A mask of nothing."""
    windows = note_windows([grouped_notes.grouped_values(Notes.from_arrays([], [], [], []))])
    assert not windows.mask.any()
