"""Who is playing: a passage -> an embedding on the unit sphere, and a class for each known pianist."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lib.models.residual import FrameNorm, wide_stack
from lib.models.vqvae import LATENT_FRAME_VALUES, fold
from lib.music.note_windows import context_sizes, contexts


class RollEmbedding(nn.Module):
    """Latent frames of the whole keyboard -> channels: PianoRoll (T frames) -> (B, C, T / LATENT_STRIDE)."""

    def __init__(self, channels):
        super().__init__()
        self.linear = nn.Conv1d(sum(LATENT_FRAME_VALUES), channels, 1)

    def forward(self, piano_roll):  # noqa: D102
        return self.linear(fold(piano_roll))


class NoteEmbedding(nn.Module):
    """Each note's context -> channels, the sum of a vector a feature: NoteWindows (B, 5, L) -> (B, C, L)."""

    def __init__(self, channels, lags):
        super().__init__()
        sizes, self.lags = context_sizes(lags), lags
        self.table = nn.EmbeddingBag(sum(sizes), channels, mode="sum")
        nn.init.normal_(self.table.weight, std=len(sizes) ** -0.5)
        self.register_buffer("first", torch.tensor(sizes).cumsum(0) - torch.tensor(sizes), persistent=False)

    def forward(self, windows):  # noqa: D102
        rows = contexts(windows, self.lags) + self.first  # (B, L, M)
        embedded = self.table(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
        return (embedded * windows.mask[..., None]).transpose(1, 2)


class StyleEncoder(nn.Module):
    """Dilated convolutions over time, attentive statistics pooling (Okabe et al. 2018), cosine classifier.

    Parameters
    ----------
    config : StyleEncoderConfig; `reads` says whether passages are NoteWindows or PianoRolls
    num_pianists : classes
    """

    HIDDEN = ("encoder",)  # parts whose matrices Muon may train

    def __init__(self, config, num_pianists):
        super().__init__()
        channels = config.channels
        self.embed = NoteEmbedding(channels, config.lags) if config.reads == "notes" else RollEmbedding(channels)
        self.encoder = wide_stack(channels, config.blocks)
        self.norm = FrameNorm(channels)
        self.attention = nn.Conv1d(channels, channels, 1)
        self.project = nn.Linear(2 * channels, config.style_dim)
        self.pianists = nn.Parameter(torch.randn(num_pianists, config.style_dim) * 0.1)
        self.log_scale = nn.Parameter(torch.tensor(2.5))  # of the cosines: 12

    def forward(self, passages):
        """NoteWindows or PianoRoll -> (style (B, style_dim) of length 1, logits (B, num_pianists))."""
        hidden = functional.gelu(self.norm(self.encoder(self.embed(passages))))  # (B, C, N)
        weight = self.attention(hidden).float()
        if (mask := getattr(passages, "mask", None)) is not None:
            weight = weight.masked_fill(~mask[:, None], torch.finfo(weight.dtype).min)
        weight = weight.softmax(-1)
        mean = (weight * hidden).sum(-1)
        spread = ((weight * hidden.square()).sum(-1) - mean.square()).clamp(min=1e-6).sqrt()
        style = functional.normalize(self.project(torch.cat([mean, spread], -1)).float(), dim=-1)
        return style, self.log_scale.exp() * style @ functional.normalize(self.pianists, dim=-1).T
