"""Augmentation: a performance as another machine would transcribe it, with other touch, pedal and errors.

What these functions change says nothing about who plays, so a model that is trained on altered performances learns to
ignore it. Each takes Notes and gives Notes, ordered by onset, then pitch; each draws from the generator that it is
given and from nothing else. Times are seconds; velocities stay within 1 to 127, and may be fractions.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from lib.music.notes import Notes, reorder, select
from lib.music.time_grid import merge_spans

CHORD_S = 0.035  # notes that begin this soon after the first one are one chord
VELOCITY_LEVELS = (32, 16, 8, 4)
HARMONICS = (12, 12, 19, 24, -12)  # semitones at which a transcriber writes a note that nobody plays
LONGEST_SHORT_PEDAL_S = 0.25


# --- Timing ------------------------------------------------------------------------------------------------------


def chord_index(onset_s: np.ndarray) -> np.ndarray:
    """int (N,): the chord of each note, by ascending onsets (N,); a chord ends CHORD_S after its first note."""
    first_of_next = np.searchsorted(onset_s, onset_s + CHORD_S, side="right").tolist()
    begins, note = np.zeros(len(onset_s), dtype=np.int64), 0
    while note < len(onset_s):
        begins[note] = 1
        note = first_of_next[note]
    return np.cumsum(begins) - 1


def jitter(notes: Notes, generator: np.random.Generator, deviation_s: float) -> Notes:
    """Onsets moved, each by its own normal deviate."""
    return reorder(notes, onset_s=notes.onset_s + generator.normal(0, deviation_s, len(notes)))


def spread_chords(notes: Notes, generator: np.random.Generator, factor: float, roll_s: float = 0.0) -> Notes:
    """Chords spread wider (factor > 1), or struck as one (0), about their means; rolled upwards by `roll_s` a note."""
    chord = chord_index(notes.onset_s)
    mean_s = (np.bincount(chord, notes.onset_s) / np.bincount(chord))[chord]
    onset_s = mean_s + factor * (notes.onset_s - mean_s)
    if roll_s:
        order = np.lexsort((notes.pitch, chord))  # chords stay where they are
        first = np.concatenate([[0], np.flatnonzero(np.diff(chord)) + 1])
        rank = np.empty(len(chord))
        rank[order] = np.arange(len(chord)) - first[chord]
        rolled = generator.random(int(chord[-1]) + 1)[chord] < 0.5
        onset_s = onset_s + rolled * rank * roll_s
    return reorder(notes, onset_s=onset_s)


def scale_durations(
    notes: Notes, generator: np.random.Generator, spread: float, deviation: float, shift_s: float
) -> Notes:
    """Durations times one factor (e^±spread) and one each (e^deviation), releases moved by up to ±shift_s."""
    factor = np.exp(generator.uniform(-spread, spread) + generator.normal(0, deviation, len(notes)))
    return reorder(notes, duration_s=notes.duration_s * factor + generator.uniform(-shift_s, shift_s))


# --- Velocities --------------------------------------------------------------------------------------------------


def bend_velocities(notes: Notes, exponent: float, factor: float = 1.0) -> Notes:
    """Velocities on another curve: 127 (v / 127)^exponent, times a factor."""
    velocity = 127 * (notes.velocity / 127) ** exponent * factor
    return dataclasses.replace(notes, velocity=velocity.clip(1, 127))


def quantise_velocities(notes: Notes, levels: int) -> Notes:
    """Velocities on so many levels; 1: all of them the mean."""
    if levels <= 1:
        return dataclasses.replace(notes, velocity=np.full(len(notes), notes.velocity.mean()))
    width = 128 / levels
    return dataclasses.replace(notes, velocity=((np.floor(notes.velocity / width) + 0.5) * width).clip(1, 127))


def add_velocity_noise(notes: Notes, generator: np.random.Generator, deviation: float) -> Notes:
    """Each velocity moved by its own normal deviate."""
    velocity = notes.velocity + generator.normal(0, deviation, len(notes))
    return dataclasses.replace(notes, velocity=velocity.clip(1, 127))


# --- Pedal -------------------------------------------------------------------------------------------------------


def move_pedal_edges(notes: Notes, generator: np.random.Generator, edge_s: float, shortest_s: float = 0.0) -> Notes:
    """Each edge of the pedal moved by up to ±edge_s; spans shorter than shortest_s go, touching ones are merged."""
    spans_s = notes.pedal_s[notes.pedal_s[:, 1] - notes.pedal_s[:, 0] >= shortest_s]
    spans_s = spans_s + generator.uniform(-edge_s, edge_s, spans_s.shape)
    return dataclasses.replace(notes, pedal_s=merge_spans(spans_s))


# --- Slips of a transcriber --------------------------------------------------------------------------------------


def drop_notes(notes: Notes, generator: np.random.Generator, share: float) -> Notes:
    """Without a share of the notes on average, soft ones more often than loud ones; one at least stays."""
    softness = 1.5 - notes.velocity / max(1.0, float(notes.velocity.max()))
    keep = generator.random(len(notes)) >= share * softness / softness.mean()
    keep[int(generator.integers(len(keep)))] = True
    return select(notes, keep)


def double_notes(notes: Notes, generator: np.random.Generator, share: float) -> Notes:
    """A share of the notes struck again while they sound, and as large a share also written, softly, at a harmonic."""
    again = np.flatnonzero(generator.random(len(notes)) < share)
    part = generator.uniform(0.3, 0.7, len(again))
    duration_s = notes.duration_s.copy()
    rest_s = duration_s[again] * (1 - part)
    duration_s[again] *= part
    ghosts = np.flatnonzero(generator.random(len(notes)) < share)
    count = len(ghosts)
    ghost_onset_s = notes.onset_s[ghosts] + generator.uniform(0, 0.03, count)
    ghost_duration_s = notes.duration_s[ghosts] * generator.uniform(0.3, 1, count)
    ghost_pitch = _kept_on_keyboard(notes.pitch[ghosts], generator.choice(HARMONICS, count))
    ghost_velocity = notes.velocity[ghosts] * generator.uniform(0.3, 0.8, count)
    return reorder(
        notes,
        onset_s=np.concatenate([notes.onset_s, notes.onset_s[again] + duration_s[again], ghost_onset_s]),
        duration_s=np.concatenate([duration_s, rest_s, ghost_duration_s]),
        pitch=np.concatenate([notes.pitch, notes.pitch[again], ghost_pitch]),
        velocity=np.concatenate([notes.velocity, notes.velocity[again] * 0.8, ghost_velocity]),
    )


def add_octave_errors(notes: Notes, generator: np.random.Generator, share: float) -> Notes:
    """A share of the notes an octave off, up or down."""
    wrong = generator.random(len(notes)) < share
    by = np.where(generator.random(len(wrong)) < 0.5, 12, -12) * wrong
    return reorder(notes, pitch=_kept_on_keyboard(notes.pitch, by))


def _kept_on_keyboard(pitch, semitones):
    """Pitches moved, but where they would leave the keyboard."""
    moved = pitch.astype(np.int64) + semitones
    return np.where((moved >= 21) & (moved <= 108), moved, pitch)


# --- All of it ---------------------------------------------------------------------------------------------------


def alter(notes: Notes, generator: np.random.Generator, strength: float = 1.0) -> Notes:
    """A passage as another machine may have written it: some of all that, at full resolution.

    Parameters
    ----------
    notes : one note at least
    generator : numpy Generator
    strength : factor of every change; 1: see the body

    Returns
    -------
    Notes, at least one
    """
    often = generator.random(8)
    notes = drop_notes(notes, generator, 0.1 * strength * generator.random())
    if often[0] < 0.5:
        notes = double_notes(notes, generator, 0.02 * strength * generator.random())
        notes = add_octave_errors(notes, generator, 0.01 * strength * generator.random())
    if often[1] < 0.5:
        roll_s = 0.02 * generator.random() if often[2] < 0.2 else 0.0
        notes = spread_chords(notes, generator, generator.uniform(0, 1.5) if often[3] < 0.7 else 0.0, roll_s)
    notes = jitter(notes, generator, 0.012 * strength * generator.random())
    notes = scale_durations(notes, generator, 0.15 * strength, 0.2 * strength * generator.random(), 0.02 * strength)
    exponent, factor = (float(np.exp(generator.uniform(-most, most) * strength)) for most in (0.35, 0.2))
    notes = bend_velocities(notes, exponent, factor)
    notes = add_velocity_noise(notes, generator, 5 * strength * generator.random())
    if often[4] < 0.3 * strength:
        notes = quantise_velocities(notes, int(generator.choice(VELOCITY_LEVELS)) if often[5] < 0.7 else 1)
    if often[6] < 0.15:
        notes = dataclasses.replace(notes, pedal_s=notes.pedal_s[:0])
    else:
        shortest_s = LONGEST_SHORT_PEDAL_S * generator.random() if often[7] < 0.3 else 0.0
        notes = move_pedal_edges(notes, generator, 0.08 * strength * generator.random(), shortest_s)
    return notes
