"""Features that distinguish pianists: named descriptors, histograms, and n-grams.

Conventions: times are in seconds, intervals in semitones, velocities as in MIDI. Notes that begin within TOGETHER_S are
one chord; its highest note counts as melody, its lowest as bass. Notes below middle C are the left hand's. No n-gram
says in which key something is played, nor how loud on the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.music.metrics import TOGETHER_S, describe
from lib.music.notes import MIDDLE_C, Notes
from lib.progress import progress_bar

LARGE_CHORD = 3  # notes
EVEN = 0.15  # two gaps are alike where their ratio is within 2 ** +-EVEN
LONGEST_GAP_S = 4.0  # a longer one is a pause, not rhythm
GAPS_S = (0.06, 0.1, 0.15, 0.22, 0.33, 0.5, 0.8)
LENGTHS_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6)
ARTICULATION = (0.4, 0.7, 0.9, 1.0, 1.15, 1.5, 2.5)  # length of a melody note over the gap to the next
SHADE, SHADES = 8, 4  # velocities are compared in steps of 8, up to 4 of them
WIDEST = 24  # semitones; a wider step counts as this
BUCKETS = 2**18  # that n-grams are hashed into: enough to meet seldom

@dataclass(frozen=True)
class StyleDescriptor:
    """A descriptor's name, its unit, and what much and little of it is called."""

    name: str
    unit: str
    much: str
    little: str


STYLE_DESCRIPTORS = (
    StyleDescriptor("notes_per_s", "notes a second", "plays many notes", "plays few notes"),
    StyleDescriptor("register", "mean MIDI pitch", "plays high on the keyboard", "plays low on the keyboard"),
    StyleDescriptor("pitch_spread", "semitones", "uses the whole keyboard", "stays within a narrow range"),
    StyleDescriptor(
        "left_hand",
        "share of notes below middle C",
        "gives the left hand much to do",
        "leaves the left hand little",
    ),
    StyleDescriptor("chords", "share of onsets of three notes or more", "thinks in chords", "thinks in single lines"),
    StyleDescriptor(
        "leaps",
        "semitones from melody note to melody note",
        "leaps about in the melody",
        "moves in small steps",
    ),
    StyleDescriptor("repeated_notes", "share of melody notes", "repeats notes", "hardly repeats a note"),
    StyleDescriptor(
        "articulation",
        "length of a melody note over the gap to the next",
        "binds notes together",
        "plays detached",
    ),
    StyleDescriptor(
        "evenness",
        "share of gaps as long as the one before",
        "plays even rhythms",
        "plays uneven rhythms",
    ),
    StyleDescriptor("loudness", "mean velocity", "strikes hard", "strikes softly"),
    StyleDescriptor("dynamics", "spread of velocities", "varies the touch much", "varies the touch little"),
    StyleDescriptor("pedal", "share of time", "keeps the pedal down", "hardly uses the pedal"),
)


def chord_starts(notes: Notes) -> np.ndarray:
    """int (C,): the first note of each chord, in order."""
    if not len(notes):
        return np.zeros(0, int)
    return np.flatnonzero(np.diff(notes.onset_s, prepend=-np.inf) > TOGETHER_S)


def _chords_of(notes: Notes) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(first note of each chord, sizes, highest pitches, lowest pitches), each int (C,)."""
    starts, pitch = chord_starts(notes), notes.pitch.astype(int)
    sizes = np.diff(np.append(starts, len(notes)))
    return starts, sizes, np.maximum.reduceat(pitch, starts), np.minimum.reduceat(pitch, starts)


def top_line(notes: Notes) -> tuple[tuple[float, int], ...]:
    """The highest note of each chord: tuple of (onset_s, MIDI pitch)."""
    starts = chord_starts(notes)
    highest = np.maximum.reduceat(notes.pitch, starts) if len(starts) else ()
    return tuple((float(s), int(p)) for s, p in zip(notes.onset_s[starts], highest, strict=True))


def style_descriptors(notes: Notes) -> dict[str, float]:
    """The values of STYLE_DESCRIPTORS for a performance.

    Parameters
    ----------
    notes : Notes, at least two of them

    Returns
    -------
    dict name -> float
    """
    plain, (starts, sizes, melody, _) = describe(notes), _chords_of(notes)
    pitch = notes.pitch.astype(int)
    gaps = np.diff(notes.onset_s[starts])
    steps, rhythmic = np.abs(np.diff(melody)), gaps < LONGEST_GAP_S
    ratio = np.log2(gaps[1:].clip(0.01) / gaps[:-1].clip(0.01))[rhythmic[1:] & rhythmic[:-1]]
    longest = np.maximum.reduceat(notes.duration_s, starts)[:-1]
    return {
        "notes_per_s": plain["notes_per_s"],
        "register": float(pitch.mean()),
        "pitch_spread": float(pitch.std()),
        "left_hand": float((pitch < MIDDLE_C).mean()),
        "chords": float((sizes >= LARGE_CHORD).mean()),
        "leaps": float(steps.mean()) if len(steps) else 0.0,
        "repeated_notes": float((steps == 0).mean()) if len(steps) else 0.0,
        "articulation": float(np.median((longest / gaps.clip(0.01))[rhythmic])) if rhythmic.any() else 0.0,
        "evenness": float((np.abs(ratio) < EVEN).mean()) if len(ratio) else 0.0,
        "loudness": plain["velocity_mean"],
        "dynamics": plain["velocity_std"],
        "pedal": plain["pedal_share"],
    }


# --- Histograms and means (after Edwards et al. and Cheston et al.) ------------------------------------------------


def _shares(values, edges):
    """How the values are spread over bins, outliers in the outer ones."""
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(float)
    return counts / max(1.0, counts.sum())


def note_statistics(notes: Notes) -> np.ndarray:
    """Histograms and means of a recording, 269 numbers."""
    onset_s, duration_s = notes.onset_s, notes.duration_s
    pitch, velocity = notes.pitch.astype(int), notes.velocity.astype(float)
    starts, sizes, top, low = _chords_of(notes)
    gaps, left, held_s = np.diff(onset_s[starts]), pitch < MIDDLE_C, notes.pedal_s[:, 1] - notes.pedal_s[:, 0]
    ratio = np.log2(gaps[1:].clip(0.01) / gaps[:-1].clip(0.01)) if len(gaps) > 1 else np.zeros(1)
    seconds, wide = onset_s[-1] + 1, sizes > 1
    parts = [
        _shares(pitch, np.arange(21, 110, 4)),
        *(_shares(np.diff(line), np.arange(-12.5, 13.5)) for line in (top, low)),
        _shares(gaps, np.geomspace(0.02, 2, 17)),
        _shares(duration_s, np.geomspace(0.02, 4, 17)),
        _shares(velocity, np.linspace(0, 128, 17)),
        _shares(sizes, np.arange(0.5, 9.5)),
        _shares(pitch[starts[wide] + 1] - pitch[starts[wide]], np.arange(0.5, 17.5)),
        _shares((top - low)[wide], np.arange(0.5, 40, 3)),
        _shares(ratio, np.linspace(-3, 3, 13)),
        _shares(duration_s[starts[:-1]] / gaps.clip(0.01), np.geomspace(0.1, 10, 11)),
        _shares(_shares(onset_s, np.arange(0, seconds + 1, 1.0)) * len(notes), np.linspace(0, 32, 9)),
        _shares(np.diff(velocity[starts]), np.linspace(-40, 40, 11)),
        _shares(held_s, np.geomspace(0.05, 5, 9)),
    ]
    for hand in (left, ~left):
        parts += [
            _shares(duration_s[hand], np.geomspace(0.02, 4, 11)),
            _shares(np.diff(onset_s[hand]), np.geomspace(0.01, 2, 11)),
            _shares(velocity[hand], np.linspace(0, 128, 9)),
            [velocity[hand].mean() if hand.any() else 0.0],
        ]
    rates = np.array([held_s.sum(), len(held_s), len(notes), duration_s.sum()]) / seconds
    parts.append([left.mean(), velocity.std(), *rates])
    return np.concatenate(parts)


# --- n-grams ------------------------------------------------------------------------------------------------------


def note_ngrams(notes: Notes) -> dict[str, list[str]]:
    """n-grams of a recording by kind, {kind: n-grams as words}.

    Intervals of melody and bass, rhythms, lengths, melody with its rhythm, chords, and chord successions; what the left
    hand holds and where it goes next, how melody notes are bound, and how their velocities rise and fall with the line.
    """
    starts, sizes, top, low = _chords_of(notes)
    highest = np.lexsort((notes.pitch, np.repeat(np.arange(len(starts)), sizes)))[np.cumsum(sizes) - 1]
    shades = (np.diff(notes.velocity[highest].astype(int)) / SHADE).round().clip(-SHADES, SHADES).astype(int)
    binding = notes.duration_s[highest][:-1] / np.diff(notes.onset_s[starts])
    ratios = np.searchsorted(ARTICULATION, binding)
    gaps = np.searchsorted(GAPS_S, np.diff(notes.onset_s[starts]))
    lengths = np.searchsorted(LENGTHS_S, notes.duration_s)
    melody, bass = (np.diff(line).clip(-WIDEST, WIDEST) for line in (top, low))
    moves = [f"{step}/{gap}" for step, gap in zip(melody, gaps, strict=True)]
    pitch = notes.pitch.astype(int)
    pitches = [np.sort(pitch[start : start + size]) for start, size in zip(starts, sizes, strict=True)]
    chords = [_shape(chord) for chord in pitches]
    pairs = zip(chords, chords[1:], bass, sizes, sizes[1:])
    return {
        "melody": _grams(melody, 1, 2, 3, 4),
        "bass": _grams(bass, 1, 2, 3),
        "rhythm": _grams(gaps, 1, 2, 3, 4),
        "lengths": _grams(lengths, 1, 2, 3, 4),
        "moves": _grams(moves, 1, 2, 3),
        "chords": [chord for chord, size in zip(chords, sizes, strict=True) if size > 1],
        "left": _left_hand(pitches),
        "articulation": _grams([f"{ratio}/{gap}" for ratio, gap in zip(ratios, gaps, strict=True)], 1, 2, 3),
        "touch": _grams([f"{np.sign(step)}{shade}" for step, shade in zip(melody, shades, strict=True)], 1, 2, 3),
        "successions": [f"{one}>{step}>{other}" for one, other, step, *sizes in pairs if max(sizes) > 1],
    }


def _left_hand(chords):
    """Words of what lies below middle C: shapes, and by which interval of the lowest note one follows another.

    Chords are their pitches, ascending.
    """
    held = [chord[chord < MIDDLE_C] for chord in chords if chord[0] < MIDDLE_C]
    shapes = [_shape(chord) for chord in held]
    steps = [np.clip(chord[0] - before[0], -WIDEST, WIDEST) for before, chord in zip(held, held[1:])]
    moves = [f"{step}>{shape}" for step, shape in zip(steps, shapes[1:])]
    return _grams(shapes, 1, 2) + _grams(moves, 1, 2)


def _shape(chord):
    return "-".join(map(str, chord - chord[0]))


def _grams(symbols, *lengths):
    """Runs of so many symbols as words."""
    symbols = [str(symbol) for symbol in symbols]
    return [",".join(symbols[i : i + n]) for n in lengths for i in range(len(symbols) - n + 1)]


def count_ngrams(recordings: list[Notes]) -> dict[str, Any]:
    """How often each n-gram comes, by `note_ngrams` and their hashes.

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
    rows = [{kind: count.transform([ngrams]) for kind, ngrams in note_ngrams(notes).items()} for notes in recordings]
    return {kind: vstack([row[kind] for row in rows]) for kind in rows[0]}
