"""Product quantisation with codes on a sphere, moved by moving averages.

A latent of `groups * code_dim` numbers is cut into groups; each group is normalised to length sqrt(code_dim), so
that every dimension has about unit variance (what diffusion likes), and replaced by the nearest of its codes
(van den Oord et al. 2017; EMA codebooks as in Razavi et al. 2019; normalised codes as in Yu et al. 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Codes:
    """What the codebook makes of a latent.

    Attributes
    ----------
    indices : int64 (B, N, G) in [0, codes)
    z_q : (B, N, G * code_dim), the codes; gradients pass straight through to z_e
    commitment_loss : scalar, mean square distance between z_e and its code
    """

    indices: Tensor
    z_q: Tensor
    commitment_loss: Tensor


class Codebook(nn.Module):
    """`groups` codebooks of `codes` unit-variance codes each.

    Statistics of a global batch are gathered by `forward` in training and applied by `update`, once an optimizer
    step, so that accumulation and several processes change nothing.
    """

    def __init__(self, groups, codes, code_dim, decay, restart_below, seed=0):
        super().__init__()
        self.groups, self.codes, self.code_dim = groups, codes, code_dim
        self.decay, self.restart_below = decay, restart_below
        generator = torch.Generator().manual_seed(seed)
        start = self.normalise(torch.randn(groups, codes, code_dim, generator=generator))
        self.register_buffer("embedding", start)  # (G, K, D)
        self.register_buffer("mean_use", torch.zeros(groups, codes))  # EMA of uses a step; 0: restart at once
        self.register_buffer("mean_sum", start.clone())  # EMA of the sum of what used it
        self.register_buffer("batch_use", torch.zeros(groups, codes), persistent=False)
        self.register_buffer("batch_sum", torch.zeros_like(start), persistent=False)
        self.recent = []  # (G, M, D) a forward pass, vectors of this step: where dead codes restart

    def normalise(self, vectors):
        """Length sqrt(code_dim) in the last dimension."""
        return functional.normalize(vectors, dim=-1) * math.sqrt(self.code_dim)

    def split(self, latent):
        """(B, N, G * D) -> (B, N, G, D), each group normalised."""
        return self.normalise(latent.unflatten(-1, (self.groups, self.code_dim)))

    def forward(self, latent):
        """Quantise.

        Parameters
        ----------
        latent : (B, N, G * D)

        Returns
        -------
        Codes
        """
        with torch.autocast(latent.device.type, enabled=False):  # in half precision other codes would be nearest
            return self._quantise(latent.float())

    def _quantise(self, latent):
        z_e = self.split(latent)
        flat = z_e.flatten(0, 1).transpose(0, 1)  # (G, M, D)
        indices = (flat @ self.embedding.transpose(1, 2)).argmax(-1)  # (G, M): nearest, as all lengths are equal
        if self.training:
            self._gather(flat.detach(), indices)
        indices = indices.transpose(0, 1).unflatten(0, latent.shape[:2])  # (B, N, G)
        z_q = self.look_up(indices).unflatten(-1, (self.groups, self.code_dim))
        commitment_loss = functional.mse_loss(z_e, z_q)
        straight_through = z_e + (z_q - z_e).detach()
        return Codes(indices, straight_through.flatten(-2), commitment_loss)

    def look_up(self, indices):
        """int64 (B, N, G) -> (B, N, G * D)"""
        group = torch.arange(self.groups, device=indices.device)
        return self.embedding[group, indices].flatten(-2)

    def expected(self, probabilities):
        """Mean code under a posterior: (B, N, G, K) -> (B, N, G * D)."""
        return torch.einsum("bngk,gkd->bngd", probabilities, self.embedding).flatten(-2)

    def statistics(self):
        """Mean and standard deviation (G * D,) of each channel of the codes, by how often each is used."""
        use = self.mean_use + 1e-6  # never nothing at all
        share = (use / use.sum(-1, keepdim=True))[..., None]  # (G, K, 1)
        mean = (share * self.embedding).sum(1)
        variance = (share * (self.embedding - mean[:, None]).square()).sum(1)
        return mean.flatten(), variance.clamp(min=0.1).sqrt().flatten()

    @torch.no_grad()
    def _gather(self, flat, indices):
        used = flat.new_zeros(*indices.shape, self.codes).scatter_(-1, indices[..., None], 1.0)  # (G, M, K)
        self.batch_use += used.sum(1)
        self.batch_sum += used.transpose(1, 2) @ flat
        self.recent.append(flat)

    def forget(self):
        """Drop what `forward` has gathered since the last update: the step is not done, or done again."""
        self.batch_use.zero_(), self.batch_sum.zero_(), self.recent.clear()

    @torch.no_grad()
    def update(self, generator, reduce=None, place=(0, 1)):
        """Move the codes towards what used them; restart the dead ones on vectors of the global batch.

        Parameters
        ----------
        generator : numpy Generator, keyed by the step: which vectors dead codes move to
        reduce : callable(Tensor) -> Tensor, sum over processes; None: one process
        place : share of the global batch before this process's examples, and share that it has

        Returns
        -------
        perplexity : float, exp of the entropy of code use in this batch, mean over groups
        """
        use, total = self.batch_use, self.batch_sum
        if reduce is not None:
            use, total = reduce(use), reduce(total)
        self.mean_use.lerp_(use, 1 - self.decay)
        self.mean_sum.lerp_(total, 1 - self.decay)
        self.embedding.copy_(self.normalise(self.mean_sum))
        self._restart(generator, reduce, *place)
        evenly_used = perplexity(use)
        self.forget()
        return evenly_used

    def _restart(self, generator, reduce, before, share):
        dead = self.mean_use < self.restart_below
        if not dead.any() or not self.recent:
            return
        own = torch.cat(self.recent, 1)  # (G, M, D) of this process
        draw = generator.integers(0, round(own.shape[1] / share), size=(self.groups, self.codes))
        rows = torch.from_numpy(draw).to(own.device) - round(own.shape[1] / share * before)
        here = (rows >= 0) & (rows < own.shape[1])
        rows = rows.clamp(0, own.shape[1] - 1)[..., None].expand(-1, -1, self.code_dim)
        fresh = own.gather(1, rows) * here[..., None]  # (G, K, D), zeros where another process has the vector
        if reduce is not None:
            fresh = reduce(fresh)
        self.embedding[dead] = fresh[dead]
        self.mean_sum[dead] = fresh[dead]
        self.mean_use[dead] = 1.0


def perplexity(use):
    """Counts (G, K) -> exp(entropy), mean over groups: how many codes are used as if evenly."""
    share = use / use.sum(-1, keepdim=True).clamp(min=1)
    return float((-(share * share.clamp(min=1e-12).log()).sum(-1)).exp().mean())
