"""Call and response: the human's phrase ends, the partner answers on the next beat that it can be ready for.

The answer is made while the human still plays. Where silence ends phrases, each breath may be the end: the model is
asked then, and has the rest of the silence. Where a pedal, controller or key ends them, it is asked again and again, so
that its prompt is never older than a bar. An answer that is late, or ready long before it was expected, enters whole
bars later or earlier, so that its bars stay those of the grid; one to a part of the phrase, because the human
continued, is never played.
"""

from __future__ import annotations

import math

from lib.apps.live.partner import HORIZON_S, LEAD_S, Partner
from lib.apps.live.tempo import BeatGrid
from lib.music.beat_notes import BeatNotes

BARS = (1, 8)  # of an answer that is as long as the phrase
FEWEST = 3  # notes of a phrase before an answer is made ahead of a cue
GIVE_UP_BARS = 8  # an answer so late is no answer


class CallAndResponse(Partner):
    """See the module. `entry` is the beat on which the answer is to enter, once the phrase has ended."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.reset()

    def reset(self) -> None:
        """Nothing is asked and nothing planned."""
        self.answer, self.num_prompted, self.asked_s, self.start, self.spare = None, 0, None, None, None
        self.entry, self.ended_s, self.late, self.placed, self.answering = None, None, False, False, False

    def phrase_begins(self, now_s: float) -> None:
        """Your first note is beat one, unless a clock, or an answer, says where beat one is."""
        if not self.tempo.follows and self.request.clock != "out" and not self.scheduled:
            self.phrase.clear()
            self.tempo.begin(now_s)

    def note_began(self, now_s: float) -> None:
        """A phrase begins, continues after all, or is played into an answer."""
        if self.entry is not None and not self.answering and self._ends_by_silence:
            self.withdraw()
            self.entry, self.ended_s, self.placed = None, None, False
            self.report("went_on", "you continue")
        elif self.answering and self.request.give_way:
            self.withdraw()
            self.answering = False
            self.report("gave_way", "you take over")

    def step(self, now_s: float, grid: BeatGrid) -> None:
        """Ask in a breath; plan the entry at the end; enter; listen again."""
        if self.answering and not (self.scheduled and grid.beat_at(now_s) < self.scheduled[-1].end):
            self.answering = False
            self.report("listens", "listening")
        if self.answering:
            return
        if self.entry is None:
            self._prepare(now_s, grid)
            if self.phrase.ended(grid.beat_at(now_s)):
                self._plan(now_s, grid)
        if self.entry is not None:
            self._enter(now_s, grid)

    def failed(self) -> None:
        """Listen on."""
        self.phrase.clear()
        self.reset()

    @property
    def _ends_by_silence(self) -> bool:
        return self.phrase.cue[0] == "silence"

    def _prepare(self, now_s: float, grid: BeatGrid) -> None:
        if self.num_prompted == len(self.phrase):
            return
        if self._ends_by_silence:
            if self.phrase.breathes(grid.beat_at(now_s)):
                self._ask(now_s, grid)
            elif self.num_prompted > 0:
                self.model.drop()  # it works on a part of the phrase
                self.num_prompted = 0
        elif len(self.phrase) >= FEWEST and (self.asked_s is None or self.answer is not None):
            self.spare = (self.answer, self.asked_s)
            self._ask(now_s, grid)

    def _ask(self, now_s: float, grid: BeatGrid) -> None:
        beat = grid.beat_at(now_s)
        ends = beat if self.phrase.cued else beat + max(0.0, self.request.silence_beats - self.phrase.silence(beat))
        ready_s = max(grid.time_of(ends), now_s + self.lead_s) + LEAD_S
        self.num_prompted, self.asked_s, self.start = len(self.phrase), now_s, max(0.0, grid.next_beat(ready_s))
        prompt = self.phrase.notes(beat)
        self.ask(prompt, self.start, self._beats(prompt), grid)

    def _beats(self, prompt: BeatNotes) -> float:
        length = (max(prompt.release) - self.phrase.begun) / self.bar
        return self.bar * (self.request.bars or min(max(math.ceil(length - 0.25), BARS[0]), BARS[1]))

    def _plan(self, now_s: float, grid: BeatGrid) -> None:
        self.entry, self.ended_s, self.late = grid.next_beat(now_s + LEAD_S), now_s, False
        self.report("phrase_ended", "", ended_s=now_s, released_s=self._released_s(grid), notes=len(self.phrase))
        has_spare = not self._ends_by_silence and self.answer is None and self.spare is not None
        if has_spare and self._is_fresh(self.spare[1], grid):
            self.answer, self.asked_s = self.spare
            self.model.drop()
        elif not self._is_fresh(self.asked_s, grid):
            self._ask(now_s, grid)
            self.entry = self.start
        elif self._ends_by_silence:
            self.entry = max(self.start, grid.next_beat(now_s + LEAD_S / 2))  # as it was foreseen

    def _is_fresh(self, asked_s: float | None, grid: BeatGrid) -> bool:
        """Whether a question of that time had all of the phrase as its prompt, or all but the last bar before a cue."""
        if asked_s is None:
            return False
        recent = not self._ends_by_silence and self.ended_s - asked_s <= self.bar * grid.beat_s
        return recent or self.num_prompted == len(self.phrase)

    def _enter(self, now_s: float, grid: BeatGrid) -> None:
        if self.answer is not None and not self.placed:
            early = (self.entry - grid.beat_at(now_s + LEAD_S)) // self.bar
            self.entry -= max(0.0, early) * self.bar
        if self.placed:
            if now_s >= grid.time_of(self.entry):
                self._begin()
        elif now_s > grid.time_of(self.entry) - LEAD_S / 2:
            self._be_late(now_s, grid)
        elif self.answer is not None and now_s >= grid.time_of(self.entry) - HORIZON_S:
            self._place(grid)

    def _be_late(self, now_s: float, grid: BeatGrid) -> None:
        if not self.late:
            self.report("late", "late: it enters in a later bar", entry_s=grid.time_of(self.entry))
        bars = math.ceil((grid.beat_at(now_s + LEAD_S) - self.entry) / self.bar)
        self.late, self.entry = True, self.entry + max(1, bars) * self.bar
        if now_s - self.ended_s > GIVE_UP_BARS * self.bar * grid.beat_s:
            self.report("given_up", "no answer this time")
            self._start_over()

    def _place(self, grid: BeatGrid) -> None:
        released_s, end = self._released_s(grid), self.entry + self.answer.question.beats
        times = {"ended_s": self.ended_s, "released_s": released_s}
        self.schedule(self.entry, self.entry, end, grid, late=self.late, **times)
        self.placed = True

    def _released_s(self, grid: BeatGrid) -> float | None:
        """When the phrase's last key was released; None: it is down."""
        return None if self.phrase.released is None else grid.time_of(self.phrase.released)

    def _begin(self):
        self.report("answers", f"answering {len(self.phrase)} notes", notes=len(self.phrase))
        self.phrase.clear()
        self.reset()
        self.answering = True
