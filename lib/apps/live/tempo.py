"""The position of beats: from the partner's own tempo, or from a MIDI clock.

Conventions: a beat is the metre's felt beat, a quarter in 4/4 and 7/8, a dotted quarter in 12/8; beat 0 is where the
music (or the other's song) begins, and bars are counted from there. Tempi and MIDI clocks count quarters. Times are
those of time.perf_counter.
"""

from __future__ import annotations

import collections
import math
from dataclasses import dataclass, replace

import numpy as np
from mido import Message

from lib.apps.live.scheduler import CLOCKS_A_QUARTER
from lib.music.notes import SLOWEST_FASTEST
from lib.music.tempo_map import Metre

TICKS_A_SIXTEENTH = CLOCKS_A_QUARTER // 4  # song position counts sixteenths
MEMORY = CLOCKS_A_QUARTER  # ticks that a tempo is read from
FEWEST = CLOCKS_A_QUARTER // 2  # before that there is no tempo to speak of
ASTRAY = 0.25  # of a tick's length: ticks of which half are so far beside the line are at no one tempo
GAP_QUARTERS = 2.0  # without a tick: the clock has stopped without a stop message
COMMON = Metre(4, 4)


@dataclass(frozen=True)
class BeatGrid:
    """Beats at an even tempo: `origin_s` is when beat 0 is, or would have been, `beat_s` the length of a beat."""

    origin_s: float
    beat_s: float
    metre: Metre = COMMON

    def beat_at(self, time_s: float) -> float:
        """The beat of a time, with its fraction."""
        return (time_s - self.origin_s) / self.beat_s

    def time_of(self, beat: float) -> float:
        """The time of a beat."""
        return self.origin_s + beat * self.beat_s

    def next_beat(self, time_s: float) -> float:
        """The first beat of a bar, or bar line, at or after a time; in 7/8 the last beat of a bar is half as long."""
        bar, within = divmod(self.beat_at(time_s), self.metre.beats)
        return bar * self.metre.beats + min(math.ceil(within - 1e-9), self.metre.beats)

    def next_like(self, beat: float, time_s: float) -> float:
        """The first beat at or after a time that is as far into its bar as another beat."""
        return beat + math.ceil((self.beat_at(time_s) - beat) / self.metre.beats - 1e-9) * self.metre.beats


class OwnTempo:
    """A tempo that stays, in quarters a minute."""

    def __init__(self, tempo_bpm: float, metre: Metre = COMMON):
        self.metre = metre
        self.now = BeatGrid(0.0, 60.0 / tempo_bpm * float(metre.quarters_per_beat), metre)

    def begin(self, time_s: float) -> None:
        """Put beat 0 at a time."""
        self.now = replace(self.now, origin_s=time_s)

    def receive(self, message: Message, time_s: float) -> None:
        """Nothing that comes in changes it."""

    def grid(self, time_s: float) -> BeatGrid:
        """BeatGrid."""
        return self.now


class ClockTempo:
    """Tempo and song position of a MIDI clock.

    Start and Continue count from the next tick, as the MIDI specification has it; a song position is in sixteenths.
    """

    def __init__(self, metre: Metre = COMMON):
        self.metre = metre
        self.running, self.position = False, 0  # of the next tick
        self.ticks = collections.deque(maxlen=MEMORY)  # (tick, time_s)
        self.line = None  # origin_s, tick_s

    def receive(self, message: Message, time_s: float) -> None:
        """Take a message of the clock in; all others change nothing."""
        if message.type in ("start", "continue", "songpos"):
            if message.type != "continue":
                self.position = TICKS_A_SIXTEENTH * getattr(message, "pos", 0)
            self.running = self.running or message.type != "songpos"
            self.ticks.clear()
            self.line = None
        elif message.type == "stop":
            self.running = False
        elif message.type == "clock" and self.running:
            self.ticks.append((self.position, time_s))
            self.position += 1
            if len(self.ticks) >= FEWEST:
                self.line = fit_line(*np.array(self.ticks).T) or self.line

    def grid(self, time_s: float) -> BeatGrid | None:
        """BeatGrid, or None where the clock stands, or has not ticked long enough."""
        if not self.running or self.line is None:
            return None
        origin_s, tick_s = self.line
        quarter_s = tick_s * CLOCKS_A_QUARTER
        if time_s - self.ticks[-1][1] > GAP_QUARTERS * quarter_s:
            return None
        return BeatGrid(origin_s, quarter_s * float(self.metre.quarters_per_beat), self.metre)


def fit_line(tick: np.ndarray, time_s: np.ndarray) -> tuple[float, float] | None:
    """(origin_s, tick_s) of the line through ticks by the median of all slopes (Theil 1950, Sen 1968), which ticks that
    were held up do not move; None: they are at no one tempo.
    """
    earlier, later = np.triu_indices(len(tick), 1)
    tick_s = np.median((time_s[later] - time_s[earlier]) / (tick[later] - tick[earlier]))
    origin_s = np.median(time_s - tick * tick_s)
    is_tempo = SLOWEST_FASTEST[0] / 2 <= 60 / max(tick_s * CLOCKS_A_QUARTER, 1e-9) <= SLOWEST_FASTEST[1] * 2
    is_steady = np.median(np.abs(time_s - origin_s - tick * tick_s)) <= ASTRAY * tick_s
    return (float(origin_s), float(tick_s)) if is_tempo and is_steady else None
