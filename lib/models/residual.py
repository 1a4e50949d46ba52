"""The residual block that the codec and the style encoder are made of."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

DILATIONS = (1, 3, 9)
ChunkNorm = partial(nn.GroupNorm, 1)  # over channels and time


class FrameNorm(nn.Module):
    """Root-mean-square norm over channels, each frame for itself (Zhang & Sennrich 2019): (B, C, T) -> (B, C, T)."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):  # noqa: D102
        scale = torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-6).to(x.dtype)
        return x * scale * self.weight[:, None].to(x.dtype)


class ResidualBlock(nn.Module):
    """Dilated 1-D convolution over time, then a mix of channels, added to the input: (B, C, T) -> (B, C, T)."""

    def __init__(self, channels, dilation, norm):
        super().__init__()
        self.norm = norm(channels)
        self.spread = nn.Conv1d(channels, channels, 5, padding=2 * dilation, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.activation = nn.GELU()

    def forward(self, x):  # noqa: D102
        return x + self.mix(self.activation(self.spread(self.activation(self.norm(x)))))


def residual_stack(channels, blocks, norm=ChunkNorm):
    """`blocks` residual blocks with dilations 1, 3, 9, 1, ..."""
    return nn.Sequential(*(ResidualBlock(channels, DILATIONS[i % len(DILATIONS)], norm) for i in range(blocks)))
