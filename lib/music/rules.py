"""Rules that steer sampling: a statistic of the music, a target, a distance. None needs a gradient.

Conventions: rules take piano rolls (onsets in {0, 1}) of any batch size, never change them, and give a loss per
example, 0 at the target; times are in beats from the first frame of the roll. After Huang et al., "Symbolic Music
Generation with Non-Differentiable Rule Guided Diffusion" (ICML 2024): note density, pitch-class histogram, chords.

A new rule is a function that makes a Rule, a row of RULES at the end, and a field of that name in
lib/generation/request.py: command line, server, its page and the knobs of notebooks read that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.music.chart import Timing
from lib.music.chords import Chord
from lib.music.notes import MIDDLE_C
from lib.music.piano_roll import (
    FRAMES_PER_BEAT,
    LATENT_STRIDE,
    LATENTS_PER_BEAT,
    LOWEST_PITCH,
    NUM_PITCHES,
    VELOCITY,
    PianoRoll,
    pitch_class_sums,
    smooth,
    sounding_roll,
)

UNNOTICED = 0.5  # notes a beat that make no difference
SILENCE = 4.0  # loss where there is nothing to take a mean of
LOUDNESS_UNIT = 16  # of velocity: about a dynamic mark
CONTOUR_FRAMES = 31  # latent frames (five beats) that a contour is smoothed over
CHROMA_FRAMES = 9  # latent frames (a beat and a half) that count as sounding together
SCARCE = 0.02  # a share below counts as so much in how welcome a pitch class is
OFF_GRID_FRAMES = 3  # an onset that is off by so many (an eighth of a beat) is off the grid altogether
MELODY_FRAMES = 3  # an onset that is off by as many (an eighth of a beat) is the melody's
TENSION = 0.3  # how well a ninth, eleventh or thirteenth suits where a chord tone suits by 1


@dataclass(frozen=True)
class Rule:
    """A statistic that should come near a target.

    Attributes
    ----------
    name : for reports
    statistic : callable(PianoRoll of B) -> Tensor (B, ...)
    target : Tensor that broadcasts to the statistic
    distance : callable(statistic, target) -> Tensor (B,) >= 0; or (B, N), its parts by the latent frames to blame
    weight : share in total_loss
    """

    name: str
    statistic: Callable
    target: Tensor
    distance: Callable
    weight: float = 1.0

    def loss(self, piano_roll: PianoRoll) -> Tensor:
        """(B,), 0 where the statistic is at the target."""
        parts = self.parts(piano_roll)
        return parts if parts.ndim == 1 else parts.sum(1)

    def parts(self, piano_roll: PianoRoll) -> Tensor:
        """(B,) or (B, N), see `distance`."""
        return self.distance(self.statistic(piano_roll), self.target.to(piano_roll.roll.device))


def total_loss(rules: Sequence[Rule], piano_roll: PianoRoll) -> tuple[Tensor, Tensor | None]:
    """(The weighted sum of the rules' losses (B,), its parts by latent frame (B, N); None where no rule has such)."""
    total, credit = 0.0, None
    for rule in rules:
        parts = rule.weight * rule.parts(piano_roll)
        if parts.ndim == 2:
            by_frame = functional.pad(parts, (0, piano_roll.num_frames // LATENT_STRIDE - parts.shape[1]))
            credit = by_frame if credit is None else credit + by_frame
            parts = parts.sum(1)
        total = total + parts
    return total, credit


def notes_per_beat(piano_roll: PianoRoll, hand: str | None = None) -> Tensor:
    """(B,): onsets a beat, of all keys, or of those below middle C ("left") or from it on ("right") alone."""
    border = MIDDLE_C - LOWEST_PITCH
    keys = {None: slice(None), "left": slice(border), "right": slice(border, None)}[hand]
    return piano_roll.onset[:, keys].sum((1, 2)) * FRAMES_PER_BEAT / piano_roll.num_frames


def note_density(notes_a_beat: float, hand: str | None = None) -> Rule:
    """So many notes a beat; the loss is the squared log ratio (half a note a beat counts as nothing on both sides).

    Parameters
    ----------
    hand : as for `notes_per_beat`
    """
    name, target = f"{hand or 'note'}_density", torch.tensor(float(notes_a_beat))
    return Rule(name, lambda piano_roll: notes_per_beat(piano_roll, hand), target, _log_ratio)


def density_contour(notes_a_beat: Tensor) -> Rule:
    """Notes a beat around each latent frame, (N,), NaN where anything goes; the loss: the mean squared log ratio."""
    return _contour("density_contour", local_density, notes_a_beat, _log_ratio)


def velocity_contour(target_velocity: Tensor) -> Rule:
    """The mean velocity around each latent frame: (N,), NaN where anything goes; distances in units of 16."""
    return _contour("velocity_contour", local_velocity, target_velocity, _squared_in(LOUDNESS_UNIT))


def local_density(piano_roll: PianoRoll) -> Tensor:
    """(B, N): onsets a beat over CONTOUR_FRAMES latent frames around each."""
    return _smooth_sums(piano_roll.onset) * LATENTS_PER_BEAT


def local_velocity(piano_roll: PianoRoll) -> Tensor:
    """(B, N): mean MIDI velocity of the onsets over CONTOUR_FRAMES latent frames around each; NaN where none are."""
    loud, count = _smooth_sums(piano_roll.onset * piano_roll.roll[:, VELOCITY] * 127), _smooth_sums(piano_roll.onset)
    return torch.where(count > 0, loud / count.clamp(min=1e-6), torch.nan)


def _smooth_sums(values):
    """(B, 88, T) summed over keys and latent frames, and smoothed over time: (B, T / LATENT_STRIDE)."""
    return smooth(_latent_sums(values.sum(1, keepdim=True)), CONTOUR_FRAMES)[:, 0]


def _latent_sums(values):
    """(..., T) summed over the roll frames of each latent frame: (..., T / LATENT_STRIDE)."""
    frames = values.shape[-1] // LATENT_STRIDE * LATENT_STRIDE
    return values[..., :frames].unflatten(-1, (-1, LATENT_STRIDE)).sum(-1)


def _log_ratio(density, target):
    return (torch.log(density + UNNOTICED) - torch.log(target + UNNOTICED)).square()


def _squared_in(unit):
    """Distance: squared, in this unit; silence (NaN) is as bad as two units."""
    return lambda mean, target: ((mean - target) / unit).square().nan_to_num(SILENCE)


def _contour(name, statistic, target, error):
    """Rule with a target (N,) for each latent frame, NaN where there is none; its parts are those of the mean error."""

    def distance(values, target):
        values, target = _common(values, target)
        given = ~target.isnan()
        return torch.where(given, error(values, target), 0.0) / given.sum().clamp(min=1)

    return Rule(name, statistic, torch.as_tensor(target, dtype=torch.float32), distance)


def _common(values, target):
    """(B, N, ...) and (M, ...) without the frames beyond the end of either."""
    frames = min(values.shape[1], len(target))
    return values[:, :frames], target[:frames]


def register(target_pitch: float) -> Rule:
    """A mean pitch (MIDI); the loss is the squared distance in octaves, that of two octaves where there is silence."""
    pitch = torch.arange(NUM_PITCHES)[:, None] + LOWEST_PITCH
    target = torch.tensor(float(target_pitch))
    return Rule("register", lambda roll: _mean_at_onsets(roll, pitch.to(roll.roll.device)), target, _squared_in(12))


def loudness(target_velocity: float) -> Rule:
    """A mean velocity (MIDI); the loss is the squared distance in units of 16, about a dynamic mark."""
    target, distance = torch.tensor(float(target_velocity)), _squared_in(LOUDNESS_UNIT)
    return Rule("loudness", lambda roll: _mean_at_onsets(roll, roll.roll[:, VELOCITY] * 127), target, distance)


def _mean_at_onsets(piano_roll, values):
    """(B,): the mean of values that broadcast to (B, 88, T), over the onsets; NaN where there are none."""
    return (piano_roll.onset * values).sum((1, 2)) / piano_roll.onset.sum((1, 2))


def _pitch_class_counts(piano_roll: PianoRoll) -> Tensor:
    """(B, N, 12): how many notes of each pitch class begin in each latent frame."""
    return pitch_class_sums(_latent_sums(piano_roll.onset)).transpose(1, 2)


def pitch_class_share(piano_roll: PianoRoll) -> Tensor:
    """(B, 12): the share of each pitch class in the onsets; even where nothing begins."""
    return _share(_pitch_class_counts(piano_roll))


def _share(counts):
    total = counts.sum(1)
    return torch.where(total.sum(1, keepdim=True) > 0, functional.normalize(total, p=1, dim=1), 1 / 12)


def pitch_class_histogram(weights: Sequence[float]) -> Rule:
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

    return Rule("pitch_class_histogram", _pitch_class_counts, weights / weights.sum(), distance)


def _chord_chroma(piano_roll: PianoRoll) -> Tensor:
    """(B, T / 4, 12): how much of each pitch class sounds around each latent frame, unit length."""
    sounding = sounding_roll(piano_roll)
    frames = sounding.shape[-1] // LATENT_STRIDE * LATENT_STRIDE
    keys = functional.avg_pool1d(sounding[..., :frames], LATENT_STRIDE, LATENT_STRIDE)
    return functional.normalize(smooth(pitch_class_sums(keys), CHROMA_FRAMES).sqrt(), dim=1).transpose(1, 2)


def chord_progression(chords: Sequence[Chord | None]) -> Rule:
    """Sound these chords: for each latent frame a Chord, or None where anything goes.

    The loss is 1 - cosine between what sounds and the chord's tones (tensions count TENSION), the mean over
    the frames that have a chord; frames beyond the end of either are left out.
    """
    target = torch.tensor([[0.0] * 12 if chord is None else _suitability(chord) for chord in chords])

    def distance(chroma, target):
        chroma, target = _common(chroma, target)
        tones = functional.normalize(target, dim=-1)
        has_chord = (tones.sum(-1) > 0).float()
        fit = (chroma * tones).sum(-1)  # (B, T'): silence fits not at all
        return (1 - fit) * has_chord / has_chord.sum().clamp(min=1)

    return Rule("chord_progression", _chord_chroma, target, distance)


def _suitability(chord):
    row = [float(tone) for tone in chord.chroma]
    minor = 3 in chord.intervals and 4 not in chord.intervals
    for tension in (2, 5, 9) if minor else (2, 9):  # over a major third the eleventh clashes
        pitch_class = (chord.root + tension) % 12
        row[pitch_class] = max(row[pitch_class], TENSION)
    return row


def rhythm_grid(num_frames: int, frames_per_quarter: float, swing: float = 0.5, start: float = 0.0) -> Rule:
    """Notes begin on eighths; the loss is 0 where all do, 1 where all are OFF_GRID_FRAMES away or more, or none are.

    Parameters
    ----------
    swing : where in its quarter the second eighth lies: 1/2 straight, 2/3 triplets
    start : when the first frame is, in frames from the beginning of a quarter
    """
    phase = ((torch.arange(num_frames) + start) / frames_per_quarter) % 1
    away = torch.stack([phase, (phase - swing).abs(), 1 - phase]).amin(0) * frames_per_quarter  # frames
    cost = (away / OFF_GRID_FRAMES).clamp(max=1).square()

    def distance(onsets, cost):  # (B, T), (T,)
        onsets, cost = _common(onsets, cost)
        total = onsets.sum(1)
        return torch.where(total > 0, (onsets * cost).sum(1) / total.clamp(min=1), 1.0)

    return Rule("rhythm_grid", lambda piano_roll: piano_roll.onset.sum(1), cost, distance)


def melody(beats: Sequence[float], pitches: Sequence[int]) -> Rule:
    """These notes sound on top: the loss is the share that does not begin within MELODY_FRAMES, or lies under one.

    A note that sounds, but below another that begins with it, counts half.
    """
    frames = torch.from_numpy(np.rint(np.asarray(beats, float) * FRAMES_PER_BEAT).astype(np.int64))
    keys = torch.as_tensor(np.asarray(pitches, np.int64) - LOWEST_PITCH)
    inside = (keys >= 0) & (keys < NUM_PITCHES) & (frames >= 0)
    frames, keys = frames[inside], keys[inside]

    def played(piano_roll):
        """(B, M, 2): whether each note begins, and whether nothing above it does."""
        at = frames.to(piano_roll.roll.device)
        near = functional.max_pool1d(piano_roll.onset, 2 * MELODY_FRAMES + 1, 1, MELODY_FRAMES)  # (B, 88, T)
        here = near[:, :, at.clamp(max=near.shape[-1] - 1)].transpose(1, 2)  # (B, M, 88)
        begins = here.gather(-1, keys.to(at.device).expand(len(here), -1)[..., None])[..., 0]
        above = (here * (torch.arange(NUM_PITCHES, device=at.device) > keys.to(at.device)[:, None])).amax(-1)
        return torch.stack([begins, 1 - above], -1) * (at < near.shape[-1])[:, None]

    def distance(played, target):
        fit = played[..., 0] * (1 + played[..., 1]) / 2
        return (target - fit).sum(-1) / max(1, len(frames))

    return Rule("melody", played, torch.ones(len(frames)), distance)


@dataclass(frozen=True)
class Span:
    """Latent frames for which a rule is made.

    Attributes
    ----------
    num_latents : how many
    start : when the first is, in latent frames from the beginning of the chart
    timing : Timing of the music
    """

    num_latents: int
    start: int
    timing: Timing

    def a_beat(self, a_second: float) -> float:
        """So many a second as so many a beat."""
        return a_second * 60 / self.timing.felt_bpm


def _steady_or_contour(steady, contour=None):
    """A row of RULES for a target at each latent frame: one for all, a contour where it changes and there is one."""

    def rule(targets, span):
        given = targets[~np.isnan(targets)]
        if not len(given):
            return None
        changes = contour is not None and np.ptp(given) > 0
        return contour(torch.from_numpy(targets)) if changes else steady(float(given.mean()))

    return rule


def _swing(swing, span):
    per_quarter = float(span.timing.latents_per_quarter) * LATENT_STRIDE
    return rhythm_grid(span.num_latents * LATENT_STRIDE, per_quarter, swing, span.start * LATENT_STRIDE % per_quarter)


def _melody(notes, span):
    first, length = span.start / LATENTS_PER_BEAT, span.num_latents / LATENTS_PER_BEAT  # beats
    placed = [(time_s * span.timing.felt_bpm / 60 - first, pitch) for time_s, pitch in notes]
    placed = [(beat, pitch) for beat, pitch in placed if 0 <= beat < length]
    return melody(*zip(*placed, strict=True)) if placed else None


# field of GenerateRequest -> callable(value, Span) -> Rule, or None where the span asks for nothing
RULES = {
    "density": _steady_or_contour(note_density, density_contour),
    "register": _steady_or_contour(register),
    "loudness": _steady_or_contour(loudness, velocity_contour),
    "left_density": lambda target_hz, span: note_density(span.a_beat(target_hz), hand="left"),
    "right_density": lambda target_hz, span: note_density(span.a_beat(target_hz), hand="right"),
    "pitch_classes": lambda weights, span: pitch_class_histogram(weights),
    "swing": _swing,
    "melody": _melody,
}
# of RULES: the value is a target a latent frame, (N,), NaN for none; density in notes a beat
CURVES = ("density", "register", "loudness")
