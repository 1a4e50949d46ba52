"""Sampling from a masked diffusion model over codes: ancestral, with stochastic control, and revisions of the result.

Conventions: codes are int64 (B, N, G), B examples of N latent frames of G codes; mask is bool (B, N), true where a
frame is not known yet (its codes then do not matter); `order` (B, N) says in which order frames are unmasked: the
highest first. A sampler knows the model, the rules and chance by three callables:

    predict(codes (B, N, G), mask (B, N), parent=None) -> posterior
    loss(codes (B, N, G)) -> (rule loss (B,), lower is better; credit (B, N), its parts by latent frame, or None)
    draw(step, candidate) -> uniform numbers (B, N, G)

`posterior.sample(mask, uniform)` gives codes (M, G) of the M chosen frames, `posterior[rows]` the posterior of some
examples. `parent` is the posterior of the state that the examples come from, one for each B: with classifier-free
guidance it saves a pass.

Frames are unmasked in a random order. The surest first (MaskGIT, Chang et al. 2022) was tried: silence is the surest,
and the samples collapse to it.

How many candidates compete where was measured: they cost most and help least in the first steps, where little is known,
and in any step more than in a revision. So a share of them competes in the last half of the steps, and all of them in
the revisions that follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable

import torch
from torch import Tensor
from torch.nn import functional

MIN_MASK_RATIO = 0.02  # in training: fewer masked frames teach little for a whole pass
CREDIT_FRAMES = 9  # latent frames around a frame whose losses count as its own
GUIDED_FROM = 0.5  # of the steps; what is sampled before is revised anyway
STEP_CANDIDATES = 1 / 4  # of num_candidates compete in a step
NUM_REVISIONS = 60  # after the last step
REVISED = 1 / 8  # of the frames are masked by a revision
MIN_CREDIT = 1e-6
# steps of `draw`, for what a candidate may become and in a revision; data: see lib/keyed_random.py
LOOK_AHEAD, REVISION = "{} ahead", "revision {} ahead"


def training_mask_ratio(uniform: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) -> the share of frames that an example masks in training.

    As it is even, the mean cross-entropy of masked codes bounds the negative log-likelihood (Sahoo et al. 2024, MDLM).
    """
    return MIN_MASK_RATIO + (1 - MIN_MASK_RATIO) * uniform


def mask_ratio(progress: float) -> float:
    """MaskGIT's cosine schedule: the share of frames still masked at a progress in [0, 1] of sampling, from 1 to 0."""
    return math.cos(progress * math.pi / 2) if progress < 1 else 0.0


def guided_steps(num_steps: int, first: float = GUIDED_FROM) -> range:
    """The steps (1 to num_steps) in which candidates compete."""
    return range(1 + round(first * num_steps), 1 + num_steps)


def step_candidates(num_candidates: int) -> int:
    """How many compete in a guided step: two at least."""
    return max(2, round(num_candidates * STEP_CANDIDATES))


def sample_ancestral(
    predict: Callable, codes: Tensor, mask: Tensor, draw: Callable, num_steps: int, callback: Callable | None = None
) -> Tensor:
    """Ancestral sampling of masked diffusion (Sahoo et al. 2024).

    Parameters
    ----------
    predict, draw : callables, see the module; `draw(0, 0)` gives the order
    codes, mask : int64 (B, N, G), what is given, and bool (B, N), what is to be sampled
    num_steps : at least 1; never more than an example has masked frames
    callback : None, or callable(dict) after each step: step, codes, mask, posterior (None where nothing is masked)

    Returns
    -------
    int64 (B, N, G)
    """
    order, num_masked = draw(0, 0)[..., 0], count(mask)
    num_steps = min(num_steps, int(num_masked.max()))
    posterior = predict(codes, mask)
    for step in range(1, num_steps + 1):
        unmask = _next_unmasked(order, mask, num_masked * mask_ratio(step / num_steps))
        codes, mask = fill(codes, unmask, posterior, draw(step, 0)), mask & ~unmask
        posterior = predict(codes, mask) if mask.any() else None
        if callback is not None:
            callback({"step": step, "codes": codes, "mask": mask, "posterior": posterior})
    return codes


def sample_stochastic_control(
    predict: Callable,
    codes: Tensor,
    mask: Tensor,
    draw: Callable,
    num_steps: int,
    loss: Callable,
    num_candidates: int,
    guided_steps: Container[int],
    callback: Callable | None = None,
) -> Tensor:
    """Ancestral sampling with stochastic control guidance (Huang et al. 2024): rules steer without any gradient.

    In a guided step several candidates of the next state are sampled. Each is completed by one look ahead, the rules
    score the result, and the best candidate is kept. Where the loss has credit, one more candidate takes each latent
    frame from the candidate that did best around it. The winner alone is predicted in full.

    Parameters
    ----------
    predict, codes, mask, draw, num_steps, callback : as of `sample_ancestral`
    loss : callable, see the module
    num_candidates : in each guided step
    guided_steps : those (1 to num_steps) in which candidates compete; in the others there is one

    Returns
    -------
    int64 (B, N, G)
    """
    order, num_masked = draw(0, 0)[..., 0], count(mask)
    num_steps = min(num_steps, int(num_masked.max()))
    posterior = predict(codes, mask)
    for step in range(1, num_steps + 1):
        unmask = _next_unmasked(order, mask, num_masked * mask_ratio(step / num_steps))
        size = num_candidates if step in guided_steps else 1
        candidates = torch.stack([fill(codes, unmask, posterior, draw(step, k)) for k in range(size)])  # (k, B, N, G)
        codes, mask = candidates[0], mask & ~unmask
        if step in guided_steps:
            uniform = draw(LOOK_AHEAD.format(step), 0)  # the same for all candidates, so that chance does not decide
            losses, credit = loss(_look_ahead(predict, candidates, mask, posterior, uniform))  # (k B,), (k B, N)
            if credit is not None:
                mixed = mix(candidates, credit)  # (1, B, N, G)
                more, _ = loss(_look_ahead(predict, mixed, mask, posterior, uniform))
                candidates, losses = torch.cat([candidates, mixed]), torch.cat([losses, more])
            codes = best(candidates, losses)
        posterior = predict(codes, mask) if mask.any() else None
        if callback is not None:
            callback({"step": step, "codes": codes, "mask": mask, "posterior": posterior})
    return codes


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
    predict, draw, loss, callback : as of `sample_stochastic_control`
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


def _look_ahead(predict: Callable, candidates: Tensor, mask: Tensor, parent: object, uniform: Tensor) -> Tensor:
    """Candidates (k, B, N, G) with what is masked of them (B, N) sampled at once: (k B, N, G)."""
    codes, mask = candidates.flatten(0, 1), mask.repeat(len(candidates), 1)
    if not mask.any():
        return codes
    return fill(codes, mask, predict(codes, mask, parent), uniform.repeat(len(candidates), 1, 1))


def _next_unmasked(order: Tensor, mask: Tensor, num_left: Tensor) -> Tensor:
    """bool (B, N): the frames to unmask so that `num_left` (B, 1) stay masked; one frame at least."""
    num_masked = count(mask)
    keep_ratio = torch.minimum(num_left, num_masked - 1) / num_masked.clamp(min=1)
    return mask & (ranks(order, mask) > keep_ratio)


def count(mask: Tensor) -> Tensor:
    """How many frames of each example are masked: (B, 1)."""
    return mask.sum(1, keepdim=True)


def ranks(values: Tensor, mask: Tensor) -> Tensor:
    """(B, N): each masked frame's rank by value among those of its example, as a share in (0, 1]; elsewhere <= 0."""
    rank = torch.where(mask, values, -torch.inf).argsort(dim=1, stable=True).argsort(dim=1) + 1
    return (rank - count(~mask)) / count(mask).clamp(min=1)


def fill(codes: Tensor, mask: Tensor, posterior, uniform: Tensor) -> Tensor:
    """Codes (B, N, G) with the frames of `mask` sampled by uniform numbers (B, N, G)."""
    codes = codes.clone()
    if mask.any():
        codes[mask] = posterior.sample(mask, uniform)
    return codes


def around(credit: Tensor) -> Tensor:
    """(B, N): the mean loss around each frame."""
    return functional.avg_pool1d(credit[:, None], CREDIT_FRAMES, 1, CREDIT_FRAMES // 2, count_include_pad=False)[:, 0]


def _by_credit(credit, chance):
    """(B, N): the more loss around a frame, the likelier it is among the highest; without any, chance alone decides."""
    return chance.log() / (1.0 if credit is None else around(credit).clamp(min=MIN_CREDIT))


def mix(candidates: Tensor, credit: Tensor) -> Tensor:
    """Candidates (k, B, N, G), credit (k B, N) -> (1, B, N, G): each frame from where the loss around it is least."""
    choice = around(credit).view(candidates.shape[:3]).argmin(0)  # (B, N)
    return candidates.gather(0, choice[None, ..., None].expand(1, *candidates.shape[1:]))


def best(candidates: Tensor, losses: Tensor) -> Tensor:
    """Candidates (k, B, N, G), losses (k B,) -> each example's best: (B, N, G)."""
    winner = losses.view(len(candidates), -1).argmin(0)
    return candidates[winner, torch.arange(len(winner), device=winner.device)]
