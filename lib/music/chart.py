"""Progressions of chords: from text, over time, and as a model is told of them.

Conventions: a bar is a list of chords that share it equally; None stands for no chord.
"""

from __future__ import annotations

import math
import re

import torch

from lib.music.chords import NAMES, NO_CHORD, QUALITIES, Chord, ChordError, parse_chord

__all__ = ["CHORD_DIM", "NAMES", "QUALITIES", "QUALITY_NAMES", "Chord", "ChordError", "chord_changes", "chord_features",
           "chord_of", "chords_per_frame", "parse_chord", "parse_progression"]  # fmt: skip

QUALITY_NAMES = tuple(QUALITIES)
CHORD_DIM = 37  # root 12, chroma 12, bass 12, known 1


def parse_progression(text):
    """Bars of chords.

    Parameters
    ----------
    text : "|" and line breaks are bar lines; chords of a bar share it equally; "%" alone repeats the bar before,
        "/" the chord before; "N.C." is silence of harmony

    Returns
    -------
    list of bars, each a list of Chord or None (no chord)

    Raises
    ------
    ChordError : an unknown symbol, a repeat of nothing, or no chord at all
    """
    bars = []
    for bar in re.split(r"[|\n]+", text):
        symbols = [symbol.strip(",") for symbol in _split(bar.strip().strip(":"))]
        symbols = [symbol for symbol in symbols if symbol]
        if symbols:
            bars.append(_bar(symbols, bars))
    if not bars:
        raise ChordError(f"No chord in {text!r}. Write something like 'Cmaj7 | Dm7 G7'.")
    return bars


def _split(bar):
    """Words of a bar; blanks inside brackets do not part them."""
    return re.findall(r"(?:\([^)]*\)|\S)+", bar)


def _bar(symbols, bars):
    if symbols == ["%"]:
        if not bars:
            raise ChordError("'%' repeats the bar before, but this is the first bar.")
        return list(bars[-1])
    chords = []
    for symbol in symbols:
        if symbol in ("/", "%"):
            before = chords or (bars[-1] if bars else None)
            if before is None:
                raise ChordError(f"{symbol!r} repeats the chord before, but there is none.")
            chords.append(before[-1])
        else:
            chords.append(None if symbol in NO_CHORD else parse_chord(symbol))
    return chords


def chords_per_frame(bars, num_frames, frame_rate_hz, tempo_bpm, beats_per_bar=4, start_s=0.0):
    """Which chord holds in each frame; the progression repeats until the end.

    Parameters
    ----------
    bars : of parse_progression
    num_frames : frames of 1 / frame_rate_hz seconds, the first at start_s of the progression
    tempo_bpm : beats a minute

    Returns
    -------
    list of num_frames Chord or None; the time that counts is a frame's middle
    """
    bar_s = beats_per_bar * 60.0 / tempo_bpm
    frames = []
    for frame in range(num_frames):
        position = (start_s + (frame + 0.5) / frame_rate_hz) / bar_s
        bar = bars[math.floor(position) % len(bars)]
        frames.append(bar[int((position % 1.0) * len(bar))])
    return frames


def chord_changes(bars, seconds, tempo_bpm, beats_per_bar=4):
    """Where the chord changes: [(time_s, Chord or None)] of a progression that repeats until `seconds`."""
    bar_s, changes = beats_per_bar * 60.0 / tempo_bpm, []
    for number in range(math.ceil(seconds / bar_s)):
        bar = bars[number % len(bars)]
        for place, chord in enumerate(bar):
            time_s = (number + place / len(bar)) * bar_s
            if time_s < seconds and (not changes or chord != changes[-1][1]):
                changes.append((time_s, chord))
    return changes


def chord_features(chords):
    """What a model is told: root, chroma of the quality, bass, and whether there is a chord.

    Parameters
    ----------
    chords : T of Chord or None

    Returns
    -------
    Tensor (T, CHORD_DIM) in {0, 1}; no chord: zeros. Tensions are left out, as recognition leaves them out
    """
    features = torch.zeros(len(chords), CHORD_DIM)
    for row, chord in zip(features, chords, strict=True):
        if chord is not None:
            row[chord.root] = row[24 + chord.bass] = row[36] = 1.0
            row[[12 + (chord.root + interval) % 12 for interval in QUALITIES[chord.quality]]] = 1.0
    return features


def chord_of(root, quality, bass=None):
    """Chord with its usual symbol from a root, an index into QUALITY_NAMES and a bass."""
    bass = root if bass is None or bass < 0 else bass
    name = QUALITY_NAMES[quality]
    symbol = NAMES[root] + ("" if name == "maj" else name) + (f"/{NAMES[bass]}" if bass != root else "")
    return Chord(root, QUALITIES[name], bass, symbol)
