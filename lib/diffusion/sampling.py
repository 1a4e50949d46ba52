"""Sampling: from hidden latent frames to music, as a function of a callable.

`predict(codes (B, N, G), hidden (B, N)) -> posterior` is all that is known of the model, with
`posterior.draw(where (B, N), uniform (B, N, G)) -> codes (M, G)` for M chosen latent frames and `posterior[rows]` for some examples
of the batch. At each step some hidden frames are settled, in a random order (ancestral sampling of masked diffusion, Sahoo et al.
2024). The surest first (MaskGIT, Chang et al. 2022) was tried: of music silence is the surest, and little else came.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.diffusion.schedule import remaining


@dataclass(frozen=True)
class State:
    """Where sampling has got to.

    Attributes
    ----------
    codes : int64 (B, N, G); anything where they are hidden
    hidden : bool (B, N)
    posterior : what `predict` says of this state; None where nothing is hidden any more
    """

    codes: Tensor
    hidden: Tensor
    posterior: object

    def __getitem__(self, rows):
        return State(self.codes[rows], self.hidden[rows], None if self.posterior is None else self.posterior[rows])

    def completed(self, uniform):
        """Codes with what is hidden drawn at once, by uniform numbers (B, N, G)."""
        return self.codes if self.posterior is None else _filled(self, self.hidden, uniform)

    def likeliest(self):
        """Codes with the middle of the posterior where they are hidden: what it may become."""
        return self.completed(torch.full(self.codes.shape, 0.5, device=self.codes.device))


def _filled(state, where, uniform):
    """Codes (B, N, G) with the frames `where` drawn."""
    codes = state.codes.clone()
    if where.any():
        codes[where] = state.posterior.draw(where, uniform)
    return codes


def count(hidden):
    """How many of each example are hidden: (B, 1)."""
    return hidden.sum(1, keepdim=True)


def ranks(values, hidden):
    """(B, N): the place of each hidden frame among its example's by value, as a share in (0, 1]; 0 or less elsewhere."""
    place = torch.where(hidden, values, -torch.inf).argsort(dim=1, stable=True).argsort(dim=1) + 1
    return (place - count(~hidden)) / count(hidden).clamp(min=1)


def sample(predict, codes, hidden, draw, num_steps, guide=None, curve="cosine", callback=None):
    """Settle all hidden frames.

    Parameters
    ----------
    predict : callable, see the module
    codes, hidden : int64 (B, N, G) and bool (B, N): what is given, and where nothing is
    draw : callable(step, candidate) -> uniform numbers (B, N, G); step 0 is for the order
    num_steps : calls of predict where nothing is guided, at least 1; never more than there are hidden frames
    guide : None, or a guidance.StochasticControl: chooses among candidates, and revises what is settled
    curve : of schedule.remaining
    callback : None, or callable(dict) after each step and revision: step, num_steps (both), share (still hidden), state

    Returns
    -------
    int64 (B, N, G)
    """
    turn, free, total = draw(0, 0)[..., 0], hidden, count(hidden)
    num_steps = min(num_steps, int(total.max()))
    all_steps = num_steps + (guide.revisions if guide is not None and num_steps else 0)

    def report(step, share, state):
        if callback is not None:
            callback({"step": step, "num_steps": all_steps, "share": share, "state": state})

    state = State(codes, hidden, predict(codes, hidden))
    for step in range(1, num_steps + 1):
        share = remaining(step / num_steps, curve)

        def advance(candidate, state=state, step=step, share=share):
            left = count(state.hidden)
            stays = torch.minimum(share * total, left - 1) / left.clamp(min=1)  # one frame is settled at least
            settle = state.hidden & (ranks(turn, state.hidden) > stays)
            return _filled(state, settle, draw(step, candidate)), state.hidden & ~settle

        chosen = guide.choose(state, advance, step) if guide is not None else None
        if chosen is None:
            codes, hidden = advance(0)
            chosen = State(codes, hidden, predict(codes, hidden) if hidden.any() else None)
        state = chosen
        report(step, share, state)
    for step in range(num_steps + 1, all_steps + 1):
        state = State(guide.revise(state.codes, free, step), state.hidden, None)
        report(step, 0.0, state)
    return state.codes
