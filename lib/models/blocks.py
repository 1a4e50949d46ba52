"""The residual blocks that the codec and the style encoder are made of."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

DILATIONS, WIDENING = (1, 2, 4), 2


class FrameNorm(nn.Module):
    """Root-mean-square norm over channels, each frame for itself (Zhang & Sennrich 2019): (B, C, T) -> (B, C, T)."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):  # noqa: D102
        scale = torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-6).to(x.dtype)
        return x * scale * self.weight[:, None].to(x.dtype)


class WideBlock(nn.Module):
    """Convolution over 3 frames into twice the channels, then back, added to the input: (B, C, T) -> (B, C, T).

    For models that have more to work out within a frame than between frames: after 300 steps of preset laptop the
    codec's loss was 2.55, with kernels of 5 and no widening 2.85 (at 0.8 of the time a step).
    """

    def __init__(self, channels, dilation):
        super().__init__()
        self.norm = FrameNorm(channels)
        self.widen = nn.Conv1d(channels, WIDENING * channels, 3, padding=dilation, dilation=dilation)
        self.narrow = nn.Conv1d(WIDENING * channels, channels, 1)

    def forward(self, x):  # noqa: D102
        return x + self.narrow(functional.gelu(self.widen(self.norm(x))))


def wide_stack(channels, blocks):
    """`blocks` wide blocks with dilations 1, 2, 4, 1, ..."""
    return nn.Sequential(*(WideBlock(channels, DILATIONS[i % len(DILATIONS)]) for i in range(blocks)))
