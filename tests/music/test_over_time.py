"""Curves of a performance, and bars that are alike."""

import numpy as np
import pytest

from lib.music.notes import Notes
from lib.music.over_time import arcs, self_similarity

NONE = Notes.from_arrays([], [], [], [])


def test_arcs_of_a_steady_player():
    notes = Notes.from_arrays(np.arange(0, 20, 0.25), [0.25] * 80, [60] * 80, [70] * 80)
    times_s, density, velocity = arcs(notes)
    assert times_s[0] == 0 and times_s[-1] == 20 and np.allclose(velocity, 70)
    assert np.allclose(density, 4.0), "at the ends too"


def test_arcs_follow_the_music():
    onset_s = np.concatenate([np.arange(0, 10, 1.0), np.arange(20, 30, 0.1)])
    notes = Notes.from_arrays(onset_s, [0.05] * 110, [60] * 110, [40] * 10 + [100] * 100)
    times_s, density, velocity = arcs(notes)
    at = {round(float(time_s), 1): place for place, time_s in enumerate(times_s)}
    assert density[at[5.0]] == pytest.approx(1.0) and density[at[25.0]] == pytest.approx(10.0)
    assert np.isnan(velocity[at[15.0]]) and density[at[15.0]] == 0
    assert velocity[at[5.0]] == 40 and velocity[at[25.0]] == 100


def test_bars_that_come_back_are_alike():
    bar, other = [(0.0, 60), (0.5, 64), (1.0, 67)], [(0.25, 61), (0.75, 66), (1.25, 70)]
    rows = [(2.0 * n + onset_s, pitch) for n, one in enumerate((bar, other, bar, [])) for onset_s, pitch in one] + [(9.5, 60)]
    alike = self_similarity(Notes.from_arrays([r[0] for r in rows], [0.5] * len(rows), [r[1] for r in rows], [64] * len(rows)))
    assert alike.shape == (5, 5) and np.allclose(np.diag(alike), 1) and np.allclose(alike, alike.T)
    assert alike[0, 2] == pytest.approx(1.0) and alike[0, 1] == 0 and alike[3, 0] == 0 and 0 < alike[0, 4] < 1


def test_the_same_notes_at_other_places_are_less_alike():
    notes = Notes.from_arrays([0.0, 0.5, 2.25, 2.75], [0.25] * 4, [60, 64, 60, 64], [64] * 4)
    assert self_similarity(notes)[0, 1] == pytest.approx(0.5)


def test_of_nothing():
    assert self_similarity(NONE).tolist() == [[1.0]] and len(arcs(NONE)[0]) == 2
