"""Runs of notes for a style encoder: every note relative to the notes before it.

Conventions: a window is WINDOW_NOTES notes in order of onset; pitches count in semitones, times in seconds. A context
says nothing of the key (a transposed passage has the same intervals) and little of the register.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.music.piano_roll import LOWEST_PITCH

WINDOW_NOTES = 256  # 25 s at ten notes a second
LONGEST_PASSAGE_S = 120.0  # in which a window's notes are looked for
VALUES = ("onset_s", "duration_s", "pitch", "velocity", "pedal")
WIDEST_INTERVAL = 24  # wider ones count as this
GAP_EDGES_S = torch.tensor(np.geomspace(0.02, 4, 15), dtype=torch.float32)
DURATION_EDGES_S = torch.tensor(np.geomspace(0.03, 4, 15), dtype=torch.float32)
ARTICULATION_EDGES = torch.tensor(np.geomspace(0.1, 10, 11), dtype=torch.float32)  # duration over the gap to the next
VELOCITY_STEP, SHADE_STEP, SHADES, REGISTER_STEP = 7, 6, 6, 4
VELOCITY_LAGS = 2
INTERVALS, GAPS = 2 * WIDEST_INTERVAL + 2, len(GAP_EDGES_S) + 2  # choices, the first: no note so long ago
PLAIN = (len(DURATION_EDGES_S) + 1, len(ARTICULATION_EDGES) + 1, 128 // VELOCITY_STEP + 1, 2, 88 // REGISTER_STEP)


@dataclass(frozen=True)
class NoteWindows:
    """A batch of windows.

    Attributes
    ----------
    values : Tensor (B, 5, L), rows as in VALUES; pedal is 1 where a note begins with the pedal down
    mask : bool Tensor (B, L), where there is a note: a shorter passage is padded
    """

    values: Tensor
    mask: Tensor

    def to(self, device):
        """The same on another device."""
        return NoteWindows(self.values.to(device), self.mask.to(device))


def note_values(notes):
    """float32 (5, N) of Notes, rows as in VALUES."""
    pedal = np.zeros(len(notes))
    if len(notes.pedal_s):
        interval = np.searchsorted(notes.pedal_s[:, 0], notes.onset_s, side="right") - 1
        pedal = (interval >= 0) & (notes.onset_s < notes.pedal_s[interval.clip(0), 1])
    return np.stack([notes.onset_s, notes.duration_s, notes.pitch, notes.velocity, pedal]).astype(np.float32)


def note_windows(passages, device="cpu"):
    """NoteWindows of passages' first WINDOW_NOTES notes.

    Parameters
    ----------
    passages : list of float (5, N), as of `note_values`
    """
    values = np.zeros((len(passages), len(VALUES), WINDOW_NOTES), dtype=np.float32)
    mask = np.zeros((len(passages), WINDOW_NOTES), dtype=bool)
    for row, passage in enumerate(passages):
        passage = passage[:, :WINDOW_NOTES]
        values[row, :, : passage.shape[1]], mask[row, : passage.shape[1]] = passage, True
    return NoteWindows(torch.from_numpy(values), torch.from_numpy(mask)).to(device)


def context_sizes(lags):
    """Choices of each of a note's features, for `lags` earlier notes."""
    return [INTERVALS] * lags + [GAPS] * lags + [*PLAIN] + [2 * SHADES + 2] * VELOCITY_LAGS


def against(values: Tensor, lag: int) -> Tensor:
    """(B, L): each value less the one `lag` rows before it; the first ones less 0."""
    return values - functional.pad(values, (lag, 0))[:, : values.shape[1]]


def contexts(windows, lags):
    """Each note's features.

    Parameters
    ----------
    windows : NoteWindows (B, 5, L)
    lags : how many earlier notes a note is compared with

    Returns
    -------
    int64 (B, L, len(context_sizes(lags))): intervals and time gaps to earlier notes (0: there is none), duration,
        articulation, velocity, pedal, register, and velocity against the last two notes
    """
    onset_s, duration_s, pitch, velocity, pedal = windows.values.unbind(1)
    position = torch.arange(pitch.shape[1], device=pitch.device)

    def known(choice, lag):
        return torch.where(position >= lag, choice.long() + 1, 0)

    def shade(lag):
        return known((against(velocity, lag) / SHADE_STEP).round().clamp(-SHADES, SHADES) + SHADES, lag)

    def place_among(values, edges):
        return torch.bucketize(values.contiguous(), edges.to(values.device))

    earlier, widest = range(1, lags + 1), WIDEST_INTERVAL
    next_s = functional.pad(onset_s, (0, 1))[:, 1:]  # of the last note: 0, so that its gap is the least
    return torch.stack(
        [
            *(known(against(pitch, lag).clamp(-widest, widest) + widest, lag) for lag in earlier),
            *(known(place_among(against(onset_s, lag), GAP_EDGES_S), lag) for lag in earlier),
            place_among(duration_s, DURATION_EDGES_S),
            place_among(duration_s / (next_s - onset_s).clamp(min=0.01), ARTICULATION_EDGES),
            (velocity / VELOCITY_STEP).long().clamp(0, PLAIN[2] - 1),
            pedal.long(),
            ((pitch - LOWEST_PITCH) / REGISTER_STEP).long().clamp(0, PLAIN[4] - 1),
            *(shade(lag) for lag in range(1, VELOCITY_LAGS + 1)),
        ],
        -1,
    )
