"""Vector quantisation with codes on a sphere, moved by moving averages.

A latent is normalised to length sqrt(code_dim), so that every dimension has about unit variance, and replaced by the
nearest code (van den Oord et al. 2017; EMA codebooks as in Razavi et al. 2019; normalised codes as in Yu et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Quantised:
    """What the codebook makes of a latent.

    Attributes
    ----------
    indices : int64 (B, N) in [0, codes)
    z_q : (B, N, D), the codes; gradients pass straight through to z_e
    commitment_loss : scalar, mean square distance between z_e and its code
    """

    indices: Tensor
    z_q: Tensor
    commitment_loss: Tensor


class Codebook(nn.Module):
    """K unit-variance codes of D dimensions.

    Statistics of a global batch are gathered by `forward` in training and applied by `update`, once an optimizer step,
    so that accumulation and several processes change nothing. The buffers' first axis is one: trained weights have it.

    Parameters
    ----------
    codes, code_dim : K, D
    decay : of the moving averages, an optimizer step
    restart_below : codes used less often than this a step (moving average) move onto data
    seed : of the codes at first
    """

    def __init__(self, codes: int, code_dim: int, decay: float, restart_below: float, seed: int = 0):
        super().__init__()
        self.codes, self.code_dim = codes, code_dim
        self.decay, self.restart_below = decay, restart_below
        start = self.normalise(torch.randn(1, codes, code_dim, generator=torch.Generator().manual_seed(seed)))
        self.register_buffer("embedding", start)  # (1, K, D)
        self.register_buffer("mean_use", torch.zeros(1, codes))  # EMA of uses a step; 0: restart at once
        self.register_buffer("mean_sum", start.clone())  # EMA of the sum of what used it
        self.register_buffer("batch_use", torch.zeros(codes), persistent=False)
        self.register_buffer("batch_sum", torch.zeros(codes, code_dim), persistent=False)
        self.recent = []  # (M, D) a forward pass, vectors of this step: where dead codes restart

    def normalise(self, vectors: Tensor) -> Tensor:
        """Length sqrt(D) in the last dimension."""
        return functional.normalize(vectors, dim=-1) * math.sqrt(self.code_dim)

    def forward(self, latent: Tensor) -> Quantised:
        """Quantise latents (B, N, D)."""
        with torch.autocast(latent.device.type, enabled=False):  # in half precision other codes would be nearest
            return self._quantise(latent.float())

    def _quantise(self, latent):
        z_e = self.normalise(latent)
        flat = z_e.flatten(0, 1)  # (M, D)
        indices = (flat @ self.embedding[0].T).argmax(-1)  # (M,): nearest, as all lengths are equal
        if self.training:
            self._gather(flat.detach(), indices)
        indices = indices.unflatten(0, latent.shape[:2])
        z_q = self.embedding[0, indices]
        return Quantised(indices, z_e + (z_q - z_e).detach(), functional.mse_loss(z_e, z_q))

    @torch.no_grad()
    def _gather(self, flat, indices):
        used = flat.new_zeros(len(indices), self.codes).scatter_(-1, indices[:, None], 1.0)  # (M, K)
        self.batch_use += used.sum(0)
        self.batch_sum += used.T @ flat
        self.recent.append(flat)

    def reset_statistics(self):
        """Drop what `forward` has gathered since the last update: the step is not done, or done again."""
        self.batch_use.zero_(), self.batch_sum.zero_(), self.recent.clear()

    @torch.no_grad()
    def update(
        self,
        generator: np.random.Generator,
        reduce: Callable[[Tensor], Tensor] | None = None,
        share: tuple[float, float] = (0, 1),
    ) -> float:
        """Move the codes towards what used them; restart the dead ones on vectors of the global batch.

        Parameters
        ----------
        generator : keyed by the step: which vectors dead codes move to
        reduce : callable(Tensor) -> Tensor, sum over processes; None: one process
        share : of the global batch, the part before this process's examples, and the part that these are

        Returns
        -------
        perplexity : exp of the entropy of code use in this batch
        """
        use, total = self.batch_use, self.batch_sum
        if reduce is not None:
            use, total = reduce(use), reduce(total)
        self.mean_use.lerp_(use[None], 1 - self.decay)
        self.mean_sum.lerp_(total[None], 1 - self.decay)
        self.embedding.copy_(self.normalise(self.mean_sum))
        self._restart(generator, reduce, *share)
        result = perplexity(use)
        self.reset_statistics()
        return result

    def _restart(self, generator, reduce, before, own_share):
        dead = self.mean_use[0] < self.restart_below
        if not dead.any() or not self.recent:
            return
        own = torch.cat(self.recent)  # (M, D) of this process
        rows = torch.from_numpy(generator.integers(0, round(len(own) / own_share), size=self.codes)).to(own.device)
        rows = rows - round(len(own) / own_share * before)
        is_own = (rows >= 0) & (rows < len(own))
        fresh = own[rows.clamp(0, len(own) - 1)] * is_own[:, None]  # (K, D), zeros where another process has the vector
        if reduce is not None:
            fresh = reduce(fresh)
        self.embedding[0, dead] = fresh[dead]
        self.mean_sum[0, dead] = fresh[dead]
        self.mean_use[0, dead] = 1.0


def perplexity(use: Tensor) -> float:
    """Counts (K,) -> exp(entropy): how many codes are used as if evenly."""
    share = use / use.sum().clamp(min=1)
    return float((-(share * share.clamp(min=1e-12).log()).sum()).exp())
