"""Time grids: performances put on them, and the grid that a performance is found on."""

from __future__ import annotations

import numpy as np
import pytest

from lib.music import time_grid
from lib.music.notes import Notes


def performance(seed=0, count=300):
    """Chords and single notes at irregular times, half of them under the pedal."""
    generator = np.random.default_rng(seed)
    onset_s = np.cumsum(generator.choice([0.004, 0.09, 0.2, 0.5], count) * generator.uniform(0.9, 1.1, count))
    pedal_s = np.arange(0, onset_s[-1], 2)[:, None] + [0.1, 1.1]
    columns = (onset_s, generator.uniform(0.05, 1, count), generator.integers(30, 100, count))
    return Notes.from_arrays(*columns, generator.integers(20, 110, count), pedal_s)


@pytest.mark.parametrize("step_s", time_grid.MILLISECOND_GRIDS_S + (60 / 75 / 12,))
@pytest.mark.parametrize("phase", (0.0, 0.3))
def test_all_times_stand_on_the_grid(step_s, phase):
    """Onsets, releases and pedals are whole numbers of steps away from its phase, and moved by half a step at most."""
    original = performance()
    notes = time_grid.put_on_grid(original, step_s, phase)
    assert (np.diff(notes.onset_s) >= 0).all() and (np.diff(notes.pedal_s.ravel()) >= 0).all()
    for times_s in (notes.onset_s, notes.onset_s + notes.duration_s, notes.pedal_s):
        places = times_s / step_s - phase
        np.testing.assert_allclose(places, np.rint(places), atol=1e-6)
    if len(notes) == len(original):
        moved = np.sort(notes.onset_s) - np.sort(original.onset_s)
        assert np.abs(moved).max() <= step_s / 2 + 1e-9
    assert len({*zip(np.rint(notes.onset_s / step_s - phase), notes.pitch, strict=True)}) == len(notes)


def test_no_grid_changes_nothing():
    """A step of 0 is no grid."""
    np.testing.assert_array_equal(time_grid.put_on_grid(performance(), 0.0).onset_s, performance().onset_s)


def test_grids_of_all_kinds_are_drawn():
    """None, milliseconds, and both kinds of musical time."""
    drawn = [time_grid.draw_grid(np.random.default_rng(seed)) for seed in range(300)]
    assert 0.15 < np.mean(np.array(drawn) == 0) < 0.35
    assert set(time_grid.MILLISECOND_GRIDS_S) <= set(drawn)
    assert max(drawn) <= 60 / 75 / 12 + 1e-9 and max(drawn) > 0.04


@pytest.mark.parametrize("step_s", (0.001, 0.01, 0.02, 0.5 / 384, 0.05))
def test_the_resolution_of_times_is_their_grid(step_s):
    """The coarsest one: what lies on 10 ms lies on 5 ms too. A few slips do not count, many do."""
    onset_s = time_grid.put_on_grid(performance(), step_s).onset_s.round(4)  # as a note store rounds them
    assert time_grid.time_resolution_s(onset_s) == pytest.approx(step_s)
    slips = np.concatenate([onset_s, [0.00037, 0.10043]])
    assert time_grid.time_resolution_s(slips) == pytest.approx(step_s)
    assert time_grid.time_resolution_s(performance().onset_s) == time_grid.FINEST_S


def test_the_grid_of_a_sequencer_is_a_part_of_its_beat():
    """Sixteenths at 97 bpm are no multiple of anything but the beat."""
    onset_s = np.unique(np.random.default_rng(0).integers(0, 400, 100)) * 60 / 97 / 4
    assert time_grid.time_resolution_s(onset_s) == time_grid.FINEST_S
    assert time_grid.time_resolution_s(onset_s, beat_s=60 / 97) == pytest.approx(60 / 97 / 4)
    assert time_grid.time_resolution_s(np.zeros(0)) == time_grid.FINEST_S
