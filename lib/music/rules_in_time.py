"""Rules about when notes begin: a rhythmic grid with swing, and a melody that must sound.

Conventions: as in rules.py; times in seconds from the first frame of the roll.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from lib.music.piano_roll import FRAME_RATE_HZ, LOWEST_PITCH, NUM_PITCHES
from lib.music.rules import Rule

OFF_GRID_S = 0.06  # an onset that is off by so much is off the grid altogether
MELODY_FRAMES = 3  # an onset that is off by as many (60 ms) is the melody's


def grid_distance_s(num_frames, tempo_bpm, swing=0.5, start_s=0.0):
    """(T,): how far each frame is from the nearest eighth note.

    Parameters
    ----------
    tempo_bpm : quarters a minute
    swing : where in its quarter the second eighth lies: 1/2 straight, 2/3 triplets
    start_s : when the first frame is, from the beginning of a quarter
    """
    phase = ((torch.arange(num_frames) / FRAME_RATE_HZ + start_s) * tempo_bpm / 60) % 1
    away = torch.stack([phase, (phase - swing).abs(), 1 - phase]).amin(0)
    return away * 60 / tempo_bpm


def rhythm_grid(num_frames, tempo_bpm, swing=0.5, start_s=0.0, weight=1.0):
    """Notes begin on eighths; the loss is 0 where all do, 1 where all are OFF_GRID_S away or more, or there are none."""

    def begins(piano_roll):
        return piano_roll.onset.sum(1)  # (B, T)

    def distance(onsets, cost):
        frames = min(onsets.shape[1], len(cost))
        total = onsets[:, :frames].sum(1)
        return torch.where(total > 0, (onsets[:, :frames] * cost[:frames]).sum(1) / total.clamp(min=1), 1.0)

    cost = (grid_distance_s(num_frames, tempo_bpm, swing, start_s) / OFF_GRID_S).clamp(max=1).square()
    return Rule("rhythm_grid", begins, cost, distance, weight)


def melody(times_s, pitches, weight=1.0):
    """These notes sound on top: the loss is the share that does not begin within 60 ms, or lies under another that does.

    A note that sounds, but below another that begins with it, counts half.
    """
    frames = torch.from_numpy(np.rint(np.asarray(times_s, float) * FRAME_RATE_HZ).astype(np.int64))
    keys = torch.as_tensor(np.asarray(pitches, np.int64) - LOWEST_PITCH)
    inside = (keys >= 0) & (keys < NUM_PITCHES) & (frames >= 0)
    frames, keys = frames[inside], keys[inside]

    def heard(piano_roll):
        """(B, M, 2): whether each note begins, and whether nothing above it does."""
        at = frames.to(piano_roll.roll.device)
        near = functional.max_pool1d(piano_roll.onset, 2 * MELODY_FRAMES + 1, 1, MELODY_FRAMES)  # (B, 88, T)
        here = near[:, :, at.clamp(max=near.shape[-1] - 1)].transpose(1, 2)  # (B, M, 88)
        begins = here.gather(-1, keys.to(at.device).expand(len(here), -1)[..., None])[..., 0]
        above = (here * (torch.arange(NUM_PITCHES, device=at.device) > keys.to(at.device)[:, None])).amax(-1)
        return torch.stack([begins, 1 - above], -1) * (at < near.shape[-1])[:, None]

    def distance(found, target):
        fit = found[..., 0] * (1 + found[..., 1]) / 2
        return (target - fit).sum(-1) / max(1, len(frames))

    return Rule("melody", heard, torch.ones(len(frames)), distance, weight)
