"""What a DiT says of latent frames, as sampling wants it: codes drawn one group after the other."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.models.dit import DiT

TYPICAL_LOGIT = -2.6  # of something beginning in a band (7 %); measured: data/released/improviser.md


@dataclass(frozen=True)
class Posterior:
    """What a DiT says of every latent frame, as sampling wants it.

    Attributes
    ----------
    dit : DiT
    contexts : (C, B, N, H): one, or two for classifier-free guidance: with what is asked, and with nothing asked
    guidance_scale : of two contexts, on the log posterior of what is played, not of whether anything is
    temperature : below 1 sharpens
    guide_pedal : whether guidance is of the pedal, too
    """

    dit: DiT
    contexts: Tensor
    guidance_scale: float = 1.0
    temperature: float = 1.0
    guide_pedal: bool = True

    def __getitem__(self, rows):
        return dataclasses.replace(self, contexts=self.contexts[:, rows])

    def draw(self, where, uniform):
        """Codes of chosen latent frames, group after group, by one uniform number each.

        Parameters
        ----------
        where : bool (B, N), M of them true
        uniform : (B, N, G)

        Returns
        -------
        int64 (M, G)
        """
        uniform = uniform[where]  # (M, G)
        dit, head = self.dit, self.dit.head
        contexts = head.from_context(self.contexts[:, where])  # (C, M, H)
        heard = torch.zeros_like(contexts[0])  # of the codes that are drawn
        codes = torch.tensor([*dit.silent * (dit.groups // 2), 0], device=uniform.device).repeat(len(uniform), 1)
        for group in range(dit.groups):
            if group == dit.groups - 1:  # the pedal: sharpened, it would hardly ever lift
                rows, chance = torch.arange(len(codes), device=codes.device), uniform[:, group]
                logits = self._guided(head.of_group(contexts[: None if self.guide_pedal else 1] + heard, group))
            elif group % 2:  # the second code of a pair goes without saying where the first is silent
                rows = (codes[:, group - 1] != dit.silent[0]).nonzero()[:, 0]
                logits = self._guided(head.of_group(contexts[:, rows] + heard[rows], group)) / self.temperature
                chance = uniform[rows, group]
            else:
                rows, chance, logits = self._beginning(contexts, heard, uniform[:, group], group)
            codes[rows, group] = pick(logits, chance)
            heard = heard + dit.code_vectors[group, codes[:, group]] @ head.from_codes[group]
        return codes

    def _beginning(self, contexts, heard, uniform, group):
        """Where something begins in a band: (rows (R,), what is left of their uniform numbers (R,), logits (R, K)).

        Whether anything begins is left to what is asked, and sharpened around how often it does: guided it would be noise, and
        sharpened around one half silence. So of silence nobody needs to know what it would be with nothing asked.
        """
        head, silent = self.dit.head, self.dit.silent[0]
        asked = head.of_group(contexts[0] + heard, group).float()
        silence = asked[:, silent].clone()
        asked[:, silent] = -torch.inf
        begins = (asked.logsumexp(-1) - silence - TYPICAL_LOGIT) / self.temperature + TYPICAL_LOGIT
        chance = torch.sigmoid(-begins)  # (M,), of silence
        rows = (uniform > chance).nonzero()[:, 0]
        logits = torch.cat([asked[None, rows], head.of_group(contexts[1:, rows] + heard[rows], group)])
        logits = self._guided(logits) / self.temperature
        logits[:, silent] = -torch.inf
        return rows, (uniform[rows] - chance[rows]) / (1 - chance[rows]), logits

    def _guided(self, logits):
        """(C, R, K) -> (R, K)"""
        asked, *unasked = logits.float()
        return unasked[0] + self.guidance_scale * (asked - unasked[0]) if unasked else asked


def pick(logits, uniform):
    """Draw from softmax(logits) (..., K) by one uniform number each (...): int64."""
    below = logits.softmax(-1).cumsum(-1) < uniform[..., None]
    return below.sum(-1).clamp(max=logits.shape[-1] - 1)
