"""The diffusion transformer: noisy latents, chords and style -> a posterior over the codes of every latent frame.

Blocks as in DiT (Peebles & Xie 2023) with one adaLN for all blocks plus a learned offset each (PixArt-alpha,
Chen et al. 2023), rotary positions, normalised queries and keys, SwiGLU. The output is a distribution over codes,
trained by cross-entropy; the denoised latent is its mean (Dieleman et al. 2022, CDCD).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.music.chords import CHORD_DIM

ROTARY_BASE = 1000.0  # sequences have about 128 positions


@dataclass(frozen=True)
class Conditions:
    """What the music should be.

    Attributes
    ----------
    style : (B, S); all zeros: no style asked
    chords : (B, N, CHORD_DIM); a frame of zeros: no chord asked
    known : (B, N, D), latents that are given
    known_mask : (B, N, 1), 1 where they are
    """

    style: Tensor
    chords: Tensor
    known: Tensor
    known_mask: Tensor

    def repeat(self, times):
        """Each example `times` times in a row."""
        return Conditions(*(x.repeat_interleave(times, 0) for x in vars(self).values()))

    def without_wishes(self):
        """The same, with neither style nor chords; what is known stays known."""
        return Conditions(torch.zeros_like(self.style), torch.zeros_like(self.chords), self.known, self.known_mask)

    def joined(self, other):
        """Both batches, one behind the other."""
        return Conditions(*(torch.cat(pair) for pair in zip(vars(self).values(), vars(other).values())))


class Attention(nn.Module):
    """Self-attention over time with rotary positions: (B, N, H) -> (B, N, H)."""

    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(hidden, 3 * hidden, bias=False)
        self.to_out = nn.Linear(hidden, hidden)
        self.norm_q, self.norm_k = nn.RMSNorm(hidden // heads), nn.RMSNorm(hidden // heads)

    def forward(self, x, rotation):  # noqa: D102
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d)
        q, k = rotate(self.norm_q(q.float()), rotation), rotate(self.norm_k(k.float()), rotation)
        mixed = functional.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        return self.to_out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and SwiGLU, each shifted, scaled and gated by the condition."""

    def __init__(self, hidden, heads):
        super().__init__()
        inner = 8 * round(hidden * 8 / 3 / 8)  # three matrices of 8/3: as many parameters as two of 4
        self.attention = Attention(hidden, heads)
        self.gate_and_value, self.down = nn.Linear(hidden, 2 * inner), nn.Linear(inner, hidden)
        self.offset = nn.Parameter(torch.zeros(6 * hidden))
        self.norm = nn.LayerNorm(hidden, elementwise_affine=False)

    def forward(self, x, modulation, rotation):  # noqa: D102
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (modulation + self.offset)[:, None].chunk(6, -1)
        x = x + gate_a * self.attention(self.norm(x) * (1 + scale_a) + shift_a, rotation)
        gate, value = self.gate_and_value(self.norm(x) * (1 + scale_m) + shift_m).chunk(2, -1)
        return x + gate_m * self.down(functional.silu(gate) * value)


class DiT(nn.Module):
    """Diffusion transformer over latent frames.

    Parameters
    ----------
    config : DiffusionConfig
    style_dim : S
    groups, codes, code_dim : the codebook's sizes; D = groups * code_dim
    """

    HIDDEN = ("blocks",)  # parts whose matrices Muon may train

    def __init__(self, config, style_dim, groups, codes, code_dim):
        super().__init__()
        self.groups, self.codes = groups, codes
        latent_dim, hidden = groups * code_dim, config.hidden
        self.head_dim = hidden // config.heads
        self.embed = nn.Linear(latent_dim + 1 + CHORD_DIM, hidden)
        self.embed_timestep = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.embed_style = nn.Linear(style_dim, hidden)
        self.style_scale = math.sqrt(style_dim)  # styles have length 1
        self.modulate = nn.Linear(hidden, 6 * hidden)
        self.blocks = nn.ModuleList(Block(hidden, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, groups * codes)
        self._initialise()

    def _initialise(self):
        """Blocks start as the identity (adaLN-zero), the posterior as uniform."""
        for layer in (self.modulate, self.output):
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
        nn.init.normal_(self.embed_timestep[2].weight, std=0.02)

    def forward(self, noisy, timestep, conditions):
        """Posterior over codes.

        Parameters
        ----------
        noisy : (B, N, D), latents at their noise level
        timestep : (B,) in [0, 1], 1 is pure noise
        conditions : Conditions

        Returns
        -------
        logits (B, N, G, K)
        """
        mask = conditions.known_mask
        tokens = torch.cat([torch.where(mask > 0, conditions.known, noisy), mask, conditions.chords], -1)
        x = self.embed(tokens)  # (B, N, H)
        condition = self.embed_timestep(sinusoids(timestep * 1000, x.shape[-1]))
        condition = condition + self.embed_style(conditions.style * self.style_scale)
        modulation = self.modulate(functional.silu(condition))  # (B, 6 H)
        rotation = rotary_angles(x.shape[1], self.head_dim, x.device)
        for block in self.blocks:
            x = block(x, modulation, rotation)
        return self.output(self.norm(x)).unflatten(-1, (self.groups, self.codes))


def sinusoids(position, dim):
    """(B,) -> (B, dim): sines and cosines of geometric frequencies."""
    frequency = torch.exp(-math.log(10000) * torch.arange(dim // 2, device=position.device) / (dim // 2))
    angle = position[:, None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], -1)


def rotary_angles(length, head_dim, device):
    """Cosines and sines (N, head_dim / 2) of the rotary embedding (Su et al. 2021)."""
    frequency = ROTARY_BASE ** (-torch.arange(0, head_dim, 2, device=device) / head_dim)
    angle = torch.arange(length, device=device)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x, rotation):
    """(B, heads, N, d) turned by position."""
    cos, sin = rotation
    first, second = x.float().chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
