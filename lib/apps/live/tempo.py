"""Where the beats are: a tempo of one's own, or a MIDI clock that is followed.

Conventions: a beat is a quarter; beat 0 is where the music (or the other's song) begins, and bars are counted from
there. Times are those of time.perf_counter.
"""

from __future__ import annotations

import collections
import math
from dataclasses import dataclass

import numpy as np
from mido import Message

from lib.apps.live.messages import CLOCKS_A_BEAT
from lib.music.notes import SLOWEST_FASTEST

TICKS_A_SIXTEENTH = CLOCKS_A_BEAT // 4  # song position counts sixteenths
MEMORY = 2 * CLOCKS_A_BEAT  # ticks that a tempo is read from
FEWEST = CLOCKS_A_BEAT // 2  # before that there is no tempo to speak of
GAP_BEATS = 2.0  # without a tick: the clock has stopped without a stop message
ASTRAY = 0.3  # of a tick's length beside the line; so many ticks in a row, and the tempo has changed
ASTRAY_TICKS = 6


@dataclass(frozen=True)
class BeatGrid:
    """Beats at an even tempo.

    Attributes
    ----------
    origin_s : when beat 0 is, or would have been
    beat_s : length of a beat
    beats_per_bar : beats
    """

    origin_s: float
    beat_s: float
    beats_per_bar: int = 4

    def beat_at(self, time_s: float) -> float:
        """The beat of a time, with its fraction."""
        return (time_s - self.origin_s) / self.beat_s

    def time_of(self, beat: float) -> float:
        """The time of a beat."""
        return self.origin_s + beat * self.beat_s

    def next_beat(self, time_s: float) -> int:
        """The first whole beat at or after a time."""
        return math.ceil(self.beat_at(time_s) - 1e-9)

    def next_bar(self, time_s: float) -> int:
        """The first beat of the first bar at or after a time."""
        return math.ceil(self.beat_at(time_s) / self.beats_per_bar - 1e-9) * self.beats_per_bar


class OwnTempo:
    """A tempo that stays.

    Parameters
    ----------
    tempo_bpm, beats_per_bar : quarters
    """

    follows = False

    def __init__(self, tempo_bpm, beats_per_bar=4):
        self.beat_s, self.beats_per_bar = 60.0 / tempo_bpm, beats_per_bar
        self.now = None

    def begin(self, time_s: float) -> None:
        """Put beat 0 at a time."""
        self.now = BeatGrid(time_s, self.beat_s, self.beats_per_bar)

    def receive(self, message: Message, time_s: float) -> None:
        """Nothing that comes in changes it."""

    def grid(self, time_s: float) -> BeatGrid | None:
        """BeatGrid, or None before `begin`."""
        return self.now


class ClockTempo:
    """Tempo and song position of a MIDI clock.

    Start and Continue count from the next tick, as the MIDI specification has it; a song position is in sixteenths.
    """

    follows = True

    def __init__(self, beats_per_bar=4):
        self.beats_per_bar = beats_per_bar
        self.running, self.position = False, 0  # of the next tick
        self.ticks = collections.deque(maxlen=MEMORY)  # (tick, time_s)
        self.strays = collections.deque(maxlen=ASTRAY_TICKS)  # those beside the line
        self.line, self.last_s = None, 0.0

    def begin(self, time_s: float) -> None:
        """Beat 0 is where the clock says."""

    def receive(self, message: Message, time_s: float) -> None:
        """Take a message of the clock in; all others change nothing."""
        if message.type == "start":
            self._run_from(0)
        elif message.type == "continue":
            self._run_from(self.position)
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
        if time_s - self.last_s > GAP_BEATS * CLOCKS_A_BEAT * tick_s:
            return None
        return BeatGrid(origin_s, tick_s * CLOCKS_A_BEAT, self.beats_per_bar)

    def _run_from(self, position):
        self.running, self.position = True, position
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
        if not SLOWEST_FASTEST[0] / 2 <= 60 / max(tick_s * CLOCKS_A_BEAT, 1e-9) <= SLOWEST_FASTEST[1] * 2:
            return None
        return float(middle_s - middle * tick_s), float(tick_s)
