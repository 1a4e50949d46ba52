"""Random rolls, and gradients that are missing: what the tests of several models share."""

import torch

from lib.music.piano_roll import PianoRoll


def rolls(size, frames=64, density=0.01, seed=0):
    """Random rolls with onsets, durations and velocities."""
    generator = torch.Generator().manual_seed(seed)
    onset = (torch.rand(size, 88, frames, generator=generator) < density).float()
    lanes = torch.rand(size, 2, 88, frames, generator=generator).clamp(min=0.1) * onset[:, None]
    pedal = (torch.rand(size, 1, frames, generator=generator) < 0.5).float()
    return PianoRoll(torch.cat([onset[:, None], lanes], 1), pedal)


def has_gradients(model):
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
