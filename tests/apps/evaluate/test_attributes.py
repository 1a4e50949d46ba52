"""The attributes of clips, against numbers worked out by hand."""

import numpy as np
import pytest

from lib.apps.evaluate.attributes import ATTRIBUTES, attributes
from lib.music.notes import Notes


def test_attributes_of_a_clip():
    notes = Notes.from_arrays([0.0, 0.0, 1.0, 3.0], [1.0, 1.0, 0.5, 20.0], [48, 60, 55, 60], [40, 60, 80, 100])
    found = attributes(notes, 10.0)
    assert tuple(found) == ATTRIBUTES
    assert found["pitch_range"] == 12 and found["note_density"] == 0.4 and found["velocity"] == 70
    assert found["pitch_class_entropy"] == pytest.approx(0.811, abs=1e-3)  # of 3/4 and 1/4
    assert found["inter_onset"] == pytest.approx(0.5)  # a second and two: chords count once
    assert found["duration"] == pytest.approx((0 + 0 - 1 + np.log2(20)) / 4)
    assert found["polyphony"] == pytest.approx((1 + 1 + 0.5 + 7) / 8.5)  # what rings on beyond the clip does not count
    silent = attributes(Notes.from_arrays([], [], [], []), 10.0)
    assert np.isfinite(list(silent.values())).all() and silent["note_density"] == 0


def test_stretches_with_a_key_down_do_not_overlap():
    notes = Notes.from_arrays([0.0, 0.5, 2.0, 2.1], [2.5, 0.1, 0.1, 1.0], [60, 62, 64, 65], [80] * 4)
    assert attributes(notes, 4.0)["polyphony"] == pytest.approx((2.5 + 0.1 + 0.1 + 1.0) / 3.1)
