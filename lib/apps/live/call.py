"""Call and response: the human's phrase ends, the partner answers on the next beat that it can be ready for.

The answer is made while the human still plays. Where silence ends phrases, each breath may be the end: the model is
asked then, and has the rest of the silence; a note that follows drops what it makes. Where a pedal, controller or key
ends them, it is asked again and again, so that its prompt is never older than a bar. An answer that is late, or ready
long before it was expected, enters whole bars later or earlier, so that its bars stay those of the grid.
"""

from __future__ import annotations

import math

from lib.apps.live.partner import LEAD_S, Partner, lead_s
from lib.apps.live.tempo import BeatGrid

BARS = (1, 8)  # of an answer that is as long as the phrase
FEWEST = 3  # notes of a phrase before an answer is made ahead of a cue


def num_beats(bars: int | None, phrase_beats: float, bar: float) -> float:
    """Beats of an answer of so many bars; None: as many as the phrase has."""
    return bar * (bars or min(max(math.ceil(phrase_beats / bar - 0.25), BARS[0]), BARS[1]))


class CallAndResponse(Partner):
    """See the module.

    Attributes
    ----------
    start : beat that the model was asked last to begin on; None: it was not asked
    num_prompted : notes of the phrase that it was given
    ended_s : when the phrase was seen to have ended
    entry : beat on which the answer is going to enter
    """

    def reset(self) -> None:
        """Nothing is asked and nothing planned."""
        self.answer = self.start = self.ended_s = self.entry = None
        self.num_prompted, self.late, self.answering = 0, False, False

    def note_begins(self, now_s: float) -> None:
        """A phrase begins, continues after all, or is played into an answer.

        Your first note is beat one, unless a clock, or an answer until a bar ago, says where beat one is.
        """
        is_free = self.tempo.grid(now_s).beat_at(now_s) >= self.ends + self.bar
        if is_free and not len(self.phrase) and self.request.clock == "own":
            self.ends = -math.inf
            self.tempo.begin(now_s)
        if self.answering:
            if self.request.give_way:
                self.withdraw()
                self.reset()
                self.report("gave_way", "you take over")
        elif self.phrase.ends_by_silence:
            if self.ended_s is not None:
                self.withdraw()
                self.report("went_on", "you continue")
            self.model.drop()  # what it makes is an answer to a part of the phrase
            self.reset()

    def step(self, now_s: float, grid: BeatGrid) -> None:
        """Ask in a breath; see the end; enter; listen again."""
        beat = grid.beat_at(now_s)
        if self.answering:
            if beat < self.ends:
                return
            self.answering = False
            self.report("listens", "listening")
        if self.ended_s is None:
            if self._may_ask(beat):
                self._ask(now_s, grid)
            if self.phrase.has_ended(beat):
                self._end(now_s, grid)
        if self.entry is not None:
            if now_s >= grid.time_of(self.entry):
                self._begin()
        elif self.ended_s is not None:
            self._enter(now_s, grid)

    def _may_ask(self, beat: float) -> bool:
        if self.phrase.ends_by_silence:
            return self.start is None and self.phrase.may_have_ended(beat)
        is_idle = self.start is None or self.answer is not None and self.answer.question.number == self.num_questions
        return is_idle and len(self.phrase) > max(self.num_prompted, FEWEST - 1)

    def _ask(self, now_s: float, grid: BeatGrid) -> None:
        beat, ready_s = grid.beat_at(now_s), now_s + lead_s(self.model.expected_s)
        if self.phrase.ends_by_silence:
            ready_s = max(ready_s, grid.time_of(beat + self.request.silence_beats - self.phrase.silence(beat)))
        self.start = max(0.0, grid.next_beat(ready_s + LEAD_S))
        prompt, self.num_prompted = self.phrase.notes(beat), len(self.phrase)
        length = num_beats(self.request.bars, max(prompt.release) - self.phrase.begun, self.bar)
        self.ask(prompt, self.start, length, grid)

    def _end(self, now_s: float, grid: BeatGrid) -> None:
        """The phrase is over; on a cue the last answer is taken if it was to begin within the last bar, or later."""
        self.ended_s = now_s
        self.report("phrase_ended", "", ended_s=now_s, notes=len(self.phrase))
        if self.phrase.ends_by_silence:
            return
        oldest = grid.beat_at(now_s) - self.bar
        if self.answer is not None and self.answer.question.start >= oldest:
            self.model.drop()
            self.start = 0.0
        else:
            self.answer = None
            if self.start is None or self.start < oldest:
                self._ask(now_s, grid)
        self.start = max(self.start, grid.next_beat(now_s + LEAD_S))

    def _enter(self, now_s: float, grid: BeatGrid) -> None:
        """Plan an answer that has come, as early as it may be; say so where it is late."""
        if not self.late and now_s > grid.time_of(self.start) - LEAD_S / 2:
            self.late = True
            self.report("late", "late: it enters in a later bar", entry_s=grid.time_of(self.start))
        if self.answer is not None:
            self.entry = grid.next_like(self.start, now_s + LEAD_S / 2)
            self.plan(self.entry, self.entry, self.entry + self.answer.question.beats, grid, self.late)

    def _begin(self):
        self.report("answers", f"answering {len(self.phrase)} notes", notes=len(self.phrase))
        self.phrase.clear()
        self.reset()
        self.answering = True
