"""What is asked of a solo, latent frame by latent frame, and the rules that follow from it for a window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from lib.music.chart import Chart
from lib.music.piano_roll import LATENT_RATE_HZ, LATENT_STRIDE
from lib.music.rules import (
    chord_progression,
    density_contour,
    loudness,
    note_density,
    pitch_class_histogram,
    register,
    velocity_contour,
)
from lib.music.rules_in_time import melody, rhythm_grid


@dataclass(frozen=True)
class Wishes:
    """A request over time.

    Attributes
    ----------
    request : GenerateRequest
    chart : Chart that is played
    chords : L of Chord or None
    density, register, loudness : float (L,), NaN where nothing is asked
    recalled : int (L,), the latent frame of the whole that each takes up, as the form has it; -1: none
    start_s : when the first latent frame is, from the beginning of the chart
    """

    request: object
    chart: Chart
    chords: list
    density: np.ndarray
    register: np.ndarray
    loudness: np.ndarray
    recalled: np.ndarray
    start_s: float = 0.0

    @classmethod
    def over(cls, request, seconds, before=0, after=0, chart=None):
        """Of a request for so many seconds of music, with latent frames before and after it in which nothing is asked.

        The chart is parsed here, unless it is given (one that was invented, or that never was a text).
        """
        length, chart = math.ceil(seconds * LATENT_RATE_HZ), chart or Chart.parse(request.chords, request.beats_per_bar)
        chords, places = chart.frames(length, Fraction(LATENT_RATE_HZ) * 60 / Fraction(request.tempo_bpm))
        places = np.pad(np.where(places < 0, -1, places + before), (before, after), constant_values=-1)
        arcs = (_over(arc, length, before, after) for arc in (request.density, request.register, request.loudness))
        return cls(request, chart, [None] * before + chords + [None] * after, *arcs, places, -before / LATENT_RATE_HZ)

    def __len__(self):
        return len(self.chords)

    def between(self, first, last):
        """Those of latent frames first to last - 1."""
        part, start_s = slice(first, last), self.start_s + first / LATENT_RATE_HZ
        columns = (self.chords, self.density, self.register, self.loudness, self.recalled)
        return Wishes(self.request, self.chart, *(column[part] for column in columns), start_s)

    def rules(self):
        """The rules that steer, chords among them where there are candidates to choose from."""
        request, rules = self.request, self._contours()
        for hand, target in (("left", request.left_density), ("right", request.right_density)):
            rules += [note_density(target, hand=hand)] if target is not None else []
        if request.pitch_classes is not None:
            rules.append(pitch_class_histogram(request.pitch_classes))
        if request.swing is not None:
            frames = len(self) * LATENT_STRIDE
            rules.append(rhythm_grid(frames, request.tempo_bpm, request.swing, self.start_s % (60 / request.tempo_bpm)))
        if tune := [(s - self.start_s, pitch) for s, pitch in request.melody or () if self._has(s)]:
            rules.append(melody(*zip(*tune, strict=True)))
        if request.num_candidates > 1 and any(chord is not None for chord in self.chords):
            rules.append(chord_progression(self.chords))
        return rules

    def _has(self, time_s):
        return 0 <= time_s - self.start_s < len(self) / LATENT_RATE_HZ

    def _contours(self):
        """Density, register and loudness: a number for all of it where it is the same, a contour where it changes."""
        plain = ((self.density, note_density, density_contour), (self.register, register, None),
                 (self.loudness, loudness, velocity_contour))  # fmt: skip
        rules = []
        for values, steady, contour in plain:
            asked = values[~np.isnan(values)]
            if len(asked):
                changes = contour is not None and np.ptp(asked) > 0
                rules.append(contour(torch.from_numpy(values)) if changes else steady(float(asked.mean())))
        return rules


def _over(arc, length, before, after):
    """(before + length + after,) of a number, of several spread evenly over `length` frames, or of None."""
    values = np.full(before + length + after, np.nan, np.float32)
    if arc is not None:
        points = np.atleast_1d(np.asarray(arc, np.float32))
        values[before : before + length] = np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(points)), points)
    return values
