"""Bars are found where evidence repeats, change metre with it, and stay unsure where it says nothing."""

from itertools import pairwise, product

import numpy as np
import pytest

from lib.music.bar_lines import (
    NUM_EVIDENCE,
    BarModel,
    bar_evidence,
    beat_positions,
    chroma_by_beat,
    find_bars,
    harmonic_change,
    likeness,
    transitions,
)
from lib.music.notes import Notes


def logits(lengths, strength=2.0):
    """Log odds high on the first beat of bars of these lengths."""
    return np.concatenate([np.r_[strength, np.full(length - 1, -strength / 3)] for length in lengths])


@pytest.mark.parametrize("length", [3, 4, 5])
def test_bars_of_each_length_are_found(length):
    path = find_bars(logits([length] * 16), BarModel(downbeat_weight=1.0))
    assert (path.length == length).all()
    assert path.beat_in_bar.tolist() == list(range(length)) * 16
    assert path.probability[4:-4].min() > 0.9


def test_a_waltz_after_common_time():
    path = find_bars(logits([4] * 12 + [3] * 16), BarModel(downbeat_weight=1.0))
    assert (path.length[:44] == 4).all() and (path.length[52:] == 3).all()


def test_a_beat_too_many_shifts_the_bars_that_follow():
    path = find_bars(np.r_[logits([4] * 10), -0.6, logits([4] * 10)], BarModel(downbeat_weight=1.0))
    assert path.beat_in_bar[:36].tolist() == [0, 1, 2, 3] * 9 and path.beat_in_bar[45:].tolist() == [0, 1, 2, 3] * 9


def test_without_evidence_nothing_is_sure():
    path = find_bars(np.zeros(64), BarModel())
    assert path.probability.max() < 0.5


def test_probabilities_are_those_of_all_paths():
    """Forward and backward against every sequence of states of a short piece."""
    model = BarModel(lengths=(2, 3), length_scores=(0.2, -0.1), length_change=1.0, slip=1.5, downbeat_weight=0.7)
    odds = np.array([1.0, -0.5, 0.3, 1.2, -0.8])
    beats, lengths, matrix = transitions(model)
    first = (beats == 0) * (odds[:, None] * 0.7 + np.where(lengths == 2, 0.2, -0.1))
    weights = np.zeros((5, 5))
    best = (-np.inf, None)
    for states in product(range(5), repeat=5):
        score = sum(first[b, s] for b, s in enumerate(states)) + sum(matrix[a, b] for a, b in pairwise(states))
        best = max(best, (score, states))
        weights[np.arange(5), states] += np.exp(score)
    path = find_bars(odds, model)
    assert path.beat_in_bar.tolist() == beats[list(best[1])].tolist()
    posterior = weights / weights.sum(1, keepdims=True)
    assert path.probability == pytest.approx(posterior[np.arange(5), best[1]])


def chorus(transpose=0):
    """A chord a bar on its first beat, bass on one and three, at 120."""
    beats_s = 0.5 * np.arange(65)
    onset_s, pitch = [], []
    for bar, root in enumerate([50, 55, 48, 57] * 4):
        start = 2.0 * bar
        for at, notes in ((start, [root - 12, root + 3, root + 7, root + 10]), (start + 1.0, [root - 5])):
            onset_s += [at] * len(notes)
            pitch += [note + transpose for note in notes]
    size = len(onset_s)
    return Notes.from_arrays(onset_s, np.full(size, 0.4), pitch, np.full(size, 70)), beats_s[:-1]


def test_evidence_shows_changes_of_harmony_and_is_the_same_in_every_key():
    evidence = bar_evidence(*chorus())
    assert evidence.shape == (64, NUM_EVIDENCE) and np.isfinite(evidence).all()
    notes, beats_s = chorus()
    chroma = chroma_by_beat(beat_positions(notes.onset_s, beats_s), notes.duration_s, notes.pitch.astype(int), 64, 0.14)
    change = harmonic_change(chroma, 2)
    assert np.mean(change[4::4]) > np.mean(change[2::4]) + 0.1
    assert likeness(chroma, 4).shape == (64,) and likeness(chroma, 99).tolist() == [0] * 64
    moved = bar_evidence(*chorus(transpose=1))
    tonal = slice(18, 18 + 12 + 12)  # changes and likenesses; lowest pitches do move
    assert moved[:, tonal] == pytest.approx(evidence[:, tonal], abs=1e-5)
