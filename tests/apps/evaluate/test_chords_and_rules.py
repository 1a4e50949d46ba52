"""Chords requested and recognised, a beat at a time, and what rules say."""

import numpy as np
import pytest

from lib.apps.evaluate.clips import Clip, make_orders
from lib.apps.evaluate.measures import agreements, required_chords, rule_losses
from lib.music.chart import Chart, chord_frames
from lib.music.chords import parse_chord
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap

CHART = Chart.parse("C Am7 | Dm7 G7 | Em7 A7 | Dm7 G7 | C Fmaj7 | Bm7b5 E7 | Am7 D7 | G7 C")
WALTZ = Chart.parse("C | Am7 | Dm7 | G7", (3, 4))
SILENCE = Notes.from_arrays([], [], [], [])


def played(chart, bpm=100.0, up=0):
    """Every chord as a block, its root below, again on each beat."""
    beats, rows = int(chart.quarters), []
    for beat, chord in enumerate(chart.frames(beats, 1)[0]):
        pitches = [36 + chord.root, *(60 + (chord.root + interval) % 12 for interval in chord.intervals)]
        rows += [(beat * 60 / bpm, 0.95 * 60 / bpm, pitch + up) for pitch in pitches]
    onset_s, duration_s, pitch = zip(*rows)
    metre = Metre(*chart.bars[0].metre)
    notes = Notes.from_arrays(onset_s, duration_s, pitch, np.full(len(rows), 80))
    return Clip(notes, TempoMap.constant(bpm, metre, len(chart.bars)), beats)


@pytest.mark.parametrize("bpm", [80, 160])
def test_what_is_played_as_asked_agrees(bpm):
    asked, clip = required_chords(CHART, 32), played(CHART, bpm)
    symbols = ["C", "C", "Am7", "Am7", "Dm7"]
    assert (asked[:5] == chord_frames([parse_chord(symbol) for symbol in symbols]).numpy()).all() and len(asked) == 32
    assert agreements(CHART, clip).mean() > 0.8
    assert not agreements(CHART, played(CHART, bpm, up=1)).any()


def test_beats_without_a_chord_are_not_counted():
    assert len(agreements(Chart.parse("C | N.C. | N.C. | N.C."), played(CHART))) == 8
    silent = played(CHART).with_notes(SILENCE)
    assert (silent.chords() == -1).all() and not agreements(Chart.parse("C"), silent).any()


@pytest.mark.parametrize("chart", [CHART, WALTZ])
def test_a_chart_of_a_clip_can_be_asked_for(chart):
    clip = played(chart)
    prompt = clip.prompt(clip.beats)
    assert (required_chords(clip.chart(), clip.beats) == clip.chords()).all()
    assert prompt["metre"] == f"{chart.bars[0].metre[0]}/4" and prompt["tempo_bpm"] == pytest.approx(100)
    (order,) = make_orders([prompt])
    assert order.request.parsed_chart().frames(clip.beats, 1)[0] == clip.chart().frames(clip.beats, 1)[0]
    requested = Clip.of_request(order.request, clip.notes)
    assert requested.beats == clip.beats and requested.seconds == pytest.approx(clip.seconds)
    assert (requested.clock == clip.clock).all()


def test_rule_losses():
    fields = {"chords": CHART.text(), "bars": 8, "tempo_bpm": 100, "density": 5.0, "num_candidates": 2}
    (order,), clip = make_orders([fields]), played(CHART)
    right, nothing = rule_losses(order, clip), rule_losses(order, clip.with_notes(SILENCE))
    assert set(right) == {"note_density", "chord_progression"}
    assert all(right[name] < nothing[name] for name in right)
