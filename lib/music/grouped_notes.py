"""Runs of notes for a style encoder, on any time grid: chords in order of pitch, soft bins.

Notes form a chord where each begins within 47.5 ms of the one before; a chord stands in order of pitch. So the order of
notes does not depend on milliseconds, which files and transcribers round: few gaps are that long, and no grid in use
has that step. What is measured (gaps, lengths, velocities, pedal) falls into two neighbouring bins, each weighted by
its nearness, so that a small change of a time or a velocity changes little of what the encoder reads.

Conventions: as in note_windows.py, whose windows these are.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.music.note_windows import INTERVALS, WIDEST_INTERVAL, NoteWindows, against, note_values, note_windows
from lib.music.notes import Notes
from lib.music.piano_roll import LOWEST_PITCH

LINK_S = 0.0475  # between the steps of the grids in use, 41.7 and 66.7 ms among them
FASTEST_S = 0.04  # the scale of gaps and lengths is logarithmic above, linear below
TIME_CHOICES, TIMES_PER_OCTAVE = 16, 2  # up to 7 s
SOONER_CHOICES = 3  # of gaps to notes of the same chord that begin later
ARTICULATIONS, ARTICULATIONS_PER_OCTAVE, LONGEST_ARTICULATION = 12, 2, 2.5  # octaves of length over gap, from a ninth
VELOCITY_CHOICES, SHADE_CHOICES, SHADE_STEP = 16, 13, 6.0
VELOCITY_LAGS, REGISTER_STEP, REGISTERS = 2, 4, 23
PEDAL_BEFORE_S, PEDAL_AFTER_S = 0.05, 0.25  # around an onset, in which it counts how long the pedal is down
TOGETHER_S, APART_S = 0.02, 0.05  # a note this soon after another is not the next one; a note this late is
LAST_GAP_S = 1.0  # of the last note to the next one, which is unknown
OTHER_MEASURES = 7  # soft features besides the gaps: length, articulation, velocity and its three shades, pedal


def pedal_shares(onset_s: np.ndarray, pedal_s: np.ndarray) -> np.ndarray:
    """float (N,) in [0, 1]: how much of the 300 ms around each onset the pedal is down."""
    if not len(pedal_s):
        return np.zeros(len(onset_s))
    edges_s = pedal_s.ravel()
    down_s = np.concatenate([[0.0], np.cumsum(np.diff(edges_s) * (np.arange(len(edges_s) - 1) % 2 == 0))])
    until, since = (np.interp(onset_s + by, edges_s, down_s) for by in (PEDAL_AFTER_S, -PEDAL_BEFORE_S))
    return ((until - since) / (PEDAL_AFTER_S + PEDAL_BEFORE_S)).clip(0, 1)


def linked_chords(onset_s: np.ndarray) -> np.ndarray:
    """int (N,): the chord of each note, by ascending onsets (N,)."""
    return np.cumsum(np.diff(onset_s, prepend=onset_s[:1]) > LINK_S)


def grouped_values(notes: Notes) -> np.ndarray:
    """float32 (5, N) of notes by chord, then pitch; rows as in note_windows.VALUES, the pedal as of `pedal_shares`."""
    order = np.lexsort((notes.pitch, linked_chords(notes.onset_s)))
    pedal = pedal_shares(notes.onset_s, notes.pedal_s)
    columns = [notes.onset_s, notes.duration_s, notes.pitch, notes.velocity, pedal]
    return np.stack([column[order] for column in columns]).astype(np.float32)


def windows_of(passages: list[Notes], reads: str, device="cpu") -> NoteWindows:
    """NoteWindows (B, 5, L) of B passages as a style encoder reads them: `reads` of its config, "chords" or "notes"."""
    values = grouped_values if reads == "chords" else note_values
    return note_windows([values(notes) for notes in passages], device)


def hard_sizes(lags: int) -> list[int]:
    """Values of each categorical feature: intervals to earlier notes, register."""
    return [INTERVALS] * lags + [REGISTERS]


def soft_size(lags: int) -> int:
    """Bins of all measured features together."""
    gaps, others = lags * (SOONER_CHOICES + TIME_CHOICES), TIME_CHOICES + ARTICULATIONS + 2
    return gaps + others + VELOCITY_CHOICES + (1 + VELOCITY_LAGS) * SHADE_CHOICES


def features(windows: NoteWindows, lags: int) -> tuple[Tensor, Tensor]:
    """Each note's features.

    Parameters
    ----------
    windows : NoteWindows (B, 5, L)
    lags : how many earlier notes a note is compared with

    Returns
    -------
    (int64 (B, L, len(hard_sizes(lags))), float (B, L, soft_size(lags))) : categories (0: no note so long ago), and
        weights of bins: gaps to earlier notes, length, articulation, velocity, velocity against the window's mean and
        the last notes', pedal
    """
    onset_s, duration_s, pitch, velocity, pedal = windows.values.unbind(1)
    index = torch.arange(pitch.shape[1], device=pitch.device)

    def intervals(lag):
        wide = against(pitch, lag).clamp(-WIDEST_INTERVAL, WIDEST_INTERVAL).long() + WIDEST_INTERVAL
        return torch.where(index >= lag, wide + 1, 0)

    def shade(difference):
        return weights(difference / SHADE_STEP + SHADE_CHOICES // 2, SHADE_CHOICES)

    def known(weight, lag):
        return weight * (index >= lag)[:, None]

    mask = windows.mask.to(velocity.dtype)
    mean = (velocity * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    touch = (duration_s.clamp(min=0.005) / gap_to_next(onset_s, windows.mask, lags)).log2() + LONGEST_ARTICULATION
    register = ((pitch - LOWEST_PITCH) / REGISTER_STEP).long().clamp(0, REGISTERS - 1)
    hard = torch.stack([*(intervals(lag) for lag in range(1, lags + 1)), register], -1)
    gaps = (octaves(against(onset_s, lag)) + SOONER_CHOICES for lag in range(1, lags + 1))
    soft = [known(weights(gap, SOONER_CHOICES + TIME_CHOICES), lag) for lag, gap in enumerate(gaps, 1)]
    soft += [weights(octaves(duration_s), TIME_CHOICES), weights(touch * ARTICULATIONS_PER_OCTAVE, ARTICULATIONS)]
    soft += [weights(velocity / 8, VELOCITY_CHOICES), shade(velocity - mean)]
    soft += [known(shade(against(velocity, lag)), lag) for lag in range(1, VELOCITY_LAGS + 1)]
    return hard, torch.cat([*soft, weights(pedal, 2)], -1)


def gap_to_next(onset_s: Tensor, mask: Tensor, lags: int) -> Tensor:
    """Seconds (B, L) from each note to the next chord, a soft minimum: the sooner a note begins, the less it counts."""
    soonest = torch.full_like(onset_s, LAST_GAP_S)
    for lag in range(1, lags + 1):
        gap = functional.pad(onset_s, (0, lag))[:, lag:] - onset_s
        present = functional.pad(mask, (0, lag))[:, lag:]
        counts = ((gap - TOGETHER_S) / (APART_S - TOGETHER_S)).clamp(1e-6, 1)
        soonest = torch.minimum(soonest, torch.where(present, gap.clamp(min=TOGETHER_S) / counts, LAST_GAP_S))
    return soonest


def octaves(seconds: Tensor) -> Tensor:
    """Times on a scale that is linear near 0 and logarithmic above FASTEST_S; negative ones likewise."""
    return seconds.sign() * (1 + seconds.abs() / FASTEST_S).log2() * TIMES_PER_OCTAVE


def weights(values: Tensor, choices: int) -> Tensor:
    """(..., choices): nearness of each value to each integer, 1 at it and 0 from the next one on."""
    values = values.clamp(0, choices - 1)[..., None]
    return (1 - (values - torch.arange(choices, device=values.device)).abs()).clamp(min=0)
