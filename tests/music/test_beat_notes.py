"""Notes by a tempo map, and back; a change of tempo bends no length."""

import numpy as np
import pytest

from lib.music.notes import Notes
from lib.music.piano_roll import FRAMES_PER_BEAT, notes_to_piano_roll, piano_roll_to_notes
from lib.music.tempo_map import IN_BARS, STEADY, Metre, TempoMap, bar_table, in_beats, in_seconds


def jump():
    """Two bars at 90, then two at 140."""
    beats_s = np.concatenate([np.arange(8) * 60 / 90, 8 * 60 / 90 + np.arange(9) * 60 / 140])
    return TempoMap(beats_s, bar_table(4.0 * np.arange(4), np.full(4, 4.0), IN_BARS, 1.0, Metre(4, 4)))


def test_over_a_jump_onset_and_release_are_mapped_each_for_itself():
    tempo_map, begins_s = jump(), 7.5 * 60 / 90  # half a beat before the jump
    held_s = 0.5 * 60 / 90 + 1.0 * 60 / 140  # half a beat at 90, one at 140
    notes = Notes.from_arrays([begins_s], [held_s], [60], [80], [[begins_s, begins_s + held_s]])
    beats = in_beats(notes, tempo_map)
    assert (beats.onset[0], beats.release[0]) == pytest.approx((7.5, 9.0))
    assert beats.pedal[0].tolist() == pytest.approx([7.5, 9.0])
    at_old_tempo, at_new_tempo = held_s * 90 / 60, held_s * 140 / 60
    assert at_old_tempo < 1.2 and at_new_tempo > 1.7  # what duration times one tempo would have given
    (back,) = piano_roll_to_notes(notes_to_piano_roll(beats, 10 * FRAMES_PER_BEAT))
    again = in_seconds(back, tempo_map)
    assert again.onset_s == pytest.approx(notes.onset_s) and again.duration_s == pytest.approx(notes.duration_s, rel=1e-4)
    assert again.pedal_s == pytest.approx(notes.pedal_s)


def test_back_and_forth_is_exact_beyond_the_map_too():
    random = np.random.default_rng(0)
    notes = Notes.from_arrays(np.sort(random.uniform(0, 12, 50)), random.uniform(0.05, 3, 50), range(30, 80), [64] * 50)
    back = in_seconds(in_beats(notes, jump()), jump())
    for name in ("onset_s", "duration_s", "pitch"):
        assert getattr(back, name) == pytest.approx(getattr(notes, name), abs=1e-9)


def test_between_moves_notes_and_cuts_pedals():
    notes = in_beats(Notes.from_arrays([0, 1, 2, 3], [3, 1, 1, 1], [60] * 4, [64] * 4, [[0.5, 2.5]]), STEADY)
    beat = 125 / 60
    part = notes.between(1 * beat, 3 * beat)
    assert len(part) == 2 and part.onset.tolist() == pytest.approx([0, beat]) and part.pitch.tolist() == [60, 60]
    assert part.pedal.tolist() == [pytest.approx([0, 1.5 * beat])]
    assert part.end == pytest.approx(2 * beat) and notes.between(50, 60).end == 0
