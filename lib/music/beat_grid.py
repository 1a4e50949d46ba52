"""The conditions of time at each latent frame: where in the bar, how fast, and how the beat is divided.

Conventions: latent frames are LATENTS_PER_BEAT a felt beat, the first at position 0 of a TempoMap. A clock is int
(N, 3): latent frame of the beat, latent frames since the bar line, latent frames of the bar, and where one of them is
not known, UNKNOWN_CLOCK's. A feel is float (..., 3): where the second eighth lies, from -1 (straight) to 1 (the
second third of the beat), and the shares of onsets on triplets and on sixteenths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.music.chart import Chart
from lib.music.piano_roll import FRAMES_PER_BEAT, LATENTS_PER_BEAT
from lib.music.tempo_map import FASTEST_FELT, IN_BARS, NO_BEAT, SLOWEST_FELT, UNITS, Metre, TempoMap, bar_table

LONGEST_BAR = 48  # latent frames: eight beats; a longer bar is as good as unknown
UNKNOWN_CLOCK = (LATENTS_PER_BEAT, LONGEST_BAR, 0)
TEMPO_BEATS = 8.0  # over which the tempo is taken
FEWEST_ONSETS = 8  # of a window with a feel
# frames of a beat: where a second eighth may lie, triplets, sixteenths that are no eighths
SECOND_EIGHTH, TRIPLETS, SIXTEENTHS = range(10, 18), (7, 8, 9, 15, 16, 17), (5, 6, 18, 19)
STRAIGHT, SWUNG = FRAMES_PER_BEAT / 2, 2 * FRAMES_PER_BEAT / 3  # frames


def clock_frames(tempo_map: TempoMap, num_latents: int) -> np.ndarray:
    """The clock of the first latent frames of a map, int16 (num_latents, 3)."""
    clock = np.tile(np.array(UNKNOWN_CLOCK, np.int16), (num_latents, 1))
    for bar in tempo_map.bars:
        first, length = round(float(bar["start"]) * LATENTS_PER_BEAT), round(float(bar["beats"]) * LATENTS_PER_BEAT)
        since = np.arange(max(0, min(length, num_latents - first)))
        rows = clock[first : first + len(since)]
        if bar["kind"] != NO_BEAT:
            rows[:, 0] = since % LATENTS_PER_BEAT
        if bar["kind"] == IN_BARS and length <= LONGEST_BAR:
            rows[:, 1], rows[:, 2] = since, length
    return clock


def tempo_frames(tempo_map: TempoMap, num_latents: int) -> np.ndarray:
    """Felt beats a minute at each latent frame, float32 (num_latents,): one value a bar where bars are known, else a
    beat; the mean over TEMPO_BEATS around. NaN where there is no beat.
    """
    bpm = np.full(num_latents, np.nan, np.float32)
    end = float(tempo_map.num_beats - 1)
    for bar in tempo_map.bars:
        start, beats = float(bar["start"]), float(bar["beats"])
        if bar["kind"] == NO_BEAT:
            continue
        inner = [start] if bar["kind"] == IN_BARS else np.arange(start, start + beats)
        edges = np.append(inner, start + beats)
        middle = (edges[:-1] + edges[1:]) / 2
        low, high = np.maximum(middle - TEMPO_BEATS / 2, 0.0), np.minimum(middle + TEMPO_BEATS / 2, end)
        values = 60 * (high - low) / (tempo_map.to_seconds(high) - tempo_map.to_seconds(low))
        frames = np.rint(edges * LATENTS_PER_BEAT).astype(np.int64)
        part = np.repeat(values, np.diff(frames))
        bpm[frames[0] : frames[0] + len(part)] = part[: max(0, num_latents - frames[0])]
    return bpm


def feel(onsets: Tensor, beat_latent: Tensor) -> Tensor:
    """The feel of windows.

    Parameters
    ----------
    onsets : (B, N, LATENT_STRIDE), how many notes begin in each frame
    beat_latent : int64 (B, N), the clock's first column

    Returns
    -------
    float32 (B, 3); NaN where fewer than FEWEST_ONSETS notes begin on known beats
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


def window_starts(clock: np.ndarray, length: int) -> np.ndarray:
    """Latent frames at which a window of so many may begin: bar lines, where bars are unknown beats, else each sixth.

    Returns
    -------
    int64 (S,), ascending, at least [0]
    """
    count = max(1, len(clock) - length + 1)
    clock = clock[:count]
    is_beat = np.where(clock[:, 0] < LATENTS_PER_BEAT, clock[:, 0] == 0, np.arange(len(clock)) % LATENTS_PER_BEAT == 0)
    is_start = np.where(clock[:, 1] < LONGEST_BAR, clock[:, 1] == 0, is_beat)
    starts = np.flatnonzero(is_start)
    return starts if len(starts) else np.zeros(1, np.int64)


@dataclass(frozen=True)
class Timing:
    """How a chart's time, written in quarters at a steady tempo, becomes felt beats.

    Attributes
    ----------
    tempo_bpm : quarters a minute
    beats_per_quarter : felt beats a quarter: 1 in 4/4, 2/3 in 12/8; twice or half as many where the felt tempo would
        not lie between 75 and 170 a minute
    """

    tempo_bpm: float
    beats_per_quarter: Fraction

    @classmethod
    def of(cls, tempo_bpm: float, metre: Metre) -> Timing:
        """That of a tempo and a metre."""
        beats_per_quarter = 1 / metre.quarters_per_beat
        while tempo_bpm * beats_per_quarter < SLOWEST_FELT:
            beats_per_quarter *= 2
        while tempo_bpm * beats_per_quarter > FASTEST_FELT:
            beats_per_quarter /= 2
        return cls(tempo_bpm, beats_per_quarter)

    @property
    def felt_bpm(self) -> float:
        """Felt beats a minute."""
        return float(self.tempo_bpm * self.beats_per_quarter)

    @property
    def latents_per_quarter(self) -> Fraction:
        """Latent frames a quarter."""
        return LATENTS_PER_BEAT * self.beats_per_quarter

    def seconds(self, latents: float) -> float:
        """Length of so many latent frames."""
        return latents / LATENTS_PER_BEAT * 60 / self.felt_bpm

    def tempo_map(self, chart: Chart, num_latents: int, start_s: float = 0.0) -> TempoMap:
        """The map of a chart that is played for so many latent frames, from a second on."""
        played = list(chart.played(Fraction(num_latents) / self.latents_per_quarter))
        columns = (start for start, _ in played), (bar.quarters for _, bar in played)
        bars = bar_table(*([float(at * self.beats_per_quarter) for at in column] for column in columns), IN_BARS, 1.0)
        felt = Fraction(1, 4) / self.beats_per_quarter
        bars["felt"] = felt.numerator, felt.denominator
        for row, (_, bar) in zip(bars, played, strict=True):
            if bar.metre[1] in UNITS:
                row["numerator"], row["denominator"] = bar.metre
        num_beats = max(2, math.ceil(num_latents / LATENTS_PER_BEAT) + 1)
        return TempoMap(start_s + 60 / self.felt_bpm * np.arange(num_beats), bars)

    def clock(self, chart: Chart, num_latents: int) -> np.ndarray:
        """The clock of a chart that is played for so many latent frames, int16 (num_latents, 3)."""
        return clock_frames(self.tempo_map(chart, num_latents), num_latents)
