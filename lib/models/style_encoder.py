"""Who is playing: a passage -> an embedding on the unit sphere, and a class for each known pianist."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.config import StyleEncoderConfig
from lib.models.blocks import FrameNorm, wide_stack
from lib.music import grouped_notes
from lib.music.note_windows import NoteWindows, context_sizes, contexts
from lib.music.piano_roll import DURATION, LATENT_STRIDE, NUM_PITCHES, VELOCITY, PianoRoll

CHANNELS_PER_WIDTH = 6  # a 2-D map has 44 values a frame and channel, so it can be that much narrower


class RollEncoder(nn.Module):
    """A residual network over keyboard and time: PianoRoll (T frames) -> (B, C, T / LATENT_STRIDE / 8).

    It reads onsets in each roll frame, duration and velocity once a key and latent frame; its first filters span an
    octave, and these and two of its three stages halve both axes.
    """

    def __init__(self, channels: int):
        super().__init__()
        width = channels // CHANNELS_PER_WIDTH
        self.stem = nn.Conv2d(LATENT_STRIDE + 3, width, (13, 3), stride=2, padding=(6, 1))
        widths = (width, width, 2 * width, 4 * width)
        self.stages = nn.Sequential(*(RollBlock(*pair, stride) for pair, stride in zip(pairwise(widths), (1, 2, 2))))
        self.flatten = nn.Linear(4 * width * NUM_PITCHES // 8, channels)

    def forward(self, piano_roll: PianoRoll) -> Tensor:  # noqa: D102
        roll = piano_roll.roll.unflatten(-1, (-1, LATENT_STRIDE))  # (B, 3, 88, N, stride)
        pedal = piano_roll.pedal.unflatten(-1, (-1, LATENT_STRIDE))  # (B, 1, N, stride)
        onsets = roll[:, 0].permute(0, 3, 1, 2)  # (B, stride, 88, N)
        pedal = pedal.mean(-1)[:, :, None].expand(-1, -1, NUM_PITCHES, -1)  # (B, 1, 88, N)
        x = torch.cat([onsets, roll[:, [DURATION, VELOCITY]].amax(-1), pedal], 1)
        x = self.stages(self.stem(x))  # (B, C', P / 8, N / 8)
        return self.flatten(x.flatten(1, 2).transpose(1, 2)).transpose(1, 2)


class RollBlock(nn.Module):
    """Two 3 x 3 convolutions behind norms, residual (He et al. 2016): (B, C, P, N) -> (B, C', P / s, N / s)."""

    def __init__(self, channels: int, out_channels: int, stride: int):
        super().__init__()
        self.first, self.second = nn.GroupNorm(1, channels), nn.GroupNorm(1, out_channels)
        self.widen = nn.Conv2d(channels, out_channels, 3, stride, padding=1)
        self.mix = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.past = nn.Conv2d(channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        widened = self.widen(functional.gelu(self.first(x)))
        return self.past(x) + self.mix(functional.gelu(self.second(widened)))


class NoteEmbedding(nn.Module):
    """Each note's context -> channels, the sum of a vector a feature: NoteWindows (B, 5, L) -> (B, C, L)."""

    def __init__(self, channels: int, lags: int):
        super().__init__()
        sizes, self.lags = context_sizes(lags), lags
        self.table = nn.EmbeddingBag(sum(sizes), channels, mode="sum")
        nn.init.normal_(self.table.weight, std=len(sizes) ** -0.5)
        self.register_buffer("first", torch.tensor(sizes).cumsum(0) - torch.tensor(sizes), persistent=False)

    def forward(self, windows: NoteWindows) -> Tensor:  # noqa: D102
        rows = contexts(windows, self.lags) + self.first  # (B, L, M)
        embedded = self.table(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
        return (embedded * windows.mask[..., None]).transpose(1, 2)


class GroupedNoteEmbedding(nn.Module):
    """Each note's features -> channels, the sum of a vector a choice: NoteWindows (B, 5, L) -> (B, C, L)."""

    def __init__(self, channels: int, lags: int):
        super().__init__()
        sizes, self.lags = grouped_notes.hard_sizes(lags), lags
        std = (len(sizes) + lags + grouped_notes.OTHER_MEASURES) ** -0.5
        self.table = nn.EmbeddingBag(sum(sizes), channels, mode="sum")
        nn.init.normal_(self.table.weight, std=std)
        self.measured = nn.Linear(grouped_notes.soft_size(lags), channels, bias=False)
        nn.init.normal_(self.measured.weight, std=std)
        self.register_buffer("first", torch.tensor(sizes).cumsum(0) - torch.tensor(sizes), persistent=False)

    def forward(self, windows: NoteWindows) -> Tensor:  # noqa: D102
        hard, soft = grouped_notes.features(windows, self.lags)
        embedded = self.table((hard + self.first).flatten(0, 1)).unflatten(0, hard.shape[:2]) + self.measured(soft)
        return (embedded * windows.mask[..., None]).transpose(1, 2)


EMBEDDINGS = {"notes": NoteEmbedding, "chords": GroupedNoteEmbedding}  # by what an encoder reads; a roll has none


class StyleEncoder(nn.Module):
    """Convolutions over notes or a roll, attentive statistics pooling (Okabe et al. 2018), cosine classifier.

    Parameters
    ----------
    num_pianists : P classes
    channels : C, width of the convolutions
    blocks : residual blocks over notes; a roll has its own
    style_dim : S
    lags : earlier notes that a note is compared with
    reads : "chords", "notes" or "roll": NoteWindows of grouped_notes or of note_windows, or PianoRolls
    """

    MUON_MODULES = ("encoder",)  # whose matrices Muon may train

    def __init__(
        self, num_pianists: int, channels: int, blocks: int, style_dim: int, lags: int = 8, reads: str = "chords"
    ):
        super().__init__()
        by_note = reads in EMBEDDINGS
        self.embed = EMBEDDINGS[reads](channels, lags) if by_note else nn.Identity()
        self.encoder = wide_stack(channels, blocks) if by_note else RollEncoder(channels)
        self.norm = FrameNorm(channels)
        self.attention = nn.Conv1d(channels, channels, 1)
        self.project = nn.Linear(2 * channels, style_dim)
        self.pianists = nn.Parameter(torch.randn(num_pianists, style_dim) * 0.1)
        self.log_scale = nn.Parameter(torch.tensor(2.5))  # of the cosines: 12

    @classmethod
    def from_config(cls, config: StyleEncoderConfig, num_pianists: int) -> StyleEncoder:
        """A model of the config's sizes."""
        return cls(num_pianists, config.channels, config.blocks, config.style_dim, config.lags, config.reads)

    def forward(self, passages: NoteWindows | PianoRoll) -> tuple[Tensor, Tensor]:
        """Passages -> (style (B, S) of length 1, logits (B, P))."""
        return self.classify(self.pool(passages))

    def pool(self, passages: NoteWindows | PianoRoll) -> Tensor:
        """Passages -> (B, 2 C), weighted mean and standard deviation of their features."""
        x = functional.gelu(self.norm(self.encoder(self.embed(passages))))  # (B, C, N)
        weight = self.attention(x).float()
        if (mask := getattr(passages, "mask", None)) is not None:
            weight = weight.masked_fill(~mask[:, None], torch.finfo(weight.dtype).min)
        weight = weight.softmax(-1)
        mean = (weight * x).sum(-1)
        deviation = ((weight * x.square()).sum(-1) - mean.square()).clamp(min=1e-6).sqrt()
        return torch.cat([mean, deviation], -1)

    def classify(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2 C), as of `pool` -> (style (B, S) of length 1, logits (B, P))."""
        style = functional.normalize(self.project(pooled).float(), dim=-1)
        return style, self.log_scale.exp() * style @ functional.normalize(self.pianists, dim=-1).T
