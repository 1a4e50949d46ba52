"""The best path through states over time, by dynamic programming (Viterbi 1967)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def viterbi(scores: Tensor, transition: Callable) -> Tensor:
    """The sequence of states whose scores, with the transitions between them, have the greatest sum.

    Parameters
    ----------
    scores : (..., T, S), of being in each state at each time
    transition : callable(totals (..., S), time) -> (totals (..., S), states (..., S)): for each state the best way into
        it at a time, from 1 on, from the totals of the time before, and the state that this way leaves

    Returns
    -------
    int64 (..., T); of several states that are as good, the lowest (on a CPU)
    """
    totals, previous = scores[..., 0, :], []
    for time in range(1, scores.shape[-2]):
        totals, states = transition(totals, time)
        previous.append(states)
        totals = totals + scores[..., time, :]
    state = totals.argmax(-1, keepdim=True)
    path = [state]
    for states in reversed(previous):
        state = states.gather(-1, state)
        path.append(state)
    return torch.cat(path[::-1], -1)
