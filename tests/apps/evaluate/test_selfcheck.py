"""The measures' own examination: who notices, who is deaf, in the right direction."""

import numpy as np
import pytest

from lib.apps.evaluate.clips import ClipSet
from lib.apps.evaluate.corruption import DOSES
from lib.apps.evaluate.intervals import Figure
from lib.apps.evaluate.selfcheck import dose_response, is_worse, verdicts


def clips():
    from lib.music.notes import Notes

    times = np.arange(0, 10, 0.25)
    return ClipSet("real", [Notes.from_arrays(times, np.full(40, 0.2), 60 + np.arange(40) % 5, np.full(40, 70))] * 3, list("abc"))


def answer(clip_set):
    """A measure that hears wrong notes alone, and one that is deaf."""
    wrong = float(np.mean([(notes.pitch > 64).mean() + (notes.pitch < 60).mean() for notes in clip_set.clips]))
    figures = {"overlapping_area": 1 - wrong, "judge": 0.5, "divergence": wrong}
    return {name: Figure(value, value, value, 3) for name, value in figures.items()}


@pytest.fixture(scope="module")
def rows():
    return dose_response(clips(), answer)


def test_every_dose_of_every_damage_is_asked(rows):
    assert len(rows) == 1 + sum(len(doses) for _, doses, _ in DOSES.values())
    assert rows[0]["dose"] == 0 and rows[0]["figures"]["overlapping_area"].value == 1


def test_what_hears_and_what_is_deaf(rows):
    found = verdicts(rows)
    for measure in ("overlapping_area", "divergence"):
        worse, ranks = found[measure]["transposed bars"]
        assert worse and ranks > 0.9
        assert found[measure]["jitter"] == (False, 0.0), "it does not hear time"
    assert found["judge"] == {damage: (False, 0.0) for damage in DOSES}


def test_worse_is_lower_or_higher():
    assert is_worse("judge", 0.1, 0.2) and not is_worse("judge", 0.2, 0.1)
    assert is_worse("divergence", 2, 1) and is_worse("nearest_style", 0.9, 0.6) and not is_worse("overlapping_area", 1, 0.5)
