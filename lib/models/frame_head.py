"""The head of the DiT: an autoregressive model of the codes of one latent frame, given its context.

The codes of a latent frame come in the codec's order: of each band the pattern (SILENT where nothing begins) and the
expression, in the end the pedal. The head predicts for each band whether anything begins; where it does, which pattern
and which expression; and the pedal. The expression of a silent band is implied.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.models.blocks import swiglu

HEAD_BLOCKS = 2
SILENT = 0  # pattern of a band in which nothing begins
TYPICAL_LOGIT = -2.6  # of something beginning in a band (7 %); measured: data/released/improviser.md


class FrameHead(nn.Module):
    """Posterior of each code of a latent frame, given the frame's context and the codes before it.

    Parameters
    ----------
    width : W, as of the context
    bands : A; a frame has G = 2 A + 1 codes
    codes, size : K patterns and K expressions, each with a vector of D
    pedals : patterns of the pedal
    """

    def __init__(self, width: int, bands: int, codes: int, size: int, pedals: int):
        super().__init__()
        self.bands, self.groups = bands, 2 * bands + 1
        self.from_context = nn.Linear(width, width)
        self.from_codes = nn.Parameter(torch.empty(self.groups, size, width))
        self.of_band = nn.Parameter(torch.empty(bands + 1, width))  # the last one: of the pedal
        self.of_expression = nn.Parameter(torch.empty(bands, width))
        self.blocks = nn.ModuleList(FeedForward(width) for _ in range(HEAD_BLOCKS))
        self.norm = nn.LayerNorm(width)
        self.onset, self.pattern = nn.Linear(width, 1), nn.Linear(width, codes - 1)  # every pattern but SILENT
        self.expression, self.pedal = nn.Linear(width, codes), nn.Linear(width, pedals)
        self.onset_bias = nn.Parameter(torch.empty(bands))
        self.pattern_bias = nn.Parameter(torch.empty(bands, codes - 1))
        self.expression_bias = nn.Parameter(torch.empty(bands, codes))
        before = torch.ones(self.groups, self.groups).tril(-1)[::2]  # (A + 1, G): the codes before a pattern, the pedal
        self.register_buffer("before", before, persistent=False)

    def initialize_weights(self):
        """Outputs are uniform in the beginning, but for onsets, which are as rare as in music."""
        groups, size, _ = self.from_codes.shape
        self.from_context.reset_parameters()
        with torch.no_grad():
            self.from_codes.copy_(torch.randn_like(self.from_codes) / math.sqrt(groups * size))
        for part in self.blocks.modules():
            if isinstance(part, nn.Linear):
                part.reset_parameters()
        for layer in (self.onset, self.pattern, self.expression, self.pedal):
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
        for parameter in (self.of_band, self.of_expression, self.pattern_bias, self.expression_bias):
            nn.init.zeros_(parameter)
        nn.init.constant_(self.onset_bias, TYPICAL_LOGIT)

    def nll(self, context: Tensor, vectors: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of latent frames.

        Parameters
        ----------
        context : (M, W), of M latent frames
        vectors : (M, G, D), of their codes
        codes : int64 (M, G)

        Returns
        -------
        nll_nats (M,), of all codes of a frame; accuracy (M,), share of its codes that are the most likely ones
        """
        struck = codes[:, 0:-1:2] != SILENT  # (M, A)
        frame, band = struck.nonzero(as_tuple=True)  # (R,) each: bands in which something begins
        embedded = torch.bmm(vectors.transpose(0, 1), self.from_codes).transpose(0, 1)  # (M, G, W)
        x = self.before.to(embedded.dtype) @ embedded + self.from_context(context)[:, None]  # (M, A + 1, W)
        rows, patterns = frame * (self.bands + 1) + band, frame * self.groups + 2 * band
        with_pattern = x.flatten(0, 1).index_select(0, rows) + embedded.flatten(0, 1).index_select(0, patterns)
        expressions = with_pattern + self.of_expression.index_select(0, band)
        features = self.features(torch.cat([(x + self.of_band).flatten(0, 1), expressions]))
        at_frames, at_expressions = features.split([x.shape[0] * x.shape[1], len(frame)])
        at_bands = at_frames.unflatten(0, (-1, self.bands + 1))  # (M, A + 1, W)

        onsets = self.onset_logits(at_bands[:, :-1]).float()  # (M, A)
        pedal = self.pedal(at_bands[:, -1]).float()
        pattern = self.pattern_logits(at_frames.index_select(0, rows), band).float()  # (R, K - 1)
        expression = self.expression_logits(at_expressions, band).float()  # (R, K)
        targets = codes[frame, 2 * band] - 1, codes[frame, 2 * band + 1]
        of_frames = functional.binary_cross_entropy_with_logits(onsets, struck.float(), reduction="none").sum(1)
        of_frames = of_frames + functional.cross_entropy(pedal, codes[:, -1], reduction="none")
        of_bands = sum(
            functional.cross_entropy(logits, target, reduction="none")
            for logits, target in zip((pattern, expression), targets, strict=True)
        )
        with torch.no_grad():
            right = ((onsets > 0) == struck).sum(1) + (pedal.argmax(-1) == codes[:, -1])
            of_patterns = (onsets[frame, band] > 0) & (pattern.argmax(-1) == targets[0])
            hits = of_patterns.int() - (onsets[frame, band] > 0).int() + (expression.argmax(-1) == targets[1])
            right = right.index_add(0, frame, hits.to(right.dtype))
        return of_frames.index_add(0, frame, of_bands), right / (self.bands + 1 + struck.sum(1))

    def features(self, x: Tensor) -> Tensor:
        """(..., W), what is known before a code -> (..., W), what its logits are taken from."""
        for block in self.blocks:
            x = x + block(x)
        return self.norm(x)

    def onset_logits(self, features: Tensor) -> Tensor:
        """(..., A, W) -> (..., A): the log odds that something begins in each band."""
        return self.onset(features)[..., 0] + self.onset_bias

    def pattern_logits(self, features: Tensor, band: Tensor) -> Tensor:
        """(..., R, W), band int64 (R,) or () -> (..., R, K - 1): of every pattern but SILENT."""
        return self.pattern(features) + functional.embedding(band, self.pattern_bias)

    def expression_logits(self, features: Tensor, band: Tensor) -> Tensor:
        """(..., R, W), band int64 (R,) or () -> (..., R, K)."""
        return self.expression(features) + functional.embedding(band, self.expression_bias)


class FeedForward(nn.Module):
    """SwiGLU behind a norm: (..., W) -> (..., W)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate_and_value, self.down = nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return swiglu(self.norm(x), self.gate_and_value, self.down)
