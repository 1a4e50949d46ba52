"""Whether a model plays the chords of its chart, and what its rules cost it.

Conventions: a clip of 10.24 s counts as eight bars of two chords each, at TEMPO; chords are compared by root and class
of quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from lib.generation.generate import Order
from lib.generation.sliding_window import Conditioning
from lib.music.chart import NO_CHORD_FRAME, Bar, Chart, chord_frames
from lib.music.chord_recognition import recognise_chords
from lib.music.chords import QUALITY_NAMES, Chord
from lib.music.notes import Notes
from lib.music.piano_roll import CHUNK_FRAMES, CHUNK_S, PianoRoll, notes_to_piano_roll, sounding_roll

HALF_BARS = 16
TEMPO = 60 * 4 / (2 * CHUNK_S / HALF_BARS)  # half bars of 0.64 s carry the chords of a real clip
QUALITY_CLASSES = {
    "major": ("maj", "maj7", "6", "aug"),
    "minor": ("m", "m7", "m6", "mmaj7"),
    "dominant": ("7", "7sus4"),
    "diminished": ("dim7", "m7b5"),
}
CLASSES = list(QUALITY_CLASSES.values())
CLASS_OF = np.array([next(n for n, members in enumerate(CLASSES) if name in members) for name in QUALITY_NAMES])


def roll_of(notes: Notes) -> PianoRoll:
    """PianoRoll of a clip."""
    return notes_to_piano_roll(notes, CHUNK_FRAMES)


def half_bars(notes: Notes) -> np.ndarray:
    """int8 (16, 3): the most frequent chord frame (lib.music.chart) of each half bar; of a tie the earlier."""
    frames = recognise_chords(sounding_roll(roll_of(notes)))[0].view(HALF_BARS, -1, 3).tolist()
    rows = [[tuple(frame) for frame in row] for row in frames]
    return np.array([max(dict.fromkeys(row), key=row.count) for row in rows], np.int8)


def chart_of(notes: Notes) -> Chart:
    """The Chart of a clip at TEMPO, two chords a bar."""
    frames = half_bars(notes).tolist()
    chords = [None if root < 0 else Chord.of(root, quality, bass) for root, quality, bass in frames]
    return Chart(tuple(Bar.of(list(pair)) for pair in zip(chords[::2], chords[1::2], strict=True)))


def required_half_bars(chart: Chart) -> np.ndarray:
    """int8 (16, 3): the chord frame that a chart has in each half bar."""
    return chord_frames(chart.frames(HALF_BARS, Fraction(1, 2))[0]).numpy()


def agreements(required: np.ndarray, notes: Notes) -> np.ndarray:
    """bool (M,): for each half bar with a chord, whether the one recognised has its root and class of quality."""
    played, rows = half_bars(notes), required[:, 0] != NO_CHORD_FRAME[0]
    same_class = CLASS_OF[played[:, 1]] == CLASS_OF[required[:, 1]]
    return ((played[:, 0] == required[:, 0]) & same_class)[rows]


def agreement(required: Sequence[np.ndarray], clips: Sequence[Notes]) -> float:
    """Share of all half bars that agree; `required` is int8 (16, 3) for each clip."""
    return float(np.concatenate([agreements(*pair) for pair in zip(required, clips, strict=True)]).mean())


def rule_losses(order: Order, notes: Notes) -> dict[str, float]:
    """dict rule -> loss of a clip under the rules of an Order."""
    roll, conditioning = roll_of(notes), Conditioning.of(order.request, CHUNK_S, chart=order.chart)
    return {rule.name: float(rule.loss(roll)[0]) for rule in conditioning.rules()}
