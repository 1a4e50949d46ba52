"""Where the beats and bars of a recording lie, and how seconds and beats map to each other: times, and notes.

Conventions: a beat is the felt beat (75 to 170 a minute). Position 0 is the map's first beat, position 1.5 lies halfway
between the second and the third. Between beats time is linear; outside the map the first and the last period continue.
A bar is known, known as beats only, or a stretch without a beat, which runs at FREE_BPM.

Music is coded in frames, FRAMES_PER_BEAT a felt beat, and latent frames of LATENT_STRIDE frames, the first at position
0 of a map. A clock is int (N, 3): latent frame of the beat, latent frames since the bar line, latent frames of the bar,
and where one of them is not known, UNKNOWN_CLOCK's.
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
SHORTEST_PART = 1e-3  # beats; less of a bar is but what float32 makes of thirds of a beat
UNITS = (2, 4, 8, 16)  # denominators of metres
FRAMES_PER_BEAT = 24
LATENT_STRIDE = 4  # frames a latent frame
LATENTS_PER_BEAT = FRAMES_PER_BEAT // LATENT_STRIDE  # 6
LONGEST_BAR = 48  # latent frames: eight beats; a longer bar is as good as unknown
UNKNOWN_CLOCK = (LATENTS_PER_BEAT, LONGEST_BAR, 0)
TEMPO_BEATS = 8.0  # over which the tempo is taken

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
        known = slash and denominator in map(str, UNITS)
        if not known or not numerator.isdigit() or not 0 < int(numerator) < 33:
            raise TempoMapError(f"{text!r} is not a metre: write beats/unit, for example 4/4, 3/4, 7/8 or 12/8")
        count, unit = int(numerator), int(denominator)
        compound = unit >= 8 and count % 3 == 0 and count > 3
        felt = Fraction(3, unit) if compound else Fraction(1, 2) if unit == 2 else Fraction(1, 4)
        return cls(count, unit, felt)

    @property
    def pair(self) -> tuple[int, int]:
        """(numerator, denominator), as bars of a chart have it."""
        return self.numerator, self.denominator

    @property
    def beats(self) -> float:
        """Felt beats a bar."""
        return float(Fraction(*self.pair) / self.felt)

    @property
    def quarters_per_beat(self) -> Fraction:
        """Quarters a felt beat: 1 in 4/4, 3/2 in 12/8."""
        return 4 * self.felt

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"


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

    @property
    def quarters_per_beat(self) -> np.ndarray:
        """Quarters a felt beat in each bar, float64 (N,); by the metre where it is known."""
        above, below = self.bars["felt"].astype(float).T
        written = self.bars["numerator"] / np.maximum(self.bars["denominator"], 1) / self.bars["beats"]
        return 4 * np.where(self.bars["numerator"] > 0, written, above / below)

    def to_beats(self, seconds) -> np.ndarray:
        """Positions in beats of times in seconds, any shape."""
        return _interpolate(seconds, self.beats_s, np.arange(self.num_beats, dtype=np.float64))

    def to_seconds(self, position) -> np.ndarray:
        """Times in seconds of positions in beats, any shape."""
        return _interpolate(position, np.arange(self.num_beats, dtype=np.float64), self.beats_s)

    def bar_index(self, position) -> np.ndarray:
        """Index of the bar in which positions lie; -1 before the first, the last one's beyond the end."""
        return np.searchsorted(self.bars["start"], np.asarray(position) + 1e-4, "right") - 1

    def bar_lines_s(self) -> np.ndarray:
        """Where known bars begin, in seconds."""
        return self.to_seconds(self.bars["start"][self.bars["kind"] == IN_BARS])

    def taps_s(self) -> np.ndarray:
        """Where a listener taps, in seconds: each bar's beats from its bar line on, none where there is no beat."""
        timed = self.bars[self.bars["kind"] != NO_BEAT]
        taps = (row["start"] + np.arange(0, row["beats"] - SHORTEST_PART) for row in timed)
        return self.to_seconds(np.concatenate([np.zeros(0), *taps]))

    def seconds_of(self, *kinds: int) -> float:
        """How long the bars of some kinds last together."""
        edges_s = self.to_seconds(np.append(self.bars["start"], self.num_beats - 1))
        return float(np.diff(edges_s)[np.isin(self.bars["kind"], kinds)].sum())

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
        added["felt"] = bars["felt"][:1] if len(bars) else added["felt"]
        bars = np.concatenate([added, bars])
        end = bars["start"][-1] + bars["beats"][-1] if len(bars) else 0
        needed = len(head) + self.num_beats + len(tail) - 1
        if needed > end:
            rest = bar_table([end], [needed - end], BEATS_ONLY, 0.0)
            rest["felt"] = bars["felt"][-1:] if len(bars) else rest["felt"]
            bars = np.concatenate([bars, rest])
        return TempoMap(np.concatenate([head, self.beats_s, tail]), bars)

    def from_beat(self, first: int) -> TempoMap:
        """The map from one of its beats on, which becomes position 0; the times stay."""
        return TempoMap(self.beats_s[first:], _cut(self.bars, first, np.inf))

    def followed_by(self, later: TempoMap, at: int) -> TempoMap:
        """Its first beats up to number `at`, where another map continues; that one's first beat takes its place."""
        bars = later.bars.copy()
        bars["start"] += at
        return TempoMap(
            np.concatenate([self.beats_s[:at], later.beats_s]), np.concatenate([_cut(self.bars, 0, at), bars])
        )

    def fingerprint(self) -> str:
        """Hash of beats (to 0.1 ms) and bars, 16 hexadecimal digits: codes carry it."""
        ticks = np.rint(self.beats_s * 1e4).astype("<i8")
        return hashlib.sha256(ticks.tobytes() + self.bars.tobytes()).hexdigest()[:16]


def _cut(bars, first, last):
    """BAR rows of what lies between two positions, moved so that the first is 0; of a cut bar the metre is unknown."""
    start, end = np.maximum(bars["start"], first), np.minimum(bars["start"] + bars["beats"], last)
    chosen = end - start > SHORTEST_PART
    part, beats = bars[chosen].copy(), (end - start)[chosen]
    is_cut = part["beats"] - beats > SHORTEST_PART
    part["beats"][is_cut] = beats[is_cut]
    part["start"] = np.cumsum(part["beats"]) - part["beats"]
    part["kind"][is_cut] = np.minimum(part["kind"], BEATS_ONLY)[is_cut]
    part["numerator"][is_cut], part["denominator"][is_cut] = 0, 0
    return part


def bar_table(starts, beats, kind: int, confidence, metre: Metre | None = None) -> np.ndarray:
    """Bars of one kind and one metre as a BAR table; without a metre it is unknown."""
    bars = np.zeros(len(starts), dtype=BAR)
    bars["start"], bars["beats"], bars["kind"], bars["confidence"] = starts, beats, kind, confidence
    bars["felt"] = (1, 4)
    if metre is not None:
        bars["numerator"], bars["denominator"] = metre.pair
        bars["felt"] = (metre.felt.numerator, metre.felt.denominator)
    return bars


def _interpolate(x, known_x, known_y) -> np.ndarray:
    """Piecewise linear y of x; beyond the ends the first and the last slope continue."""
    x = np.asarray(x, dtype=np.float64)
    segment = np.clip(np.searchsorted(known_x, x, "right") - 1, 0, len(known_x) - 2)
    share = (x - known_x[segment]) / (known_x[segment + 1] - known_x[segment])
    return known_y[segment] + share * (known_y[segment + 1] - known_y[segment])


def fold(beats_s: np.ndarray) -> np.ndarray:
    """Beats (B,) at the felt level: halved or doubled as a whole until the median tempo lies within 75 to 170."""
    bpm = 60 / float(np.median(np.diff(beats_s)))
    step = 2 ** max(0, int(np.ceil(np.log2(bpm / FASTEST_FELT) - 1e-6)))
    parts = 2 ** max(0, int(np.ceil(np.log2(SLOWEST_FELT / bpm) - 1e-6)))
    index = np.arange(len(beats_s))
    return np.interp(np.arange(0, len(beats_s) - 1 + 1e-9, 1 / parts), index, beats_s)[::step]


def map_without_beat(end_s: float) -> TempoMap:
    """A map of one stretch without a beat from 0 s on."""
    count = max(1, int(np.ceil(end_s * FREE_BPM / 60)))
    return TempoMap(60 / FREE_BPM * np.arange(count + 1), bar_table([0.0], [count], NO_BEAT, 0.0))


# --- Notes in beats -----------------------------------------------------------------------------------------------


STEADY = TempoMap(np.array([0.0, 60.0 / FREE_BPM]), bar_table([], [], NO_BEAT, 0.0))  # for ever, from 0 on


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
        part = slice(*np.searchsorted(self.onset, [first, last]))
        pedal = np.clip(self.pedal, first, last) - first
        columns = (self.onset[part] - first, self.release[part] - first, self.pitch[part], self.velocity[part])
        return BeatNotes(*columns, pedal[pedal[:, 1] > pedal[:, 0]])


def in_beats(notes: Notes, tempo_map: TempoMap) -> BeatNotes:
    """The notes by a map; onset, release and pedal each for itself, so that a change of tempo bends no length."""
    onset, release = tempo_map.to_beats(notes.onset_s), tempo_map.to_beats(notes.onset_s + notes.duration_s)
    return BeatNotes(onset, release, notes.pitch, notes.velocity, tempo_map.to_beats(notes.pedal_s))


def in_seconds(notes: BeatNotes, tempo_map: TempoMap) -> Notes:
    """Inverse of `in_beats`."""
    onset_s, release_s = tempo_map.to_seconds(notes.onset), tempo_map.to_seconds(notes.release)
    columns = (onset_s, release_s - onset_s, notes.pitch, notes.velocity)
    return Notes.from_arrays(*columns, tempo_map.to_seconds(notes.pedal))


# --- Latent frames -----------------------------------------------------------------------------------------------


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
