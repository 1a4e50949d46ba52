"""A pianist's habits as numbers with names: how dense, how high, how legato, how evenly, how loud.

Conventions: notes that begin within TOGETHER_S are one chord; its highest note counts as melody, its lowest as bass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.music.metrics import TOGETHER_S, describe
from lib.music.notes import MIDDLE_C

LARGE_CHORD = 3  # notes
EVEN = 0.15  # two gaps are alike where their ratio is within 2 ** +-EVEN
LONGEST_GAP_S = 4.0  # a longer one is a pause, not rhythm


@dataclass(frozen=True)
class Habit:
    """A habit's name, its unit, and what much and little of it is called."""

    name: str
    unit: str
    much: str
    little: str


HABITS = (
    Habit("notes_per_s", "notes a second", "plays many notes", "plays few notes"),
    Habit("register", "mean MIDI pitch", "plays high on the keyboard", "plays low on the keyboard"),
    Habit("pitch_spread", "semitones", "uses the whole keyboard", "stays within a narrow range"),
    Habit("left_hand", "share of notes below middle C", "gives the left hand much to do", "leaves the left hand little"),
    Habit("chords", "share of onsets of three notes or more", "thinks in chords", "thinks in single lines"),
    Habit("leaps", "semitones from melody note to melody note", "leaps about in the melody", "moves in small steps"),
    Habit("repeated_notes", "share of melody notes", "repeats notes", "hardly repeats a note"),
    Habit("articulation", "length of a melody note over the gap to the next", "binds notes together", "plays detached"),
    Habit("evenness", "share of gaps as long as the one before", "plays even rhythms", "plays uneven rhythms"),
    Habit("loudness", "mean velocity", "strikes hard", "strikes softly"),
    Habit("dynamics", "spread of velocities", "varies the touch much", "varies the touch little"),
    Habit("pedal", "share of time", "keeps the pedal down", "hardly uses the pedal"),
)  # fmt: skip


def chord_starts(notes):
    """int (C,): the first note of each chord, in order."""
    if not len(notes):
        return np.zeros(0, int)
    return np.flatnonzero(np.diff(notes.onset_s, prepend=-np.inf) > TOGETHER_S)


def chords_of(notes):
    """(first note of each chord, sizes, highest pitches, lowest pitches), each int (C,)."""
    starts, pitch = chord_starts(notes), notes.pitch.astype(int)
    sizes = np.diff(np.append(starts, len(notes)))
    return starts, sizes, np.maximum.reduceat(pitch, starts), np.minimum.reduceat(pitch, starts)


def top_line(notes):
    """The highest note of each chord: tuple of (onset_s, MIDI pitch)."""
    starts = chord_starts(notes)
    highest = np.maximum.reduceat(notes.pitch, starts) if len(starts) else ()
    return tuple((float(s), int(p)) for s, p in zip(notes.onset_s[starts], highest, strict=True))


def habits(notes):
    """The values of HABITS for a performance.

    Parameters
    ----------
    notes : Notes, at least two of them

    Returns
    -------
    dict name -> float
    """
    plain, (starts, sizes, melody, _) = describe(notes), chords_of(notes)
    pitch = notes.pitch.astype(int)
    gaps = np.diff(notes.onset_s[starts])
    steps, heard = np.abs(np.diff(melody)), gaps < LONGEST_GAP_S
    ratio = np.log2(gaps[1:].clip(0.01) / gaps[:-1].clip(0.01))[heard[1:] & heard[:-1]]
    longest = np.maximum.reduceat(notes.duration_s, starts)[:-1]
    return {
        "notes_per_s": plain["notes_per_s"],
        "register": float(pitch.mean()),
        "pitch_spread": float(pitch.std()),
        "left_hand": float((pitch < MIDDLE_C).mean()),
        "chords": float((sizes >= LARGE_CHORD).mean()),
        "leaps": float(steps.mean()) if len(steps) else 0.0,
        "repeated_notes": float((steps == 0).mean()) if len(steps) else 0.0,
        "articulation": float(np.median((longest / gaps.clip(0.01))[heard])) if heard.any() else 0.0,
        "evenness": float((np.abs(ratio) < EVEN).mean()) if len(ratio) else 0.0,
        "loudness": plain["velocity_mean"],
        "dynamics": plain["velocity_std"],
        "pedal": plain["pedal_share"],
    }
