"""The residual block that the codec and the style encoder are made of."""

from __future__ import annotations

from torch import nn

DILATIONS = (1, 3, 9)


class ResidualBlock(nn.Module):
    """Dilated 1-D convolution over time, then a mix of channels, added to the input: (B, C, T) -> (B, C, T)."""

    def __init__(self, channels, dilation):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.spread = nn.Conv1d(channels, channels, 5, padding=2 * dilation, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.activation = nn.GELU()

    def forward(self, x):  # noqa: D102
        return x + self.mix(self.activation(self.spread(self.activation(self.norm(x)))))


def residual_stack(channels, blocks):
    """`blocks` residual blocks with dilations 1, 3, 9, 1, ..."""
    return nn.Sequential(*(ResidualBlock(channels, DILATIONS[i % len(DILATIONS)]) for i in range(blocks)))
