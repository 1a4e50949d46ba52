"""What is taken from training music: for each clip the passage most similar to it, and the longest run of notes they
share.

Conventions: a window is a binary roll of keys that are down, WINDOW_BEATS long, BINS_PER_BEAT a beat, so that the tempo
hides no copy; similarity is Jaccard's, cells that both have over cells that either has, in whichever of twelve keys. A
run counts notes in the same intervals and rhythm, in any key. Real held-out clips are the yardstick: players quote
themselves, too.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lib.apps.evaluate.clips import Clip
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


def _last_start(notes):
    """Beat on which the last of `windows` begins."""
    return _bins(notes) / BINS_PER_BEAT - WINDOW_BEATS


def nearest_windows(passages: np.ndarray, corpus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `windows` (W, 88, BINS), of those of a corpus (C, 88, BINS) the most similar one in whichever key:
    (float (W,) similarity, int (W,) which window, int (W,) semitones by which the passage is transposed for it)."""
    flat = corpus.reshape(len(corpus), -1).astype(np.float32)
    size = flat.sum(1)
    by_key = []
    for semitones in KEYS:
        moved = transposed(passages, semitones).reshape(len(passages), -1).astype(np.float32)
        both = moved @ flat.T
        by_key.append(both / np.maximum(moved.sum(1)[:, None] + size - both, 1))
    similarity = np.concatenate(by_key, 1)  # (W, keys * C)
    key, which = np.divmod(similarity.argmax(1), len(corpus))
    return similarity.max(1).astype(float), which, np.array(KEYS)[key]


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
    """How many notes in a row a passage has in common with one of a corpus of `steps_of` performances, in any key;
    0 where no two notes follow each other in the same way."""
    own = steps_of(passage)

    def is_missing(length):
        hashes = _hashes(own, length)
        return not any(np.isin(_hashes(steps, length), hashes).any() for steps in corpus if len(steps) >= length)

    length = bisect_left(range(1, len(own) + 1), True, key=is_missing)  # what is shared for n steps is so for fewer
    return length + 1 if length else 0


def _hashes(steps, length):
    """uint64 (N - length + 1,) of every run of `length` steps (a polynomial; collisions are one in 10^19)."""
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(length, PRIME))
        return sliding_window_view(steps.astype(np.uint64), length) @ powers


def nearest_passages(clips: Sequence[Clip], pieces: dict[int, Clip], desc: str = "copying") -> list[dict]:
    """The training passage most similar to each clip, among pieces (index -> Clip), as a dict: likeness, in [0, 1];
    piece and start_s, where the passage is; clip_s, where the window of the clip begins that is similar to it;
    semitones, by which the clip is transposed for it; run, notes in a row that the clip shares with some recording."""
    windows_of = [windows(clip.in_beats, max(1, clip.beats - WINDOW_BEATS))[:2] for clip in clips]
    owner = np.repeat(np.arange(len(clips)), list(map(len, windows_of)))
    rolls = np.concatenate(windows_of)
    best = [(-1.0,)] * len(clips)  # similarity, piece, its window, semitones, the row of the clip's window
    for index, piece in progress_bar(pieces.items(), desc=desc, unit="piece"):
        similarity, which, key = nearest_windows(rolls, windows(piece.in_beats))
        for row, clip in enumerate(owner):
            if similarity[row] > best[clip][0]:
                best[clip] = (float(similarity[row]), index, int(which[row]), int(key[row]), row)
    steps = [steps_of(piece.in_beats) for piece in pieces.values()]
    nearest = []
    for number, (clip, (similarity, index, window, semitones, row)) in enumerate(zip(clips, best)):
        piece, is_first = pieces[index], row == np.searchsorted(owner, number)
        start = min(window * HOP_BEATS, _last_start(piece.in_beats))
        clip_start = 0.0 if is_first else max(clip.beats - WINDOW_BEATS, _last_start(clip.in_beats))
        nearest.append({
            "likeness": similarity,
            "piece": index,
            "start_s": float(piece.tempo_map.to_seconds(start)),
            "clip_s": float(clip.tempo_map.to_seconds(clip_start)),
            "semitones": semitones,
            "run": longest_run(clip.in_beats, steps),
        })
    return nearest


def passage_beside(clip: Clip, nearest: dict, pieces: dict[int, Clip]) -> tuple[Notes, float]:
    """(notes, second in the performance) of the passage that `nearest_passages` found for a clip, as long as the clip
    and in line with it."""
    piece = pieces[nearest["piece"]]
    start = piece.tempo_map.to_beats(nearest["start_s"]) - clip.tempo_map.to_beats(nearest["clip_s"])
    start_s, end_s = piece.tempo_map.to_seconds(max(0.0, start) + np.array([0, clip.beats]))
    return piece.notes.between(start_s, end_s), float(start_s)
