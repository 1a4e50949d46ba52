"""The partner: receives messages, knows the beat, asks the model ahead of time, hands its notes to the scheduler.

What call and response (call.py) and taking turns (turns.py) share. Nothing here waits and nothing reads a clock:
`receive` and `tick` get the time, so that a test, or a rehearsal, can play an hour in a second.
"""

from __future__ import annotations

import collections
from collections.abc import Callable

import numpy as np
from mido import Message

from lib.apps.live.duet_request import DuetRequest, parse_cue
from lib.apps.live.messages import ALL_SOUND_OFF, MidiSpan, key, pedal, without_overlap
from lib.apps.live.model_process import PROMPT_BEATS, Answer, Question
from lib.apps.live.phrase import Phrase
from lib.apps.live.tempo import BeatGrid
from lib.music.beat_notes import BeatNotes

LEAD_S = 0.03  # so long before its time a note must be with the scheduler
HORIZON_S = 0.4  # so far ahead notes are handed out; what comes later can still follow the tempo, or be withdrawn
MARGIN, RESERVE_S = 1.3, 0.15  # on top of how long the model is expected to take
UNSTAMPED = 256  # messages that wait for a clock's first beat
OF_PHRASES = ("note_on", "note_off", "control_change")


class ScheduledNotes:
    """Notes on beats, from an entry to an end; handed out a little ahead of time, so that they follow the tempo.

    Parameters
    ----------
    notes : BeatNotes from 0 on
    start : of the BeatGrid, where 0 is
    entry, end : what begins before or after is left out, what is held over the end is released there
    channel : 0-15
    """

    def __init__(self, notes: BeatNotes, start: float, entry: float, end: float, channel: int = 0):
        self.end, self.channel = end, channel
        kept = notes.between(entry - start, end - start)
        columns = (kept.onset + entry, np.minimum(kept.release + entry, end), kept.pitch, kept.velocity)
        self.rows = list(zip(*(column.tolist() for column in columns)))  # plain numbers: the scheduler has no numpy
        self.pedals = (kept.pedal + entry).tolist()
        self.first = self.rows[0][0] if self.rows else None
        self.played = []  # rows that were handed out

    def due(self, grid: BeatGrid, until_s: float) -> list[MidiSpan]:
        """Spans that begin before a time, each handed out once."""
        until, at, channel = grid.beat_at(until_s), grid.time_of, self.channel
        now, self.rows = _parted(self.rows, until)
        downs, self.pedals = _parted(self.pedals, until)
        self.played += now
        keys = [key(at(on), at(off), pitch, velocity, channel) for on, off, pitch, velocity in now]
        return without_overlap([*keys, *(pedal(at(down), at(up), channel) for down, up in downs)])

    def all_rows(self) -> list[tuple]:
        """(on, off, pitch, velocity) in beats, played and to come."""
        return [*self.played, *self.rows]


def _parted(rows, until):
    """Rows that begin before a beat, and the others."""
    return [row for row in rows if row[0] < until], [row for row in rows if row[0] >= until]


class Partner:
    """What all partners do.

    Parameters
    ----------
    request : DuetRequest
    tempo : tempo.OwnTempo or tempo.ClockTempo
    output : see MidiOutputProcess: order
    model : see ModelProcess: ask, drop, give_up, receive, expected_s, took_s
    report : callable(event, text, **fields), called with what happens; the text is for people, or empty
    """

    offset = 0.0  # beats before the chart's first bar

    def __init__(
        self, request: DuetRequest, tempo, output, model, report: Callable = lambda event, text, **fields: None
    ):
        self.request, self.tempo, self.output, self.model, self.report = request, tempo, output, model, report
        self.phrase = Phrase(parse_cue(request.ends_by), request.silence_beats)
        self.scheduled, self.number, self.answer = [], 0, None
        self.unstamped = collections.deque(maxlen=UNSTAMPED)  # (message, time_s)
        self.halted = True

    @property
    def bar(self) -> float:
        """Beats of a bar."""
        return self.tempo.metre.beats

    @property
    def lead_s(self) -> float:
        """So long before music is to begin the model has to be asked."""
        return MARGIN * self.model.expected_s + RESERVE_S

    def receive(self, message: Message, now_s: float) -> None:
        """Take in a message of the human's. All notes off is no panic: old keyboards send it with each last key."""
        self.tempo.receive(message, now_s)
        if message.type == "control_change" and message.control == ALL_SOUND_OFF:
            self.panic()
            return
        if message.type in OF_PHRASES:
            self.unstamped.append((message, now_s))
        self._stamp(now_s)

    def _stamp(self, now_s: float) -> None:
        """Give the phrase what came in, on its beats: a clock that has begun says after half a beat where they are."""
        while self.unstamped and self.tempo.grid(now_s) is not None:
            message, at_s = self.unstamped.popleft()
            if at_s < self.tempo.since_s:
                continue
            if self.phrase.may_begin(message):
                self.phrase_begins(at_s)
            if self.phrase.receive(message, self.tempo.grid(now_s).beat_at(at_s)):
                self.note_began(at_s)

    def release_all(self, now_s: float) -> None:
        """The keyboard is gone: no key of it is down."""
        if (grid := self.tempo.grid(now_s)) is not None:
            self.phrase.release_all(grid.beat_at(now_s))

    def phrase_begins(self, now_s: float) -> None:
        """The human is about to strike the first key of a phrase."""

    def note_began(self, now_s: float) -> None:
        """The human has struck a key."""

    def tick(self, now_s: float) -> None:
        """Do what is due now; called some hundred times a second."""
        grid = self.tempo.grid(now_s)
        if grid is None:
            self.halt()
            return
        self.halted = False
        self._receive_answer()
        self.step(now_s, grid)
        self.scheduled = [notes for notes in self.scheduled if grid.beat_at(now_s) < notes.end + self.bar]
        for notes in self.scheduled:
            if spans := notes.due(grid, now_s + HORIZON_S):
                self.output.order("play", spans)
                self.report("play", "", spans=[(span.on_s, span.off_s, span.on.hex()) for span in spans])

    def step(self, now_s: float, grid: BeatGrid) -> None:
        """What this kind of partner does."""
        raise NotImplementedError

    def ask(self, prompt: BeatNotes, start: float, beats: float, grid: BeatGrid) -> None:
        """Ask the model for music from a beat on, after a prompt on the grid; an earlier question is dropped."""
        self.number, self.answer = self.number + 1, None
        prompt = prompt.between(start - PROMPT_BEATS, start)
        self.model.ask(Question(self.number, prompt, start - self.offset, beats, grid.beat_s))

    def schedule(self, start: float, entry: float, end: float, grid: BeatGrid, **fields) -> None:
        """Plan the answer, whose beat 0 is `start`, from an entry to an end; `fields` are for the journal."""
        notes = ScheduledNotes(self.answer.notes, start, entry, end, self.request.channel - 1)
        self.scheduled.append(notes)
        times = {"entry_s": entry, "first_s": notes.first, "ends_s": end}
        fields |= {name: None if beat is None else grid.time_of(beat) for name, beat in times.items()}
        self.report("placed", "", entry_beat=entry, beat_s=grid.beat_s, **fields)

    def withdraw(self) -> None:
        """Take back what is to come and end what sounds of it."""
        if self.scheduled:
            self.scheduled = []
            self.output.order("clear")

    def reset(self) -> None:
        """Drop all plans: the next phrase or turn begins from scratch."""
        self.answer = None

    def panic(self) -> None:
        """Silence, at once."""
        self.scheduled = []
        self.output.order("panic")
        self._start_over()
        self.report("panic", "silence")

    def halt(self) -> None:
        """There is no beat: the clock has stopped, and may start at another position."""
        if not self.halted:
            self.halted = True
            self.withdraw()
            self._start_over()
            self.report("halt", "the clock has stopped")

    def failed(self) -> None:
        """The model has played nothing."""

    def _start_over(self):
        self.model.drop()
        self.phrase.clear()
        self.reset()

    def _receive_answer(self):
        answer: Answer | None = self.model.receive()
        if answer is None or answer.question.number != self.number:
            return
        self.answer = answer
        self.report("take", "", took_s=self.model.took_s, number=answer.question.number)
        if answer.notes is None or not len(answer.notes):
            self.report("failed", f"no music came: {answer.reason or 'the model played nothing'}")
            self.answer = None
            self.failed()
