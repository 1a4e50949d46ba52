"""The noise schedule: how much signal and how much noise at a timestep in [0, 1].

Variance preserving: x_t = signal(t) * x_0 + noise(t) * eps with signal^2 + noise^2 = 1 (cosine schedule,
Nichol & Dhariwal 2021, without their offset). 0 is clean, 1 is pure noise.
"""

from __future__ import annotations

import math

import torch

LAST_TIMESTEP = 0.995  # sampling begins here: at 1 the posterior knows nothing and the first step is undefined


def signal(timestep):
    """Share of the clean latent: Tensor in [0, 1] -> Tensor."""
    return torch.cos(timestep * (math.pi / 2))


def noise(timestep):
    """Standard deviation of the noise: Tensor in [0, 1] -> Tensor."""
    return torch.sin(timestep * (math.pi / 2))


def diffuse(clean, epsilon, timestep):
    """Clean latents (B, N, D), unit noise of that shape and timestep (B,) -> noisy latents."""
    timestep = timestep[:, None, None]
    return signal(timestep) * clean + noise(timestep) * epsilon


def sampling_timesteps(num_steps):
    """(num_steps + 1,) falling from LAST_TIMESTEP to 0, evenly."""
    return torch.linspace(LAST_TIMESTEP, 0.0, num_steps + 1)
