"""Guesses which hand plays a note: a border between the hands that moves with the music.

Conventions: a border is a MIDI pitch; what lies below it is the left hand's. The path of borders over time is the
cheapest one (Viterbi): no hand spans more than it can reach, the border keeps clear of notes, near the middle, still.
"""

from __future__ import annotations

import numpy as np
import torch

from lib.music.notes import MIDDLE_C, Notes
from lib.music.viterbi import viterbi

BORDERS = np.arange(40, 80)  # MIDI pitches
GROUP_S = 0.2  # onsets within it are reached from one position of the hands
REACH = 14  # semitones, a ninth
OVER_REACH, NEAR_A_NOTE, OFF_MIDDLE, MOVE = 1.0, 0.5, 0.05, 0.3  # costs a semitone
CLEAR = 4  # semitones from a note that a border likes to keep


def left_hand(notes: Notes) -> np.ndarray:
    """bool (N,): which notes the left hand plays."""
    if not len(notes):
        return np.zeros(0, bool)
    group = np.floor(notes.onset_s / GROUP_S).astype(np.int64)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    pitch = notes.pitch.astype(np.int64)
    costs = np.stack([_cost(one) for one in np.split(pitch, starts[1:])])  # (G, borders)
    moves = torch.from_numpy(MOVE * np.abs(BORDERS[:, None] - BORDERS))
    path = viterbi(-torch.from_numpy(costs), lambda totals, time: (totals[:, None] - moves).max(0))
    border = BORDERS[path.numpy()]
    return pitch < np.repeat(border, np.diff(np.append(starts, len(pitch))))


def _cost(pitch):
    """(borders,): what each border costs for the notes of a group."""
    left = pitch[:, None] < BORDERS
    reach = sum(_span(pitch, side) for side in (left, ~left))
    near = np.abs(pitch[:, None] + 0.5 - BORDERS).min(0)
    return OVER_REACH * reach + NEAR_A_NOTE * (CLEAR - near).clip(0) + OFF_MIDDLE * np.abs(BORDERS - MIDDLE_C)


def _span(pitch, side):
    """(borders,): semitones by which the notes of a side are out of reach."""
    top = np.where(side, pitch[:, None], -1).max(0)
    low = np.where(side, pitch[:, None], 999).min(0)
    return (top - low - REACH).clip(0)
