"""Rules that steer sampling: a statistic of the music, a target, a distance. None needs a gradient.

Conventions: rules take decided piano rolls (onsets in {0, 1}) of any batch size, never change them, and give a loss
per example, 0 at the target. After Huang et al., "Symbolic Music Generation with Non-Differentiable Rule Guided
Diffusion" (ICML 2024): note density, pitch-class histogram, chord progression.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lib.music.chord_recognition import SMOOTHING, fold, smooth
from lib.music.piano_roll import (
    FRAME_RATE_HZ,
    LATENT_STRIDE,
    LOWEST_PITCH,
    NUM_PITCHES,
    VELOCITY,
    sounding_roll,
)

SILENCE = 4.0  # loss where there is nothing to take a mean of
TENSION = 0.3  # how well a ninth, eleventh or thirteenth suits where a chord tone suits by 1


@dataclass(frozen=True)
class Rule:
    """A statistic that should come near a target.

    Attributes
    ----------
    name : for reports
    statistic : callable(PianoRoll of B) -> Tensor (B, ...)
    target : Tensor that broadcasts to the statistic
    distance : callable(statistic, target) -> Tensor (B,) >= 0
    weight : share in total_loss
    """

    name: str
    statistic: Callable
    target: Tensor
    distance: Callable
    weight: float = 1.0

    def loss(self, piano_roll):
        """(B,), 0 where the statistic is at the target."""
        return self.distance(self.statistic(piano_roll), self.target.to(piano_roll.roll.device))


def total_loss(rules, piano_roll):
    """(B,): the weighted sum of the rules' losses."""
    return sum(rule.weight * rule.loss(piano_roll) for rule in rules)


def notes_per_s(piano_roll):
    """(B,): onsets a second."""
    return piano_roll.onset.sum((1, 2)) * FRAME_RATE_HZ / piano_roll.num_frames


def note_density(target_hz, weight=1.0):
    """So many notes a second; the loss is the squared log ratio (a note a second counts as nothing on both sides)."""

    def distance(density, target):
        return (torch.log1p(density) - torch.log1p(target)).square()

    return Rule("note_density", notes_per_s, torch.tensor(float(target_hz)), distance, weight)


def mean_at_onsets(values, piano_roll):
    """(B,): the mean of values that broadcast to (B, 88, T), over the onsets; NaN where there are none."""
    return (piano_roll.onset * values).sum((1, 2)) / piano_roll.onset.sum((1, 2))


def mean_pitch(piano_roll):
    """(B,), MIDI."""
    pitch = torch.arange(NUM_PITCHES, device=piano_roll.roll.device)[:, None] + LOWEST_PITCH
    return mean_at_onsets(pitch, piano_roll)


def mean_velocity(piano_roll):
    """(B,), MIDI."""
    return mean_at_onsets(piano_roll.roll[:, VELOCITY] * 127, piano_roll)


def register(target_pitch, weight=1.0):
    """A mean pitch (MIDI); the loss is the squared distance in octaves."""
    return _near("register", mean_pitch, target_pitch, 12, weight)


def loudness(target_velocity, weight=1.0):
    """A mean velocity (MIDI); the loss is the squared distance in units of 16, about a dynamic mark."""
    return _near("loudness", mean_velocity, target_velocity, 16, weight)


def _near(name, statistic, target, unit, weight):
    """Rule whose loss is the squared distance in a unit; silence is as bad as two units."""

    def distance(found, target):
        return ((found - target) / unit).square().nan_to_num(SILENCE)

    return Rule(name, statistic, torch.tensor(float(target)), distance, weight)


def pitch_class_share(piano_roll):
    """(B, 12): the share of each pitch class in the onsets; even where nothing begins."""
    counts = fold(piano_roll.onset).sum(-1)
    return torch.where(counts.sum(1, keepdim=True) > 0, functional.normalize(counts, p=1, dim=1), 1 / 12)


def pitch_class_histogram(weights, weight=1.0):
    """Pitch classes C..B in these proportions; the loss is the Hellinger distance squared.

    Raises
    ------
    ValueError : not twelve weights >= 0 with a positive sum
    """
    weights = torch.as_tensor(weights, dtype=torch.float32)
    if weights.shape != (12,) or not (weights >= 0).all() or not 0 < float(weights.sum()) < math.inf:
        raise ValueError("a pitch-class histogram is twelve weights from C to B, none negative, not all 0")

    def distance(share, target):
        return 1 - (share * target).sqrt().sum(-1).clamp(max=1)

    return Rule("pitch_class_histogram", pitch_class_share, weights / weights.sum(), distance, weight)


def chord_chroma(piano_roll):
    """(B, T / 4, 12): how much of each pitch class sounds around each latent frame, unit length."""
    sounding = sounding_roll(piano_roll)
    frames = sounding.shape[-1] // LATENT_STRIDE * LATENT_STRIDE
    keys = functional.avg_pool1d(sounding[..., :frames], LATENT_STRIDE, LATENT_STRIDE)
    return functional.normalize(smooth(fold(keys), SMOOTHING).sqrt(), dim=1).transpose(1, 2)


def chord_progression(chords, weight=1.0):
    """Sound these chords: for each latent frame a Chord, or None where anything goes.

    The loss is 1 - cosine between what sounds and the chord's tones (tensions count TENSION), the mean over
    the frames that have a chord; frames beyond the end of either are left out.
    """
    target = torch.tensor([[0.0] * 12 if chord is None else _suitability(chord) for chord in chords])

    def distance(chroma, target):
        frames = min(chroma.shape[1], len(target))
        asked = functional.normalize(target[:frames], dim=-1)
        has_chord = (asked.sum(-1) > 0).float()
        fit = (chroma[:, :frames] * asked).sum(-1)  # (B, T'): silence fits not at all
        return ((1 - fit) * has_chord).sum(1) / has_chord.sum().clamp(min=1)

    return Rule("chord_progression", chord_chroma, target, distance, weight)


def _suitability(chord):
    row = [float(tone) for tone in chord.chroma]
    minor = 3 in chord.intervals and 4 not in chord.intervals
    for tension in (2, 5, 9) if minor else (2, 9):  # over a major third the eleventh clashes
        place = (chord.root + tension) % 12
        row[place] = max(row[place], TENSION)
    return row
