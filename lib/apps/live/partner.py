"""The partner: receives messages, tracks the beat, calls the model ahead of time, passes its notes to the scheduler.

Nothing here waits and nothing reads a clock: `receive` and `tick` get the time, so that a test can play an hour in a
second. Times in beats are those of the tempo's grid.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable

import numpy as np
from mido import Message

from lib.apps.live.duet_request import DuetRequest, parse_cue
from lib.apps.live.model_process import PROMPT_BEATS, Question
from lib.apps.live.phrase import PEDAL, Phrase
from lib.apps.live.scheduler import ALL_SOUND_OFF, key, pedal, without_overlap
from lib.apps.live.tempo import BeatGrid
from lib.music.tempo_map import BeatNotes

LEAD_S = 0.03  # so long before its time a note must be with the scheduler
HORIZON_S = 0.4  # so far ahead notes are handed out; what comes later can still follow the tempo, or be withdrawn
MARGIN, RESERVE_S = 1.3, 0.15  # on top of how long the model is expected to take
UNSTAMPED = 256  # messages that wait for a clock's first beat
OF_PHRASES = ("note_on", "note_off", "control_change")
ANSWER_BARS = (1, 8)  # of an answer that is as long as the phrase
FEWEST = 3  # notes of a phrase before an answer is made ahead of a cue
TURN_BARS = {"fours": 4, "comp": 2}
CLICK_S, CLICKS, CLICK_VELOCITY = 0.05, (76, 77), 90  # General MIDI: wood blocks, high on one
COUNT_IN_DELAY_S = 0.3  # from start to the first click
LATE = "late: it enters in a later bar"


def lead_s(expected_s: float) -> float:
    """So long before music is to begin a model is asked that takes about so long."""
    return MARGIN * expected_s + RESERVE_S


def num_beats(bars: int | None, phrase_beats: float, bar: float) -> float:
    """Beats of an answer of so many bars; None: as many as the phrase has."""
    return bar * (bars or min(max(math.ceil(phrase_beats / bar - 0.25), ANSWER_BARS[0]), ANSWER_BARS[1]))


class Partner:
    """What all partners do.

    Parameters
    ----------
    tempo : tempo.OwnTempo or tempo.ClockTempo
    output, model : MidiOutputProcess (order) and ModelProcess (ask, drop, receive, expected_s), or what does as they do
    report : callable(event, text, **fields), called with what happens; the text is for people, or empty

    Attributes
    ----------
    planned, played : rows (on, off, pitch or PEDAL, velocity) in beats: to come, and handed out
    ends : beat on which the last plan is over
    answer : the last Answer that came, or None
    """

    offset = 0.0  # beats before the chart's first bar

    def __init__(self, request: DuetRequest, tempo, output, model, report: Callable):
        self.request, self.tempo, self.output, self.model, self.report = request, tempo, output, model, report
        self.bar = tempo.metre.beats
        self.phrase = Phrase(parse_cue(request.ends_by), request.silence_beats)
        self.planned, self.played, self.ends = [], [], -np.inf
        self.num_questions, self.halted = 0, True
        self.unstamped = collections.deque(maxlen=UNSTAMPED)  # (message, time_s)
        self.reset()

    def receive(self, message: Message, now_s: float) -> None:
        """Take in a message of the human's. All notes off is no panic: old keyboards send it with each last key."""
        self.tempo.receive(message, now_s)
        if message.is_cc(ALL_SOUND_OFF):
            self.start_over()
            self.output.order("panic")
            self.report("panic", "silence")
        elif message.type in OF_PHRASES:
            self.unstamped.append((message, now_s))
        elif message.type in ("start", "continue"):
            self.unstamped.clear()  # what was played before is on no beat of the clock
        while self.unstamped and self.tempo.grid(now_s) is not None:  # after half a beat a clock says where they are
            message, at_s = self.unstamped.popleft()
            if self.phrase.is_note(message):
                self.note_begins(at_s)
            self.phrase.receive(message, self.tempo.grid(now_s).beat_at(at_s))

    def release_all(self, now_s: float) -> None:
        """The keyboard is gone: no key of it is down."""
        if (grid := self.tempo.grid(now_s)) is not None:
            self.phrase.release_all(grid.beat_at(now_s))

    def tick(self, now_s: float) -> None:
        """Do what is due now; called some hundred times a second."""
        grid = self.tempo.grid(now_s)
        if grid is None and not self.halted:  # the clock has stopped, and may start at another position
            self.start_over()
            self.report("halt", "the clock has stopped")
        self.halted = grid is None
        if not self.halted:
            self._receive_answer()
            self.step(now_s, grid)
            self._hand_out(grid, now_s + HORIZON_S)

    def _receive_answer(self):
        if (answer := self.model.receive()) is None:
            return
        self.report("take", "", took_s=answer.took_s)
        if answer.notes is not None and len(answer.notes):
            self.answer = answer
        else:
            self.report("failed", f"no music came: {answer.reason or 'the model played nothing'}")
            self.failed()

    def ask(self, prompt: BeatNotes, start: float, beats: float, grid: BeatGrid) -> None:
        """Ask the model for music from a beat on, after a prompt on the grid; an earlier question is dropped."""
        self.num_questions += 1
        prompt = prompt.between(start - PROMPT_BEATS, start)
        self.model.ask(Question(self.num_questions, prompt, start - self.offset, beats, grid.beat_s))

    def plan(self, start: float, entry: float, end: float, grid: BeatGrid, late: bool) -> None:
        """Plan the answer, whose beat 0 is `start`: what begins from an entry to an end; there all is released."""
        notes = self.answer.notes.between(entry - start, end - start)
        onset, release = notes.onset + entry, np.minimum(notes.release + entry, end)
        self.planned += zip(onset.tolist(), release.tolist(), notes.pitch.tolist(), notes.velocity.tolist())
        self.planned += [(down, up, PEDAL, 0) for down, up in (notes.pedal + entry).tolist()]
        self.ends = end
        self.report("placed", "", late=late, entry_s=grid.time_of(entry), ends_s=grid.time_of(end))

    def _hand_out(self, grid, until_s):
        """Give the scheduler what begins before a time."""
        until, channel = grid.beat_at(until_s), self.request.channel - 1
        due = [row for row in self.planned if row[0] < until]
        if not due:
            return
        self.planned = [row for row in self.planned if row[0] >= until]
        self.played = [row for row in self.played if row[1] > until - 2 * PROMPT_BEATS] + due
        spans = []
        for on, off, pitch, velocity in due:
            times = grid.time_of(on), grid.time_of(off)
            spans.append(pedal(*times, channel) if pitch == PEDAL else key(*times, pitch, velocity, channel))
        spans = without_overlap(spans)
        self.output.order("play", spans)
        self.report("play", "", spans=[(span.on_s, span.off_s, span.on.hex()) for span in spans])

    def withdraw(self) -> None:
        """Take back what is to come and end what sounds of it."""
        self.planned, self.played, self.ends = [], [], -np.inf
        self.output.order("clear")

    def start_over(self) -> None:
        """Take all back and wait for a new phrase."""
        self.withdraw()
        self.model.drop()
        self.phrase.clear()
        self.reset()

    failed = start_over  # what follows where the model has played nothing

    def note_begins(self, now_s: float) -> None:
        """The human strikes a key."""

    def step(self, now_s: float, grid: BeatGrid) -> None:
        """What this kind of partner does."""
        raise NotImplementedError

    def reset(self) -> None:
        """Drop all plans: the next phrase or turn begins from scratch."""
        raise NotImplementedError


class CallAndResponse(Partner):
    """The human's phrase ends, the partner answers on the next beat that it can be ready for.

    The answer is made while the human still plays. Where silence ends phrases, each breath may be the end: the model is
    asked then, and has the rest of the silence; a note that follows drops what it makes. Where a pedal, controller or
    key ends them, it is asked again and again, so that its prompt is never older than a bar. An answer that is late, or
    ready long before it was expected, enters whole bars later or earlier, so that its bars stay those of the grid.

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

    def _may_ask(self, beat):
        if self.phrase.ends_by_silence:
            return self.start is None and self.phrase.may_have_ended(beat)
        is_idle = self.start is None or self.answer is not None and self.answer.question.number == self.num_questions
        return is_idle and len(self.phrase) > max(self.num_prompted, FEWEST - 1)

    def _ask(self, now_s, grid):
        beat, ready_s = grid.beat_at(now_s), now_s + lead_s(self.model.expected_s)
        if self.phrase.ends_by_silence:
            ready_s = max(ready_s, grid.time_of(beat + self.request.silence_beats - self.phrase.silence(beat)))
        self.start = max(0.0, grid.next_beat(ready_s + LEAD_S))
        prompt, self.num_prompted = self.phrase.notes(beat), len(self.phrase)
        length = num_beats(self.request.bars, max(prompt.release) - self.phrase.begun, self.bar)
        self.ask(prompt, self.start, length, grid)

    def _end(self, now_s, grid):
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

    def _enter(self, now_s, grid):
        """Plan an answer that has come, as early as it may be; say so where it is late."""
        if not self.late and now_s > grid.time_of(self.start) - LEAD_S / 2:
            self.late = True
            self.report("late", LATE, entry_s=grid.time_of(self.start))
        if self.answer is not None:
            self.entry = grid.next_like(self.start, now_s + LEAD_S / 2)
            self.plan(self.entry, self.entry, self.entry + self.answer.question.beats, grid, self.late)

    def _begin(self):
        self.report("answers", f"answering {len(self.phrase)} notes", notes=len(self.phrase))
        self.phrase.clear()
        self.reset()
        self.answering = True


class Turns(Partner):
    """Taking turns over a chart, and comping: where the partner plays is known from the form, bar by bar.

    Trading fours: so many bars are the human's, so many the partner's. Comping: all of them are both's, and the partner
    is asked for a few bars at a time. The model is asked as late as its speed allows, so that its prompt is as recent
    as possible. What comes late enters on a later bar line, with the bars that are over left out: it stays with the
    chart. Where it comes too late for its turn, it is given more time, if need be by leaving turns out.

    `turn` is the beat on which the partner's next turn begins; beats count from the first click.
    """

    def __init__(self, request: DuetRequest, tempo, *others):
        super().__init__(request, tempo, *others)
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
            self.report("late", LATE, entry_s=starts_s)
        if self.answer is not None:
            self._enter(now_s, grid)

    def failed(self) -> None:
        """This turn is empty."""
        self._find_turn(self.turn + self.cycle, self.turn)

    def _enter(self, now_s, grid):
        entry, end = self.turn, self.turn + self.beats
        if self.late:
            entry = grid.next_like(self.turn, now_s + LEAD_S)
        if entry < end:
            self.plan(self.turn, entry, end, grid, self.late)
            self._find_turn(self.turn + self.cycle, self.turn)
        else:
            self.report("missed", "this turn is missed")
            self._find_turn(self.turn + self.cycle, grid.beat_at(now_s + lead_s(self.model.expected_s)))

    def _find_turn(self, first, earliest):
        """Continue with the first turn that starts at or after a beat."""
        self.reset()
        self.turn = first + max(0, math.ceil((earliest - first) / self.cycle - 1e-9)) * self.cycle
