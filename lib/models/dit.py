"""The diffusion transformer: codes of which some are masked, chords and style -> a posterior over every code.

Blocks as in DiT (Peebles & Xie 2023) with one adaLN for all blocks plus a learned offset each (PixArt-alpha, Chen et
al. 2023), rotary positions, normalised queries and keys, SwiGLU. There is no timestep embedding: the mask itself shows
the noise level (Ou et al. 2024). Samplers draw from its `Posterior`, with classifier-free guidance, group after group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.config import DiffusionConfig
from lib.models.blocks import RMSNorm, swiglu
from lib.models.frame_head import FrameHead
from lib.music.chart import CHORD_DIM

ROTARY_BASE = 1000.0  # sequences have about 128 positions
ATTRIBUTES_DIM = 4  # density, register, and whether each is given
TYPICAL_LOGIT = -2.6  # of something beginning in a band (7 %); measured: data/released/improviser.md
TYPICAL_DENSITY = 2.3  # log(1 + notes a second): 9


@dataclass(frozen=True)
class Conditions:
    """What the music should be; zeros stand for no condition, as condition dropout leaves them in training.

    Attributes
    ----------
    style : (B, S)
    chords : (B, N, CHORD_DIM), of music.chart.chord_features
    attributes : (B, N, ATTRIBUTES_DIM), of `attributes`
    """

    style: Tensor
    chords: Tensor
    attributes: Tensor

    def repeat(self, times: int) -> Conditions:
        """The whole batch so many times, one behind the other."""
        return Conditions(*(torch.cat([x] * times) for x in vars(self).values()))

    def dropped(self, keep_style: bool = False) -> Conditions:
        """The same without conditions, or with the style alone."""
        style = self.style if keep_style else torch.zeros_like(self.style)
        return Conditions(style, torch.zeros_like(self.chords), torch.zeros_like(self.attributes))

    def equals(self, other: Conditions) -> bool:
        """Whether both are the same."""
        return all(torch.equal(x, y) for x, y in zip(vars(self).values(), vars(other).values(), strict=True))

    def joined(self, other: Conditions) -> Conditions:
        """Both batches, one behind the other."""
        return Conditions(*(torch.cat(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


def attributes(notes_per_s: Tensor, pitch: Tensor) -> Tensor:
    """Density and register as the model reads them.

    Parameters
    ----------
    notes_per_s, pitch : (B, N) onsets a second and mean MIDI pitch around each latent frame; NaN: no condition

    Returns
    -------
    (B, N, ATTRIBUTES_DIM)
    """
    values = torch.stack([torch.log1p(notes_per_s) - TYPICAL_DENSITY, (pitch - 60) / 12], -1)
    given = ~values.isnan()
    return torch.cat([values.nan_to_num(), given.to(values.dtype)], -1)


class Attention(nn.Module):
    """Self-attention over time with rotary positions: (B, N, W) -> (B, N, W)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width)
        self.norm_q, self.norm_k = RMSNorm(width // heads), RMSNorm(width // heads)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:  # noqa: D102
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        q, k = _rotate(self.norm_q(q), rotation), _rotate(self.norm_k(k), rotation)
        mixed = functional.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        return self.to_out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and SwiGLU, each shifted, scaled and gated by the condition: (B, N, W) -> (B, N, W)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        inner = 8 * round(width * 8 / 3 / 8)  # three matrices of 8/3: as many parameters as two of 4
        self.attention = Attention(width, heads)
        self.gate_and_value, self.down = nn.Linear(width, 2 * inner), nn.Linear(inner, width)
        self.offset = nn.Parameter(torch.empty(6 * width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(self, x: Tensor, modulation: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:  # noqa: D102
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (modulation + self.offset)[:, None].chunk(6, -1)
        x = x + gate_a * self.attention(self.norm(x) * (1 + scale_a) + shift_a, rotation)
        return x + gate_m * swiglu(self.norm(x) * (1 + scale_m) + shift_m, self.gate_and_value, self.down)


class DiT(nn.Module):
    """Diffusion transformer over latent frames.

    Parameters
    ----------
    code_vectors : (G, K, D), of each of G groups the codec's vectors of its K codes: how these enter
    kinds : for each group its kind; groups of a kind share their output
    width, depth, heads : W, number of blocks, heads of each
    style_dim : S
    silent : the code of a band in which nothing begins: where it is the first of a pair, the second is implied
    """

    MUON_MODULES = ("blocks", "head.blocks")  # whose matrices Muon may train

    def __init__(
        self,
        code_vectors: Tensor,
        kinds: Sequence[int],
        width: int,
        depth: int,
        heads: int,
        style_dim: int,
        silent: int = 0,
    ):
        super().__init__()
        self.groups, self.codes, size = code_vectors.shape
        self.silent, self.head_dim = silent, width // heads
        self.style_scale = math.sqrt(style_dim)  # styles have length 1
        self.register_buffer("code_vectors", code_vectors.detach().clone(), persistent=False)
        with torch.random.fork_rng(devices=()):  # what layers draw by themselves is drawn anew in initialize_weights
            self.embed_codes = nn.Parameter(torch.empty(self.groups, size, width))
            self.mask_token = nn.Parameter(torch.empty(width))
            self.embed_conditions = nn.Linear(CHORD_DIM + ATTRIBUTES_DIM, width)
            self.embed_style = nn.Linear(style_dim, width)
            self.modulate = nn.Linear(width, 6 * width)
            self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
            self.norm = nn.LayerNorm(width)
            self.head = FrameHead(width, kinds, self.codes, size)
        self.initialize_weights()

    @classmethod
    def from_config(cls, config: DiffusionConfig, style_dim: int, code_vectors: Tensor, kinds: Sequence[int]) -> DiT:
        """A model of the config's sizes."""
        return cls(code_vectors, kinds, config.width, config.depth, config.heads, style_dim)

    def initialize_weights(self):
        """All weights. The order of what is drawn is fixed, so that a seed gives the same model in every version."""
        # codes: normal, so that the sum over groups and dimensions has unit variance
        groups, size, _ = self.embed_codes.shape
        with torch.no_grad():
            self.embed_codes.copy_(torch.randn_like(self.embed_codes) / math.sqrt(groups * size))
        # linear layers: uniform within 1 / sqrt(inputs), PyTorch's own
        for part in (self.embed_conditions, self.embed_style, self.modulate, *self.blocks.modules()):
            if isinstance(part, nn.Linear):
                part.reset_parameters()
        # adaLN-zero: every block starts as the identity
        nn.init.zeros_(self.modulate.weight), nn.init.zeros_(self.modulate.bias)
        for block in self.blocks:
            nn.init.zeros_(block.offset)
        nn.init.zeros_(self.mask_token)
        # the head's outputs: zero, so that the posterior starts uniform
        self.head.initialize_weights()

    def forward(self, codes: Tensor, mask: Tensor, conditions: Conditions) -> Tensor:
        """The context of every latent frame.

        Parameters
        ----------
        codes : int64 (B, N, G); where they are masked they do not matter
        mask : bool (B, N)
        conditions : Conditions

        Returns
        -------
        (B, N, W), for `nll` and `Posterior`
        """
        frames = self.vectors(codes).flatten(-2) @ self.embed_codes.flatten(0, 1)  # (B, N, G D) -> (B, N, W)
        x = torch.where(mask[..., None], self.mask_token.to(frames.dtype), frames)  # (B, N, W)
        x = x + self.embed_conditions(torch.cat([conditions.chords, conditions.attributes], -1))  # (B, N, W)
        return self.transform(x, self.embed_style(conditions.style * self.style_scale))  # (B, N, W)

    def transform(self, x: Tensor, condition: Tensor) -> Tensor:
        """All blocks, under a condition (B, W): (B, N, W) -> (B, N, W)."""
        modulation = self.modulate(functional.silu(condition))  # (B, 6 W)
        rotation = _rotary_angles(x.shape[1], self.head_dim, x.device)  # (N, d / 2) twice
        for block in self.blocks:
            x = block(x, modulation, rotation)  # (B, N, W)
        return self.norm(x)

    def vectors(self, codes: Tensor) -> Tensor:
        """The codec's vectors of codes int64 (..., G): (..., G, D)."""
        return self.code_vectors[torch.arange(self.groups, device=codes.device), codes]

    def nll(self, context: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of latent frames.

        Parameters
        ----------
        context : (M, W), of `forward`
        codes : int64 (M, G)

        Returns
        -------
        nll_nats (M,), of all codes of a frame; accuracy (M,), share of its codes that are the most likely ones
        """
        coded = self.coded(codes)
        logits = self.head(context, self.vectors(codes), coded).float()
        nll_nats = functional.cross_entropy(logits, codes[coded], reduction="none")
        hit = (logits.detach().argmax(-1) == codes[coded]).float()
        frame = coded.nonzero(as_tuple=True)[0]
        total, hits = (nll_nats.new_zeros(len(codes)).index_add(0, frame, values) for values in (nll_nats, hit))
        return total, hits / coded.sum(1)

    def coded(self, codes: Tensor) -> Tensor:
        """bool (M, G): which codes are not implied, i.e. all but the second of a pair whose first is silent."""
        coded = torch.ones_like(codes, dtype=torch.bool)
        coded[:, 1:-1:2] = codes[:, 0:-1:2] != self.silent
        return coded


def _rotary_angles(length: int, head_dim: int, device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (N, head_dim / 2) of the rotary embedding (Su et al. 2021)."""
    frequency = ROTARY_BASE ** (-torch.arange(0, head_dim, 2, device=device) / head_dim)
    angle = torch.arange(length, device=device)[:, None] * frequency
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """(B, heads, N, d) rotated by position."""
    cos, sin = rotation
    first, second = x.float().chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


def classifier_free(
    dit: DiT,
    conditions: Conditions,
    guidance_scale: float = 1.0,
    temperature: float = 1.0,
    guide_style: bool = True,
    guide_pedal: bool = False,
) -> Callable:
    """The model with classifier-free guidance (Ho & Salimans 2022), as a sampler of lib.diffusion takes it.

    Parameters
    ----------
    conditions : of B examples
    guidance_scale : on the log posterior, away from the posterior without conditions; 1: none
    temperature : of the posterior; below 1 sharpens it
    guide_style : whether the other posterior has no style either; not where the model was adapted to that style anyway
    guide_pedal : whether guidance is of the pedal, too: a style has its way with it, chords and density have not

    Returns
    -------
    callable(codes (k B, N, G), mask (k B, N), parent=None) -> Posterior. Codes may be k batches, one behind the other.
        Given the Posterior of the B states that they come from, its context without conditions stands for that of all k
    """
    nothing = conditions.dropped(keep_style=not guide_style)
    guided = guidance_scale != 1 and not conditions.equals(nothing)

    def predict(codes, mask, parent=None):
        times = len(codes) // len(conditions.style)
        repeated = conditions.repeat(times)
        if not guided:
            contexts = dit(codes, mask, repeated)[None]
        elif parent is None:
            both = repeated.joined(nothing.repeat(times))
            contexts = dit(codes.repeat(2, 1, 1), mask.repeat(2, 1), both).unflatten(0, (2, -1))
        else:
            contexts = torch.stack([dit(codes, mask, repeated), parent.contexts[1].repeat(times, 1, 1)])
        return Posterior(dit, contexts, guidance_scale, temperature, guide_pedal)

    return predict


@dataclass(frozen=True)
class Posterior:
    """What a DiT predicts of every latent frame, as samplers want it.

    Attributes
    ----------
    dit : DiT
    contexts : (C, B, N, W): one, or two for classifier-free guidance: with conditions, and without
    guidance_scale : of two contexts, on the log posterior of what is played, not of whether anything is
    temperature : below 1 sharpens
    guide_pedal : whether guidance is of the pedal, too
    """

    dit: DiT
    contexts: Tensor
    guidance_scale: float = 1.0
    temperature: float = 1.0
    guide_pedal: bool = True

    def __getitem__(self, rows) -> Posterior:
        return replace(self, contexts=self.contexts[:, rows])

    def sample(self, mask: Tensor, uniform: Tensor) -> Tensor:
        """Codes of the frames of a mask, group after group, by one uniform number each.

        Parameters
        ----------
        mask : bool (B, N), M of them true
        uniform : (B, N, G)

        Returns
        -------
        int64 (M, G)
        """
        uniform = uniform[mask]  # (M, G)
        dit, head = self.dit, self.dit.head
        contexts = head.from_context(self.contexts[:, mask])  # (C, M, W)
        sampled = torch.zeros_like(contexts[0])  # the codes sampled so far, embedded
        codes = torch.full((len(uniform), dit.groups), dit.silent, device=uniform.device)
        pedal = dit.groups - 1
        for group in range(dit.groups):
            if group == pedal:  # never sharpened: it would hardly ever lift
                rows, chance = torch.arange(len(codes), device=codes.device), uniform[:, group]
                logits = self._guided(head.group_logits(contexts[: None if self.guide_pedal else 1] + sampled, group))
            elif group % 2:  # the second code of a pair is implied where the first is silent
                rows = (codes[:, group - 1] != dit.silent).nonzero()[:, 0]
                logits = self._guided(head.group_logits(contexts[:, rows] + sampled[rows], group)) / self.temperature
                chance = uniform[rows, group]
            else:
                rows, chance, logits = self._onset(contexts, sampled, uniform[:, group], group)
            codes[rows, group] = pick(logits, chance)
            sampled = sampled + dit.code_vectors[group, codes[:, group]] @ head.from_codes[group]
        return codes

    def _onset(self, contexts, sampled, uniform, group):
        """Where something begins in a band: (rows (R,), what is left of their uniform numbers (R,), logits (R, K)).

        Whether anything begins is not guided, and sharpened around how often it does: guided it would be noise, and
        sharpened around one half silence. So the probability of silence without conditions is never needed.
        """
        head, silent = self.dit.head, self.dit.silent
        conditional = head.group_logits(contexts[0] + sampled, group).float()
        silence = conditional[:, silent].clone()
        conditional[:, silent] = -torch.inf
        onset = (conditional.logsumexp(-1) - silence - TYPICAL_LOGIT) / self.temperature + TYPICAL_LOGIT
        chance = torch.sigmoid(-onset)  # (M,), of silence
        rows = (uniform > chance).nonzero()[:, 0]
        logits = torch.cat([conditional[None, rows], head.group_logits(contexts[1:, rows] + sampled[rows], group)])
        logits = self._guided(logits) / self.temperature
        logits[:, silent] = -torch.inf
        return rows, (uniform[rows] - chance[rows]) / (1 - chance[rows]), logits

    def _guided(self, logits):
        """(C, R, K) -> (R, K)"""
        conditional, *unconditional = logits.float()
        if not unconditional:
            return conditional
        return unconditional[0] + self.guidance_scale * (conditional - unconditional[0])


def pick(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw from softmax(logits) (..., K) by one uniform number each (...): int64."""
    below = logits.softmax(-1).cumsum(-1) < uniform[..., None]
    return below.sum(-1).clamp(max=logits.shape[-1] - 1)
