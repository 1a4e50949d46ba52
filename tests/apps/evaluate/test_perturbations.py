"""Damage by dose, and whether measures notice it: none changes nothing, more changes more, a seed perturbs alike."""

import numpy as np
import pytest

from lib.apps.evaluate.clips import Clip, ClipSet
from lib.apps.evaluate.intervals import Figure
from lib.apps.evaluate.measures import attributes
from lib.apps.evaluate.perturbations import (
    DOSES,
    badness,
    bars_transposed,
    dose_response,
    jittered,
    notes_replaced,
    verdicts,
)
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap

BAR_S = 1.28


def clip_of(notes):
    return Clip(notes, TempoMap.constant(240 / BAR_S, Metre(4, 4), 8), 32)


@pytest.fixture
def notes():
    generator = np.random.default_rng(0)
    onset_s = np.sort(generator.uniform(0, 10.2, 80))
    return Notes.from_arrays(onset_s, np.full(80, 0.2), generator.integers(40, 90, 80), np.full(80, 64), [(0.0, 10.0)])


def columns(notes):
    return [tuple(row) for row in zip(notes.onset_s, notes.duration_s, notes.pitch, notes.velocity)]


@pytest.mark.parametrize("change", [change for change, _, _ in DOSES.values()])
def test_no_dose_changes_nothing_and_a_seed_changes_alike(notes, change):
    assert columns(change(clip_of(notes), 3, 0.0)) == columns(notes)
    spoilt = change(clip_of(notes), 3, 0.5)
    assert columns(spoilt) == columns(change(clip_of(notes), 3, 0.5)) != columns(change(clip_of(notes), 4, 0.5))
    assert len(spoilt) == len(notes) and spoilt.pedal_s.tolist() == notes.pedal_s.tolist()
    empty = notes.between(99, 100)
    assert len(change(clip_of(empty), 1, 0.5)) == 0


def test_jitter_moves_onsets_by_the_dose(notes):
    apart = np.subtract.outer(jittered(clip_of(notes), 0, 0.05).onset_s, notes.onset_s)
    assert 0.01 < np.abs(apart).min(1).mean() < 0.06
    assert jittered(clip_of(notes), 0, 5.0).onset_s.min() >= 0


def test_transposing_moves_whole_bars(notes):
    moved = bars_transposed(clip_of(notes), 1, 0.5)
    steps = moved.pitch.astype(int) - notes.pitch
    bar = (notes.onset_s // BAR_S).astype(int)
    by_bar = [set(steps[bar == number]) for number in np.unique(bar)]
    assert all(len(one) == 1 for one in by_bar)
    assert sum(one == {0} for one in by_bar) == 4
    assert all(steps[bar == number].any() for number in np.unique(bar) if by_bar[number] != {0})
    assert (bars_transposed(clip_of(notes), 1, 1.0).pitch != notes.pitch).all()


def test_transposing_stays_on_the_keyboard():
    edges = Notes.from_arrays([0.0, 0.1, 2.0], [0.1] * 3, [21, 108, 108], [64] * 3)
    for seed in range(30):
        assert np.isin(bars_transposed(clip_of(edges), seed, 1.0).pitch, range(21, 109)).all()


def test_as_many_notes_are_replaced_as_the_dose_says(notes):
    same = (notes_replaced(clip_of(notes), 5, 0.25).pitch == notes.pitch).mean()
    assert 0.65 < same < 0.9
    assert notes_replaced(clip_of(notes), 0, 1.0).pitch.min() >= notes.pitch.min()


def test_shuffled_bars_are_the_same_bars(notes):
    clips = ClipSet(list(map(clip_of, (notes, notes.between(1.0, 9.0), notes))), ("a", "b", "c"))
    shuffled = clips.shuffled()
    assert [len(played) for played in shuffled.notes] != [len(played) for played in clips.notes]
    assert sum(map(len, shuffled.notes)) == sum(map(len, clips.notes))
    assert len(set(shuffled.groups)) == 3 and shuffled.notes[0].end_s < 10.24 + 0.3


def test_shuffled_bars_do_not_go_on_from_each_other(notes):
    columns, pitch = (notes.onset_s, notes.duration_s), notes.pitch % 5
    clips = [clip_of(Notes.from_arrays(*columns, low + pitch, notes.velocity)) for low in (40, 60, 80)]
    shuffled = ClipSet(clips, ("a", "b", "c")).shuffled()
    ranges = [[attributes(clip)["pitch_range"] for clip in part] for part in (clips, shuffled.clips)]
    assert max(ranges[0]) < 5 and min(ranges[1]) > 20


def clips():
    times = np.arange(0, 10, 0.25)
    return ClipSet(
        [clip_of(Notes.from_arrays(times, np.full(40, 0.2), 60 + np.arange(40) % 5, np.full(40, 70)))] * 3,
        list("abc"),
    )


def answer(clip_set):
    """A measure that hears wrong notes alone, and one that is deaf."""
    wrong = float(np.mean([(notes.pitch > 64).mean() + (notes.pitch < 60).mean() for notes in clip_set.notes]))
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
    assert badness("judge", 0.1) > badness("judge", 0.2) and badness("overlapping_area", 0.5) > badness(
        "overlapping_area", 1
    )
    assert badness("divergence", 2) > badness("divergence", 1) and badness("nearest_style", 0.9) > badness(
        "nearest_style", 0.6
    )
