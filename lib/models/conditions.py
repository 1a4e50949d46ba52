"""What the diffusion model is conditioned on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ATTRIBUTES_DIM = 4  # density, register, and whether each is given
TYPICAL_DENSITY = 2.3  # log(1 + notes a second): 9


@dataclass(frozen=True)
class Conditions:
    """What the music should be; zeros stand for no condition, as condition dropout leaves them in training.

    Attributes
    ----------
    style : (B, S)
    chords : (B, N, CHORD_DIM), of music.chart.chord_features
    attributes : (B, N, ATTRIBUTES_DIM), of `attributes`
    """

    style: Tensor
    chords: Tensor
    attributes: Tensor

    def repeat(self, times: int) -> Conditions:
        """The whole batch so many times, one behind the other."""
        return Conditions(*(torch.cat([x] * times) for x in vars(self).values()))

    def dropped(self, keep_style: bool = False) -> Conditions:
        """The same without conditions, or with the style alone."""
        style = self.style if keep_style else torch.zeros_like(self.style)
        return Conditions(style, torch.zeros_like(self.chords), torch.zeros_like(self.attributes))

    def equals(self, other: Conditions) -> bool:
        """Whether both are the same."""
        return all(torch.equal(x, y) for x, y in zip(vars(self).values(), vars(other).values(), strict=True))

    def joined(self, other: Conditions) -> Conditions:
        """Both batches, one behind the other."""
        return Conditions(*(torch.cat(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


def attributes(notes_per_s: Tensor, pitch: Tensor) -> Tensor:
    """Density and register as the model reads them.

    Parameters
    ----------
    notes_per_s, pitch : (B, N) onsets a second and mean MIDI pitch around each latent frame; NaN: no condition

    Returns
    -------
    (B, N, ATTRIBUTES_DIM)
    """
    values = torch.stack([torch.log1p(notes_per_s) - TYPICAL_DENSITY, (pitch - 60) / 12], -1)
    given = ~values.isnan()
    return torch.cat([values.nan_to_num(), given.to(values.dtype)], -1)
