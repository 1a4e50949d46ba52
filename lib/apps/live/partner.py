"""The partner: receives messages, knows the beat, asks the model ahead of time, hands its notes to the scheduler.

What call and response (call.py) and taking turns (turns.py) share. Nothing here waits and nothing reads a clock:
`receive` and `tick` get the time, so that a test can play an hour in a second.
"""

from __future__ import annotations

import collections
from collections.abc import Callable

import numpy as np
from mido import Message

from lib.apps.live.duet_request import DuetRequest, parse_cue
from lib.apps.live.model_process import PROMPT_BEATS, Question
from lib.apps.live.phrase import PEDAL, Phrase
from lib.apps.live.scheduler import ALL_SOUND_OFF, key, pedal, without_overlap
from lib.apps.live.tempo import BeatGrid
from lib.music.beat_notes import BeatNotes

LEAD_S = 0.03  # so long before its time a note must be with the scheduler
HORIZON_S = 0.4  # so far ahead notes are handed out; what comes later can still follow the tempo, or be withdrawn
MARGIN, RESERVE_S = 1.3, 0.15  # on top of how long the model is expected to take
UNSTAMPED = 256  # messages that wait for a clock's first beat
OF_PHRASES = ("note_on", "note_off", "control_change")


def lead_s(expected_s: float) -> float:
    """So long before music is to begin a model is asked that takes about so long."""
    return MARGIN * expected_s + RESERVE_S


class Partner:
    """What all partners do.

    Parameters
    ----------
    request : DuetRequest
    tempo : tempo.OwnTempo or tempo.ClockTempo
    output : see MidiOutputProcess: order
    model : see ModelProcess: ask, drop, receive, expected_s
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
        self.phrase = Phrase(parse_cue(request.ends_by), request.silence_beats)
        self.planned, self.played, self.ends = [], [], -np.inf
        self.num_questions, self.halted = 0, True
        self.unstamped = collections.deque(maxlen=UNSTAMPED)  # (message, time_s)
        self.reset()

    @property
    def bar(self) -> float:
        """Beats of a bar."""
        return self.tempo.metre.beats

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

    def note_begins(self, now_s: float) -> None:
        """The human strikes a key."""

    def tick(self, now_s: float) -> None:
        """Do what is due now; called some hundred times a second."""
        grid = self.tempo.grid(now_s)
        if grid is None and not self.halted:  # the clock has stopped, and may start at another position
            self.start_over()
            self.report("halt", "the clock has stopped")
        self.halted = grid is None
        if self.halted:
            return
        self._receive_answer()
        self.step(now_s, grid)
        self._hand_out(grid, now_s + HORIZON_S)

    def step(self, now_s: float, grid: BeatGrid) -> None:
        """What this kind of partner does."""
        raise NotImplementedError

    def ask(self, prompt: BeatNotes, start: float, beats: float, grid: BeatGrid) -> None:
        """Ask the model for music from a beat on, after a prompt on the grid; an earlier question is dropped."""
        self.num_questions += 1
        prompt = prompt.between(start - PROMPT_BEATS, start)
        self.model.ask(Question(self.num_questions, prompt, start - self.offset, beats, grid.beat_s))

    def _receive_answer(self):
        answer = self.model.receive()
        if answer is None:
            return
        self.report("take", "", took_s=answer.took_s)
        if answer.notes is not None and len(answer.notes):
            self.answer = answer
        else:
            self.report("failed", f"no music came: {answer.reason or 'the model played nothing'}")
            self.failed()

    def plan(self, start: float, entry: float, end: float, grid: BeatGrid, late: bool) -> None:
        """Plan the answer, whose beat 0 is `start`: what begins from an entry to an end; there all is released."""
        notes = self.answer.notes.between(entry - start, end - start)
        onset, release = notes.onset + entry, np.minimum(notes.release + entry, end)
        self.planned += zip(onset.tolist(), release.tolist(), notes.pitch.tolist(), notes.velocity.tolist())
        self.planned += [(down, up, PEDAL, 0) for down, up in (notes.pedal + entry).tolist()]
        self.ends = end
        self.report("placed", "", late=late, entry_s=grid.time_of(entry), ends_s=grid.time_of(end))

    def _hand_out(self, grid: BeatGrid, until_s: float) -> None:
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

    def reset(self) -> None:
        """Drop all plans: the next phrase or turn begins from scratch."""
        self.answer = None

    def start_over(self) -> None:
        """Take all back and wait for a new phrase."""
        self.withdraw()
        self.model.drop()
        self.phrase.clear()
        self.reset()

    failed = start_over  # what follows where the model has played nothing
