"""Figures of a performance against ones worked out by hand."""

import numpy as np
import pytest

from lib.music.metrics import (
    PARTS_OF_BEAT,
    NoteF1,
    density_and_velocity,
    describe,
    longest_silence_s,
    note_f1,
    phase_lock,
    spread_of_twelfths,
)
from lib.music.notes import Notes


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


def test_note_f1_is_what_mir_eval_says_of_the_whole():
    """Matching a pitch at a time changes nothing."""
    from mir_eval import transcription, transcription_velocity

    rng = np.random.default_rng(0)
    count = 400
    columns = (rng.uniform(0, 40, count), rng.gamma(2, 0.2, count), rng.integers(50, 70, count), rng.integers(20, 110, count))
    reference = Notes.from_arrays(*columns)
    late = np.abs(reference.onset_s + rng.normal(0, 0.025, count))
    lengths, softer = reference.duration_s * rng.lognormal(0, 0.2, count), reference.velocity * 0.8 + rng.normal(0, 8, count)
    estimate = Notes.from_arrays(late, lengths, reference.pitch, softer.clip(1, 127))
    sides = []
    for played in (reference, estimate):
        spans = np.column_stack([played.onset_s, played.onset_s + played.duration_s])
        sides.append((spans, 440 * 2 ** ((played.pitch.astype(float) - 69) / 12), played.velocity.astype(float)))
    (spans, hz, loud), (spans2, hz2, loud2) = sides
    plain = {"onset_tolerance": 0.04}
    onset = transcription.precision_recall_f1_overlap(spans, hz, spans2, hz2, offset_ratio=None, **plain)[2]
    offset = transcription.precision_recall_f1_overlap(spans, hz, spans2, hz2, **plain)[2]
    velocity = transcription_velocity.precision_recall_f1_overlap(
        spans, hz, loud, spans2, hz2, loud2, offset_ratio=None, **plain
    )[2]
    score = note_f1(reference, estimate)
    assert (score.onset, score.onset_offset) == pytest.approx((onset, offset), abs=1e-9)
    assert score.onset_velocity == pytest.approx(velocity, abs=0.005)  # which of two equal pairs is matched may differ
    assert 0.5 < score.onset_velocity < score.onset < 1



def test_curves_of_a_steady_player():
    times_s, density, velocity = density_and_velocity(notes(*((0.25 * i, 0.25, 60, 70) for i in range(80))))
    assert times_s[0] == 0 and times_s[-1] == 20 and np.allclose(velocity, 70)
    assert np.allclose(density, 4.0), "at the ends too"


def test_curves_follow_the_music():
    slow, quick = [(float(i), 0.05, 60, 40) for i in range(10)], [(20 + 0.1 * i, 0.05, 60, 100) for i in range(100)]
    times_s, density, velocity = density_and_velocity(notes(*slow, *quick))
    at = {round(float(time_s), 1): index for index, time_s in enumerate(times_s)}
    assert density[at[5.0]] == pytest.approx(1.0) and density[at[25.0]] == pytest.approx(10.0)
    assert np.isnan(velocity[at[15.0]]) and density[at[15.0]] == 0
    assert velocity[at[5.0]] == 40 and velocity[at[25.0]] == 100
    assert len(density_and_velocity(notes())[0]) == 2


def test_onsets_lock_to_the_parts_of_a_beat_on_which_they_lie():
    random = np.random.default_rng(0)
    triplets = random.integers(0, 96, 400) / 3
    locks = {name: phase_lock(triplets, parts) for name, parts in PARTS_OF_BEAT.items()}
    assert locks["triplets"] == pytest.approx(1) and max(locks["sixteenths"], locks["fifths"]) < 0.15
    assert phase_lock(triplets + 0.3, 3) == pytest.approx(1), "as well where all are late"
    assert phase_lock(random.uniform(0, 32, 400), 4) < 0.15 and phase_lock(np.zeros(0), 3) == 0
    assert spread_of_twelfths(triplets) == pytest.approx(0) and spread_of_twelfths(np.zeros(0)) == 0
    assert spread_of_twelfths(triplets + random.normal(0, 0.01, 400)) == pytest.approx(0.01, rel=0.2)
