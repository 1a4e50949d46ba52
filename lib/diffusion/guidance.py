"""Stochastic control guidance (Huang et al., ICML 2024): rules steer sampling without any gradient.

At a guided step several candidates of the next state are drawn, each is looked at one step ahead: the model predicts what is
still hidden, this is drawn too, and the rules score the whole. The best is kept. Where a prediction takes the model twice
(classifier-free guidance), what it says with nothing asked is not predicted anew for each candidate: that of the state they come
from stands for it. The winner alone is predicted in full, for the next step.

Rules that say where their loss comes from (credit) get one candidate more: each latent frame from the candidate that did best
around it. It is looked at ahead like the others, and kept only where it is better still.

When all is settled, revisions follow: a few latent frames, most of all where the rules blame, are hidden once more and drawn in
several ways given all others (remasking as of Wang et al. 2025, but the rules choose what to hide and what to keep). The model
is asked once for all of them, and no frame has to be guessed at, so a revision costs a small part of a guided step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from lib.diffusion.sampling import State, ranks

CREDIT_FRAMES = 9  # latent frames around a frame whose losses count as its own
REVISED = 1 / 8  # share of the frames that a revision hides
REVISIONS = 60  # after the last step
STEPS_SHARE = 1 / 4  # of the candidates compete in a step already: they cost more there, and help less
LEAST_BLAME = 1e-6


def guidance_steps(num_steps, first=0.5):
    """The steps (1 to num_steps) in which rules choose: those before would cost most, and what they settle is revised anyway."""
    return range(1 + round(first * num_steps), 1 + num_steps)


@dataclass
class StochasticControl:
    """The guide of sampling.sample.

    Attributes
    ----------
    predict : as sampling.sample takes it; given the posterior of the state before as well, cheaper and nearly as good
    score : callable(codes (B, N, G)) -> (rule loss (B,), lower is better; its parts by latent frame (B, N), or None)
    draw : callable(step, candidate) -> uniform numbers (B, N, G), for what is looked at ahead, and for a revision, whose step is
        its name and whose candidate 0 says where
    num_candidates : in a revision; a step has a share of them, at least two
    steps : container of guided steps
    revisions : how many follow the last step
    """

    predict: Callable
    score: Callable
    draw: Callable
    num_candidates: int
    steps: range
    revisions: int

    def choose(self, state, advance, step):
        """Best of k candidates for each example of the batch, or None where this step is not guided."""
        if step not in self.steps:
            return None
        candidates = max(2, round(self.num_candidates * STEPS_SHARE))
        codes, hidden = (torch.stack(part) for part in zip(*(advance(k) for k in range(candidates))))
        uniform = self.draw(step, 0)  # of what is looked at ahead: the same for all, so that chance does not decide between them
        losses, credit = self._look_ahead(state, codes, hidden, uniform)
        if credit is not None and (hidden == hidden[0]).all():
            mixed = _mixed(codes, credit)
            more, _ = self._look_ahead(state, mixed, hidden[:1], uniform)
            codes, hidden, losses = torch.cat([codes, mixed]), torch.cat([hidden, hidden[:1]]), torch.cat([losses, more])
        codes, hidden = _best(losses, codes, hidden)
        return State(codes, hidden, self.predict(codes, hidden) if hidden.any() else None)

    def revise(self, codes, free, number):
        """Play some frames anew, the best of several ways; never worse than before.

        Parameters
        ----------
        codes : int64 (B, N, G), all settled
        free : bool (B, N), what may be played anew
        number : of this revision

        Returns
        -------
        int64 (B, N, G)
        """
        losses, credit = self.score(codes)
        chance, *uniform = (self.draw(f"revision {number}", k) for k in range(self.num_candidates + 1))
        hidden = free & (ranks(_by_blame(credit, chance[..., 0]), free) > 1 - REVISED)
        if not hidden.any():
            return codes
        rows = torch.arange(len(codes), device=codes.device).repeat(self.num_candidates)
        anew = codes[rows]
        anew[hidden[rows]] = self.predict(codes, hidden)[rows].draw(hidden[rows], torch.cat(uniform))
        more, blame = self.score(anew)
        candidates, losses = torch.cat([codes, anew]).unflatten(0, (-1, len(codes))), torch.cat([losses, more])
        if credit is not None:
            mixed = _mixed(candidates, torch.cat([credit, blame]))
            candidates, losses = torch.cat([candidates, mixed]), torch.cat([losses, self.score(mixed[0])[0]])
        return _best(losses, candidates)[0]

    def _look_ahead(self, state, codes, hidden, uniform):
        """(losses (k B,), credit (k B, N) or None) of candidates (k, B, N, G)."""
        ahead = State(codes.flatten(0, 1), hidden.flatten(0, 1), None)
        if hidden.any():
            ahead = State(ahead.codes, ahead.hidden, self.predict(ahead.codes, ahead.hidden, state.posterior))
        return self.score(ahead.completed(uniform.repeat(len(codes), 1, 1)))


def _around(credit):
    """(B, N): the mean loss around each frame."""
    return functional.avg_pool1d(credit[:, None], CREDIT_FRAMES, 1, CREDIT_FRAMES // 2, count_include_pad=False)[:, 0]


def _by_blame(credit, chance):
    """(B, N): the more blame, the likelier a frame is among the highest; where no rule blames any, chance alone decides."""
    return chance.log() / (1.0 if credit is None else _around(credit).clamp(min=LEAST_BLAME))


def _mixed(codes, credit):
    """Candidates (k, B, N, G) and losses (k B, N) -> (1, B, N, G): each latent frame from where the least loss is around it."""
    choice = _around(credit).view(codes.shape[:3]).argmin(0)  # (B, N)
    return codes.gather(0, choice[None, ..., None].expand(1, *codes.shape[1:]))


def _best(losses, *candidates):
    """Each (k, B, ...) -> (B, ...), by losses (k B,)."""
    best = losses.view(len(candidates[0]), -1).argmin(0)
    return [part[best, torch.arange(len(best), device=best.device)] for part in candidates]
