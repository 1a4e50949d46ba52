"""How many candidates compete where, and revisions of what is sampled.

What was measured: candidates cost most and help least in the first steps, where little is known, and in any step more
than in a revision. So a share of them competes in the last half of the steps, and all of them in the revisions that
follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from lib.diffusion.sampling import around, best, fill, mix, ranks

GUIDED_FROM = 0.5  # of the steps; what is sampled before is revised anyway
STEP_CANDIDATES = 1 / 4  # of num_candidates compete in a step
NUM_REVISIONS = 60  # after the last step
REVISED = 1 / 8  # of the frames are masked by a revision
MIN_CREDIT = 1e-6
REVISION = "revision {} ahead"  # step of `draw`; data: see lib/keyed_random.py


def guided_steps(num_steps: int, first: float = GUIDED_FROM) -> range:
    """The steps (1 to num_steps) in which candidates compete."""
    return range(1 + round(first * num_steps), 1 + num_steps)


def step_candidates(num_candidates: int) -> int:
    """How many compete in a guided step: two at least."""
    return max(2, round(num_candidates * STEP_CANDIDATES))


def revise(
    predict: Callable,
    codes: Tensor,
    editable: Tensor,
    draw: Callable,
    loss: Callable,
    num_candidates: int,
    steps: Iterable[int],
    callback: Callable | None = None,
) -> Tensor:
    """Resample a few latent frames, again and again, keeping the best of several candidates; never worse than before.

    A revision masks frames, most likely where the rules' credit is highest, and samples them given all others
    (remasking as of Wang et al. 2025, but the rules choose what to mask and what to keep). One prediction serves all
    candidates, and no masked frame is guessed, so that a revision costs a small part of a guided step.

    Parameters
    ----------
    predict, draw, loss, callback : as of sampling.sample_stochastic_control
    codes : int64 (B, N, G), nothing masked
    editable : bool (B, N), the frames that may be resampled
    num_candidates : of a revision
    steps : the revisions' numbers: those of sampling continued

    Returns
    -------
    int64 (B, N, G)
    """
    if not editable.any():
        return codes
    for step in steps:
        losses, credit = loss(codes)
        chance, *uniform = (draw(REVISION.format(step), k) for k in range(num_candidates + 1))
        mask = editable & (ranks(_by_credit(credit, chance[..., 0]), editable) > 1 - REVISED)
        rows = torch.arange(len(codes), device=codes.device).repeat(num_candidates)  # (k B,)
        resampled = fill(codes[rows], mask[rows], predict(codes, mask)[rows], torch.cat(uniform))
        more, credit_of_more = loss(resampled)
        candidates = torch.cat([codes, resampled]).unflatten(0, (-1, len(codes)))  # (1 + k, B, N, G)
        losses = torch.cat([losses, more])
        if credit is not None:
            mixed = mix(candidates, torch.cat([credit, credit_of_more]))  # (1, B, N, G)
            candidates, losses = torch.cat([candidates, mixed]), torch.cat([losses, loss(mixed[0])[0]])
        codes = best(candidates, losses)
        if callback is not None:
            callback({"step": step, "codes": codes, "mask": torch.zeros_like(mask), "posterior": None})
    return codes


def _by_credit(credit, chance):
    """(B, N): the more loss around a frame, the likelier it is among the highest; without any, chance alone decides."""
    return chance.log() / (1.0 if credit is None else around(credit).clamp(min=MIN_CREDIT))
