"""Rules that steer sampling: a statistic of the music, a target, a distance. None needs a gradient.

Conventions: rules take decided piano rolls (onsets in {0, 1}) of any batch size, never change them, and give a loss
per example, 0 at the target. After Huang et al., "Symbolic Music Generation with Non-Differentiable Rule Guided
Diffusion" (ICML 2024): note density, pitch-class histogram, chord progression. Rules in time: see rules_in_time.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lib.music.notes import MIDDLE_C
from lib.music.piano_roll import (
    FRAME_RATE_HZ,
    LATENT_STRIDE,
    LOWEST_PITCH,
    NUM_PITCHES,
    VELOCITY,
    PianoRoll,
    pitch_class_sums,
    smooth,
    sounding_roll,
)

SILENCE = 4.0  # loss where there is nothing to take a mean of
LOUDNESS_UNIT = 16  # of velocity: about a dynamic mark
CONTOUR_FRAMES = 31  # latent frames (2.5 s) that a contour is smoothed over
CHROMA_FRAMES = 9  # latent frames (0.72 s) that count as sounding together: about a half note at a medium tempo
SCARCE = 0.02  # a share below counts as so much in how welcome a pitch class is
TENSION = 0.3  # how well a ninth, eleventh or thirteenth suits where a chord tone suits by 1


@dataclass(frozen=True)
class Rule:
    """A statistic that should come near a target.

    Attributes
    ----------
    name : for reports
    statistic : callable(PianoRoll of B) -> Tensor (B, ...)
    target : Tensor that broadcasts to the statistic
    distance : callable(statistic, target) -> Tensor (B,) >= 0; or (B, N), the parts of it that latent frames are to blame for
    weight : share in total_loss
    """

    name: str
    statistic: Callable
    target: Tensor
    distance: Callable
    weight: float = 1.0

    def loss(self, piano_roll):
        """(B,), 0 where the statistic is at the target."""
        parts = self.parts(piano_roll)
        return parts if parts.ndim == 1 else parts.sum(1)

    def parts(self, piano_roll):
        """(B,) or (B, N), see `distance`."""
        return self.distance(self.statistic(piano_roll), self.target.to(piano_roll.roll.device))


def total_loss(rules, piano_roll):
    """(The weighted sum of the rules' losses (B,), its parts by latent frame (B, N); None where no rule has such)."""
    total, credit = 0.0, None
    for rule in rules:
        parts = rule.weight * rule.parts(piano_roll)
        if parts.ndim == 2:
            frames = piano_roll.num_frames // LATENT_STRIDE
            placed = functional.pad(parts, (0, max(0, frames - parts.shape[1])))[:, :frames]
            credit = placed if credit is None else credit + placed
            parts = parts.sum(1)
        total = total + parts
    return total, credit


def notes_per_s(piano_roll):
    """(B,): onsets a second."""
    return piano_roll.onset.sum((1, 2)) * FRAME_RATE_HZ / piano_roll.num_frames


def note_density(target_hz, weight=1.0, hand=None):
    """So many notes a second; the loss is the squared log ratio (a note a second counts as nothing on both sides).

    Parameters
    ----------
    hand : "left", "right": only keys below middle C, or from it on; None: all
    """

    def statistic(piano_roll):
        return notes_per_s(of_hand(piano_roll, hand))

    return Rule(f"{hand or 'note'}_density", statistic, torch.tensor(float(target_hz)), _log_ratio, weight)


def density_contour(target_hz, weight=1.0):
    """Notes a second around each latent frame: (N,), NaN where anything goes; the loss is the mean squared log ratio."""

    def distance(density, target):
        density, target = _common(density, target)
        return _mean_where_asked(_log_ratio(density, target), target)

    return Rule("density_contour", local_density, torch.as_tensor(target_hz, dtype=torch.float32), distance, weight)


def velocity_contour(target_velocity, weight=1.0):
    """The mean velocity around each latent frame: (N,), NaN where anything goes; distances in units of 16."""

    def distance(velocity, target):
        velocity, target = _common(velocity, target)
        error = ((velocity - target) / LOUDNESS_UNIT).square()
        return _mean_where_asked(torch.where(velocity.isnan(), SILENCE, error), target)

    return Rule("velocity_contour", local_velocity, torch.as_tensor(target_velocity, dtype=torch.float32), distance, weight)


def of_hand(piano_roll, hand):
    """Only the keys below middle C ("left"), from it on ("right"), or all (None)."""
    if hand is None:
        return piano_roll
    keys = torch.arange(NUM_PITCHES, device=piano_roll.roll.device) + LOWEST_PITCH < MIDDLE_C
    keys = keys if hand == "left" else ~keys
    return PianoRoll(piano_roll.roll * keys[:, None], piano_roll.pedal)


def local_density(piano_roll):
    """(B, N): onsets a second over CONTOUR_FRAMES latent frames around each."""
    onsets = latent_sums(piano_roll.onset)
    return smooth(onsets[:, None], CONTOUR_FRAMES)[:, 0] * (FRAME_RATE_HZ / LATENT_STRIDE)


def local_velocity(piano_roll):
    """(B, N): mean MIDI velocity of the onsets over CONTOUR_FRAMES latent frames around each; NaN where there are none."""
    sums = (latent_sums(piano_roll.onset * piano_roll.roll[:, VELOCITY] * 127), latent_sums(piano_roll.onset))
    loud, count = (smooth(one[:, None], CONTOUR_FRAMES)[:, 0] for one in sums)
    return torch.where(count > 0, loud / count.clamp(min=1e-6), torch.nan)


def latent_sums(values):
    """(B, 88, T) summed over keys and the roll frames of each latent frame: (B, T / LATENT_STRIDE)."""
    frames = values.shape[-1] // LATENT_STRIDE * LATENT_STRIDE
    return values[..., :frames].sum(1).unflatten(-1, (-1, LATENT_STRIDE)).sum(-1)


def _log_ratio(density, target):
    return (torch.log1p(density) - torch.log1p(target)).square()


def _mean_where_asked(values, target):
    """(B, N) and (N,) with NaN where nothing is asked -> parts of their mean."""
    asked = ~target.isnan()
    return torch.where(asked, values, 0.0) / asked.sum().clamp(min=1)


def _common(values, target):
    """(B, N) and (M,) without the frames beyond the end of either."""
    frames = min(values.shape[1], len(target))
    return values[:, :frames], target[:frames]


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
    return _near("loudness", mean_velocity, target_velocity, LOUDNESS_UNIT, weight)


def _near(name, statistic, target, unit, weight):
    """Rule whose loss is the squared distance in a unit; silence is as bad as two units."""

    def distance(found, target):
        return ((found - target) / unit).square().nan_to_num(SILENCE)

    return Rule(name, statistic, torch.tensor(float(target)), distance, weight)


def pitch_class_counts(piano_roll):
    """(B, N, 12): how many notes of each pitch class begin in each latent frame."""
    frames = piano_roll.num_frames // LATENT_STRIDE
    onsets = piano_roll.onset[..., : frames * LATENT_STRIDE].unflatten(-1, (frames, LATENT_STRIDE)).sum(-1)
    return pitch_class_sums(onsets).transpose(1, 2)


def pitch_class_share(piano_roll):
    """(B, 12): the share of each pitch class in the onsets; even where nothing begins."""
    return _share(pitch_class_counts(piano_roll))


def _share(counts):
    total = counts.sum(1)
    return torch.where(total.sum(1, keepdim=True) > 0, functional.normalize(total, p=1, dim=1), 1 / 12)


def pitch_class_histogram(weights, weight=1.0):
    """Pitch classes C..B in these proportions; the loss is the Hellinger distance squared.

    Raises
    ------
    ValueError : not twelve weights >= 0 with a positive sum
    """
    weights = torch.as_tensor(weights, dtype=torch.float32)
    if weights.shape != (12,) or not (weights >= 0).all() or not 0 < float(weights.sum()) < math.inf:
        raise ValueError("a pitch-class histogram is twelve weights from C to B, none negative, not all 0")

    def distance(counts, target):
        """Its parts: an even share each, and by how much a frame's notes raise or lower the loss (its derivative)."""
        share, total = _share(counts), counts.sum((1, 2))[:, None]
        loss = 1 - (share * target).sqrt().sum(-1).clamp(max=1)
        slope = -0.5 * (target / share.clamp(min=SCARCE)).sqrt()
        slope = slope - (share * slope).sum(-1, keepdim=True)
        return loss[:, None] / counts.shape[1] + (counts * slope[:, None]).sum(-1) / total.clamp(min=1)

    return Rule("pitch_class_histogram", pitch_class_counts, weights / weights.sum(), distance, weight)


def chord_chroma(piano_roll):
    """(B, T / 4, 12): how much of each pitch class sounds around each latent frame, unit length."""
    sounding = sounding_roll(piano_roll)
    frames = sounding.shape[-1] // LATENT_STRIDE * LATENT_STRIDE
    keys = functional.avg_pool1d(sounding[..., :frames], LATENT_STRIDE, LATENT_STRIDE)
    return functional.normalize(smooth(pitch_class_sums(keys), CHROMA_FRAMES).sqrt(), dim=1).transpose(1, 2)


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
        return (1 - fit) * has_chord / has_chord.sum().clamp(min=1)

    return Rule("chord_progression", chord_chroma, target, distance, weight)


def _suitability(chord):
    row = [float(tone) for tone in chord.chroma]
    minor = 3 in chord.intervals and 4 not in chord.intervals
    for tension in (2, 5, 9) if minor else (2, 9):  # over a major third the eleventh clashes
        place = (chord.root + tension) % 12
        row[place] = max(row[place], TENSION)
    return row
