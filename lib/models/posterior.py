"""What a DiT says of latent frames, as sampling wants it: codes drawn one group after the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

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
    """

    dit: DiT
    contexts: Tensor
    guidance_scale: float = 1.0
    temperature: float = 1.0

    def __getitem__(self, rows):
        return Posterior(self.dit, self.contexts[:, rows], self.guidance_scale, self.temperature)

    def joined(self, other):
        """Both batches, one behind the other."""
        contexts = torch.cat([self.contexts, other.contexts], 1)
        return Posterior(self.dit, contexts, self.guidance_scale, self.temperature)

    def draw(self, where, uniform):
        """Codes of chosen latent frames, group after group, by one uniform number each.

        Parameters
        ----------
        where : bool (B, N), M of them true
        uniform : (B, N, G)

        Returns
        -------
        (codes int64 (M, G), log-probability (M,) of each frame's)
        """
        contexts, uniform = self.contexts[:, where], uniform[where]  # (C, M, H), (M, G)
        dit, head = self.dit, self.dit.head
        known = head.from_context(contexts)  # (C, M, H): the context, and soon the codes that are drawn
        codes = torch.zeros(uniform.shape, dtype=torch.long, device=uniform.device)
        certainty, all_rows = torch.zeros(len(uniform), device=uniform.device), torch.arange(len(uniform), device=uniform.device)
        for group in range(dit.groups):
            rows = all_rows
            if group % 2 and group < dit.groups - 1:
                codes[:, group] = dit.silent[1]
                rows = (codes[:, group - 1] != dit.silent[0]).nonzero()[:, 0]
            if len(rows):
                asked = torch.full((len(rows) * len(known),), group, device=uniform.device)
                logits = self._combined(head.logits(known[:, rows].flatten(0, 1), asked).float(), group)
                codes[rows, group] = code = pick(logits, uniform[rows, group])
                certainty[rows] += logits.log_softmax(-1).gather(-1, code[:, None])[:, 0]
            known = known + dit.code_vectors[group, codes[:, group]] @ head.from_codes[group]
        return codes, certainty

    def _combined(self, logits, group):
        """(C M, K) -> (M, K)"""
        asked, *unasked = logits.chunk(len(self.contexts))
        guided = unasked[0] + self.guidance_scale * (asked - unasked[0]) if unasked else asked
        if group % 2 or group == self.dit.groups - 1:
            return guided / self.temperature
        # Whether anything begins is left to what is asked, and sharpened around how often it does: guided it would be noise, and
        # sharpened around one half silence.
        silent = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        silent[self.dit.silent[0]] = True
        begins = asked.masked_fill(silent, -torch.inf).logsumexp(-1, keepdim=True) - asked[:, silent]
        begins = (begins - TYPICAL_LOGIT) / self.temperature + TYPICAL_LOGIT
        what = (guided.masked_fill(silent, -torch.inf) / self.temperature).log_softmax(-1)
        return torch.where(silent, functional.logsigmoid(-begins), what + functional.logsigmoid(begins))


def pick(logits, uniform):
    """Draw from softmax(logits) (..., K) by one uniform number each (...): int64."""
    below = logits.softmax(-1).cumsum(-1) < uniform[..., None]
    return below.sum(-1).clamp(max=logits.shape[-1] - 1)
