"""The posterior of a DiT over the codes of latent frames: with classifier-free guidance, sampled group after group."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.models.dit import Conditions, DiT

TYPICAL_LOGIT = -2.6  # of something beginning in a band (7 %); measured: data/released/improviser.md


def classifier_free(
    dit: DiT,
    conditions: Conditions,
    guidance_scale: float = 1.0,
    temperature: float = 1.0,
    guide_style: bool = True,
    guide_pedal: bool = False,
) -> Callable:
    """The model with classifier-free guidance (Ho & Salimans 2022), as a sampler of lib.diffusion takes it.

    Parameters
    ----------
    conditions : of B examples
    guidance_scale : on the log posterior, away from the posterior without conditions; 1: none
    temperature : of the posterior; below 1 sharpens it
    guide_style : whether the other posterior has no style either; not where the model was adapted to that style anyway
    guide_pedal : whether guidance is of the pedal, too: a style has its way with it, chords and density have not

    Returns
    -------
    callable(codes (k B, N, G), mask (k B, N), parent=None) -> Posterior. Codes may be k batches, one behind the other.
        Given the Posterior of the B states that they come from, its context without conditions stands for that of all k
    """
    nothing = conditions.dropped(keep_style=not guide_style)
    guided = guidance_scale != 1 and not conditions.equals(nothing)

    def predict(codes, mask, parent=None):
        times = len(codes) // len(conditions.style)
        repeated = conditions.repeat(times)
        if not guided:
            contexts = dit(codes, mask, repeated)[None]
        elif parent is None:
            both = repeated.joined(nothing.repeat(times))
            contexts = dit(codes.repeat(2, 1, 1), mask.repeat(2, 1), both).unflatten(0, (2, -1))
        else:
            contexts = torch.stack([dit(codes, mask, repeated), parent.contexts[1].repeat(times, 1, 1)])
        return Posterior(dit, contexts, guidance_scale, temperature, guide_pedal)

    return predict


@dataclass(frozen=True)
class Posterior:
    """What a DiT predicts of every latent frame, as samplers want it.

    Attributes
    ----------
    dit : DiT
    contexts : (C, B, N, W): one, or two for classifier-free guidance: with conditions, and without
    guidance_scale : of two contexts, on the log posterior of what is played, not of whether anything is
    temperature : below 1 sharpens
    guide_pedal : whether guidance is of the pedal, too
    """

    dit: DiT
    contexts: Tensor
    guidance_scale: float = 1.0
    temperature: float = 1.0
    guide_pedal: bool = True

    def __getitem__(self, rows) -> Posterior:
        return dataclasses.replace(self, contexts=self.contexts[:, rows])

    def sample(self, mask: Tensor, uniform: Tensor) -> Tensor:
        """Codes of the frames of a mask, group after group, by one uniform number each.

        Parameters
        ----------
        mask : bool (B, N), M of them true
        uniform : (B, N, G)

        Returns
        -------
        int64 (M, G)
        """
        uniform = uniform[mask]  # (M, G)
        dit, head = self.dit, self.dit.head
        contexts = head.from_context(self.contexts[:, mask])  # (C, M, W)
        sampled = torch.zeros_like(contexts[0])  # the codes sampled so far, embedded
        codes = torch.full((len(uniform), dit.groups), dit.silent, device=uniform.device)
        pedal = dit.groups - 1
        for group in range(dit.groups):
            if group == pedal:  # never sharpened: it would hardly ever lift
                rows, chance = torch.arange(len(codes), device=codes.device), uniform[:, group]
                logits = self._guided(head.group_logits(contexts[: None if self.guide_pedal else 1] + sampled, group))
            elif group % 2:  # the second code of a pair is implied where the first is silent
                rows = (codes[:, group - 1] != dit.silent).nonzero()[:, 0]
                logits = self._guided(head.group_logits(contexts[:, rows] + sampled[rows], group)) / self.temperature
                chance = uniform[rows, group]
            else:
                rows, chance, logits = self._onset(contexts, sampled, uniform[:, group], group)
            codes[rows, group] = pick(logits, chance)
            sampled = sampled + dit.code_vectors[group, codes[:, group]] @ head.from_codes[group]
        return codes

    def _onset(self, contexts, sampled, uniform, group):
        """Where something begins in a band: (rows (R,), what is left of their uniform numbers (R,), logits (R, K)).

        Whether anything begins is not guided, and sharpened around how often it does: guided it would be noise, and
        sharpened around one half silence. So the probability of silence without conditions is never needed.
        """
        head, silent = self.dit.head, self.dit.silent
        conditional = head.group_logits(contexts[0] + sampled, group).float()
        silence = conditional[:, silent].clone()
        conditional[:, silent] = -torch.inf
        onset = (conditional.logsumexp(-1) - silence - TYPICAL_LOGIT) / self.temperature + TYPICAL_LOGIT
        chance = torch.sigmoid(-onset)  # (M,), of silence
        rows = (uniform > chance).nonzero()[:, 0]
        logits = torch.cat([conditional[None, rows], head.group_logits(contexts[1:, rows] + sampled[rows], group)])
        logits = self._guided(logits) / self.temperature
        logits[:, silent] = -torch.inf
        return rows, (uniform[rows] - chance[rows]) / (1 - chance[rows]), logits

    def _guided(self, logits):
        """(C, R, K) -> (R, K)"""
        conditional, *unconditional = logits.float()
        if not unconditional:
            return conditional
        return unconditional[0] + self.guidance_scale * (conditional - unconditional[0])


def pick(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw from softmax(logits) (..., K) by one uniform number each (...): int64."""
    below = logits.softmax(-1).cumsum(-1) < uniform[..., None]
    return below.sum(-1).clamp(max=logits.shape[-1] - 1)
