"""Who is playing: piano roll -> an embedding on the unit sphere, and a class for each known pianist."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lib.models.residual import residual_stack
from lib.music.piano_roll import LATENT_STRIDE, NUM_PITCHES

FRAME_VALUES = 3 * NUM_PITCHES + 1  # what one frame holds: three lanes of keys, the pedal


class PianoRollEmbedding(nn.Module):
    """LATENT_STRIDE frames of the whole keyboard -> channels: PianoRoll (T frames) -> (B, C, T / stride)."""

    def __init__(self, channels):
        super().__init__()
        self.linear = nn.Conv1d(FRAME_VALUES, channels, LATENT_STRIDE, stride=LATENT_STRIDE)

    def forward(self, piano_roll):  # noqa: D102
        return self.linear(torch.cat([piano_roll.roll.flatten(1, 2), piano_roll.pedal], 1))


class StyleEncoder(nn.Module):
    """Dilated convolutions over time, attentive statistics pooling (Okabe et al. 2018), cosine classifier.

    Parameters
    ----------
    config : StyleEncoderConfig
    num_pianists : classes
    """

    HIDDEN = ("encoder",)  # parts whose matrices Muon may train

    def __init__(self, config, num_pianists):
        super().__init__()
        self.embed = PianoRollEmbedding(config.channels)
        self.encoder = residual_stack(config.channels, config.blocks)
        self.attention = nn.Conv1d(config.channels, config.channels, 1)
        self.project = nn.Linear(2 * config.channels, config.style_dim)
        self.pianists = nn.Parameter(torch.randn(num_pianists, config.style_dim) * 0.1)
        self.log_scale = nn.Parameter(torch.tensor(2.5))  # of the cosines: 12

    def forward(self, piano_roll):
        """PianoRoll -> (style (B, style_dim) of length 1, logits (B, num_pianists))."""
        hidden = functional.gelu(self.encoder(self.embed(piano_roll)))  # (B, C, N)
        weight = self.attention(hidden).float().softmax(-1)
        mean = (weight * hidden).sum(-1)
        spread = ((weight * hidden.square()).sum(-1) - mean.square()).clamp(min=1e-6).sqrt()
        style = functional.normalize(self.project(torch.cat([mean, spread], -1)).float(), dim=-1)
        return style, self.log_scale.exp() * style @ functional.normalize(self.pianists, dim=-1).T
