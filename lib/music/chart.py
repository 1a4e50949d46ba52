"""Charts: bars of chords with their form, from a lead sheet to the chord of every frame.

Conventions: positions and lengths are quarters, exact fractions, never seconds; bars stand in the order in which they
are played. A chord frame is int8 (3,): root (0 to 11), quality (index of QUALITY_NAMES) and bass (0 to 11), each -1
where there is no chord or none is known; tensions are left out, as recognition leaves them out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.music.chords import NAMES, QUALITIES, Chord, parse_chord
from lib.music.form import Marks, play_order
from lib.music.notes import SLOWEST_FASTEST
from lib.music.tempo_map import (
    FASTEST_FELT,
    IN_BARS,
    LATENTS_PER_BEAT,
    SLOWEST_FELT,
    UNITS,
    Metre,
    TempoMap,
    bar_table,
    clock_frames,
)

CHORD_DIM = 37  # of chord features: root 12, chroma 12, bass 12, known 1
NO_CHORD_FRAME = (-1, -1, -1)
OUTRO = ("outro", "coda", "ending", "tag")  # beginnings of the names of sections that end the music


@dataclass(frozen=True)
class Bar:
    """A bar as it is played.

    Attributes
    ----------
    chords : (offset, Chord or None) in order, the first at 0; offsets in quarters from the bar line, None is no chord
    metre : (beats, unit), such as (3, 4)
    section : name of the section that begins with it; "": none does
    inferred : whether where its chords begin is not written, and had to be worked out
    """

    chords: tuple[tuple[Fraction, Chord | None], ...]
    metre: tuple[int, int] = (4, 4)
    section: str = ""
    inferred: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, chords: Sequence[Chord | None], metre: tuple[int, int] = (4, 4)) -> Bar:
        """A bar that its chords share equally."""
        quarters = Fraction(4 * metre[0], metre[1])
        return cls(tuple((quarters * number / len(chords), chord) for number, chord in enumerate(chords)), metre)

    @property
    def quarters(self) -> Fraction:
        """Its length."""
        return Fraction(4 * self.metre[0], self.metre[1])

    def lengths(self) -> list[Fraction]:
        """Quarters that each of its chords lasts."""
        ends = [offset for offset, _ in self.chords[1:]] + [self.quarters]
        return [end - offset for (offset, _), end in zip(self.chords, ends, strict=True)]

    def transposed(self, semitones: int) -> Bar:
        """Its chords so many semitones up."""
        chords = ((offset, chord and _transposed(chord, semitones)) for offset, chord in self.chords)
        return replace(self, chords=tuple(chords)) if semitones % 12 else self


@dataclass(frozen=True)
class Chart:
    """Bars that repeat until the music ends.

    A section whose name begins with a capital has the music of its first time again where it has the same chords; of
    one in small letters only the chords are the same.

    Attributes
    ----------
    bars : of one chorus, at least one
    outro : bars that end the music, once, after the last whole chorus; mostly none
    intro : bars that begin it, once; mostly none
    tempo_bpm : quarters a minute, None where the chart says nothing
    """

    bars: tuple[Bar, ...]
    outro: tuple[Bar, ...] = ()
    intro: tuple[Bar, ...] = ()
    tempo_bpm: float | None = None

    @classmethod
    def parse(cls, text: str, metre: tuple[int, int] = (4, 4)) -> Chart:
        """The chart of a text, see lib.music.chart_text; `metre` is that of bars before another one is written.

        Raises
        ------
        ChordError : what can't be read, by its bar; or no chord at all
        """
        from lib.music.chart_text import read_text

        return read_text(text, metre)

    @classmethod
    def of_written(cls, written: Sequence[WrittenBar], tempo_bpm: float | None = None) -> Chart:
        """What is played of the bars of a lead sheet; ChordError where their signs can't be followed.

        A tempo beyond SLOWEST_FASTEST is none.
        """
        slowest, fastest = SLOWEST_FASTEST
        tempo_bpm = tempo_bpm if tempo_bpm and slowest <= tempo_bpm <= fastest else None
        chorus, outro = play_order([bar.marks for bar in written])
        bars = [written[index].bar for index in chorus]
        starts = [index for index, bar in enumerate(bars) if bar.section]
        is_intro = [bars[index].section.casefold().startswith("intro") for index in starts]
        has_intro = starts[:1] == [0] and is_intro[0] and not all(is_intro)
        first = starts[is_intro.index(False)] if has_intro else 0
        later = (
            replace(bar, section="" if bar.section.casefold().startswith(OUTRO) else bar.section)
            for bar in bars[first:]
        )
        ends = [written[index].bar for index in outro]
        ends[:1] = [replace(bar, section=bar.section or "Outro") for bar in ends[:1]]
        return cls(tuple(later), tuple(ends), tuple(bars[:first]), tempo_bpm)

    @property
    def quarters(self) -> Fraction:
        """Length of a chorus."""
        return sum((bar.quarters for bar in self.bars), Fraction(0))

    @property
    def once_through(self) -> tuple[Bar, ...]:
        """Intro, one chorus, outro."""
        return self.intro + self.bars + self.outro

    def length(self, choruses: int) -> Fraction:
        """Quarters that so many choruses take, with intro and outro."""
        once = sum((bar.quarters for bar in self.intro + self.outro), Fraction(0))
        return once + choruses * self.quarters

    def chorus_span(self, quarters: Fraction) -> tuple[Fraction, Fraction]:
        """Where the first chorus begins and the last one ends in music of so many quarters."""
        first = sum((bar.quarters for bar in self.intro), Fraction(0))
        if not self.outro:
            return first, max(first, quarters)
        choruses = max(1, (quarters - self.length(0)) // self.quarters)
        return first, first + choruses * self.quarters

    def text(self, metre: tuple[int, int] = (4, 4)) -> str:
        """The bars once through, as `parse` reads them back in this metre."""
        from lib.music.chart_text import format_text

        return format_text(self, metre)

    def transposed(self, semitones: int) -> Chart:
        """The chart so many semitones up."""
        parts = ("bars", "outro", "intro")
        return replace(self, **{name: tuple(b.transposed(semitones) for b in getattr(self, name)) for name in parts})

    def sources(self) -> list[int | None]:
        """For each of `bars`, the index of the bar whose music it has again, its own in a section's first time."""
        sources, first, section, start = [], {}, "", 0
        for index, bar in enumerate(self.bars):
            if bar.section:
                section, start = bar.section, index
                first.setdefault(section, index)
            source = first[section] + index - start if section[:1].isupper() else None
            same = source is not None and self._same_section(source, first[section])
            sources.append(source if same and replace(self.bars[source], section=bar.section) == bar else None)
        return sources

    def _same_section(self, index, start):
        return not any(bar.section for bar in self.bars[start + 1 : index + 1])

    def _numbered(self, quarters):
        """(start, bar, its index in `bars` or None) as `played`."""
        (first, last), start, number = self.chorus_span(quarters), Fraction(0), 0
        while start < quarters:
            if start < first:
                bar, index = self.intro[number], None
            elif start < last or not self.outro:
                index = (number - len(self.intro)) % len(self.bars)
                bar, ended = self.bars[index], number + 1
            else:
                bar, index = self.outro[min(number - ended, len(self.outro) - 1)], None
            yield start, bar, index
            start, number = start + bar.quarters, number + 1

    def played(self, quarters: Fraction) -> Iterator[tuple[Fraction, Bar]]:
        """(start, bar) of the bars that begin within so many quarters: intro, choruses until the end or the outro.

        An outro follows the last chorus that leaves room for it, at least one, and stands still on its last bar.
        """
        return ((start, bar) for start, bar, _ in self._numbered(quarters))

    def changes(self, quarters: Fraction) -> list[tuple[Fraction, Chord | None]]:
        """(position, Chord or None) wherever the chord changes within so many quarters, the first at 0."""
        changes = []
        for start, bar in self.played(quarters):
            for offset, chord in bar.chords:
                if start + offset < quarters and (not changes or chord != changes[-1][1]):
                    changes.append((start + offset, chord))
        return changes

    def excerpt(self, first: Fraction | int, quarters: Fraction | int) -> Chart:
        """What is played of it from a position on, as a chart of so many quarters, without its form.

        The first and the last bar are cut where the excerpt begins and ends.
        """
        bars, end = [], first + quarters
        for start, bar in replace(self, outro=()).played(Fraction(end)):
            left, right = max(start, first), min(start + bar.quarters, end)
            if left < right:
                bars.append(_cut(bar, left - start, right - start))
        return Chart(tuple(bars), tempo_bpm=self.tempo_bpm)

    def frames(self, num_frames: int, frames_per_quarter: Fraction) -> tuple[list[Chord | None], np.ndarray]:
        """The chord of every frame, and the earlier frame whose music it repeats.

        Parameters
        ----------
        num_frames : how many, the first begins with the chart
        frames_per_quarter : exact

        Returns
        -------
        (list of num_frames Chord or None, int64 (num_frames,)) : what holds at a frame's middle; -1 repeats nothing
        """
        quarters = num_frames / frames_per_quarter

        def frame_at(position):  # the first whose middle is not before it
            return max(0, math.ceil(position * frames_per_quarter - Fraction(1, 2)))

        chords: list[Chord | None] = []
        for position, chord in reversed(self.changes(quarters)):
            chords[:0] = [chord] * (num_frames - len(chords) - frame_at(position))
        frames, sources, first = np.full(num_frames, -1, np.int64), self.sources(), {}
        for start, bar, index in self._numbered(quarters):
            if index is not None:
                first.setdefault(index, start)
            source = None if index is None else sources[index]
            if source is not None and (back := round((start - first[source]) * frames_per_quarter)):
                repeated = np.arange(frame_at(start), min(num_frames, frame_at(start + bar.quarters)))
                frames[repeated] = repeated - back
        return chords, frames


def _cut(bar, first, last):
    """A bar from one of its positions to another."""
    before = [chord for offset, chord in bar.chords if offset <= first][-1]
    rest = tuple((offset - first, chord) for offset, chord in bar.chords if first < offset < last)
    length = Fraction(last - first)
    return Bar(((Fraction(0), before), *rest), (length.numerator, 4 * length.denominator), bar.section * (first == 0))


def _transposed(chord, semitones):
    """A chord so many semitones up, by its usual names of root and bass."""
    root, bass = (NAMES[(tone + semitones) % 12] for tone in (chord.root, chord.bass))
    symbol = re.sub(r"^([(\[]?)[A-G][b#♭♯]*", rf"\1{root}", chord.symbol)
    return parse_chord(re.sub(r"/[A-G][b#♭♯]*(?=[)\]]*$)", f"/{bass}", symbol))


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


@dataclass(frozen=True)
class WrittenBar:
    """A bar as it is written, with the signs that say when it is played."""

    bar: Bar
    marks: Marks = field(default_factory=Marks)

    def marked(self, **marks: Any) -> WrittenBar:
        """The bar with some marks changed."""
        return replace(self, marks=replace(self.marks, **marks))


def chord_frames(chords: list[Chord | None]) -> Tensor:
    """Chord frames, int8 (T, 3), of T Chord or None."""
    rows = [NO_CHORD_FRAME if chord is None else chord.frame for chord in chords]
    return torch.tensor(rows, dtype=torch.int8).view(-1, 3)


def next_chords(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of chord frames int8 (N, 3), at each: the next other one (N, 3), and in how many frames it comes, or infinity."""
    changes = np.append(np.flatnonzero((frames[1:] != frames[:-1]).any(1)) + 1, len(frames))
    position = np.arange(len(frames))
    following = changes[np.searchsorted(changes, position, side="right")]
    comes = following < len(frames)
    chords = np.where(comes[:, None], frames[np.minimum(following, len(frames) - 1)], -1).astype(np.int8)
    return chords, np.where(comes, following - position, np.inf)


def chord_features(frames: Tensor) -> Tensor:
    """What a model is given of chords: root, chroma of the quality, bass, and whether there is a chord.

    Parameters
    ----------
    frames : chord frames, int (..., 3), of a chart or as recognised

    Returns
    -------
    float32 (..., CHORD_DIM) in {0, 1}, on the same device; no chord: zeros
    """
    known, (root, quality, bass) = frames[..., :1] >= 0, frames.long().clamp(min=0).unbind(-1)
    parts = (functional.one_hot(root, 12), CHROMA.to(frames.device)[quality, root], functional.one_hot(bass, 12))
    return torch.cat([*parts, torch.ones_like(root)[..., None]], -1).float() * known


# int64 (Q, 12, 12) in {0, 1}: for each quality and root the pitch classes of the chord
CHROMA = torch.tensor([[Chord.of(root, quality).chroma for root in range(12)] for quality in range(len(QUALITIES))])
