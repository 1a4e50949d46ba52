"""Measures of a clip and of a solo: against numbers worked out by hand, known answers, MusPy's and smg-metrics'."""

import numpy as np
import pytest

from lib.apps.evaluate.clips import Clip
from lib.apps.evaluate.measures import (
    ATTRIBUTES,
    MUSPY,
    attributes,
    chord_share,
    hand_independence,
    muspy_measures,
    repetition,
    self_similarity,
    smg_measures,
    swing_ratio,
)
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap


def clip_of(notes, seconds, bpm=120.0):
    """A clip of so many seconds at a steady tempo, in bars of four."""
    beats = round(seconds * bpm / 60)
    return Clip(notes, TempoMap.constant(bpm, Metre(4, 4), -(-beats // 4)), beats)


def test_attributes_of_a_clip():
    notes = Notes.from_arrays([0.0, 0.0, 1.0, 3.0], [1.0, 1.0, 0.5, 20.0], [48, 60, 55, 60], [40, 60, 80, 100])
    found = attributes(clip_of(notes, 10.0))
    assert tuple(found) == ATTRIBUTES
    assert found["pitch_range"] == 12 and found["note_density"] == 0.4 and found["velocity"] == 70
    assert found["pitch_class_entropy"] == pytest.approx(0.811, abs=1e-3)  # of 3/4 and 1/4
    assert found["inter_onset"] == pytest.approx(0.5)  # a second and two: chords count once
    assert found["duration"] == pytest.approx((0 + 0 - 1 + np.log2(20)) / 4)
    assert found["polyphony"] == pytest.approx((1 + 1 + 0.5 + 7) / 8.5)  # what rings on beyond the clip does not count
    silent = attributes(clip_of(Notes.from_arrays([], [], [], []), 10.0))
    assert np.isfinite(list(silent.values())).all() and silent["note_density"] == 0


def test_stretches_with_a_key_down_do_not_overlap():
    notes = Notes.from_arrays([0.0, 0.5, 2.0, 2.1], [2.5, 0.1, 0.1, 1.0], [60, 62, 64, 65], [80] * 4)
    assert attributes(clip_of(notes, 4.0))["polyphony"] == pytest.approx((2.5 + 0.1 + 0.1 + 1.0) / 3.1)


@pytest.fixture
def scale():
    times = np.arange(16) * 0.5
    pitches = np.tile([60, 62, 64, 65, 67, 69, 71, 72], 2)
    return Notes.from_arrays(times, np.full(16, 0.5), pitches, np.full(16, 70))


def test_known_answers(scale):
    found = muspy_measures(clip_of(scale, 8.0))
    assert set(found) == set(MUSPY)
    assert (found["pitch_range"], found["n_pitches_used"], found["n_pitch_classes_used"]) == (12, 8, 7)
    assert found["scale_consistency"] == 1 and found["polyphony"] == 1 and found["empty_beat_rate"] == 0
    assert found["pitch_entropy"] == pytest.approx(3)


def test_they_agree_with_ours_where_both_measure_the_same(scale):
    generator = np.random.default_rng(0)
    notes = Notes.from_arrays(
        np.sort(generator.uniform(0, 10, 90)),
        generator.uniform(0.05, 1, 90),
        generator.integers(30, 90, 90),
        np.full(90, 60),
    )
    for music, seconds in ((scale, 8.0), (notes, 10.0)):
        theirs, ours = muspy_measures(clip_of(music, seconds)), attributes(clip_of(music, seconds))
        assert theirs["pitch_range"] == ours["pitch_range"]
        assert theirs["pitch_class_entropy"] == pytest.approx(ours["pitch_class_entropy"])
        assert theirs["polyphony"] == pytest.approx(ours["polyphony"], rel=0.05)


def test_silence_says_nothing():
    assert np.isnan(list(muspy_measures(clip_of(Notes.from_arrays([], [], [], []), 10.0)).values())).all()


def test_the_second_opinion_is_the_same(scale):
    pytest.importorskip("smg_metrics")
    theirs, muspy = smg_measures(clip_of(scale, 8.0)), muspy_measures(clip_of(scale, 8.0))
    for name in ("pitch_range", "n_pitches_used", "n_pitch_classes_used", "pitch_entropy"):
        assert theirs[f"smg_{name}"] == pytest.approx(muspy[name])
    assert theirs["smg_mean_ioi"] == pytest.approx(0.5, abs=0.01) and smg_measures(clip_of(scale.between(90, 99), 8.0)) == {}


def line(gaps_s, pitches, velocity=70):
    onset_s = np.concatenate([[0], np.cumsum(gaps_s)])
    pitches = np.resize(pitches, len(onset_s))
    return Notes.from_arrays(onset_s, np.full(len(onset_s), 0.1), pitches, np.full(len(onset_s), velocity))


@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0])
def test_swing(ratio):
    beat = 0.5
    gaps = [beat * ratio / (1 + ratio), beat / (1 + ratio)] * 12
    assert swing_ratio(clip_of(line(gaps, [72, 74, 76]), 12)) == pytest.approx(ratio, abs=0.01)
    assert np.isnan(swing_ratio(clip_of(line(gaps[:4], [72]), 2)))


def test_hands_together_and_apart():
    beats = np.arange(0, 8, 0.5)
    left, right = [40] * 16, [76] * 16

    def played(shift_s):
        return Notes.from_arrays([*beats, *(beats + shift_s)], [0.1] * 32, left + right, [64] * 32)

    assert hand_independence(clip_of(played(0.0), 8)) == 0
    assert hand_independence(clip_of(played(0.25), 8)) == 1
    half = Notes.from_arrays([*beats, *beats[::2]], [0.1] * 24, left + right[:8], [64] * 24)
    assert hand_independence(clip_of(half, 8)) == pytest.approx(1 - 16 / 24)
    assert np.isnan(hand_independence(clip_of(line([0.5] * 15, [76]), 8)))


def test_repetition_of_a_figure_in_any_key():
    figure = [0, 2, 4, 7, 5, 4, 2, -1]
    sequence = line([0.25] * 63, np.concatenate([60 + shift + np.array(figure) for shift in range(8)]))
    wandering = line(np.random.default_rng(0).uniform(0.1, 0.7, 63), np.random.default_rng(1).integers(60, 84, 64))
    assert repetition(clip_of(sequence, 16)) > 0.4 and repetition(clip_of(wandering, 32)) < 0.05
    assert np.isnan(repetition(clip_of(line([0.25] * 5, [60]), 2)))


def test_chord_share():
    notes = Notes.from_arrays([0, 0, 0, 1, 2, 2], [0.1] * 6, [60, 64, 67, 60, 60, 64], [64] * 6)
    assert chord_share(clip_of(notes, 3)) == pytest.approx(1 / 3)
    assert np.isnan(chord_share(clip_of(notes.between(9, 10), 1)))


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
    found = self_similarity(clip_of(*form_of(bars, 32 // bars)))
    assert found[bars] > 0.15 and found[16] > 0.1
    if bars == 8:
        assert found[4] < 0.05


def test_chance_has_no_form_and_a_short_solo_says_nothing():
    drawn = [self_similarity(clip_of(*form_of(32, 1, seed)))[8] for seed in range(8)]
    assert abs(np.mean(drawn)) < 0.05
    notes, _ = form_of(4, 2)
    assert np.isnan(self_similarity(clip_of(notes, 16.0))[16])
    assert np.isnan(list(self_similarity(clip_of(notes.between(90, 99), 9.0)).values())).all()
