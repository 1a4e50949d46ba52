"""The diffusion transformer: codes of which some are hidden, chords and style -> a posterior over every code.

Blocks as in DiT (Peebles & Xie 2023) with one adaLN for all blocks plus a learned offset each (PixArt-alpha,
Chen et al. 2023), rotary positions, normalised queries and keys, SwiGLU. It is not told how much is hidden: it sees that
(Ou et al. 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.music.chart import CHORD_DIM

ROTARY_BASE = 1000.0  # sequences have about 128 positions
HEAD_BLOCKS = 2
KNOBS_DIM = 4  # density, register, and whether each is asked
TYPICAL_DENSITY = 2.3  # log(1 + notes a second): 9


@dataclass(frozen=True)
class Conditions:
    """What the music should be.

    Attributes
    ----------
    style : (B, S); all zeros: no style asked
    chords : (B, N, CHORD_DIM); a frame of zeros: no chord asked
    knobs : (B, N, KNOBS_DIM) of `knobs`: local density and register; zeros: not asked
    """

    style: Tensor
    chords: Tensor
    knobs: Tensor

    def repeat(self, times):
        """The whole batch so many times, one behind the other."""
        return Conditions(*(torch.cat([x] * times) for x in vars(self).values()))

    def without_wishes(self, but_style=False):
        """The same, with nothing asked, or nothing but the style."""
        style = self.style if but_style else torch.zeros_like(self.style)
        return Conditions(style, torch.zeros_like(self.chords), torch.zeros_like(self.knobs))

    def equals(self, other):
        """Whether both ask the same."""
        return all(torch.equal(one, same) for one, same in zip(vars(self).values(), vars(other).values()))

    def joined(self, other):
        """Both batches, one behind the other."""
        return Conditions(*(torch.cat(pair) for pair in zip(vars(self).values(), vars(other).values())))


def knobs(notes_per_s, pitch):
    """What a model is told of density and register.

    Parameters
    ----------
    notes_per_s, pitch : (B, N) onsets a second and mean MIDI pitch around each latent frame; NaN: not asked

    Returns
    -------
    (B, N, KNOBS_DIM)
    """
    values = torch.stack([torch.log1p(notes_per_s) - TYPICAL_DENSITY, (pitch - 60) / 12], -1)
    asked = ~values.isnan()
    return torch.cat([values.nan_to_num(), asked.to(values.dtype)], -1)


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


class FrameHead(nn.Module):
    """Codes of one latent frame, group after group: each group's posterior given the frame's context and the groups before.

    Parameters
    ----------
    hidden : H, as of the context
    kinds : for each of G groups its kind; groups of a kind share their output
    codes, size : K choices a group, each with a vector of D
    """

    def __init__(self, hidden, kinds, codes, size):
        super().__init__()
        groups = len(kinds)
        self.from_context = nn.Linear(hidden, hidden)
        self.from_codes = nn.Parameter(torch.randn(groups, size, hidden) / math.sqrt(groups * size))
        self.group = nn.Parameter(torch.zeros(groups, hidden))
        self.blocks = nn.ModuleList(FeedForward(hidden) for _ in range(HEAD_BLOCKS))
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.ModuleList(nn.Linear(hidden, codes) for _ in range(max(kinds) + 1))
        self.bias = nn.Parameter(torch.zeros(groups, codes))
        self.kinds = kinds
        for layer in self.output:
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)

    def forward(self, context, vectors, asked):
        """Logits of the groups that are asked.

        Parameters
        ----------
        context : (M, H), of M latent frames
        vectors : (M, G, D), of their codes
        asked : bool (M, G), R of them true

        Returns
        -------
        (R, K), row by row
        """
        heard = torch.einsum("mgd,gdh->mgh", vectors, self.from_codes.to(vectors.dtype))
        heard = functional.pad(heard[:, :-1].cumsum(1), (0, 0, 1, 0))
        frame, group = asked.nonzero(as_tuple=True)
        return self.logits(self.from_context(context)[frame] + heard[frame, group], group)

    def logits(self, x, group):
        """(R, K) from what is known before each of R codes, (R, H), and their groups, int64 (R,)."""
        x, kind = self._read(x + self.group[group]), torch.tensor(self.kinds, device=x.device)[group]
        logits = self.bias[group].to(x.dtype)
        for number, layer in enumerate(self.output):
            rows = (kind == number).nonzero()[:, 0]
            logits = logits.index_add(0, rows, layer(x[rows]).to(logits.dtype))
        return logits

    def of_group(self, x, group):
        """The same of one group, an int: (..., H) -> (..., K)."""
        return self.output[self.kinds[group]](self._read(x + self.group[group])) + self.bias[group]

    def _read(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.norm(x)


class FeedForward(nn.Module):
    """SwiGLU behind a norm: (..., H) -> (..., H)."""

    def __init__(self, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.gate_and_value, self.down = nn.Linear(hidden, 2 * hidden), nn.Linear(hidden, hidden)

    def forward(self, x):  # noqa: D102
        gate, value = self.gate_and_value(self.norm(x)).chunk(2, -1)
        return self.down(functional.silu(gate) * value)


class DiT(nn.Module):
    """Diffusion transformer over latent frames.

    Parameters
    ----------
    config : DiffusionConfig
    style_dim : S
    vectors : (G, K, D), the codec's vectors of the codes: how these enter
    kinds : for each of G groups its kind
    silent : codes (2,) of a band in which nothing begins: where the first of a pair is so, the second goes without saying
    """

    HIDDEN = ("blocks", "head.blocks")  # parts whose matrices Muon may train

    def __init__(self, config, style_dim, vectors, kinds, silent):
        super().__init__()
        (self.groups, self.codes, size), hidden = vectors.shape, config.hidden
        self.silent = tuple(int(code) for code in silent)
        self.head_dim = hidden // config.heads
        self.register_buffer("code_vectors", vectors.detach().clone(), persistent=False)
        self.embed_codes = nn.Parameter(torch.randn(self.groups, size, hidden) / math.sqrt(self.groups * size))
        self.hidden_frame = nn.Parameter(torch.zeros(hidden))
        self.embed_wishes = nn.Linear(CHORD_DIM + KNOBS_DIM, hidden)
        self.embed_style = nn.Linear(style_dim, hidden)
        self.style_scale = math.sqrt(style_dim)  # styles have length 1
        self.modulate = nn.Linear(hidden, 6 * hidden)
        self.blocks = nn.ModuleList(Block(hidden, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(hidden)
        self.head = FrameHead(hidden, kinds, self.codes, size)
        self._initialise()

    def _initialise(self):
        """Blocks start as the identity (adaLN-zero), the posterior as uniform."""
        nn.init.zeros_(self.modulate.weight), nn.init.zeros_(self.modulate.bias)

    def forward(self, codes, hidden, conditions):
        """The context of every latent frame.

        Parameters
        ----------
        codes : int64 (B, N, G); where they are hidden they don't matter
        hidden : bool (B, N)
        conditions : Conditions

        Returns
        -------
        (B, N, H), for `nats` and posterior.Posterior
        """
        seen = self.vectors(codes).flatten(-2) @ self.embed_codes.flatten(0, 1)
        x = torch.where(hidden[..., None], self.hidden_frame.to(seen.dtype), seen)
        x = x + self.embed_wishes(torch.cat([conditions.chords, conditions.knobs], -1))  # (B, N, H)
        return self.transform(x, self.embed_style(conditions.style * self.style_scale))

    def transform(self, x, condition):
        """All blocks, under a condition (B, H): (B, N, H) -> (B, N, H)."""
        modulation = self.modulate(functional.silu(condition))  # (B, 6 H)
        rotation = rotary_angles(x.shape[1], self.head_dim, x.device)
        for block in self.blocks:
            x = block(x, modulation, rotation)
        return self.norm(x)

    def vectors(self, codes):
        """The codec's vectors of codes int64 (..., G): (..., G, D)."""
        return self.code_vectors[torch.arange(self.groups, device=codes.device), codes]

    def nats(self, context, codes):
        """Surprise at the codes (M, G) of latent frames with this context (M, H): (nats (M,), share named rightly (M,))."""
        asked = self.asked(codes)
        logits = self.head(context, self.vectors(codes), asked).float()
        nats = functional.cross_entropy(logits, codes[asked], reduction="none")
        hit = (logits.detach().argmax(-1) == codes[asked]).float()
        frame = asked.nonzero(as_tuple=True)[0]
        total, right = (nats.new_zeros(len(codes)).index_add(0, frame, values) for values in (nats, hit))
        return total, right / asked.sum(1)

    def asked(self, codes):
        """bool (M, G): all but the second code of a pair whose first is silent."""
        asked = torch.ones_like(codes, dtype=torch.bool)
        asked[:, 1:-1:2] = codes[:, 0:-1:2] != self.silent[0]
        return asked


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
