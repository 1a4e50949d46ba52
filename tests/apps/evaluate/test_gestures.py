"""Swing, hands, repetition and form of music whose answers are known."""

import numpy as np
import pytest

from lib.apps.evaluate.gestures import chord_share, hand_independence, repetition, swing_ratio
from lib.apps.evaluate.structure import beat_s, self_similarity
from lib.music.notes import Notes


def line(gaps_s, pitches, velocity=70):
    onset_s = np.concatenate([[0], np.cumsum(gaps_s)])
    pitches = np.resize(pitches, len(onset_s))
    return Notes.from_arrays(onset_s, np.full(len(onset_s), 0.1), pitches, np.full(len(onset_s), velocity))


@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0])
def test_swing(ratio):
    beat = 0.5
    gaps = [beat * ratio / (1 + ratio), beat / (1 + ratio)] * 12
    assert swing_ratio(line(gaps, [72, 74, 76]), 12) == pytest.approx(ratio, abs=0.01)
    assert np.isnan(swing_ratio(line(gaps[:4], [72]), 2))


def test_hands_together_and_apart():
    beats = np.arange(0, 8, 0.5)
    left, right = [40] * 16, [76] * 16

    def played(shift_s):
        return Notes.from_arrays([*beats, *(beats + shift_s)], [0.1] * 32, left + right, [64] * 32)

    assert hand_independence(played(0.0), 8) == 0
    assert hand_independence(played(0.25), 8) == 1
    half = Notes.from_arrays([*beats, *beats[::2]], [0.1] * 24, left + right[:8], [64] * 24)
    assert hand_independence(half, 8) == pytest.approx(1 - 16 / 24)
    assert np.isnan(hand_independence(line([0.5] * 15, [76]), 8))


def test_repetition_of_a_figure_in_any_key():
    figure = [0, 2, 4, 7, 5, 4, 2, -1]
    sequence = line([0.25] * 63, np.concatenate([60 + shift + np.array(figure) for shift in range(8)]))
    wandering = line(np.random.default_rng(0).uniform(0.1, 0.7, 63), np.random.default_rng(1).integers(60, 84, 64))
    assert repetition(sequence, 16) > 0.4 and repetition(wandering, 16) < 0.05
    assert np.isnan(repetition(line([0.25] * 5, [60]), 2))


def test_chord_share():
    notes = Notes.from_arrays([0, 0, 0, 1, 2, 2], [0.1] * 6, [60, 64, 67, 60, 60, 64], [64] * 6)
    assert chord_share(notes, 3) == pytest.approx(1 / 3)
    assert np.isnan(chord_share(notes.between(9, 10), 1))


@pytest.mark.parametrize("beat", [0.4, 0.5, 0.66])
def test_the_beat_of_a_steady_line(beat):
    notes = line([beat] * int(30 / beat), [60, 67, 64], 70)
    assert beat_s(notes, 30) == pytest.approx(beat, abs=0.02)
    assert beat_s(notes.between(0, 4), 4) is None


def form_of(bars, repeats, seed=0):
    """A form of so many bars, each with four chords of its own, played several times."""
    generator = np.random.default_rng(seed)
    chords = [np.sort(generator.choice(np.arange(48, 84), 3, replace=False)) for _ in range(bars)]
    onset_s, pitch = [], []
    for place in range(4 * bars * repeats):
        onset_s += [place * 0.5] * 3
        pitch += chords[place // 4 % bars].tolist()
    return Notes.from_arrays(onset_s, [0.45] * len(pitch), pitch, [80] * len(pitch)), 2.0 * bars * repeats


@pytest.mark.parametrize("bars", [4, 8])
def test_a_form_is_like_itself_at_its_length(bars):
    found = self_similarity(*form_of(bars, 32 // bars), length_s=0.5)
    assert found[bars] > 0.15 and found[16] > 0.1
    if bars == 8:
        assert found[4] < 0.05


def test_chance_has_no_form_and_a_short_solo_says_nothing():
    drawn = [self_similarity(*form_of(32, 1, seed), length_s=0.5)[8] for seed in range(8)]
    assert abs(np.mean(drawn)) < 0.05
    notes, _ = form_of(4, 2)
    assert np.isnan(self_similarity(notes, 16.0, length_s=0.5)[16])
    assert np.isnan(list(self_similarity(notes.between(90, 99), 9.0).values())).all()
