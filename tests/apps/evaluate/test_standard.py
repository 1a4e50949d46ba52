"""MusPy's measures of our notes, against known answers and against smg-metrics where it is installed."""

import numpy as np
import pytest

from lib.apps.evaluate.attributes import attributes
from lib.apps.evaluate.standard import MUSPY, SMG_MISSING, has_second_opinion, muspy_measures, smg_measures
from lib.music.notes import Notes


@pytest.fixture
def scale():
    times = np.arange(16) * 0.5
    pitches = np.tile([60, 62, 64, 65, 67, 69, 71, 72], 2)
    return Notes.from_arrays(times, np.full(16, 0.5), pitches, np.full(16, 70))


def test_known_answers(scale):
    found = muspy_measures(scale, 8.0)
    assert set(found) == set(MUSPY)
    assert (found["pitch_range"], found["n_pitches_used"], found["n_pitch_classes_used"]) == (12, 8, 7)
    assert found["scale_consistency"] == 1 and found["polyphony"] == 1 and found["empty_beat_rate"] == 0
    assert found["pitch_entropy"] == pytest.approx(3)


def test_they_agree_with_ours_where_both_measure_the_same(scale):
    generator = np.random.default_rng(0)
    notes = Notes.from_arrays(np.sort(generator.uniform(0, 10, 90)), generator.uniform(0.05, 1, 90), generator.integers(30, 90, 90),
                              np.full(90, 60))  # fmt: skip
    for music, seconds in ((scale, 8.0), (notes, 10.24)):
        theirs, ours = muspy_measures(music, seconds), attributes(music, seconds)
        assert theirs["pitch_range"] == ours["pitch_range"]
        assert theirs["pitch_class_entropy"] == pytest.approx(ours["pitch_class_entropy"])
        assert theirs["polyphony"] == pytest.approx(ours["polyphony"], rel=0.05)


def test_silence_says_nothing():
    assert np.isnan(list(muspy_measures(Notes.from_arrays([], [], [], []), 10.0).values())).all()


def test_the_second_opinion_is_the_same(scale):
    if not has_second_opinion():
        pytest.skip(SMG_MISSING)
    theirs, muspy = smg_measures(scale), muspy_measures(scale, 8.0)
    for name in ("pitch_range", "n_pitches_used", "n_pitch_classes_used", "pitch_entropy"):
        assert theirs[f"smg_{name}"] == pytest.approx(muspy[name])
    assert theirs["smg_mean_ioi"] == pytest.approx(0.5, abs=0.01) and smg_measures(scale.between(90, 99)) == {}
