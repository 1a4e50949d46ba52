"""Figures of a performance against ones worked out by hand."""

import numpy as np
import pytest

from lib.data.notes import Notes
from lib.music.metrics import NoteF1, describe, longest_silence_s, note_f1


def notes(*rows, pedal=()):
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Notes.from_arrays(*columns, pedal_s=pedal)


def test_describe_by_hand():
    played = notes((0.0, 1.0, 48, 60), (1.0, 2.0, 72, 100), (5.0, 1.0, 64, 80))
    figures = describe(played, 8.0)
    assert figures["notes"] == 3 and figures["notes_per_s"] == pytest.approx(3 / 8, abs=1e-4)
    assert figures["sounding_notes"] == pytest.approx(4 / 8)
    assert (figures["pitch_low"], figures["pitch_high"]) == (48, 72)
    assert figures["velocity_mean"] == 80 and figures["velocity_std"] == pytest.approx(np.std([60, 100, 80]), abs=1e-4)
    assert figures["longest_silence_s"] == 2.0 and figures["left_hand_share"] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["pedal_share"] == 0


def test_the_pedal_fills_a_silence():
    rows = ((0.0, 1.0, 48, 60), (5.0, 1.0, 64, 80))
    assert longest_silence_s(notes(*rows), 6.0) == 4.0
    assert longest_silence_s(notes(*rows, pedal=[(0.5, 4.5)]), 6.0) == 0.5
    assert describe(notes(*rows, pedal=[(0.5, 4.5)]), 8.0)["pedal_share"] == 0.5


def test_silence_at_either_end_counts():
    assert longest_silence_s(notes((3.0, 1.0, 60, 60)), 5.0) == 3.0
    assert longest_silence_s(notes((0.0, 1.0, 60, 60)), 5.0) == 4.0


def test_nothing_played():
    figures = describe(notes(), 4.0)
    assert figures["notes"] == 0 and figures["longest_silence_s"] == 4.0 and figures["pitch_low"] is None


def test_note_f1():
    reference = notes((0.0, 1.0, 60, 64), (1.0, 1.0, 62, 64), (2.0, 1.0, 64, 100), (3.0, 1.0, 65, 20))
    assert note_f1(reference, reference) == NoteF1(1.0, 1.0, 1.0)
    late = notes((0.03, 1.0, 60, 64), (1.0, 0.3, 62, 64), (2.0, 1.0, 64, 100), (3.5, 1.0, 65, 20))
    score = note_f1(reference, late)
    assert score.onset == pytest.approx(0.75) and score.onset_offset == pytest.approx(0.5)
    assert note_f1(reference, late, onset_tolerance_s=0.02).onset == pytest.approx(0.5)


def test_note_f1_without_notes():
    some = notes((0.0, 1.0, 60, 64))
    assert note_f1(some, notes()) == note_f1(notes(), some) == NoteF1(0.0, 0.0, 0.0)
    assert note_f1(notes(), notes()) == NoteF1(1.0, 1.0, 1.0)
