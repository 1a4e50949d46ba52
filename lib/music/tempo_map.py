"""Where the beats and bars of a recording lie, and how seconds and beats map to each other.

Conventions: a beat is the felt beat (75 to 170 a minute). Position 0 is the map's first beat, position 1.5 lies halfway
between the second and the third. Between beats time is linear; outside the map the first and the last period continue.
A bar is known, known as beats only, or a stretch without a beat, which runs at FREE_BPM.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lib.music.notes import Notes

SLOWEST_FELT, FASTEST_FELT = 75.0, 170.0  # felt beats a minute
FREE_BPM = 125.0  # the rate of stretches without a beat: a frame of 1/24 beat is 20 ms
NO_BEAT, BEATS_ONLY, IN_BARS = range(3)  # what is known of a bar

BAR = np.dtype(
    [
        ("start", "<f4"),  # position of its first beat
        ("beats", "<f4"),  # its length in felt beats; 3.5 for 7/8 felt in quarters
        ("numerator", "u1"),  # the metre, 0/0 where the bar is unknown
        ("denominator", "u1"),
        ("felt", "u1", (2,)),  # the felt beat as a part of a whole note: (1, 4) a quarter, (3, 8) a dotted quarter
        ("kind", "u1"),  # NO_BEAT, BEATS_ONLY or IN_BARS
        ("confidence", "<f4"),  # nats an onset that the beats gain over a flat profile, or 0 where nothing is known
    ]
)


class TempoMapError(ValueError):
    """Beats or bars that are no map; the message says which."""


@dataclass(frozen=True)
class Metre:
    """A metre and the part of a whole note that is felt as its beat: 12/8 is felt in dotted quarters."""

    numerator: int
    denominator: int
    felt: Fraction = Fraction(1, 4)

    @classmethod
    def parse(cls, text: str) -> Metre:
        """The metre of a text such as "4/4", "7/8" or "12/8".

        Compound metres (6/8, 9/8, 12/8) are felt in dotted quarters, all others in quarters, x/2 in halves.
        """
        numerator, slash, denominator = text.strip().partition("/")
        if not slash or not numerator.isdigit() or denominator not in ("2", "4", "8", "16") or not 0 < int(numerator) < 33:
            raise TempoMapError(f"metre {text!r}: write beats/unit, for example 4/4, 3/4, 7/8 or 12/8")
        count, unit = int(numerator), int(denominator)
        compound = unit >= 8 and count % 3 == 0 and count > 3
        felt = Fraction(3, unit) if compound else Fraction(1, 2) if unit == 2 else Fraction(1, 4)
        return cls(count, unit, felt)

    @property
    def beats(self) -> float:
        """Felt beats a bar."""
        return float(Fraction(self.numerator, self.denominator) / self.felt)

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"


@dataclass(frozen=True)
class BeatNotes:
    """Notes whose times are positions in felt beats.

    Attributes
    ----------
    onset, release : float64 (N,), beats, ordered by onset
    pitch, velocity : (N,), MIDI numbers
    pedal : float64 (P, 2), beats, pedal down and up
    """

    onset: np.ndarray
    release: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    pedal: np.ndarray

    def __len__(self) -> int:
        return len(self.onset)

    @property
    def end(self) -> float:
        """When the last key or pedal is released, in beats (0 for no notes)."""
        return float(max([0.0, *self.release, *self.pedal[:, 1]]))

    def between(self, first: float, last: float) -> BeatNotes:
        """The notes that begin in [first, last), moved so that `first` is 0; pedals are cut at both borders."""
        low, high = np.searchsorted(self.onset, [first, last])
        pedal = np.clip(self.pedal, first, last) - first
        part = slice(low, high)
        columns = (self.onset[part] - first, self.release[part] - first, self.pitch[part], self.velocity[part])
        return BeatNotes(*columns, pedal[pedal[:, 1] > pedal[:, 0]])


@dataclass(frozen=True)
class TempoMap:
    """Beats and bars of one recording.

    Attributes
    ----------
    beats_s : float64 (B,), seconds, strictly increasing, at least two
    bars : BAR (N,), one after another from position 0 on; the last may reach beyond the last beat
    """

    beats_s: np.ndarray
    bars: np.ndarray

    def __post_init__(self):
        beats_s = np.asarray(self.beats_s, dtype=np.float64)
        object.__setattr__(self, "beats_s", beats_s)
        object.__setattr__(self, "bars", np.asarray(self.bars, dtype=BAR))
        if beats_s.ndim != 1 or len(beats_s) < 2 or not np.isfinite(beats_s).all():
            raise TempoMapError("beats_s: a tempo map needs two or more finite beat times")
        if (np.diff(beats_s) <= 0).any():
            late = int(np.argmax(np.diff(beats_s) <= 0)) + 1
            raise TempoMapError(f"beats_s[{late}]: {beats_s[late]:.3f} s does not come after the beat before it")
        ends = self.bars["start"] + self.bars["beats"]
        if len(self.bars) and (self.bars["start"][0] != 0 or not np.allclose(ends[:-1], self.bars["start"][1:])):
            raise TempoMapError("bars: the first must start at position 0, and each where the one before it ends")

    @classmethod
    def constant(cls, bpm: float, metre: Metre, num_bars: int, start_s: float = 0.0) -> TempoMap:
        """A steady tempo of `bpm` felt beats a minute."""
        starts = metre.beats * np.arange(num_bars)
        num_beats = max(2, int(np.ceil(metre.beats * num_bars)) + 1)
        bars = bar_table(starts, np.full(num_bars, metre.beats), IN_BARS, 1.0, metre)
        return cls(start_s + 60 / bpm * np.arange(num_beats), bars)

    @property
    def num_beats(self) -> int:
        return len(self.beats_s)

    @property
    def bpm(self) -> np.ndarray:
        """Felt beats a minute of each beat but the last, float64 (B - 1,)."""
        return 60 / np.diff(self.beats_s)

    def to_beats(self, seconds) -> np.ndarray:
        """Positions in beats of times in seconds, any shape."""
        return _interpolate(seconds, self.beats_s, np.arange(self.num_beats, dtype=np.float64))

    def to_seconds(self, position) -> np.ndarray:
        """Times in seconds of positions in beats, any shape."""
        return _interpolate(position, np.arange(self.num_beats, dtype=np.float64), self.beats_s)

    def in_beats(self, notes: Notes) -> BeatNotes:
        """The notes by the map; onset, release and pedal each for itself."""
        onset, release = self.to_beats(notes.onset_s), self.to_beats(notes.onset_s + notes.duration_s)
        return BeatNotes(onset, release, notes.pitch, notes.velocity, self.to_beats(notes.pedal_s))

    def in_seconds(self, notes: BeatNotes) -> Notes:
        """Inverse of `in_beats`."""
        onset_s, release_s = self.to_seconds(notes.onset), self.to_seconds(notes.release)
        columns = (onset_s, release_s - onset_s, notes.pitch, notes.velocity)
        return Notes.from_arrays(*columns, self.to_seconds(notes.pedal))

    def bar_index(self, position) -> np.ndarray:
        """Index of the bar in which positions lie; -1 before the first, the last one's beyond the end."""
        return np.searchsorted(self.bars["start"], np.asarray(position) + 1e-4, "right") - 1

    def bar_lines_s(self, kind: int = IN_BARS) -> np.ndarray:
        """Where the bars of a kind begin, in seconds."""
        return self.to_seconds(self.bars["start"][self.bars["kind"] == kind])

    def covering(self, start_s: float, end_s: float) -> TempoMap:
        """The map with beats of unknown bars added before and after until it covers [start_s, end_s]."""
        first, last = np.diff(self.beats_s)[[0, -1]]
        before = max(0, int(np.ceil((self.beats_s[0] - start_s) / first - 1e-9)))
        after = max(0, int(np.ceil((end_s - self.beats_s[-1]) / last - 1e-9)))
        head = self.beats_s[0] - first * np.arange(before, 0, -1)
        tail = self.beats_s[-1] + last * np.arange(1, after + 1)
        bars = self.bars.copy()
        bars["start"] += before
        added = bar_table([0.0] if before else [], [float(before)] if before else [], BEATS_ONLY, 0.0)
        bars = np.concatenate([added, bars])
        end, needed = (bars["start"][-1] + bars["beats"][-1] if len(bars) else 0), len(head) + self.num_beats + len(tail) - 1
        if needed > end:
            bars = np.concatenate([bars, bar_table([end], [needed - end], BEATS_ONLY, 0.0)])
        return TempoMap(np.concatenate([head, self.beats_s, tail]), bars)

    def fingerprint(self) -> str:
        """Hash of beats (to 0.1 ms) and bars, 16 hexadecimal digits: codes carry it."""
        ticks = np.rint(self.beats_s * 1e4).astype("<i8")
        return hashlib.sha256(ticks.tobytes() + self.bars.tobytes()).hexdigest()[:16]


def bar_table(starts, beats, kind: int, confidence, metre: Metre | None = None) -> np.ndarray:
    """Bars of one kind and one metre as a BAR table; without a metre it is unknown."""
    bars = np.zeros(len(starts), dtype=BAR)
    bars["start"], bars["beats"], bars["kind"], bars["confidence"] = starts, beats, kind, confidence
    bars["felt"] = (1, 4)
    if metre is not None:
        bars["numerator"], bars["denominator"] = metre.numerator, metre.denominator
        bars["felt"] = (metre.felt.numerator, metre.felt.denominator)
    return bars


def _interpolate(x, known_x, known_y) -> np.ndarray:
    """Piecewise linear y of x; beyond the ends the first and the last slope continue."""
    x = np.asarray(x, dtype=np.float64)
    segment = np.clip(np.searchsorted(known_x, x, "right") - 1, 0, len(known_x) - 2)
    share = (x - known_x[segment]) / (known_x[segment + 1] - known_x[segment])
    return known_y[segment] + share * (known_y[segment + 1] - known_y[segment])


def folded_factor(bpm: float) -> Fraction:
    """Felt beats a tracked beat so that the tempo lies within 75 to 170: 1, 2, 4, ... or 1/2, 1/4, ..."""
    factor = Fraction(1)
    while bpm * factor < SLOWEST_FELT:
        factor *= 2
    while bpm * factor > FASTEST_FELT:
        factor /= 2
    return factor


def fold(beats_s: np.ndarray, downbeat: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Beats at the felt level: halved or doubled as a whole until the median tempo lies within 75 to 170.

    Parameters
    ----------
    beats_s : (B,), seconds
    downbeat : bool (B,) or None; of two phases of a halved level, the one with more downbeats is kept

    Returns
    -------
    (felt beats in seconds, index in `beats_s` of each as a float)
    """
    factor = folded_factor(60 / float(np.median(np.diff(beats_s))))
    index = np.arange(len(beats_s), dtype=np.float64)
    if factor >= 1:
        place = np.arange(0, len(beats_s) - 1 + 1e-9, 1 / int(factor))
        return np.interp(place, index, beats_s), place
    step = int(1 / factor)
    counts = [0 if downbeat is None else int(downbeat[phase::step].sum()) for phase in range(step)]
    place = index[int(np.argmax(counts)) :: step]
    return beats_s[place.astype(np.int64)], place


def map_from_beats(beats_s, confidence, in_time, bars, sure: float) -> TempoMap:
    """The tempo map of tracked beats.

    Parameters
    ----------
    beats_s : (B + 1,) tracked beats, seconds, with the end of the last one
    confidence : (B,) nats an onset that each beat gains
    in_time : bool (B,); elsewhere the map runs at FREE_BPM, or as near to it as a whole number of beats allows
    bars : a path with `place`, `length` and `probability`, (B,) each
    sure : probability from which on a bar is written down; others stay unknown
    """
    beats, table, first, end = [float(beats_s[0])], [], 0, len(in_time)
    while first < end:
        last = first + int(np.argmin(in_time[first:])) if in_time[first] else first + int(np.argmax(in_time[first:]))
        last = end if last == first else last
        if in_time[first]:
            table += _bars_of_run(first, last, len(beats) - 1 - first, confidence, bars, sure)
            beats += [float(t) for t in beats_s[first + 1 : last + 1]]
        else:
            count = max(1, round((beats_s[last] - beats_s[first]) * FREE_BPM / 60))
            table.append(bar_table([len(beats) - 1], [count], NO_BEAT, 0.0))
            beats += list(np.linspace(beats_s[first], beats_s[last], count + 1)[1:])
        first = last
    return TempoMap(np.array(beats), np.concatenate(table))


def _bars_of_run(first, last, shift, confidence, bars, sure) -> list[np.ndarray]:
    """Bar tables of the tracked beats first..last, which lie `shift` further on in the map."""
    tables, beat, unknown = [], first, first

    def close(until):
        if until > unknown:
            mean = float(np.mean(confidence[unknown:until]))
            tables.append(bar_table([unknown + shift], [until - unknown], BEATS_ONLY, mean))

    while beat < last:
        length = int(bars.length[beat])
        span = slice(beat, beat + length)
        whole = beat + length <= last and np.array_equal(bars.place[span], np.arange(length))
        if whole and (bars.length[span] == length).all() and bars.probability[span].mean() >= sure:
            close(beat)
            metre = Metre(length, 4)
            tables.append(bar_table([beat + shift], [length], IN_BARS, float(np.mean(confidence[span])), metre))
            beat = unknown = beat + length
        else:
            beat += 1
    close(last)
    return tables


STEADY = TempoMap(np.array([0.0, 60.0 / FREE_BPM]), bar_table([], [], NO_BEAT, 0.0))  # for ever
