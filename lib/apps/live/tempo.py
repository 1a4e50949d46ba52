"""Where the beats are: a tempo of one's own, or a MIDI clock that is followed.

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

from lib.apps.live.messages import CLOCKS_A_QUARTER
from lib.music.notes import SLOWEST_FASTEST
from lib.music.tempo_map import Metre

TICKS_A_SIXTEENTH = CLOCKS_A_QUARTER // 4  # song position counts sixteenths
MEMORY = 2 * CLOCKS_A_QUARTER  # ticks that a tempo is read from
FEWEST = CLOCKS_A_QUARTER // 2  # before that there is no tempo to speak of
GAP_QUARTERS = 2.0  # without a tick: the clock has stopped without a stop message
ASTRAY = 0.3  # of a tick's length beside the line; so many ticks in a row, and the tempo has changed
ASTRAY_TICKS = 6
COMMON = Metre(4, 4)


@dataclass(frozen=True)
class BeatGrid:
    """Beats at an even tempo.

    Attributes
    ----------
    origin_s : when beat 0 is, or would have been
    beat_s : length of a beat
    metre : Metre
    """

    origin_s: float
    beat_s: float
    metre: Metre = COMMON

    @property
    def quarter_s(self) -> float:
        """Length of a quarter."""
        return self.beat_s / float(self.metre.quarters_per_beat)

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

    def next_bar(self, time_s: float) -> float:
        """The first bar line at or after a time."""
        return math.ceil(self.beat_at(time_s) / self.metre.beats - 1e-9) * self.metre.beats


class OwnTempo:
    """A tempo that stays.

    Parameters
    ----------
    tempo_bpm : quarters a minute
    metre : Metre
    """

    follows, since_s = False, -math.inf

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

    Attributes
    ----------
    since_s : when the clock began to run: what was played before is on no beat of it
    """

    follows = True

    def __init__(self, metre: Metre = COMMON):
        self.metre, self.since_s = metre, math.inf
        self.running, self.position = False, 0  # of the next tick
        self.ticks = collections.deque(maxlen=MEMORY)  # (tick, time_s)
        self.strays = collections.deque(maxlen=ASTRAY_TICKS)  # those beside the line
        self.line, self.last_s = None, 0.0

    def begin(self, time_s: float) -> None:
        """Beat 0 is where the clock says."""

    def receive(self, message: Message, time_s: float) -> None:
        """Take a message of the clock in; all others change nothing."""
        if message.type == "start":
            self._run_from(0, time_s)
        elif message.type == "continue":
            self._run_from(self.position, time_s)
        elif message.type == "stop":
            self.running = False
        elif message.type == "songpos":
            self.position = message.pos * TICKS_A_SIXTEENTH
            self._reset()
        elif message.type == "clock" and self.running:
            self._tick(time_s)

    def grid(self, time_s: float) -> BeatGrid | None:
        """BeatGrid, or None where the clock stands, or has not ticked long enough."""
        if not self.running or self.line is None:
            return None
        origin_s, tick_s = self.line
        if time_s - self.last_s > GAP_QUARTERS * CLOCKS_A_QUARTER * tick_s:
            return None
        return BeatGrid(origin_s, tick_s * CLOCKS_A_QUARTER * float(self.metre.quarters_per_beat), self.metre)

    def _run_from(self, position, time_s):
        self.running, self.position, self.since_s = True, position, time_s
        self._reset()

    def _reset(self):
        self.ticks.clear()
        self.strays.clear()
        self.line, self.last_s = None, 0.0

    def _tick(self, time_s):
        tick = (self.position, time_s)
        self.position, self.last_s = self.position + 1, time_s
        if self.line is not None and self._is_astray(self.line, *tick):
            self.strays.append(tick)
            self._turn_to_strays()
            return
        self.strays.clear()
        self.ticks.append(tick)
        if len(self.ticks) >= FEWEST or self.line is not None and len(self.ticks) >= ASTRAY_TICKS:
            self.line = self._fit(self.ticks) or self.line

    def _turn_to_strays(self):
        """Follow a new tempo, where the last few ticks agree on one; ticks that were held up agree on none."""
        recent = list(self.strays)[-ASTRAY_TICKS:]
        if len(recent) < ASTRAY_TICKS:
            return
        line = self._fit(recent)
        if line is not None and not any(self._is_astray(line, *tick) for tick in recent):
            self.line, self.ticks = line, collections.deque(recent, MEMORY)
            self.strays.clear()

    @staticmethod
    def _is_astray(line, position, time_s):
        origin_s, tick_s = line
        return abs(time_s - origin_s - position * tick_s) > ASTRAY * tick_s

    @staticmethod
    def _fit(ticks):
        """(origin_s, tick_s) of the straight line nearest to the ticks; None: no tempo."""
        number, time_s = np.array(ticks).T
        middle, middle_s = number.mean(), time_s.mean()
        tick_s = ((number - middle) @ (time_s - middle_s)) / ((number - middle) @ (number - middle))
        if not SLOWEST_FASTEST[0] / 2 <= 60 / max(tick_s * CLOCKS_A_QUARTER, 1e-9) <= SLOWEST_FASTEST[1] * 2:
            return None
        return float(middle_s - middle * tick_s), float(tick_s)
