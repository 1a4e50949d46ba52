"""The head of the DiT: an autoregressive model of the codes of one latent frame, given its context."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.models.blocks import swiglu

HEAD_BLOCKS = 2


class FrameHead(nn.Module):
    """Codes of a latent frame, group after group: each group's posterior given the context and the groups before.

    Parameters
    ----------
    width : W, as of the context
    kinds : for each of G groups its kind; groups of a kind share their output
    codes, size : K codes a group, each with a vector of D
    """

    def __init__(self, width: int, kinds: Sequence[int], codes: int, size: int):
        super().__init__()
        groups = len(kinds)
        self.from_context = nn.Linear(width, width)
        self.from_codes = nn.Parameter(torch.empty(groups, size, width))
        self.group = nn.Parameter(torch.empty(groups, width))
        self.blocks = nn.ModuleList(FeedForward(width) for _ in range(HEAD_BLOCKS))
        self.norm = nn.LayerNorm(width)
        self.output = nn.ModuleList(nn.Linear(width, codes) for _ in range(max(kinds) + 1))
        self.bias = nn.Parameter(torch.empty(groups, codes))
        self.kinds = tuple(kinds)
        self.register_buffer("kind_of_group", torch.tensor(self.kinds), persistent=False)

    def forward(self, context: Tensor, vectors: Tensor, coded: Tensor) -> Tensor:
        """Logits of some codes of latent frames, each given the codes before it.

        Parameters
        ----------
        context : (M, W), of M latent frames
        vectors : (M, G, D), of their codes
        coded : bool (M, G), which logits: R of them true

        Returns
        -------
        (R, K), row by row
        """
        embedded = torch.einsum("mgd,gdh->mgh", vectors, self.from_codes.to(vectors.dtype))
        before = functional.pad(embedded[:, :-1].cumsum(1), (0, 0, 1, 0))  # (M, G, W)
        frame, group = coded.nonzero(as_tuple=True)  # (R,) each
        x = self.from_context(context)[frame] + before[frame, group] + self.group[group]
        x, kind = self._features(x), self.kind_of_group[group]  # (R, W), (R,)
        logits = self.bias[group].to(x.dtype)
        for number, layer in enumerate(self.output):
            rows = (kind == number).nonzero()[:, 0]
            logits = logits.index_add(0, rows, layer(x[rows]).to(logits.dtype))
        return logits

    def group_logits(self, x: Tensor, group: int) -> Tensor:
        """Logits (..., K) of one group from what is known before it, (..., W)."""
        return self.output[self.kinds[group]](self._features(x + self.group[group])) + self.bias[group]

    def _features(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.norm(x)

    def initialize_weights(self):
        """See DiT.initialize_weights."""
        groups, size, _ = self.from_codes.shape
        self.from_context.reset_parameters()
        with torch.no_grad():
            self.from_codes.copy_(torch.randn_like(self.from_codes) / math.sqrt(groups * size))
        for part in (*self.blocks.modules(), *self.output):
            if isinstance(part, nn.Linear):
                part.reset_parameters()
        for layer in self.output:
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.group), nn.init.zeros_(self.bias)


class FeedForward(nn.Module):
    """SwiGLU behind a norm: (..., W) -> (..., W)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate_and_value, self.down = nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return swiglu(self.norm(x), self.gate_and_value, self.down)
