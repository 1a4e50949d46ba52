"""The conditions of the diffusion transformer: chords, attributes, clock, tempo, feel, style and a reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional

from lib.music.chart import CHORD_DIM
from lib.music.tempo_map import FRAMES_PER_BEAT, LATENTS_PER_BEAT

CHORDS_DIM = 2 * CHORD_DIM + 1  # the chord now, the next one, how far away it is
ATTRIBUTES_DIM = 4  # density, register, and whether each is given
TEMPO_DIM, FEEL_DIM = 2, 4  # their values, and whether they are given
TYPICAL_DENSITY = 1.7  # log(1 + notes a beat): 4.5
TYPICAL_TEMPO, TEMPO_RANGE = math.log(122.0), 0.2  # log felt beats a minute; half of what is usual around it
CHORD_DECAY_BEATS = 4.0
FEWEST_ONSETS = 8  # of a window with a feel
# frames of a beat: where a second eighth may lie, triplets, sixteenths that are no eighths
SECOND_EIGHTH, TRIPLETS, SIXTEENTHS = range(10, 18), (7, 8, 9, 15, 16, 17), (5, 6, 18, 19)
STRAIGHT, SWUNG = FRAMES_PER_BEAT / 2, 2 * FRAMES_PER_BEAT / 3  # frames


@dataclass(frozen=True)
class Conditions:
    """What the music should be; zeros stand for no condition, as condition dropout leaves them in training.

    Attributes
    ----------
    style : (B, S)
    chords : (B, N, CHORDS_DIM), of `harmony`
    attributes : (B, N, ATTRIBUTES_DIM), of `attributes`
    clock : int64 (B, N, 3): latent frame of the beat, latent frames since the bar line, latent frames of the bar;
        tempo_map.UNKNOWN_CLOCK where they are not known
    tempo : (B, N, TEMPO_DIM), of `tempo`
    feel : (B, N, FEEL_DIM), of `feel_condition`
    reference : int64 (B, N, G), the codes of another passage, in the same phase of the bar
    referred : bool (B, N), which of its frames are given
    """

    style: Tensor
    chords: Tensor
    attributes: Tensor
    clock: Tensor
    tempo: Tensor
    feel: Tensor
    reference: Tensor
    referred: Tensor

    def map(self, change: Callable) -> Conditions:
        """change(tensor) of each."""
        return Conditions(*(change(getattr(self, field.name)) for field in fields(self)))

    def repeat(self, times: int) -> Conditions:
        """The whole batch so many times, one behind the other."""
        return self.map(lambda x: torch.cat([x] * times))

    def dropped(self, keep_style: bool = False) -> Conditions:
        """The same without any wish, or with the style alone; clock and tempo stay."""
        names = ["chords", "attributes", "feel", "referred", *([] if keep_style else ["style"])]
        return replace(self, **{name: torch.zeros_like(getattr(self, name)) for name in names})

    def equals(self, other: Conditions) -> bool:
        """Whether both are the same."""
        return all(torch.equal(*pair) for pair in self._beside(other))

    def joined(self, other: Conditions) -> Conditions:
        """Both batches, one behind the other."""
        return Conditions(*map(torch.cat, self._beside(other)))

    def _beside(self, other):
        """Pairs of the same tensor of both."""
        return zip(vars(self).values(), vars(other).values(), strict=True)


def harmony(now: Tensor, following: Tensor, beats_until: Tensor) -> Tensor:
    """Chords as the model reads them.

    Parameters
    ----------
    now, following : (B, N, CHORD_DIM), of music.chart.chord_features: what holds, and what comes next
    beats_until : (B, N), until it comes; infinite where none does

    Returns
    -------
    (B, N, CHORDS_DIM)
    """
    return torch.cat([now, following, torch.exp(-beats_until / CHORD_DECAY_BEATS)[..., None]], -1)


def attributes(notes_per_beat: Tensor, pitch: Tensor) -> Tensor:
    """Density and register as the model reads them.

    Parameters
    ----------
    notes_per_beat, pitch : (B, N) onsets a beat and mean MIDI pitch around each latent frame; NaN: no condition

    Returns
    -------
    (B, N, ATTRIBUTES_DIM)
    """
    return _given(torch.log1p(notes_per_beat) - TYPICAL_DENSITY, (pitch - 60) / 12)


def tempo(bpm: Tensor) -> Tensor:
    """The tempo as the model reads it: (B, N) felt beats a minute, NaN: unknown -> (B, N, TEMPO_DIM)."""
    return _given((torch.log(bpm) - TYPICAL_TEMPO) / TEMPO_RANGE)


def feel(onsets: Tensor, beat_latent: Tensor) -> Tensor:
    """The feel of windows.

    Parameters
    ----------
    onsets : (B, N, LATENT_STRIDE), how many notes begin in each frame
    beat_latent : int64 (B, N), the clock's first column

    Returns
    -------
    float32 (B, 3) : where the second eighth lies, from -1 (straight) to 1 (the second third of the beat), and the
        shares of onsets on triplets and on sixteenths; NaN where fewer than FEWEST_ONSETS notes begin on known beats
    """
    in_beat = functional.one_hot(beat_latent.long(), LATENTS_PER_BEAT + 1)[..., :-1].to(onsets.dtype)  # (B, N, 6)
    counts = torch.einsum("bnl,bns->bls", in_beat, onsets).flatten(1)  # (B, FRAMES_PER_BEAT)
    total = counts.sum(1)
    second = counts[:, SECOND_EIGHTH.start : SECOND_EIGHTH.stop]
    frames = torch.arange(SECOND_EIGHTH.start, SECOND_EIGHTH.stop, device=onsets.device, dtype=onsets.dtype)
    middle = (STRAIGHT + SWUNG) / 2
    lies = (second * (frames - middle)).sum(1) / second.sum(1).clamp(min=1) / (SWUNG - middle)
    shares = (counts[:, list(part)].sum(1) / total.clamp(min=1) for part in (TRIPLETS, SIXTEENTHS))
    values = torch.stack([lies, *shares], -1)
    return torch.where(total[:, None] >= FEWEST_ONSETS, values, torch.nan)


def feel_condition(feel: Tensor) -> Tensor:
    """The feel as the model reads it: (..., 3) of `feel`, NaN: any -> (..., FEEL_DIM)."""
    given = ~feel.isnan().any(-1, keepdim=True)
    return torch.cat([feel.nan_to_num(), given.to(feel.dtype)], -1)


def _given(*values):
    values = torch.stack(values, -1)
    given = ~values.isnan()
    return torch.cat([values.nan_to_num(), given.to(values.dtype)], -1)
