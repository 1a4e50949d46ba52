"""What is taken from training music, or from a solo's own past: how similar passages are, and how much in a row.

Conventions: music is a binary roll of keys that are down, BINS_PER_BEAT a beat, so that the tempo hides no copy.
Passages are WINDOW_BEATS long and begin on any beat. Similarity is Jaccard's, cells that both have over cells that
either has, in whichever of twelve keys; a beat is copied where it is ALIKE or more. A run counts notes in the same
intervals and rhythm, in any key. Real held-out clips are the yardstick: players quote themselves, too. The control that
must be found is the copy bot, `copied`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.sparse import csr_array

from lib.apps.evaluate.clips import Clip
from lib.music.notes import Notes
from lib.music.piano_roll import FRAMES_PER_BEAT, LOWEST_PITCH, NUM_PITCHES
from lib.music.tempo_map import BeatNotes, TempoMap, in_seconds
from lib.progress import progress_bar

BINS_PER_BEAT, WINDOW_BEATS = 12, 16
KEYS = range(-5, 7)  # semitones: twelve transpositions
ALIKE = 0.5
# borders between classes of gaps: together, fast, ..., a pause
RHYTHMS = (0.06, 0.2, 0.29, 0.42, 0.58, 0.83, 1.4, 2.4)  # beats
PRIME = np.uint64(1_000_003)
END_OF_PIECE = -1  # no step of any music


def rows_of_beats(notes: BeatNotes, beats: int = 0) -> np.ndarray:
    """bool (B, 88, BINS_PER_BEAT): which keys are down, of so many beats or all, WINDOW_BEATS at least."""
    beats = max(WINDOW_BEATS, beats or math.ceil(notes.end))
    length = beats * BINS_PER_BEAT
    first = np.clip(np.rint(notes.onset * BINS_PER_BEAT).astype(int), 0, length - 1)
    last = np.maximum(np.rint(notes.release * BINS_PER_BEAT).astype(int), first + 1)
    roll = np.zeros((length + 1, NUM_PITCHES), np.int32)
    key = notes.pitch.astype(int) - LOWEST_PITCH
    inside = (key >= 0) & (key < NUM_PITCHES) & (notes.onset < beats)
    np.add.at(roll, (first[inside], key[inside]), 1)
    np.add.at(roll, (last[inside].clip(max=length), key[inside]), -1)
    return (roll.cumsum(0)[:length] > 0).reshape(beats, BINS_PER_BEAT, NUM_PITCHES).swapaxes(1, 2)


def transposed(rows: np.ndarray, semitones: int) -> np.ndarray:
    """bool (B, 88, BINS_PER_BEAT) moved over the keyboard; what leaves it is lost."""
    reach = abs(semitones)
    padded = np.pad(rows, ((0, 0), (reach, reach), (0, 0)))
    return padded[:, reach - semitones : reach - semitones + NUM_PITCHES]


def cells(rows: np.ndarray, keys: Sequence[int] = (0,)) -> csr_array:
    """float32 (K B, cells) of rows_of_beats (B, ...) moved into each of K keys, one key after the other."""
    moved = np.concatenate([transposed(rows, semitones) for semitones in keys])
    return csr_array(moved.reshape(len(moved), -1), dtype=np.float32)


def similarities(own: csr_array, others: csr_array, num_keys: int = len(KEYS)) -> tuple[np.ndarray, np.ndarray]:
    """Of `cells` of B beats in K keys and of C beats: similarity (K, B - 15, C - 15) of the passages that begin in each
    two beats, and int (K, B, C): 1 where the beats are alike, -1 where not, 0 where nothing is down in either."""
    both, size, other_size = (own @ others.T).toarray(), own.sum(1), others.sum(1)
    both, either = (part.reshape(num_keys, -1, len(other_size)) for part in (both, size[:, None] + other_size - both))
    likeness = np.where(both >= ALIKE * either, 1, -1).astype(np.int16) * (either > 0)
    return _along(both) / np.maximum(_along(either), 1), likeness


def _along(matrix):
    """(K, B - 15, C - 15) sums of WINDOW_BEATS along the diagonals of (K, B, C)."""
    rows, columns = (size - WINDOW_BEATS + 1 for size in matrix.shape[1:])
    return sum(matrix[:, beat : beat + rows, beat : beat + columns] for beat in range(WINDOW_BEATS))


def copied_beats(likeness: np.ndarray) -> int:
    """How many beats are alike one after the other at most, in int (K, B, C) of `similarities`; rests don't count."""
    run, longest = np.zeros_like(likeness[:, 0]), 0
    for row in likeness.swapaxes(0, 1):
        run = np.where(row < 0, 0, np.pad(run, ((0, 0), (1, 0)))[:, :-1] + row)
        longest = max(longest, int(run.max()))
    return longest


def own_copying(clip: Clip) -> dict[str, float]:
    """own_likeness, the mean over passages of a solo of their similarity to the most similar one that was over before,
    in the same key, and own_beats, how many beats in a row it has taken from there; NaN for fewer than two passages.

    Where a solo comes back to a reference, the chorus before or a vamp, that lies there, too.
    """
    rows = rows_of_beats(clip.in_beats, clip.beats)
    if len(rows) < 2 * WINDOW_BEATS:
        return {"own_likeness": np.nan, "own_beats": np.nan}
    similarity, likeness = similarities(cells(rows), cells(rows), num_keys=1)
    earlier = np.tril(similarity[0], -WINDOW_BEATS)[WINDOW_BEATS:]
    return {"own_likeness": float(earlier.max(1).mean()), "own_beats": copied_beats(np.tril(likeness, -WINDOW_BEATS))}


def copied(clip: Clip, tempo: float = 1.25) -> Clip:
    """The copy bot: a clip of training music, so many times as fast."""
    tempo_map = TempoMap(clip.tempo_map.beats_s / tempo, clip.tempo_map.bars)
    return Clip(in_seconds(clip.in_beats, tempo_map), tempo_map, clip.beats)


def steps_of(notes: BeatNotes) -> np.ndarray:
    """int (N - 1,): from each note to the next, the interval and the class of the gap as one number. Notes of a frame
    of the codec come from the lowest up, whichever was struck first."""
    frame = np.rint(notes.onset * FRAMES_PER_BEAT)
    order = np.lexsort((notes.pitch, frame))
    gap = np.searchsorted(RHYTHMS, np.diff(frame[order]) / FRAMES_PER_BEAT)
    return (np.diff(notes.pitch[order].astype(int)) + 128) * (len(RHYTHMS) + 1) + gap


def longest_run(passage: BeatNotes, corpus: Sequence[np.ndarray]) -> int:
    """How many notes in a row a passage has in common with one of a corpus of `steps_of` performances, in any key;
    0 where no two notes follow each other in the same way."""
    own, joined = steps_of(passage), np.concatenate([np.zeros(0, int), *(np.append(s, END_OF_PIECE) for s in corpus)])

    def is_missing(length):
        if len(joined) < length:
            return True
        runs, others = np.sort(_hashes(own, length)), _hashes(joined, length)  # few, and many
        return not (runs[np.searchsorted(runs, others).clip(max=len(runs) - 1)] == others).any()

    length = bisect_left(range(1, len(own) + 1), True, key=is_missing)  # what is shared for n steps is so for fewer
    return length + 1 if length else 0


def _hashes(steps, length):
    """uint64 (N - length + 1,) of every run of `length` steps (a polynomial; collisions are one in 10^19)."""
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(length, PRIME))
        return sliding_window_view(steps.astype(np.uint64), length) @ powers


def nearest_passages(clips: Sequence[Clip], pieces: dict[int, Clip], desc: str = "copying") -> list[dict]:
    """The training passage most similar to each clip, among pieces (index -> Clip), as a dict: likeness, in [0, 1];
    piece and start_s, where the passage is; clip_s, where the passage of the clip begins that is similar to it;
    semitones, by which the clip is transposed for it; beats and run, so many beats, and notes, in a row that the clip
    shares with some recording."""
    rows = [cells(rows_of_beats(clip.in_beats, clip.beats), KEYS) for clip in clips]
    steps = [steps_of(piece.in_beats) for piece in pieces.values()]
    nearest = [{"likeness": -1.0, "beats": 0, "run": longest_run(clip.in_beats, steps)} for clip in clips]
    for index, piece in progress_bar(pieces.items(), desc=desc, unit="piece"):
        others = cells(rows_of_beats(piece.in_beats))
        for clip, own, best in zip(clips, rows, nearest):
            similarity, are_alike = similarities(own, others)
            best["beats"] = max(best["beats"], copied_beats(are_alike))
            if (likeness := float(similarity.max())) > best["likeness"]:
                key, own_beat, beat = np.unravel_index(similarity.argmax(), similarity.shape)
                seconds = {"start_s": piece.tempo_map.to_seconds(beat), "clip_s": clip.tempo_map.to_seconds(own_beat)}
                best |= {"likeness": likeness, "piece": index, "semitones": KEYS[key]}
                best |= {name: float(value) for name, value in seconds.items()}
    return nearest


def passage_beside(clip: Clip, nearest: dict, pieces: dict[int, Clip]) -> tuple[Notes, float]:
    """(notes, second in the performance) of the passage that `nearest_passages` found for a clip, as long as the clip
    and in line with it."""
    piece = pieces[nearest["piece"]]
    start = piece.tempo_map.to_beats(nearest["start_s"]) - clip.tempo_map.to_beats(nearest["clip_s"])
    start_s, end_s = piece.tempo_map.to_seconds(max(0.0, start) + np.array([0, clip.beats]))
    return piece.notes.between(start_s, end_s), float(start_s)
