"""How much of the music is hidden: masked (absorbing) discrete diffusion over codes.

Conventions: a share is that of the cells (latent frame, group) whose code is hidden, in [0, 1]; 1 is nothing but noise. In
training each example draws its share evenly, so that the mean cross-entropy of hidden codes bounds the nats a code
(Sahoo et al. 2024, MDLM; Shi et al. 2024). Sampling settles codes until none is hidden.
"""

from __future__ import annotations

import math

LEAST_HIDDEN = 0.02  # share in training: fewer codes teach little for a whole pass


def training_share(uniform):
    """Uniform in [0, 1) -> the share that an example hides."""
    return LEAST_HIDDEN + (1 - LEAST_HIDDEN) * uniform


def remaining(progress, curve="cosine"):
    """The share still hidden at a progress in [0, 1] of sampling: 1 at 0, 0 at 1.

    `cosine` settles few codes at first, when little is known (Chang et al. 2022, MaskGIT); `linear` as many at each step.
    """
    return {"cosine": math.cos(progress * math.pi / 2), "linear": 1 - progress}[curve] if progress < 1 else 0.0
