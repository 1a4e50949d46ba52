"""What is taken from training music: for each clip the passage most similar to it, and the longest run of notes they
share.

Conventions: a window is a binary roll of keys that are down, WINDOW_BEATS long, BINS_PER_BEAT a beat, so that the tempo
hides no copy; similarity is Jaccard's, cells that both have over cells that either has, in whichever of twelve keys. A
run counts notes in the same intervals and rhythm, in any key. Real held-out clips are the yardstick: players quote themselves, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lib.apps.evaluate.clips import Clip, ClipSet
from lib.music.audio import Audio, render_audio
from lib.music.beat_notes import BeatNotes
from lib.music.notes import Notes
from lib.music.piano_roll import LOWEST_PITCH, NUM_PITCHES
from lib.progress import progress_bar

BINS_PER_BEAT, WINDOW_BEATS, HOP_BEATS = 12, 16, 8
BINS = WINDOW_BEATS * BINS_PER_BEAT
KEYS = range(-5, 7)  # semitones: twelve transpositions
# borders between classes of gaps: together, fast, ..., a pause
RHYTHMS = (0.06, 0.2, 0.29, 0.42, 0.58, 0.83, 1.4, 2.4)  # beats
PRIME = np.uint64(1_000_003)


@dataclass(frozen=True)
class NearestPassage:
    """The training passage most similar to a clip.

    Attributes
    ----------
    likeness : in [0, 1]
    piece, start_s : where the passage is: index in the store, and seconds from the beginning of the performance
    clip_s : where the window of the clip begins that is similar to it
    semitones : by which the clip is transposed to be most similar
    run : notes in a row that the clip shares with some training recording
    """

    likeness: float
    piece: int
    start_s: float
    clip_s: float
    semitones: int
    run: int


@dataclass(frozen=True)
class Pair:
    """A clip and the passage most similar to it: a sentence on them, and (name, Notes, Audio or None) of both."""

    text: str
    sides: tuple[tuple[str, Notes, Audio | None], ...]


def windows(notes: BeatNotes, hop: int = HOP_BEATS) -> np.ndarray:
    """bool (W, 88, BINS) of a performance, every `hop` beats; the last one ends with it."""
    length = _bins(notes)
    first = np.clip(np.rint(notes.onset * BINS_PER_BEAT).astype(int), 0, length - 1)
    last = np.maximum(np.rint(notes.release * BINS_PER_BEAT).astype(int), first + 1)
    roll = np.zeros((NUM_PITCHES, length + 1), np.int32)
    key = notes.pitch.astype(int) - LOWEST_PITCH
    inside = (key >= 0) & (key < NUM_PITCHES)
    np.add.at(roll, (key[inside], first[inside]), 1)
    np.add.at(roll, (key[inside], last[inside].clip(max=length)), -1)
    down = roll.cumsum(1)[:, :length] > 0
    starts = {*range(0, length - BINS + 1, hop * BINS_PER_BEAT), length - BINS}
    return np.stack([down[:, start : start + BINS] for start in sorted(starts)])


def _bins(notes):
    """How many `windows` cover."""
    return max(BINS, math.ceil(notes.end * BINS_PER_BEAT))


def nearest_windows(passages: np.ndarray, corpus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The similarity of each window to the one most similar to it, in whichever key.

    Parameters
    ----------
    passages, corpus : bool (W, 88, BINS) and (C, 88, BINS), of `windows`

    Returns
    -------
    (float (W,), int (W,), int (W,)) : the highest similarity of each, the window of the corpus that has it, and the
        semitones by which the passage is transposed for it
    """
    flat = corpus.reshape(len(corpus), -1).astype(np.float32)
    size = flat.sum(1)
    best, which, key = np.zeros(len(passages)), np.zeros(len(passages), int), np.full(len(passages), KEYS[0])
    for semitones in KEYS:
        moved = transposed(passages, semitones).reshape(len(passages), -1).astype(np.float32)
        both = moved @ flat.T
        similarity = both / np.maximum(moved.sum(1)[:, None] + size - both, 1)
        value, nearest = similarity.max(1), similarity.argmax(1)
        better = value > best
        best, which, key = (np.where(better, *pair) for pair in ((value, best), (nearest, which), (semitones, key)))
    return best, which, key


def transposed(passages: np.ndarray, semitones: int) -> np.ndarray:
    """bool (W, 88, BINS) moved over the keyboard; what leaves it is lost."""
    reach = abs(semitones)
    padded = np.pad(passages, ((0, 0), (reach, reach), (0, 0)))
    return padded[:, reach - semitones : reach - semitones + NUM_PITCHES]


def steps_of(notes: BeatNotes) -> np.ndarray:
    """int (N - 1,): from each note to the next, the interval and the class of the gap as one number."""
    gap = np.searchsorted(RHYTHMS, np.diff(notes.onset))
    return (np.diff(notes.pitch.astype(int)) + 128) * (len(RHYTHMS) + 1) + gap


def longest_run(passage: BeatNotes, corpus: Sequence[np.ndarray]) -> int:
    """How many notes in a row a passage has in common with one of others, in any key.

    Parameters
    ----------
    passage : BeatNotes
    corpus : list of `steps_of` performances

    Returns
    -------
    int, notes; 0 where no two notes follow each other in the same way
    """
    own, low, high = steps_of(passage), 0, len(passage) - 1
    while low < high:  # what is shared for n steps is shared for fewer
        middle = (low + high + 1) // 2
        hashes = _hashes(own, middle)
        shared = any(np.isin(_hashes(steps, middle), hashes).any() for steps in corpus if len(steps) >= middle)
        low, high = (middle, high) if shared else (low, middle - 1)
    return low + 1 if low else 0


def _hashes(steps, length):
    """uint64 (N - length + 1,) of every run of `length` steps (a polynomial; collisions are one in 10^19)."""
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(length, PRIME))
        return sliding_window_view(steps.astype(np.uint64), length) @ powers


def nearest_passages(
    clips: Sequence[Clip], pieces: dict[int, Clip], desc: str = "copying"
) -> list[NearestPassage]:
    """The NearestPassage of each clip.

    Parameters
    ----------
    clips : list of Clip
    pieces : dict piece index -> Clip, the training music
    """
    own = [windows(clip.in_beats, max(1, clip.beats - WINDOW_BEATS))[:2] for clip in clips]
    owner = np.repeat(np.arange(len(clips)), [len(rolls) for rolls in own])
    rolls, best = np.concatenate(own), [(-1.0,)] * len(clips)  # similarity, piece, its window, semitones, the clip's
    for index, piece in progress_bar(pieces.items(), desc=desc, unit="piece"):
        similarity, which, key = nearest_windows(rolls, windows(piece.in_beats))
        for row, clip in enumerate(owner):
            if similarity[row] > best[clip][0]:
                best[clip] = (float(similarity[row]), index, int(which[row]), int(key[row]), row)
    steps = [steps_of(piece.in_beats) for piece in pieces.values()]
    passages = []
    for number, (clip, (similarity, index, window, semitones, row)) in enumerate(zip(clips, best)):
        piece = pieces[index]
        start = min(window * HOP_BEATS, _bins(piece.in_beats) / BINS_PER_BEAT - WINDOW_BEATS)
        begins = row == np.searchsorted(owner, number)  # the clip's first window
        clip_start = 0.0 if begins else max(clip.beats, _bins(clip.in_beats) / BINS_PER_BEAT) - WINDOW_BEATS
        start_s, clip_s = (float(own.tempo_map.to_seconds(at)) for own, at in ((piece, start), (clip, clip_start)))
        run = longest_run(clip.in_beats, steps)
        passages.append(NearestPassage(similarity, index, start_s, clip_s, semitones, run))
    return passages


def pairs_of(clips: ClipSet, nearest: list[dict], pieces: dict[int, Clip], sounding: int = 0) -> list[Pair]:
    """Pair of each clip, the most similar first.

    Parameters
    ----------
    clips : ClipSet
    nearest : list of dict, NearestPassage's fields and `title`, one a clip
    pieces : dict piece index -> Clip
    sounding : so many get a sound
    """
    order = sorted(range(len(nearest)), key=lambda index: -nearest[index]["likeness"])
    return [_pair(clips.clips[i], nearest[i], pieces, rank < sounding, i + 1) for rank, i in enumerate(order)]


def _pair(clip, nearest, pieces, sounding, number):
    piece = pieces[nearest["piece"]]
    start = piece.tempo_map.to_beats(nearest["start_s"]) - clip.tempo_map.to_beats(nearest["clip_s"])
    start_s, end_s = piece.tempo_map.to_seconds(max(0.0, start) + np.array([0, clip.beats]))
    passage = piece.notes.between(start_s, end_s)
    moved = f", {nearest['semitones']:+d} semitones" if nearest["semitones"] else ""
    source = f"{nearest['title']}, {start_s:.0f} s"
    similarity = f"similarity {nearest['likeness']:.2f} to {source}{moved}"
    sides = ((f"clip {number}", clip.notes), (source, passage))
    sides = tuple((name, side, render_audio(side) if sounding else None) for name, side in sides)
    return Pair(f"Clip {number}: {similarity}; {nearest['run']} notes in a row", sides)
