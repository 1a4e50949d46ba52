"""What is taken from training music: for each clip the passage most like it, and the longest run of notes they share.

Conventions: likeness is Jaccard's, of keys that are down over 8 s, in whichever of twelve keys; a real held-out clip is the
yardstick: players quote themselves, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.apps.evaluate.similarity import BIN_S, BINS, HOP_S, KEYS, WINDOW_S, longest_run, nearest_likeness, steps_of, windows
from lib.music.audio import render_audio
from lib.music.piano_roll import CHUNK_S
from lib.progress import progress_bar


@dataclass(frozen=True)
class Nearest:
    """The training passage most like a clip.

    Attributes
    ----------
    likeness : in [0, 1]
    piece, start_s : where the passage is: index in the store, and seconds from the beginning of the performance
    clip_s : where in the clip the window is that is like it
    semitones : by which the clip is moved to be most like it
    run : notes on end that the clip shares with some training recording
    """

    likeness: float
    piece: int
    start_s: float
    clip_s: float
    semitones: int
    run: int


@dataclass(frozen=True)
class Pair:
    """A clip and the passage most like it: what is said of them, and (name, Notes, Audio or None) of both."""

    words: str
    sides: tuple


def nearest_passages(clips, pieces, seconds=CHUNK_S, desc="copying"):
    """Nearest of each clip.

    Parameters
    ----------
    clips : list of Notes
    pieces : dict piece index -> Notes, the training music
    seconds : length of the clips
    """
    own = [windows(notes, max(BIN_S, seconds - WINDOW_S))[:2] for notes in clips]
    owner = np.repeat(np.arange(len(clips)), [len(rolls) for rolls in own])
    rolls, best = np.concatenate(own), [(-1.0, 0, 0, 0)] * len(clips)  # likeness, piece, its window, the clip's
    for index, notes in progress_bar(pieces.items(), desc=desc, unit="piece"):
        likeness, which = nearest_likeness(rolls, windows(notes))
        for row, clip in enumerate(owner):
            if likeness[row] > best[clip][0]:
                best[clip] = (float(likeness[row]), index, int(which[row]), row)
    steps = [steps_of(notes) for notes in pieces.values()]
    firsts = np.searchsorted(owner, np.arange(len(clips)))
    return [_nearest(clip, found, firsts[place], rolls, pieces, steps, seconds)
            for place, (clip, found) in enumerate(zip(clips, best))]  # fmt: skip


def _nearest(clip, found, first_row, rolls, pieces, steps, seconds):
    likeness, index, window, row = found
    passages = windows(pieces[index])
    by_key = [nearest_likeness(rolls[row : row + 1], passages[window : window + 1], (key,))[0][0] for key in KEYS]
    start_s = max(0.0, min(window * HOP_S, _length_s(pieces[index]) - WINDOW_S))
    clip_s = 0.0 if row == first_row else max(0.0, max(seconds, _length_s(clip)) - WINDOW_S)
    return Nearest(likeness, index, start_s, clip_s, list(KEYS)[int(np.argmax(by_key))], longest_run(clip, steps))


def _length_s(notes):
    """The length that `windows` covers."""
    return max(BINS, int(np.ceil(notes.end_s / BIN_S))) * BIN_S


def pairs_of(clips, nearest, pieces, sounding=0):
    """Pair of each clip, the likest first.

    Parameters
    ----------
    clips : ClipSet
    nearest : list of dict, Nearest's fields and `title`, one a clip
    pieces : dict piece index -> Notes
    sounding : so many get a sound
    """
    order = sorted(range(len(nearest)), key=lambda place: -nearest[place]["likeness"])
    return [_pair(clips.clips[place], nearest[place], pieces, rank < sounding, place) for rank, place in enumerate(order)]


def _pair(notes, found, pieces, sounding, place):
    start_s = max(0.0, found["start_s"] - found["clip_s"])
    passage = pieces[found["piece"]].between(start_s, start_s + CHUNK_S)
    moved = f", {found['semitones']:+d} semitones" if found["semitones"] else ""
    source = f"{found['title']}, {start_s:.0f} s"
    words = f"Clip {place + 1}: likeness {found['likeness']:.2f} to {source}{moved}; {found['run']} notes on end"
    sides = ((f"clip {place + 1}", notes), (source, passage))
    return Pair(words, tuple((name, one, render_audio(one) if sounding else None) for name, one in sides))
