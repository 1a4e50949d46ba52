"""Chords told and recognised, and what rules say."""

import numpy as np
import pytest

from lib.apps.evaluate.chord_adherence import (
    TEMPO,
    agreement,
    agreements,
    chart_of,
    half_bars,
    required_half_bars,
    rule_losses,
)
from lib.apps.evaluate.players import make_order
from lib.music.chart import Chart, chord_frames
from lib.music.chords import parse_chord
from lib.music.notes import Notes

CHART = Chart.parse("C Am7 | Dm7 G7 | Em7 A7 | Dm7 G7 | C Fmaj7 | Bm7b5 E7 | Am7 D7 | G7 C")


def played(chart, tempo_bpm=TEMPO):
    """Every half bar's chord as a block, its root below."""
    rows, half_s = [], 2 * 60 / tempo_bpm
    for number, chord in enumerate(chord for bar in chart.bars for _, chord in bar.chords):
        pitches = [36 + chord.root, *(60 + (chord.root + interval) % 12 for interval in chord.intervals)]
        rows += [(number * half_s, half_s * 0.95, pitch) for pitch in pitches]
    onset_s, duration_s, pitch = zip(*rows)
    return Notes.from_arrays(onset_s, duration_s, pitch, np.full(len(rows), 80))


@pytest.fixture
def order():
    return make_order({"chart": CHART, "tempo_bpm": TEMPO, "density": 5.0, "num_candidates": 2})


def frames(*symbols):
    return chord_frames([None if symbol is None else parse_chord(symbol) for symbol in symbols]).numpy()


def test_what_is_played_as_asked_agrees():
    notes, asked = played(CHART), required_half_bars(CHART)
    assert (asked[:4] == frames("C", "Am7", "Dm7", "G7")).all() and len(asked) == 16
    assert agreement([asked], [notes]) > 0.8
    up = Notes.from_arrays(notes.onset_s, notes.duration_s, notes.pitch + 1, notes.velocity)
    assert agreement([asked], [up]) == 0


def test_half_bars_without_a_chord_are_not_asked_for():
    assert len(agreements(frames(*["C"] * 4, *[None] * 12), played(CHART))) == 4
    silence = Notes.from_arrays([], [], [], [])
    assert (half_bars(silence) == -1).all() and not agreements(frames(*["C"] * 16), silence).any()


def test_a_chart_is_what_can_be_asked_for():
    again = required_half_bars(chart_of(played(CHART)))
    assert (again == half_bars(played(CHART))).all()


def test_rule_losses(order):
    right, nothing = rule_losses(order, played(CHART)), rule_losses(order, Notes.from_arrays([], [], [], []))
    assert set(right) == {"note_density", "chord_progression"}
    assert all(right[name] < nothing[name] for name in right)
