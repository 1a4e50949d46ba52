"""A request over time: its chart, its targets a latent frame, and the rules and model conditions that follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.generation.request import GenerateRequest
from lib.models.dit import Conditions, attributes
from lib.music.chart import Chart, chord_features, chord_frames
from lib.music.chords import Chord
from lib.music.notes import Notes
from lib.music.piano_roll import LATENT_RATE_HZ
from lib.music.rules import CURVES, RULES, Rule, Span, chord_progression


@dataclass(frozen=True)
class Conditioning:
    """What a request asks for at each of L latent frames.

    Attributes
    ----------
    request : GenerateRequest
    chart : Chart that is played
    chords : L of Chord or None
    curves : name of rules.CURVES -> float32 (L,), the target, NaN where there is none
    sources : int64 (L,), the latent frame of the whole whose music each repeats, as the form has it; -1: none
    start_s : when the first latent frame is, from the beginning of the chart
    """

    request: GenerateRequest
    chart: Chart
    chords: list[Chord | None]
    curves: dict[str, np.ndarray]
    sources: np.ndarray
    start_s: float = 0.0

    @classmethod
    def of(
        cls, request: GenerateRequest, seconds: float, before: int = 0, after: int = 0, chart: Chart | None = None
    ) -> Conditioning:
        """Of a request for so many seconds of music, with latent frames before and after it that have no targets.

        The request's chart is parsed here, and nowhere else; `chart` is one that was given instead.

        Raises
        ------
        ChordError : of the chart
        """
        length = math.ceil(seconds * LATENT_RATE_HZ)
        chart = chart or Chart.parse(request.chords, request.beats_per_bar)
        chords, sources = chart.frames(length, frames_per_quarter(request.tempo_bpm))
        sources = np.pad(np.where(sources < 0, -1, sources + before), (before, after), constant_values=-1)
        curves = {name: _curve(getattr(request, name), length, before, after) for name in CURVES}
        chords = [None] * before + chords + [None] * after
        return cls(request, chart, chords, curves, sources, -before / LATENT_RATE_HZ)

    def __len__(self):
        return len(self.chords)

    def between(self, first: int, last: int | None) -> Conditioning:
        """That of latent frames first to last - 1."""
        part, start_s = slice(first, last), self.start_s + first / LATENT_RATE_HZ
        curves = {name: values[part] for name, values in self.curves.items()}
        return Conditioning(self.request, self.chart, self.chords[part], curves, self.sources[part], start_s)

    def rules(self) -> list[Rule]:
        """The rules that steer, chords among them where there are candidates to choose from."""
        span = Span(len(self), self.start_s, self.request.tempo_bpm)
        targets = {name: self.curves.get(name, getattr(self.request, name)) for name in RULES}
        rules = [RULES[name](target, span) for name, target in targets.items() if target is not None]
        if self.request.num_candidates > 1 and any(chord is not None for chord in self.chords):
            rules.append(chord_progression(self.chords))
        return [rule for rule in rules if rule is not None]

    def model_conditions(self, style: Tensor, num_frames: int) -> Conditions:
        """Conditions (B = 1) of the model: the style (1, S), chords and curves, none of these beyond the end."""
        beyond, given = num_frames - len(self), self.request.condition_model
        chords = chord_features(chord_frames([*self.chords, *[None] * beyond]).to(style.device))[None] * given
        curves = [torch.from_numpy(self.curves[name]) for name in ("density", "register")]
        curves = [values if given else torch.full_like(values, torch.nan) for values in curves]
        curves = [functional.pad(values, (0, beyond), value=torch.nan).to(chords)[None] for values in curves]
        return Conditions(style, chords, attributes(*curves))


def frames_per_quarter(tempo_bpm: float) -> Fraction:
    """Latent frames a quarter, exact."""
    return Fraction(LATENT_RATE_HZ) * 60 / Fraction(tempo_bpm)


def latent_end_s(notes: Notes) -> float:
    """When a performance has ended, in whole latent frames."""
    return math.ceil(notes.end_s * LATENT_RATE_HZ) / LATENT_RATE_HZ


def _curve(target, length, before, after):
    """(before + length + after,) of a number, of several spread evenly over `length` frames, or of None."""
    values = np.full(before + length + after, np.nan, np.float32)
    if target is not None:
        points = np.atleast_1d(np.asarray(target, np.float32))
        values[before : before + length] = np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(points)), points)
    return values
