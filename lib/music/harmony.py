"""Invented chords: statistics of a pianist's harmony from recordings, and charts with the same statistics.

A chart is a walk: from each chord on to what followed, somewhere in the recordings, on a like chord that was come to in
a like way (a Markov chain of second order over intervals and qualities, so that keys do not matter; Conklin 2003).

Conventions: a row is one chord: root and bass (0 to 11), quality (index of QUALITY_NAMES), length in beats.
A row of quality -1 parts two pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import groupby

import numpy as np

from lib.config import ConfigError
from lib.music.chart import Bar, Chart
from lib.music.chords import Chord
from lib.music.piano_roll import LATENTS_PER_BEAT
from lib.music.tempo_map import Metre

MOST_BEATS = 16  # a chord that stays for longer, and the rest of a long silence, are counted so
PARTING = np.array([[0, -1, 0, 0]], np.int8)
NOTHING = PARTING[:0]
MOST_ROWS = 1500  # that are kept of each pianist but the one who is learned: half an hour or so
FEWEST = 3  # rows that a walk needs to choose among; else only the last chord's quality counts


def read_changes(chords: np.ndarray) -> np.ndarray:
    """The changes of a piece.

    Parameters
    ----------
    chords : int (N, 3), root, quality and bass of each latent frame; -1: unknown

    Returns
    -------
    int8 (M, 4) : rows, see the module
    """
    rows = []
    beats = np.asarray(chords)[: len(chords) // LATENTS_PER_BEAT * LATENTS_PER_BEAT].reshape(-1, LATENTS_PER_BEAT, 3)
    order = np.lexsort(beats.transpose(2, 0, 1)[::-1])  # of as many, the lowest
    beats = np.take_along_axis(beats, order[..., None], 1)
    counts = (beats[:, :, None] == beats[:, None]).all(-1).sum(-1)  # (N / 6, 6)
    for root, quality, bass in beats[np.arange(len(beats)), counts.argmax(1)].tolist():
        if rows and (root < 0 or rows[-1][:2] == [root, quality]):
            rows[-1][3] = min(rows[-1][3] + 1, MOST_BEATS)
        elif root >= 0:
            rows.append([root, quality, bass, 1])
    return np.array(rows, np.int8).reshape(-1, 4)


def join_pieces(pieces: Iterable[np.ndarray]) -> np.ndarray:
    """The rows of several pieces, int8 (M, 4), a parting row behind each."""
    return np.concatenate([NOTHING, *(part for piece in pieces for part in (piece, PARTING))])


def changes_by(changes: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """The rows of a pianist among those of several; of all where there are none of this name."""
    own = changes.get(name, NOTHING)
    return own if len(own) else np.concatenate([NOTHING, *changes.values()])


def invent_chart(
    rows: np.ndarray, num_bars: int, metre: Metre, seed: int, after: np.ndarray | None = None
) -> Chart:
    """A chart of so many bars; its chords change on felt beats.

    Parameters
    ----------
    rows : int8 (M, 4)
    num_bars, metre : of its bars
    seed : the same one gives the same chart
    after : rows to continue, or None

    Raises
    ------
    ConfigError : there are no rows
    """
    beats, per_bar = [], math.ceil(metre.beats)
    for chord, length in _walk(rows.astype(int), np.random.default_rng(seed), after):
        beats += [chord] * length
        if len(beats) >= num_bars * per_bar:
            break
    return Chart(tuple(_bar(beats[bar * per_bar : (bar + 1) * per_bar], metre) for bar in range(num_bars)))


def _bar(beats, metre):
    """A bar of a chord for each beat, which it is given where it changes."""
    chords, beat = [], 0
    for chord, same in groupby(beats):
        chords.append((beat * 4 * metre.felt, chord))
        beat += len(list(same))
    return Bar(tuple(chords), metre.pair)


def _walk(rows, random, after):
    """(Chord, beats) of one chord after the other, without end."""
    roots, qualities, basses, beats = rows.T
    is_chord = qualities >= 0
    if not is_chord.any():
        raise ConfigError("These weights can't invent chords. Write --chords instead.")
    goes_on = is_chord & np.append(is_chord[1:], False)
    before = np.append(-1, qualities[:-1])  # the quality that each chord was come from; -1: a piece begins
    interval = np.append(0, np.diff(roots) % 12)  # by how many semitones

    def anywhere():
        return int(random.choice(np.flatnonzero(is_chord)))

    def like(before_it, semitones, quality):
        """A row of this quality that another chord follows, come to in this way where there are enough of those."""
        alike = goes_on & (qualities == quality)
        nearer = alike & (before == before_it) & (interval == semitones)
        candidates = np.flatnonzero(nearer if nearer.sum() >= FEWEST else alike)
        return int(random.choice(candidates)) if len(candidates) else anywhere()

    def chord():
        """What the row says, over the root."""
        return Chord.of(int(root), int(qualities[index]), int(root + basses[index] - roots[index]) % 12), beats[index]

    if after is None or not len(after):
        root, index = int(random.integers(12)), anywhere()
        yield chord()
    else:
        previous, last = np.concatenate([PARTING, after])[-2:].astype(int)
        root, index = int(last[0]), like(previous[1], (last[0] - previous[0]) % 12, last[1])
    while True:
        index = index + 1 if goes_on[index] else anywhere()
        root = (root + interval[index]) % 12
        yield chord()
        index = like(before[index], interval[index], qualities[index])
