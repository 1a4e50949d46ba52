"""Which turns of phrase a recording is full of: n-grams of intervals, rhythms, chords and touch, counted.

Conventions: no word says in which key something is played (but what the left hand holds is what lies below middle C), nor how
loud on the whole; times are in seconds, intervals in semitones. Melody and bass are a chord's highest and lowest notes.
"""

from __future__ import annotations

import numpy as np

from lib.music.notes import MIDDLE_C
from lib.music.style_features import chords_of
from lib.progress import progress_bar

GAPS_S = (0.06, 0.1, 0.15, 0.22, 0.33, 0.5, 0.8)
LENGTHS_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6)
ARTICULATION = (0.4, 0.7, 0.9, 1.0, 1.15, 1.5, 2.5)  # length of a melody note over the gap to the next
SHADE, SHADES = 8, 4  # velocities are compared in steps of 8, up to 4 of them
WIDEST = 24  # semitones; a wider step counts as this
BUCKETS = 2**18  # that words are hashed into: enough to meet seldom


def words(notes):
    """n-grams of a recording by kind, dict kind -> list of words.

    Intervals of melody and bass, rhythms, lengths, melody with its rhythm, chords, and chord successions; what the left
    hand holds and where it goes next, how melody notes are bound, and how their velocities rise and fall with the line.
    """
    starts, sizes, top, low = chords_of(notes)
    highest = np.lexsort((notes.pitch, np.repeat(np.arange(len(starts)), sizes)))[np.cumsum(sizes) - 1]
    shades = (np.diff(notes.velocity[highest].astype(int)) / SHADE).round().clip(-SHADES, SHADES).astype(int)
    binding = notes.duration_s[highest][:-1] / np.diff(notes.onset_s[starts])
    gaps = np.searchsorted(GAPS_S, np.diff(notes.onset_s[starts]))
    lengths = np.searchsorted(LENGTHS_S, notes.duration_s)
    melody, bass = (np.diff(line).clip(-WIDEST, WIDEST) for line in (top, low))
    moves = [f"{step}/{gap}" for step, gap in zip(melody, gaps, strict=True)]
    pitch = notes.pitch.astype(int)
    chords = ["-".join(map(str, np.sort(pitch[s : s + size]) - pitch[s : s + size].min())) for s, size in zip(starts, sizes)]
    pairs = zip(chords, chords[1:], bass, sizes, sizes[1:])
    return {
        "melody": grams(melody, 1, 2, 3, 4),
        "bass": grams(bass, 1, 2, 3),
        "rhythm": grams(gaps, 1, 2, 3, 4),
        "lengths": grams(lengths, 1, 2, 3, 4),
        "moves": grams(moves, 1, 2, 3),
        "chords": [chord for chord, size in zip(chords, sizes, strict=True) if size > 1],
        "left": _left_hand([pitch[s : s + size] for s, size in zip(starts, sizes, strict=True)]),
        "articulation": grams([f"{a}/{g}" for a, g in zip(np.searchsorted(ARTICULATION, binding), gaps, strict=True)], 1, 2, 3),
        "touch": grams([f"{np.sign(step)}{shade}" for step, shade in zip(melody, shades, strict=True)], 1, 2, 3),
        "successions": [f"{one}>{step}>{next_}" for one, next_, step, size, other in pairs if max(size, other) > 1],
    }


def _left_hand(chords):
    """Words of what lies below middle C: shapes, and by which interval of the lowest note one follows another."""
    held = [np.sort(chord[chord < MIDDLE_C]) for chord in chords]
    held = [chord for chord in held if len(chord)]
    shapes = ["-".join(map(str, chord - chord[0])) for chord in held]
    moves = [f"{np.clip(two[0] - one[0], -WIDEST, WIDEST)}>{shape}" for one, two, shape in zip(held, held[1:], shapes[1:])]
    return grams(shapes, 1, 2) + grams(moves, 1, 2)


def grams(symbols, *lengths):
    """Runs of so many symbols as words."""
    symbols = [str(symbol) for symbol in symbols]
    return [",".join(symbols[i : i + n]) for n in lengths for i in range(len(symbols) - n + 1)]


def count_words(recordings):
    """How often each word comes.

    Parameters
    ----------
    recordings : list of Notes, one at least, each with a note

    Returns
    -------
    dict kind -> scipy.sparse CSR (N, BUCKETS)
    """
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import HashingVectorizer

    count = HashingVectorizer(analyzer=list, n_features=BUCKETS, alternate_sign=False, norm=None, dtype=np.float32)
    recordings = progress_bar(recordings, desc="n-grams", unit="piece") if len(recordings) > 1 else recordings
    rows = [{kind: count.transform([found]) for kind, found in words(notes).items()} for notes in recordings]
    return {kind: vstack([row[kind] for row in rows]) for kind in rows[0]}
