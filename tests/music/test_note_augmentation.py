"""Performances as other machines would have written them down."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lib.keyed_random import keyed_generator
from lib.music import note_augmentation as augmentation
from lib.music.notes import Notes
from lib.music.time_grid import put_on_random_grid


def performance(seed=0, count=300):
    """Chords and single notes at irregular times, half of them under the pedal."""
    generator = np.random.default_rng(seed)
    onset_s = np.cumsum(generator.choice([0.004, 0.09, 0.2, 0.5], count))
    pedal_s = np.arange(0, onset_s[-1], 2)[:, None] + [0.1, 1.1]
    return Notes.from_arrays(onset_s, generator.uniform(0.05, 1, count), generator.integers(30, 100, count),
                             generator.integers(20, 110, count), pedal_s)  # fmt: skip


def augmented(notes, generator, strength=1.0):
    """Altered, and put on a grid."""
    return put_on_random_grid(augmentation.alter(notes, generator, strength), generator)


def check(notes):
    """What holds of every performance."""
    assert len(notes.onset_s) == len(notes.duration_s) == len(notes.pitch) == len(notes.velocity) > 0
    assert (np.diff(notes.onset_s) >= 0).all() and (notes.duration_s > 0).all()
    assert notes.velocity.min() >= 1 and notes.velocity.max() <= 127
    assert notes.pitch.min() >= 21 and notes.pitch.max() <= 108
    assert (notes.pedal_s[:, 1] > notes.pedal_s[:, 0]).all() and (np.diff(notes.pedal_s.ravel()) >= 0).all()


def test_a_chord_is_what_begins_within_its_time_of_the_first_note():
    """Not of the note before: a fast run is no chord."""
    np.testing.assert_array_equal(augmentation.chord_index(np.array([0.0, 0.02, 0.034, 0.05, 0.2])), [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(augmentation.chord_index(np.array([0.0])), [0])
    assert len(augmentation.chord_index(np.zeros(0))) == 0


def test_chords_struck_as_one_begin_at_once():
    """By a factor of 0; by 1 nothing moves; rolled ones rise."""
    notes = performance()
    together = augmentation.spread_chords(notes, np.random.default_rng(0), 0.0)
    check(together)
    assert len(np.unique(together.onset_s.round(6))) == augmentation.chord_index(notes.onset_s)[-1] + 1
    np.testing.assert_allclose(augmentation.spread_chords(notes, np.random.default_rng(0), 1.0).onset_s, notes.onset_s)
    chord = Notes.from_arrays(np.zeros(4), np.ones(4), [60, 48, 67, 72], np.full(4, 64))
    rolls = [augmentation.spread_chords(chord, np.random.default_rng(seed), 1.0, 0.02) for seed in range(8)]
    assert {tuple(roll.onset_s.round(3)) for roll in rolls} == {(0, 0, 0, 0), (0, 0.02, 0.04, 0.06)}
    assert all(list(roll.pitch) == [48, 60, 67, 72] for roll in rolls)


def test_velocities_on_fewer_levels():
    """No more of them than levels; one level is the mean."""
    notes = performance()
    for levels in augmentation.VELOCITY_LEVELS:
        found = augmentation.quantise_velocities(notes, levels)
        check(found)
        assert 2 <= len(np.unique(found.velocity)) <= levels
    assert set(augmentation.quantise_velocities(notes, 1).velocity) == {notes.velocity.mean()}
    curve = augmentation.bend_velocities(notes, 1.4, 1.2)
    check(curve)
    louder = np.argsort(notes.velocity, kind="stable")
    assert (np.diff(curve.velocity[louder]) >= 0).all()


def test_pedals_stay_in_order_and_apart():
    """Edges move by no more than said; short ones go."""
    notes = performance()
    check(augmentation.move_pedal_edges(notes, np.random.default_rng(0), 0.08))
    moved = augmentation.move_pedal_edges(notes, np.random.default_rng(0), 0.08).pedal_s
    assert 0 < np.abs(moved - notes.pedal_s).max() <= 0.08
    assert len(augmentation.move_pedal_edges(notes, np.random.default_rng(0), 0.0, 1.5).pedal_s) == 0
    far = augmentation.move_pedal_edges(notes, np.random.default_rng(0), 3.0)
    check(far)
    assert len(far.pedal_s) < len(notes.pedal_s)


def test_slips_of_a_transcriber():
    """Notes lost, doubled, an octave off, about as often as asked."""
    notes = performance(count=2000)
    kept = augmentation.drop_notes(notes, np.random.default_rng(0), 0.1)
    check(kept)
    assert 0.07 < 1 - len(kept) / len(notes) < 0.13
    assert kept.velocity.mean() > notes.velocity.mean()
    assert len(augmentation.drop_notes(notes, np.random.default_rng(0), 1.0)) >= 1
    doubled = augmentation.double_notes(notes, np.random.default_rng(0), 0.02)
    check(doubled)
    assert 0.02 < len(doubled) / len(notes) - 1 < 0.06
    assert doubled.duration_s.sum() == pytest.approx(notes.duration_s.sum(), rel=0.05)
    wrong = augmentation.add_octave_errors(notes, np.random.default_rng(0), 0.05)
    check(wrong)
    moved = np.sort(wrong.pitch.astype(int)).sum() - np.sort(notes.pitch.astype(int)).sum()
    assert moved % 12 == 0 and len(wrong) == len(notes)


def test_augmented_passages_are_performances():
    """Also of one note, without pedals, and at twice the strength; the notes given stay as they are."""
    single = Notes.from_arrays([0.5], [0.3], [21], [1])
    bare = dataclasses.replace(performance(count=20), pedal_s=np.zeros((0, 2)))
    for notes in (single, bare, performance()):
        columns = {field.name: getattr(notes, field.name).copy() for field in dataclasses.fields(notes)}
        for index in range(100):
            for strength in (0.0, 1.0, 2.0):
                check(augmented(notes, keyed_generator(0, "view 0", 7, index), strength))
        for name, column in columns.items():
            np.testing.assert_array_equal(getattr(notes, name), column)


def test_augmentation_follows_from_seed_step_and_index():
    """The same key, the same passage; another index, another one."""
    notes = performance()

    def onsets(step, index):
        return augmented(notes, keyed_generator(3, "view 0", step, index)).onset_s

    np.testing.assert_array_equal(onsets(5, 1), onsets(5, 1))
    assert not np.array_equal(onsets(5, 1), onsets(5, 2))
    assert not np.array_equal(onsets(5, 1), onsets(6, 1))
