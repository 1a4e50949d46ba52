"""Taking turns over a chart, and comping: where the partner plays is known from the form, bar by bar.

Trading fours: so many bars are the human's, so many the partner's. Comping: all of them are both's, and the partner is
asked for a few bars at a time. The model is asked as late as its speed allows, so that its prompt is as recent as
possible. What comes late enters on a later bar line, with the bars that are over left out: it stays with the chart.
Where it comes too late for its turn, it is given more time, if need be by leaving turns out.
"""

from __future__ import annotations

import math

import numpy as np

from lib.apps.live.messages import key
from lib.apps.live.partner import LEAD_S, Partner
from lib.apps.live.tempo import BeatGrid
from lib.music.beat_notes import BeatNotes

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
        self.offset = 0.0 if self.tempo.follows else request.count_in * self.bar
        self.cycle = self.beats if request.mode == "comp" else 2 * self.beats
        self.first_turn = self.offset + (self.beats if request.mode == "fours" and request.first == "you" else 0)
        self.reset()

    def reset(self) -> None:
        """The next turn is to be found."""
        self.answer, self.turn, self.asked, self.late = None, None, False, False

    def count_in(self, now_s: float) -> None:
        """Put the first beat a moment from now and click until the music begins; not where a clock is followed."""
        self.tempo.begin(now_s + COUNT_IN_DELAY_S)
        grid = self.tempo.grid(now_s)
        if grid is not None and self.offset:
            bars, beats = range(self.request.count_in), range(math.ceil(self.bar))
            clicks = [(grid.time_of(bar * self.bar + beat), CLICKS[beat > 0]) for bar in bars for beat in beats]
            sound = CLICK_VELOCITY, self.request.click_channel - 1
            self.output.order("play", [key(at_s, at_s + CLICK_S, pitch, *sound) for at_s, pitch in clicks])

    def step(self, now_s: float, grid: BeatGrid) -> None:
        """Ask in time for the next turn, and enter."""
        if self.turn is None:
            turns = max(0, math.ceil((grid.beat_at(now_s + LEAD_S) - self.first_turn) / self.cycle - 1e-9))
            self.turn = self.first_turn + turns * self.cycle
        starts_s = grid.time_of(self.turn)
        if not self.asked and now_s >= starts_s - self.lead_s:
            self.asked = True
            self.ask(self._prompt(grid.beat_at(now_s)), self.turn, self.beats, grid)
        if self.asked and self.answer is not None:
            self._enter(now_s, grid)
        elif now_s > starts_s - LEAD_S / 2:
            self._be_late(starts_s)
        if self.turn is not None and now_s > grid.time_of(self.turn + self.beats) - LEAD_S:
            self.report("missed", "this turn is missed")
            self._miss(now_s, grid)

    def failed(self) -> None:
        """This turn is empty."""
        self._next_turn()

    def _enter(self, now_s: float, grid: BeatGrid) -> None:
        in_time = now_s <= grid.time_of(self.turn) - LEAD_S / 2
        if not in_time:
            self._be_late(grid.time_of(self.turn))
        entry, end = self.turn if in_time else grid.next_bar(now_s + LEAD_S), self.turn + self.beats
        if entry < end:
            self.schedule(self.turn, entry, end, grid, late=not in_time, turn_beat=self.turn)
            self._next_turn()

    def _be_late(self, starts_s: float) -> None:
        if not self.late:
            self.late = True
            self.report("late", "late: it enters in a later bar", entry_s=starts_s)

    def _next_turn(self):
        self.turn, self.asked, self.late, self.answer = self.turn + self.cycle, False, False, None

    def _miss(self, now_s: float, grid: BeatGrid) -> None:
        """Continue with the first turn that it has the time for: asked for each, a slow model would never finish."""
        self.model.give_up()
        self._next_turn()
        while grid.time_of(self.turn) < now_s + self.lead_s:
            self.turn += self.cycle

    def _prompt(self, beat: float) -> BeatNotes:
        """Notes of both, until now and, of the partner's, as far as they are planned."""
        human = self.phrase.notes(beat)
        partner = np.array([row for notes in self.scheduled for row in notes.all_rows()]).reshape(-1, 4)
        rows = np.concatenate([np.column_stack([human.onset, human.release, human.pitch, human.velocity]), partner])
        on, off, pitch, velocity = rows[np.argsort(rows[:, 0], kind="stable")].T
        return BeatNotes(on, off, pitch.astype(np.uint8), velocity.astype(np.uint8), human.pedal)
