"""The benchmark that chooses the default chart and tempo, on solos that a program writes."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))

import default_chart  # noqa: E402

from lib.config import build  # noqa: E402
from lib.generation.generate import Solo  # noqa: E402
from lib.generation.request import GenerateRequest  # noqa: E402
from lib.music.notes import Notes  # noqa: E402
from lib.music.piano_roll import LATENT_STRIDE, notes_to_piano_roll  # noqa: E402
from lib.music.tempo_map import Metre, TempoMap, in_beats  # noqa: E402

FIELDS = {"chords": "C7 | %", "tempo_bpm": 120.0}
STEADY = TempoMap.constant(120.0, Metre(4, 4), 2)


def solo(asked, semitones=0, late_s=0.0):
    """Two bars of C7 in sixteenths, so many semitones off, each note later than its sixteenth by up to late_s."""
    onset_s = np.arange(0.0, 4.0, 0.125) + np.linspace(0, late_s, 32)
    pitch = np.resize([60, 64, 67, 70], 32) + semitones
    notes = Notes.from_arrays(onset_s, np.full(32, 0.12), pitch, np.full(32, 80.0))
    roll = notes_to_piano_roll(in_beats(notes, STEADY), 48 * LATENT_STRIDE)
    return Solo(notes, 0.0, 4.0, STEADY, asked, [], [], roll)


def test_chord_tones_lose_less_than_others_and_a_steady_solo_is_in_time():
    asked = build(GenerateRequest, {**FIELDS, "choruses": 1})
    assert default_chart.chord_loss(solo(asked)) < 0.2 < default_chart.chord_loss(solo(asked, 1))
    assert default_chart.lock(solo(asked).notes, STEADY) == pytest.approx(1.0)
    assert default_chart.lock(solo(asked, late_s=0.125).notes, STEADY) < 0.3


def test_a_row_holds_medians_over_the_seeds_of_one_chorus(monkeypatch):
    played = []

    def play(asked, improviser):
        played.extend(asked)
        return [solo(request, 6 * (request.seed == 1)) for request in asked]

    monkeypatch.setattr(default_chart, "play", play)
    real = np.array([[120.0, 0.5]] * default_chart.FEWEST + [[200.0, 0.1]] * 9)
    row = default_chart.measure(None, "two bars", FIELDS, 3, real)
    assert [(request.seed, request.choruses) for request in played] == [(1, 1), (2, 1), (3, 1)]
    assert row["chord_loss"] < 0.2 and row["in_time_ratio"] == 2.0 and row["real_passages"] == default_chart.FEWEST
    assert default_chart.measure(None, "fast", {**FIELDS, "tempo_bpm": 200.0}, 3, real)["in_time_ratio"] is None


def test_the_best_over_its_chords_is_chosen_among_those_in_time():
    rows = [(0.3, 1.0), (0.2, 0.95), (0.1, 0.8), (0.0, None)]
    rows = [{"chord_loss": loss, "in_time_ratio": ratio} for loss, ratio in rows]
    assert default_chart.choose(rows) == rows[1]
