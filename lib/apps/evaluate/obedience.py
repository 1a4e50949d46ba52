"""Whether a model plays the chords it is told, and what its rules cost it.

Conventions: a clip of 10.24 s counts as eight bars of two chords each, at TEMPO; chords are compared by root and class of quality.
"""

from __future__ import annotations

import numpy as np

from lib.generation.conditioning import Wishes
from lib.music.chart import parse_chord
from lib.music.chord_recognition import labels_to_symbols, recognise_chords
from lib.music.piano_roll import CHUNK_FRAMES, CHUNK_S, notes_to_piano_roll, sounding_roll

HALF_BARS = 16
TEMPO = 60 * 4 / (2 * CHUNK_S / HALF_BARS)  # half bars of 0.64 s carry the chords of a real clip
NONE = "N.C."
QUALITY_CLASSES = {"major": ("maj", "maj7", "6", "aug"), "minor": ("m", "m7", "m6", "mmaj7"), "dominant": ("7", "7sus4"),
                   "diminished": ("dim7", "m7b5")}  # fmt: skip


def roll_of(notes):
    """PianoRoll of a clip."""
    return notes_to_piano_roll(notes, CHUNK_FRAMES)


def half_bars(notes):
    """16 chord symbols of a clip: each half bar's most frequent one, the earlier of two that are as frequent."""
    symbols = np.array(labels_to_symbols(recognise_chords(sounding_roll(roll_of(notes))))[0]).reshape(HALF_BARS, -1)
    most = [max(dict.fromkeys(row), key=list(row).count) for row in symbols]
    return most if any(symbol != NONE for symbol in most) else [NONE] * HALF_BARS


def chart_of(notes):
    """The chords of a clip, half bar by half bar, as a progression at TEMPO."""
    symbols = half_bars(notes)
    return " | ".join(f"{one} {other}" for one, other in zip(symbols[::2], symbols[1::2], strict=True))


def asked_half_bars(request):
    """16 symbols that a request asks for at TEMPO."""
    chords = Wishes.over(request, CHUNK_S).chords
    middles = [round((number + 0.5) * len(chords) / HALF_BARS) for number in range(HALF_BARS)]
    return [NONE if chords[place] is None else chords[place].symbol for place in middles]


def agreements(asked, notes):
    """bool (M,): for each half bar that asks for a chord, whether the one recognised has its root and class of quality."""
    pairs = [(a, b) for a, b in zip(asked, half_bars(notes), strict=True) if a != NONE]
    return np.array([b != NONE and _plain(a) == _plain(b) for a, b in pairs], bool)


def agreement(asked, clips):
    """Share of all half bars that agree.

    Parameters
    ----------
    asked : list of 16 symbols for each clip
    clips : list of Notes
    """
    return float(np.concatenate([agreements(symbols, notes) for symbols, notes in zip(asked, clips, strict=True)]).mean())


def _plain(symbol):
    chord = parse_chord(symbol)
    return chord.root, next(name for name, members in QUALITY_CLASSES.items() if chord.quality in members)


def rule_losses(request, notes):
    """dict rule -> loss of a clip under the rules of a request."""
    roll = roll_of(notes)
    return {rule.name: float(rule.loss(roll)[0]) for rule in Wishes.over(request, CHUNK_S).rules()}
