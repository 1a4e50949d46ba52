"""Call and response: the human's phrase ends, the partner answers on the next beat.

The answer is made while the human still plays. Where silence ends phrases, each breath may be the end: the model is asked then, and
has the rest of the silence. Where a pedal, controller or key ends them, it is asked again and again, so that what it has heard
is never older than a bar. An answer that is late enters on a later bar line; one that has not heard the whole phrase, because
the human went on, is never played.
"""

from __future__ import annotations

import math

from lib.apps.live.duet import HORIZON_S, LEAD_S, Partner
from lib.apps.live.line import Line

BARS = (1, 8)  # of an answer that is as long as the phrase
FEWEST = 3  # notes heard before an answer is made ahead of a cue
GIVE_UP_BARS = 8  # an answer so late is no answer


class CallAndResponse(Partner):
    """See the module. `entry` is the beat on which the answer is to enter, once the phrase has ended."""

    def __init__(self, *words, **named):
        super().__init__(*words, **named)
        self.begin_anew()

    def begin_anew(self):
        """Nothing is asked and nothing planned."""
        self.take, self.heard, self.asked_s, self.spare = None, 0, None, None
        self.entry, self.ended_s, self.late, self.placed, self.answering = None, None, False, False, False

    def note_began(self, now_s):
        """A phrase begins, goes on after all, or is played into an answer."""
        begins = len(self.phrase) == 1
        if begins and not self.tempo.follows and self.wished.clock != "out" and not self.lines:
            self.tempo.begin(now_s)  # your first note is the one
        if self.entry is not None and not self.answering and self.phrase.cue[0] == "silence":
            self.withdraw()
            self.entry, self.ended_s, self.placed = None, None, False
            self.tell("went_on", "you go on")
        elif self.answering and self.wished.give_way:
            self.withdraw()
            self.answering = False
            self.tell("gave_way", "you take over")

    def step(self, now_s, grid):
        """Ask in a breath; plan the entry at the end; enter; listen again."""
        if self.answering:
            line = self.lines[-1] if self.lines else None
            if line is None or grid.beat_at(now_s) >= line.end_beat:
                self.answering = False
                self.tell("listens", "listening")
        if self.entry is None and not self.answering:
            self._prepare(now_s, grid)
            if self.phrase.ended(now_s, grid.beat_s):
                self._plan(now_s, grid)
        if self.entry is not None and not self.answering:
            self._enter(now_s, grid)

    def _prepare(self, now_s, grid):
        if self.heard == len(self.phrase):
            return
        if self.phrase.cue[0] == "silence":
            if self.heard > 0 and not self.phrase.breathes(now_s, grid.beat_s):
                self.composer.drop()  # what it works on has not heard all
                self.heard = 0
            elif self.phrase.breathes(now_s, grid.beat_s):
                self._ask(now_s, grid)
        elif len(self.phrase) >= FEWEST and (self.asked_s is None or self.take is not None):
            self.spare = (self.take, self.asked_s)
            self._ask(now_s, grid)

    def _ask(self, now_s, grid):
        expected_s = now_s + max(0.0, self.wished.silence_beats * grid.beat_s - self.phrase.silent_s(now_s))
        self.heard, self.asked_s = len(self.phrase), now_s
        before = self.phrase.notes(now_s)
        self.ask(before, max(0, grid.next_beat(expected_s + LEAD_S)), self._beats(before, grid), grid.beat_s)

    def _beats(self, before, grid):
        bars = self.wished.bars or min(max(math.ceil(before.end_s / grid.beat_s / self.bar - 0.25), BARS[0]), BARS[1])
        return bars * self.bar

    def _plan(self, now_s, grid):
        self.entry, self.ended_s, self.late = grid.next_beat(now_s + LEAD_S), now_s, False
        self.tell("phrase_ended", "", ended_s=now_s, released_s=self.phrase.released_s, notes=len(self.phrase))
        if self.phrase.cue[0] != "silence" and self.take is None and self.spare is not None and self._is_fresh(self.spare[1], grid):
            self.take, self.asked_s = self.spare
            self.composer.drop()
        elif not self._is_fresh(self.asked_s, grid):
            self._ask(now_s, grid)

    def _is_fresh(self, asked_s, grid):
        """Whether what was asked then has heard the phrase: all of it, or all but its last bar where a cue ended it."""
        if asked_s is None:
            return False
        recent = self.phrase.cue[0] != "silence" and self.ended_s - asked_s <= self.bar * grid.beat_s
        return recent or self.heard == len(self.phrase)

    def _enter(self, now_s, grid):
        if self.placed:
            if now_s >= grid.time_of(self.entry):
                self._begin()
        elif now_s > grid.time_of(self.entry) - LEAD_S / 2:
            self._be_late(now_s, grid)
        elif self.take is not None and now_s >= grid.time_of(self.entry) - HORIZON_S:
            self._place(grid)

    def _be_late(self, now_s, grid):
        if not self.late:
            self.tell("late", "late: it enters on a later bar line", entry_s=grid.time_of(self.entry))
        self.late, self.entry = True, grid.next_bar(now_s + LEAD_S)
        if now_s - self.ended_s > GIVE_UP_BARS * self.bar * grid.beat_s:
            self.tell("given_up", "no answer this time")
            self.composer.drop()
            self.phrase.clear()
            self.begin_anew()

    def _place(self, grid):
        ask, entry = self.take.ask, self.entry
        line = Line(self.take.notes, ask.beat_s, entry, entry, entry + ask.beats, channel=self.wished.channel - 1)
        self.lines.append(line)
        self.placed = True
        self.tell("placed", "", entry_s=grid.time_of(entry), first_s=grid.time_of(line.first_beat), beat_s=grid.beat_s,
                  entry_beat=entry, ended_s=self.ended_s, released_s=self.phrase.released_s, late=self.late,
                  ends_s=grid.time_of(line.end_beat))  # fmt: skip

    def _begin(self):
        self.tell("answers", f"answering {len(self.phrase)} notes")
        self.phrase.clear()
        self.begin_anew()
        self.answering = True

    def failed(self):
        """The model had nothing to say: listen on."""
        self.phrase.clear()
        self.begin_anew()
