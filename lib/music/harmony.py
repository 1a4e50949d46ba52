"""Own changes: how a pianist's harmony moves, read off recordings, and charts that move likewise.

A chart is a walk: from each chord on to what followed, somewhere in the recordings, on a like chord that was come to in
a like way (a Markov chain of second order over intervals and qualities, so that keys do not matter; Conklin 2003).

Conventions: a row is one chord: root and bass (0 to 11), quality (index of QUALITY_NAMES), length in beats.
A row of quality -1 parts two pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

import numpy as np

from lib.config import ConfigError
from lib.music.chart import Bar, Chart
from lib.music.chords import Chord
from lib.music.piano_roll import LATENTS_PER_BEAT

MOST_BEATS = 16  # a chord that stays for longer, and the rest of a long silence, are counted so
PARTING = np.array([[0, -1, 0, 0]], np.int8)
NOTHING = PARTING[:0]
MOST_ROWS = 1500  # that are kept of each pianist but the one who is learned: half an hour or so
FEWEST = 3  # places that a walk needs to choose among; else only the last chord's quality counts


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


@dataclass(frozen=True)
class Changes:
    """The changes of several pianists.

    Attributes
    ----------
    names : P names
    rows : int8 (M, 4), see the module
    ends : int64 (P,), behind the last row of each
    """

    names: tuple[str, ...]
    rows: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, by_name: Mapping[str, Sequence[np.ndarray]]) -> Changes:
        """From dict name -> list of the rows of pieces."""
        parted = {name: [part for piece in pieces for part in (piece, PARTING)] for name, pieces in by_name.items()}
        return cls._of_rows({name: np.concatenate([NOTHING, *parts]) for name, parts in parted.items()})

    @classmethod
    def _of_rows(cls, by_name):
        ends = np.cumsum([len(rows) for rows in by_name.values()], dtype=np.int64)
        return cls(tuple(by_name), np.concatenate([NOTHING, *by_name.values()]), ends)

    def by(self, name: str) -> np.ndarray:
        """The rows of a pianist; of all where there are none of this name."""
        own = self._own(name) if name in self.names else NOTHING
        return own if len(own) else self.rows

    def _own(self, name):
        place = self.names.index(name)
        return self.rows[self.ends[place - 1] if place else 0 : self.ends[place]]

    @classmethod
    def in_order(cls, names: Iterable[str], *several: Changes) -> Changes:
        """The changes of these pianists, each of the last of `several` Changes that knows them."""
        known = {name: one._own(name) for one in several for name in one.names}
        return cls._of_rows({name: known[name] for name in names})


def invent_chart(
    rows: np.ndarray, seconds: float, tempo_bpm: float, beats_per_bar: int, seed: int, after: np.ndarray | None = None
) -> Chart:
    """A chart of so many seconds.

    Parameters
    ----------
    rows : int8 (M, 4)
    seconds, tempo_bpm, beats_per_bar : where its bars are; chords change on beats (quarters)
    seed : the same one gives the same chart
    after : rows to continue, or None

    Raises
    ------
    ConfigError : there are no rows
    """
    beats, count = [], math.ceil(seconds * tempo_bpm / 60 / beats_per_bar) * beats_per_bar
    for chord, length in _walk(_Harmony(rows), np.random.default_rng(seed), after):
        beats += [chord] * length
        if len(beats) >= count:
            break
    return Chart(tuple(_bar(beats[first : first + beats_per_bar]) for first in range(0, count, beats_per_bar)))


def _bar(beats):
    """A bar of a chord for each beat, which it is given where it changes."""
    chords, beat = [], 0
    for chord, same in groupby(beats):
        chords.append((Fraction(beat), chord))
        beat += len(list(same))
    return Bar(tuple(chords), (len(beats), 4))


def _walk(harmony, random, after):
    """(Chord, beats) of one chord after the other, without end."""
    if after is None or not len(after):
        root, place = int(random.integers(12)), harmony.anywhere(random)
        yield harmony.chord(root, place)
    else:
        before, last = np.concatenate([PARTING, after])[-2:].astype(int)
        root, place = int(last[0]), harmony.like(before[1], (last[0] - before[0]) % 12, last[1], random)
    while True:
        place = harmony.after(place, random)
        root = (root + harmony.interval[place]) % 12
        yield harmony.chord(root, place)
        place = harmony.like(harmony.before[place], harmony.interval[place], harmony.rows[place, 1], random)


class _Harmony:
    """Rows, looked at as moves.

    Attributes
    ----------
    rows : int (M, 4)
    before : int (M,), the quality that each chord was come from; -1: a piece begins
    interval : int (M,), by how many semitones
    """

    def __init__(self, rows):
        self.rows = rows.astype(int)
        known = self.rows[:, 1] >= 0
        if not known.any():
            raise ConfigError("No changes are known here to invent others from: write chords instead.")
        self.chords = np.flatnonzero(known)
        self._goes_on = known & np.append(known[1:], False)
        self.before = np.append(-1, self.rows[:-1, 1])
        self.interval = np.append(0, np.diff(self.rows[:, 0]) % 12)

    def chord(self, root, place):
        """Chord over a root, and beats, of a place."""
        _, quality, bass, beats = self.rows[place]
        return Chord.of(int(root), int(quality), int(root + bass - self.rows[place, 0]) % 12), beats

    def anywhere(self, random):
        """Any place."""
        return int(random.choice(self.chords))

    def like(self, before, interval, quality, random):
        """A place of this quality, from which it goes on, come to in this way where there are enough of those."""
        alike = self._goes_on & (self.rows[:, 1] == quality)
        nearer = alike & (self.before == before) & (self.interval == interval)
        found = np.flatnonzero(nearer if nearer.sum() >= FEWEST else alike)
        return int(random.choice(found)) if len(found) else self.anywhere(random)

    def after(self, place, random):
        """The place that follows it."""
        return place + 1 if self._goes_on[place] else self.anywhere(random)
