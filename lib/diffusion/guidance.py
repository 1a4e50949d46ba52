"""Stochastic control guidance (Huang et al., ICML 2024): rules steer sampling without any gradient.

At a guided step several candidates of the next state are drawn, each is looked at one step ahead: the model predicts what is
still hidden, this is drawn too, and the rules score the whole. The best is kept. The look-ahead prediction of the winner is
what the next step needs, so a guided step costs the candidates' predictions and their scoring, nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lib.diffusion.sampling import State


def guidance_steps(num_steps, first=0.0, last=1.0):
    """The steps (1 to num_steps) in which rules choose."""
    return range(1 + round(first * num_steps), 1 + round(last * num_steps))


@dataclass
class StochasticControl:
    """A `choose` for sampling.sample.

    Attributes
    ----------
    predict : as sampling.sample takes it
    score : callable(codes (B, N, G)) -> rule loss (B,), lower is better
    draw : callable(step, candidate) -> uniform numbers (B, N, G), for what is looked at ahead
    num_candidates : k
    steps : container of guided steps
    """

    predict: Callable
    score: Callable
    draw: Callable
    num_candidates: int
    steps: range

    def __call__(self, advance, step):
        """Best of k candidates for each example of the batch, or None where this step is not guided."""
        if step not in self.steps or self.num_candidates < 2:
            return None
        drawn = [advance(k) for k in range(self.num_candidates)]
        codes, hidden = (torch.cat(part) for part in zip(*drawn))  # (k B, N, G), (k B, N)
        state, size = State(codes, hidden, self.predict(codes, hidden) if hidden.any() else None), len(drawn[0][0])
        # what is looked at ahead is drawn by the same numbers for all, so that chance does not decide between them
        ahead = state.completed(self.draw(step, 0).repeat(self.num_candidates, 1, 1))
        losses = self.score(ahead).view(self.num_candidates, size)
        rows = losses.argmin(0) * size + torch.arange(size, device=codes.device)  # (B,)
        return State(codes[rows], hidden[rows], None if state.posterior is None else state.posterior[rows])
