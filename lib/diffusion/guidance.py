"""Stochastic control guidance (Huang et al., ICML 2024): rules steer sampling without any gradient.

At a guided step several candidates of the next latent are drawn, each is looked at one denoising step ahead,
decoded and scored by the rules, and the best is kept. The look-ahead estimate of the winner is the estimate the
next step needs, so a guided step costs the candidates' denoising and decoding, nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


def guidance_steps(num_steps, first=0.15, last=0.95):
    """The steps in which rules choose: not the first ones (all noise), nor the last (all decided)."""
    return range(max(1, round(first * num_steps)), max(1, round(last * num_steps)))


@dataclass
class StochasticControl:
    """A `choose` for sampling.sample.

    Attributes
    ----------
    denoise : callable(noisy (B, N, D), timestep (B,)) -> clean (B, N, D)
    score : callable(clean (B, N, D)) -> rule loss (B,), lower is better
    num_candidates : k
    steps : container of guided steps
    """

    denoise: Callable
    score: Callable
    num_candidates: int
    steps: range

    def __call__(self, advance, step, next_timestep):
        """Best of k candidates for each example of the batch, or None where this step is not guided."""
        if step not in self.steps or self.num_candidates < 2:
            return None
        candidates = torch.stack([advance(k) for k in range(self.num_candidates)])  # (k, B, N, D)
        size = candidates.shape[1]
        flat = candidates.flatten(0, 1)
        clean = self.denoise(flat, next_timestep.expand(len(flat)))
        losses = self.score(clean).view(self.num_candidates, size)
        best = losses.argmin(0)  # (B,)
        rows = best * size + torch.arange(size, device=best.device)
        return flat[rows], clean[rows]
