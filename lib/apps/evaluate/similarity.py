"""How much of a passage is taken from others: likeness of binary rolls, and the longest run of notes they share.

Conventions: a window is a binary roll of keys that are down, WINDOW_S long, in bins of BIN_S; likeness is Jaccard's: cells that
both have over cells that either has. A run counts notes that go on in the same intervals and rhythm, in any key.
"""

from __future__ import annotations

import math

import numpy as np

from lib.music.piano_roll import LOWEST_PITCH, NUM_PITCHES

BIN_S, WINDOW_S, HOP_S = 0.05, 8.0, 4.0
BINS = round(WINDOW_S / BIN_S)
KEYS = range(-5, 7)  # semitones: twelve transpositions
RHYTHMS_S = (0.03, 0.09, 0.14, 0.2, 0.3, 0.45, 0.7, 1.2)  # borders between classes of gaps: together, fast, ..., a pause
PRIME = np.uint64(1_000_003)


def windows(notes, hop_s=HOP_S):
    """bool (W, 88, BINS) of a performance; the last one ends with it.

    Parameters
    ----------
    notes : Notes
    hop_s : seconds between windows
    """
    length = max(BINS, math.ceil(notes.end_s / BIN_S))
    first = np.clip(np.rint(notes.onset_s / BIN_S).astype(int), 0, length - 1)
    last = np.maximum(np.rint((notes.onset_s + notes.duration_s) / BIN_S).astype(int), first + 1)
    roll = np.zeros((NUM_PITCHES, length + 1), np.int32)
    key = notes.pitch.astype(int) - LOWEST_PITCH
    inside = (key >= 0) & (key < NUM_PITCHES)
    np.add.at(roll, (key[inside], first[inside]), 1)
    np.add.at(roll, (key[inside], last[inside].clip(max=length)), -1)
    down = roll.cumsum(1)[:, :length] > 0
    starts = [*range(0, length - BINS + 1, round(hop_s / BIN_S))]
    starts += [length - BINS] if starts[-1] != length - BINS else []
    return np.stack([down[:, start : start + BINS] for start in starts])


def nearest_likeness(passages, corpus, keys=KEYS):
    """The likeness of each window to the one most like it, in whichever key.

    Parameters
    ----------
    passages, corpus : bool (W, 88, BINS) and (C, 88, BINS), of `windows`
    keys : transpositions of the passages that are tried

    Returns
    -------
    (float (W,), int (W,)) : the highest likeness of each, and the window of the corpus that has it
    """
    flat = corpus.reshape(len(corpus), -1).astype(np.float32)
    size = flat.sum(1)
    best, which = np.zeros(len(passages)), np.zeros(len(passages), int)
    for semitones in keys:
        moved = transposed(passages, semitones).reshape(len(passages), -1).astype(np.float32)
        both = moved @ flat.T
        likeness = both / np.maximum(moved.sum(1)[:, None] + size - both, 1)
        found = likeness.argmax(1)
        value = likeness[np.arange(len(passages)), found]
        which, best = np.where(value > best, found, which), np.maximum(best, value)
    return best, which


def transposed(passages, semitones):
    """bool (W, 88, BINS) moved over the keyboard; what leaves it is lost."""
    moved = np.zeros_like(passages)
    if semitones >= 0:
        moved[:, semitones:] = passages[:, : NUM_PITCHES - semitones]
    else:
        moved[:, :semitones] = passages[:, -semitones:]
    return moved


def steps_of(notes):
    """int (N - 1,): from each note to the next, the interval and the class of the gap as one number."""
    gap = np.searchsorted(RHYTHMS_S, np.diff(notes.onset_s))
    return (np.diff(notes.pitch.astype(int)) + 128) * (len(RHYTHMS_S) + 1) + gap


def longest_run(passage, corpus):
    """How many notes on end a passage has in common with one of others, in any key.

    Parameters
    ----------
    passage : Notes
    corpus : list of `steps_of` performances

    Returns
    -------
    int, notes; 0 where no two notes follow each other alike
    """
    own, low, high = steps_of(passage), 0, len(passage) - 1
    while low < high:  # what is shared for n steps is shared for fewer
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _shares(own, corpus, middle) else (low, middle - 1)
    return low + 1 if low else 0


def _shares(own, corpus, length):
    hashes = _hashes(own, length)
    return any(np.isin(_hashes(steps, length), hashes).any() for steps in corpus if len(steps) >= length)


def _hashes(steps, length):
    """uint64 (N - length + 1,) of every run of `length` steps (Horner's scheme; collisions are one in 10^19)."""
    count = len(steps) - length + 1
    found = np.zeros(max(count, 0), np.uint64)
    with np.errstate(over="ignore"):
        for place in range(length):
            found = found * PRIME + steps[place : place + count].astype(np.uint64)
    return found
