"""Charts: bars of chords with their form, from a text to the chord of every frame.

Conventions: positions and lengths are quarters, exact fractions, never seconds; bars stand in the order in which they
are played. A chord frame is int8 (3,): root (0 to 11), quality (index of QUALITY_NAMES) and bass (0 to 11), each -1
where there is no chord or none is known; tensions are left out, as recognition leaves them out.

A text is bars ("|" or line breaks between them) whose chords share a bar equally, or sections with the order in which
they are played, parted by ";", or a form that every jazz musician knows:

    Cmaj7 | Dm7 G7 | % | N.C.
    A: Cmaj7 | Am7 | Dm7 | G7; B: Em7b5 | A7 | Dm7 | G7; AABA
    blues in F

A section in capitals repeats the music of its first time; one in small letters has its chords and new music: `AaaA` is
head, two choruses, head.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.music.chords import NAMES, NO_CHORD, QUALITIES, Chord, ChordError, parse_chord

CHORD_DIM = 37  # of chord features: root 12, chroma 12, bass 12, known 1
NO_CHORD_FRAME = (-1, -1, -1)
FORMS = {  # degrees over C
    "blues": "C7 | F7 | C7 | Gm7 C7 | F7 | F#dim7 | C7 | Em7b5 A7 | Dm7 | G7 | C7 A7 | Dm7 G7",
    "minor blues": "Cm7 | Fm7 | Cm7 | C7 | Fm7 | % | Cm7 | % | Ab7 | G7 | Cm7 | Dm7b5 G7",
    "rhythm changes": (
        "A: Cmaj7 A7 | Dm7 G7 | Em7 A7 | Dm7 G7 | Gm7 C7 | Fmaj7 Fm7 | Em7 A7 | Dm7 G7; "
        "B: E7 | % | A7 | % | D7 | % | G7 | %; AABA"
    ),
}
NAMED = re.compile(r"\s*(.+?)\s+in\s+([A-G][b#]?)\s*")
SECTION, ORDER = re.compile(r"\s*([A-Z])\s*:(.*)", re.DOTALL), re.compile(r"\s*([A-Za-z]+)\s*")


@dataclass(frozen=True)
class Bar:
    """A bar as it is played.

    Attributes
    ----------
    chords : (offset, Chord or None) in order, the first at 0; offsets in quarters from the bar line, None is no chord
    metre : (beats, unit), such as (3, 4)
    section : the letter of its section as the order of sections has it, "" without sections
    source : index in Chart.bars of the bar whose music it repeats, its own where that is the first; None: new music
    """

    chords: tuple[tuple[Fraction, Chord | None], ...]
    metre: tuple[int, int] = (4, 4)
    section: str = ""
    source: int | None = None

    @classmethod
    def of(cls, chords: list[Chord | None], metre: tuple[int, int] = (4, 4)) -> Bar:
        """A bar that its chords share equally."""
        quarters = Fraction(4 * metre[0], metre[1])
        return cls(tuple((quarters * number / len(chords), chord) for number, chord in enumerate(chords)), metre)

    @property
    def quarters(self) -> Fraction:
        """Its length."""
        return Fraction(4 * self.metre[0], self.metre[1])

    def shares(self) -> list[Chord | None]:
        """The fewest chords that say the bar where they share it equally."""
        parts = 1
        while any(offset * parts % self.quarters for offset, _ in self.chords):
            parts += 1
        starts = [offset * parts / self.quarters for offset, _ in self.chords]
        return [self.chords[sum(start <= part for start in starts) - 1][1] for part in range(parts)]


@dataclass(frozen=True)
class Chart:
    """Bars that repeat until the music ends.

    Attributes
    ----------
    bars : of one chorus, at least one
    outro : bars that end the music, once, after the last whole chorus; mostly none
    tempo_bpm : quarters a minute, None where the chart says nothing
    """

    bars: tuple[Bar, ...]
    outro: tuple[Bar, ...] = ()
    tempo_bpm: float | None = None

    @classmethod
    def parse(cls, text: str, metre: tuple[int, int] = (4, 4)) -> Chart:
        """The chart of a text, see the module; its bars are of one metre.

        Raises
        ------
        ChordError : an unknown symbol, section or form, a repeat of nothing, or no chord at all
        """
        if named := NAMED.fullmatch(text):
            return cls(tuple(_named(*named.groups(), metre)))
        return cls(tuple(_bars(text, metre)))

    @property
    def quarters(self) -> Fraction:
        """Length of a chorus."""
        return sum(bar.quarters for bar in self.bars)

    def text(self) -> str:
        """The bars as `parse` reads them, played out: without sections, and without what they repeat."""
        shares = ([NO_CHORD[0] if chord is None else chord.symbol for chord in bar.shares()] for bar in self.bars)
        return " | ".join(" ".join(symbols) for symbols in shares)

    def played(self, quarters: Fraction) -> Iterator[tuple[Fraction, Bar]]:
        """(start, bar) of the bars that begin within so many quarters: choruses until the end, or until the outro.

        An outro follows the last chorus that leaves room for it, at least one, and stands still on its last bar.
        """
        choruses = max(1, (quarters - sum(bar.quarters for bar in self.outro)) // self.quarters)
        start, number = Fraction(0), 0
        while start < quarters:
            chorus, place = divmod(number, len(self.bars))
            bar = self.bars[place]
            if self.outro and chorus >= choruses:
                bar = self.outro[min(number - choruses * len(self.bars), len(self.outro) - 1)]
            yield start, bar
            start, number = start + bar.quarters, number + 1

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
        sources, starts = np.full(num_frames, -1, np.int64), []
        for start, bar in self.played(quarters):
            starts.append(start)
            if bar.source is not None and (back := round((start - starts[bar.source]) * frames_per_quarter)):
                repeated = np.arange(frame_at(start), min(num_frames, frame_at(start + bar.quarters)))
                sources[repeated] = repeated - back
        return chords, sources


def _cut(bar, first, last):
    """A bar from one of its positions to another."""
    before = [chord for offset, chord in bar.chords if offset <= first][-1]
    rest = tuple((offset - first, chord) for offset, chord in bar.chords if first < offset < last)
    length = Fraction(last - first)
    return Bar(((Fraction(0), before), *rest), (length.numerator, 4 * length.denominator), bar.section)


def _named(form, key, metre):
    if form.lower() not in FORMS:
        raise ChordError(f"No form {form!r}. Known: {', '.join(f'{name} in C' for name in FORMS)}.")
    semitones = parse_chord(key).root
    for bar in _bars(FORMS[form.lower()], metre):
        yield replace(bar, chords=tuple((offset, _transposed(chord, semitones)) for offset, chord in bar.chords))


def _transposed(chord, semitones):
    """A chord so many semitones up, by its usual name."""
    return parse_chord(re.sub(r"^[A-G][b#]?", NAMES[(chord.root + semitones) % 12], chord.symbol))


def _bars(text, metre):
    """Bars of a text with or without sections."""
    parts = [part for part in text.split(";") if part.strip()]
    matches = [match for part in parts if (match := SECTION.fullmatch(part))]
    sections = {match.group(1): _progression(match.group(2), metre) for match in matches}
    if not sections:
        return _progression(text, metre)
    orders = [part.strip() for part in parts if not SECTION.fullmatch(part)]
    if len(orders) > 1 or orders and not ORDER.fullmatch(orders[0]):
        raise ChordError(f"{orders[-1]!r} is no order of sections. Write 'A: Cmaj7 | G7; B: Fmaj7 | Dm7; AABA'.")
    return _ordered(sections, orders[0] if orders else "".join(sections))


def _ordered(sections, order):
    bars, first = [], {}
    for letter in order:
        if letter.upper() not in sections:
            raise ChordError(f"Section {letter.upper()!r} of {order!r} has no chords. Known: {', '.join(sections)}.")
        source = first.setdefault(letter, len(bars)) if letter.isupper() else None
        for number, bar in enumerate(sections[letter.upper()]):
            bars.append(replace(bar, section=letter, source=None if source is None else source + number))
    return bars


def _progression(text, metre):
    """Bars of a text without sections."""
    bars = []
    for part in re.split(r"[|\n]+", text):
        symbols = [symbol.strip(",") for symbol in re.findall(r"(?:\([^)]*\)|\S)+", part.strip().strip(":"))]
        if symbols := [symbol for symbol in symbols if symbol]:  # blanks inside brackets do not part them
            bars.append(_bar(symbols, bars, metre))
    if not bars:
        raise ChordError(f"No chord in {text!r}. Write something like 'Cmaj7 | Dm7 G7'.")
    return bars


def _bar(symbols, bars, metre):
    if symbols == ["%"]:
        if not bars:
            raise ChordError("'%' repeats the bar before, but this is the first bar.")
        return bars[-1]
    chords = []
    for symbol in symbols:
        if symbol in ("/", "%"):
            if not chords and not bars:
                raise ChordError(f"{symbol!r} repeats the chord before, but there is none.")
            chords.append(chords[-1] if chords else bars[-1].chords[-1][1])
        else:
            chords.append(None if symbol in NO_CHORD else parse_chord(symbol))
    return Bar.of(chords, metre)


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
