"""The diffusion transformer: codes of which some are masked, conditions -> a posterior over every code.

Blocks as in DiT (Peebles & Xie 2023) with one adaLN for all blocks plus a learned offset each (PixArt-alpha, Chen et
al. 2023), rotary positions, normalised queries and keys, SwiGLU. There is no timestep embedding: the mask itself shows
the noise level (Ou et al. 2024). Samplers draw from its `Posterior`, with classifier-free guidance, group after group.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.config import DiffusionConfig
from lib.models.blocks import RMSNorm, swiglu
from lib.models.conditions import (
    ATTRIBUTES_DIM,
    CHORDS_DIM,
    FEEL_DIM,
    TEMPO_DIM,
    TEMPO_RANGE,
    TYPICAL_TEMPO,
    Conditions,
)
from lib.models.frame_head import SILENT, TYPICAL_LOGIT, FrameHead
from lib.music.piano_roll import LATENTS_PER_BEAT
from lib.music.tempo_map import LONGEST_BAR

ROTARY_BASE = 1000.0  # sequences have about 200 positions
CLOCK_SIZES = (LATENTS_PER_BEAT + 1, LONGEST_BAR + 1, LONGEST_BAR + 1)  # of the clock's columns, unknown included
TYPICAL_FRAME_S = 0.08  # latent frames that TYPICAL_LOGIT was measured on; longer ones begin more


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
        q, k = _rotate(self.norm_q(q), rotation).to(v.dtype), _rotate(self.norm_k(k), rotation).to(v.dtype)
        if x.device.type == "cpu":  # two products of this length are quicker there than the fused kernel
            scores = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1)
            mixed = scores @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v)
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
    code_vectors : (G, K, D), of each of G groups the codec's vectors of its K codes: how these enter. Groups are
        pattern and expression of each band, in the end the pedal
    pedals : patterns of the pedal
    width, depth, heads : W, number of blocks, heads of each
    style_dim : S
    """

    MUON_MODULES = ("blocks", "head.blocks")  # whose matrices Muon may train

    def __init__(self, code_vectors: Tensor, pedals: int, width: int, depth: int, heads: int, style_dim: int):
        super().__init__()
        self.groups, self.codes, size = code_vectors.shape
        self.head_dim = width // heads
        self.style_scale = math.sqrt(style_dim)  # styles have length 1
        self.register_buffer("code_vectors", code_vectors.detach().clone(), persistent=False)
        with torch.random.fork_rng(devices=()):  # what layers draw by themselves is drawn anew in initialize_weights
            self.embed_codes = nn.Parameter(torch.empty(self.groups, size, width))
            self.embed_reference = nn.Parameter(torch.empty(self.groups, size, width))
            self.reference_token, self.mask_token = (nn.Parameter(torch.empty(width)) for _ in range(2))
            self.embed_conditions = nn.Linear(CHORDS_DIM + ATTRIBUTES_DIM + TEMPO_DIM + FEEL_DIM, width)
            self.embed_clock = nn.ModuleList(nn.Embedding(count, width) for count in CLOCK_SIZES)
            self.embed_style = nn.Linear(style_dim, width)
            self.modulate = nn.Linear(width, 6 * width)
            self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
            self.norm = nn.LayerNorm(width)
            self.head = FrameHead(width, self.groups // 2, self.codes, size, pedals)
        self.initialize_weights()

    @classmethod
    def from_config(cls, config: DiffusionConfig, style_dim: int, code_vectors: Tensor, pedals: int) -> DiT:
        """A model of the config's sizes."""
        return cls(code_vectors, pedals, config.width, config.depth, config.heads, style_dim)

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
        # the clock: small beside the codes
        for embedding in self.embed_clock:
            nn.init.normal_(embedding.weight, std=0.02)
        # adaLN-zero: every block starts as the identity
        nn.init.zeros_(self.modulate.weight), nn.init.zeros_(self.modulate.bias)
        for block in self.blocks:
            nn.init.zeros_(block.offset)
        # the reference is listened to when it has turned out to help
        nn.init.zeros_(self.embed_reference)
        nn.init.zeros_(self.reference_token), nn.init.zeros_(self.mask_token)
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
        (B, N, W), for `nll` and Posterior
        """
        given = conditions
        frames = self.embedded(codes, self.embed_codes)  # (B, N, W)
        reference = self.embedded(given.reference, self.embed_reference) + self.reference_token  # (B, N, W)
        wishes = torch.cat([given.chords, given.attributes, given.tempo, given.feel], -1).to(frames.dtype)
        x = torch.where(mask[..., None], self.mask_token.to(frames.dtype), frames)  # (B, N, W)
        x = x + torch.where(given.referred[..., None], reference, 0)  # (B, N, W)
        x = x + self.embed_conditions(wishes)  # (B, N, W)
        x = x + sum(embed(given.clock[..., column]) for column, embed in enumerate(self.embed_clock))  # (B, N, W)
        return self.transform(x, self.embed_style(given.style.to(frames.dtype) * self.style_scale))  # (B, N, W)

    def transform(self, x: Tensor, condition: Tensor) -> Tensor:
        """All blocks, under a condition (B, W): (B, N, W) -> (B, N, W)."""
        modulation = self.modulate(functional.silu(condition))  # (B, 6 W)
        rotation = _rotary_angles(x.shape[1], self.head_dim, x.device)  # (N, d / 2) twice
        rotation = tuple(part.to(self.mask_token.dtype) for part in rotation)
        for block in self.blocks:
            x = block(x, modulation, rotation)  # (B, N, W)
        return self.norm(x)

    def embedded(self, codes: Tensor, embedding: Tensor) -> Tensor:
        """Codes int64 (B, N, G) by an embedding (G, D, W): (B, N, W)."""
        return self.vectors(codes).flatten(-2) @ embedding.flatten(0, 1)

    def vectors(self, codes: Tensor) -> Tensor:
        """The codec's vectors of codes int64 (..., G): (..., G, D)."""
        return self.code_vectors[torch.arange(self.groups, device=codes.device), codes]

    def nll(self, context: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood and accuracy of latent frames, see FrameHead.nll: context (M, W), codes (M, G)."""
        return self.head.nll(context, self.vectors(codes), codes)


def _rotary_angles(length: int, head_dim: int, device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (N, head_dim / 2) of the rotary embedding (Su et al. 2021)."""
    frequency = ROTARY_BASE ** (-torch.arange(0, head_dim, 2, device=device) / head_dim)
    angle = torch.arange(length, device=device)[:, None] * frequency
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """(B, heads, N, d) rotated by position."""
    cos, sin = rotation
    first, second = x.chunk(2, -1)
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
        return Posterior(dit, contexts, guidance_scale, temperature, guide_pedal, typical_logits(repeated))

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
    typical_logits : (B, N), of something beginning in a band; None: those of TYPICAL_FRAME_S
    """

    dit: DiT
    contexts: Tensor
    guidance_scale: float = 1.0
    temperature: float = 1.0
    guide_pedal: bool = True
    typical_logits: Tensor | None = None

    def __getitem__(self, rows) -> Posterior:
        typical = None if self.typical_logits is None else self.typical_logits[rows]
        return replace(self, contexts=self.contexts[:, rows], typical_logits=typical)

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
        dit, head, uniform = self.dit, self.dit.head, uniform[mask]  # (M, G)
        typical = TYPICAL_LOGIT if self.typical_logits is None else self.typical_logits[mask]
        contexts = head.from_context(self.contexts[:, mask])  # (C, M, W)
        sampled = torch.zeros_like(contexts[0])  # the codes sampled so far, embedded
        codes = torch.full(uniform.shape, SILENT, device=uniform.device)

        def embedded(group):
            return dit.code_vectors[group, codes[:, group]] @ head.from_codes[group]

        for band in range(head.bands):
            pattern, expression, index = 2 * band, 2 * band + 1, torch.tensor(band, device=codes.device)
            features = head.features(contexts[0] + sampled + head.of_band[band])
            onset = head.onset(features)[:, 0] + head.onset_bias[band]
            rows, rest = self._struck(onset.float() - typical, typical, uniform[:, pattern])
            others = head.features(contexts[1:, rows] + sampled[rows] + head.of_band[band])
            logits = head.pattern_logits(torch.cat([features[None, rows], others]), index)
            codes[rows, pattern] = 1 + pick(self._guided(logits) / self.temperature, rest)
            sampled = sampled + embedded(pattern)
            features = head.features(contexts[:, rows] + sampled[rows] + head.of_expression[band])
            logits = head.expression_logits(features, index)
            codes[rows, expression] = pick(self._guided(logits) / self.temperature, uniform[rows, expression])
            sampled = sampled + embedded(expression)
        contexts = contexts[: None if self.guide_pedal else 1]
        logits = head.pedal(head.features(contexts + sampled + head.of_band[-1]))
        codes[:, -1] = pick(self._guided(logits), uniform[:, -1])  # never sharpened: it would hardly ever lift
        return codes

    def _struck(self, above, typical, uniform):
        """Where something begins in a band: rows (R,) of the M, and what is left of their uniform numbers (R,).

        Whether anything begins is not guided, and its logits (M,) are sharpened as they lie `above` what is typical:
        guided it would be noise, and sharpened around one half silence.
        """
        chance = torch.sigmoid(-above / self.temperature - typical)  # (M,), of silence
        rows = (uniform > chance).nonzero()[:, 0]
        return rows, (uniform[rows] - chance[rows]) / (1 - chance[rows])

    def _guided(self, logits):
        """(C, R, K) -> (R, K)"""
        conditional, *unconditional = logits.float()
        if not unconditional:
            return conditional
        return unconditional[0] + self.guidance_scale * (conditional - unconditional[0])


def typical_logits(conditions: Conditions) -> Tensor:
    """(B, N): how likely something begins in a band of frames as long as the tempo makes them."""
    log_bpm = conditions.tempo[..., 0] * TEMPO_RANGE + TYPICAL_TEMPO  # the typical one where it is unknown
    return TYPICAL_LOGIT + math.log(60 / LATENTS_PER_BEAT / TYPICAL_FRAME_S) - log_bpm


def pick(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw from softmax(logits) (..., K) by one uniform number each (...): int64."""
    below = logits.softmax(-1).cumsum(-1) < uniform[..., None]
    return below.sum(-1).clamp(max=logits.shape[-1] - 1)
