"""Stochastic control guidance (Huang et al., ICML 2024): rules steer sampling without any gradient.

At a guided step several candidates of the next state are drawn, each is looked at one step ahead: the model predicts what is
still hidden, this is drawn too, and the rules score the whole. The best is kept. The look-ahead prediction of the winner is
what the next step needs, so a guided step costs the candidates' predictions and their scoring, nothing more.

Rules that say where their loss comes from (credit) get one candidate more: each latent frame from the candidate that did best
around it. It is looked at ahead like the others, and kept only where it is better still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from lib.diffusion.sampling import State

CREDIT_FRAMES = 9  # latent frames around a frame whose losses count as its own


def guidance_steps(num_steps, first=0.0, last=1.0):
    """The steps (1 to num_steps) in which rules choose."""
    return range(1 + round(first * num_steps), 1 + round(last * num_steps))


@dataclass
class StochasticControl:
    """A `choose` for sampling.sample.

    Attributes
    ----------
    predict : as sampling.sample takes it
    score : callable(codes (B, N, G)) -> (rule loss (B,), lower is better; its parts by latent frame (B, N), or None)
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
        codes, hidden = (torch.stack(part) for part in zip(*(advance(k) for k in range(self.num_candidates))))
        uniform = self.draw(step, 0)  # of what is looked at ahead: the same for all, so that chance does not decide between them
        state, losses, credit = self._look_ahead(codes.flatten(0, 1), hidden.flatten(0, 1), uniform)
        if credit is not None and (hidden == hidden[0]).all():
            mixed, more, _ = self._look_ahead(_mixed(codes, credit), hidden[0], uniform)
            state, losses = state.joined(mixed), torch.cat([losses, more])
        size = codes.shape[1]
        return state[losses.view(-1, size).argmin(0) * size + torch.arange(size, device=codes.device)]

    def _look_ahead(self, codes, hidden, uniform):
        """(State, losses, credit) of candidates (k B, N, G)."""
        state = State(codes, hidden, self.predict(codes, hidden) if hidden.any() else None)
        return state, *self.score(state.completed(uniform.repeat(len(codes) // len(uniform), 1, 1)))


def _mixed(codes, credit):
    """Candidates (k, B, N, G) and losses (k B, N) -> (B, N, G): each latent frame from where the least loss is around it."""
    around = functional.avg_pool1d(credit[:, None], CREDIT_FRAMES, 1, CREDIT_FRAMES // 2)[:, 0]
    choice = around.view(codes.shape[:3]).argmin(0)  # (B, N)
    return codes.gather(0, choice[None, ..., None].expand(1, *codes.shape[1:]))[0]
