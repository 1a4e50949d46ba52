"""Taking turns over a chart, and comping: where the partner plays is known from the form, bar by bar.

Trading fours: so many bars are the human's, so many the partner's. Comping: all of them are both's, and the partner is
asked for a few bars at a time. The model is asked as late as its speed allows, so that its prompt is as recent as
possible. What comes late enters on a later bar line, with the bars that are over left out: it stays with the chart.
Where it comes too late for its turn, it is given more time, if need be by leaving turns out.
"""

from __future__ import annotations

import math

from lib.apps.live.partner import LEAD_S, Partner, lead_s
from lib.apps.live.phrase import PEDAL
from lib.apps.live.scheduler import key
from lib.apps.live.tempo import BeatGrid

TURN_BARS = {"fours": 4, "comp": 2}
CLICK_S, CLICKS = 0.05, (76, 77)  # General MIDI: wood blocks, high on one
CLICK_VELOCITY = 90
COUNT_IN_DELAY_S = 0.3  # from start to the first click


class Turns(Partner):
    """See the module. `turn` is the beat on which the partner's next turn begins; beats count from the first click."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        request = self.request
        self.beats = (request.bars or TURN_BARS[request.mode]) * self.bar
        self.offset = 0.0 if request.clock == "in" else request.count_in * self.bar
        self.cycle = self.beats if request.mode == "comp" else 2 * self.beats
        self.first_turn = self.offset + (self.beats if request.mode == "fours" and request.first == "you" else 0)

    def reset(self) -> None:
        """The next turn is to be found."""
        self.answer, self.turn, self.asked, self.late = None, None, False, False

    def count_in(self, now_s: float) -> None:
        """Put the first beat a moment from now and click until the music begins; not where a clock is followed."""
        if self.request.clock == "in":
            return
        self.tempo.begin(now_s + COUNT_IN_DELAY_S)
        time_of, sound = self.tempo.now.time_of, (CLICK_VELOCITY, self.request.click_channel - 1)
        bars, beats = range(self.request.count_in), range(math.ceil(self.bar))
        clicks = [(time_of(bar * self.bar + beat), CLICKS[beat > 0]) for bar in bars for beat in beats]
        self.output.order("play", [key(at_s, at_s + CLICK_S, pitch, *sound) for at_s, pitch in clicks])

    def step(self, now_s: float, grid: BeatGrid) -> None:
        """Ask in time for the next turn, and enter."""
        if self.turn is None:
            self._find_turn(self.first_turn, grid.beat_at(now_s + LEAD_S))
        starts_s = grid.time_of(self.turn)
        if not self.asked and now_s >= starts_s - lead_s(self.model.expected_s):
            self.asked = True
            own = [row for row in (*self.played, *self.planned) if row[2] != PEDAL]
            self.ask(self.phrase.notes(grid.beat_at(now_s), own), self.turn, self.beats, grid)
        if not self.late and now_s > starts_s - LEAD_S / 2:
            self.late = True
            self.report("late", "late: it enters in a later bar", entry_s=starts_s)
        if self.answer is not None:
            self._enter(now_s, grid)

    def failed(self) -> None:
        """This turn is empty."""
        self._find_turn(self.turn + self.cycle, self.turn)

    def _enter(self, now_s: float, grid: BeatGrid) -> None:
        entry, end = self.turn, self.turn + self.beats
        if self.late:
            entry = grid.next_like(self.turn, now_s + LEAD_S)
        if entry < end:
            self.plan(self.turn, entry, end, grid, self.late)
            self._find_turn(self.turn + self.cycle, self.turn)
        else:
            self.report("missed", "this turn is missed")
            self._find_turn(self.turn + self.cycle, grid.beat_at(now_s + lead_s(self.model.expected_s)))

    def _find_turn(self, first: float, earliest: float) -> None:
        """Continue with the first turn from a beat on, counted from the first of all that may be."""
        self.reset()
        self.turn = first + max(0, math.ceil((earliest - first) / self.cycle - 1e-9)) * self.cycle
