"""The partner: receives messages, knows the beat, asks the model ahead of time, hands its notes to the scheduler.

What call and response (call.py) and taking turns (turns.py) share. Nothing here waits and nothing reads a clock:
`receive` and `tick` get the time, so that a test, or a rehearsal, can play an hour in a second.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mido import Message

from lib.apps.live.duet_request import DuetRequest, parse_cue
from lib.apps.live.messages import ALL_SOUND_OFF, MidiSpan, key, pedal, without_overlap
from lib.apps.live.model_process import Answer, Question
from lib.apps.live.phrase import Phrase
from lib.apps.live.tempo import BeatGrid
from lib.music.notes import Notes

LEAD_S = 0.03  # so long before its time a note must be with the scheduler
HORIZON_S = 0.4  # so far ahead notes are handed out; what comes later can still follow the tempo, or be withdrawn
PROMPT_S = 10.0  # of what was played goes to the model


class ScheduledNotes:
    """Notes on beats, from an entry to an end; handed out a little ahead of time, so that they follow the tempo.

    Parameters
    ----------
    notes : Notes from 0 on, at beat_s a beat
    beat_s : of the Notes
    at_beat : of the BeatGrid, where 0 is
    entry_beat, end_beat : what begins before or after is left out, what is held over the end is released there
    on_beat : move all of it, so that its first note is on the entry's beat
    channel : 0-15
    """

    def __init__(
        self, notes: Notes, beat_s: float, at_beat, entry_beat, end_beat, on_beat: bool = True, channel: int = 0
    ):
        self.end_beat, self.channel = end_beat, channel
        on = at_beat + notes.onset_s / beat_s
        off = np.minimum(on + notes.duration_s / beat_s, end_beat)
        pedals = at_beat + notes.pedal_s / beat_s
        kept = (on >= entry_beat - 1e-9) & (on < end_beat)
        late = float(on[kept][0]) - entry_beat if kept.any() else 0.0
        move = late if on_beat and late < 1 else late % 1.0 if on_beat else 0.0
        columns = (on[kept] - move, off[kept] - move, notes.pitch[kept], notes.velocity[kept])
        self.rows = list(zip(*(column.tolist() for column in columns)))  # plain numbers: the scheduler has no numpy
        pedals = np.clip(pedals - move, entry_beat, end_beat)
        self.pedals = pedals[pedals[:, 1] > pedals[:, 0]].tolist()
        self.first_beat = self.rows[0][0] if self.rows else None
        self.played = []  # rows that were handed out

    def due(self, grid: BeatGrid, until_s: float) -> list[MidiSpan]:
        """Spans that begin before a time, each handed out once."""
        until = grid.beat_at(until_s)
        now, self.rows = [row for row in self.rows if row[0] < until], [row for row in self.rows if row[0] >= until]
        downs, self.pedals = (
            [row for row in self.pedals if row[0] < until],
            [row for row in self.pedals if row[0] >= until],
        )
        self.played += now
        keys = [
            key(grid.time_of(on), grid.time_of(off), pitch, velocity, self.channel) for on, off, pitch, velocity in now
        ]
        return without_overlap(
            [*keys, *(pedal(grid.time_of(down), grid.time_of(up), self.channel) for down, up in downs)]
        )

    def all_rows(self) -> list[tuple]:
        """(on, off, pitch, velocity) in beats, played and to come."""
        return [*self.played, *self.rows]


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

    def __init__(
        self, request: DuetRequest, tempo, output, model, report: Callable = lambda event, text, **fields: None
    ):
        self.request, self.tempo, self.output, self.model, self.report = request, tempo, output, model, report
        self.phrase = Phrase(parse_cue(request.ends_by), request.silence_beats)
        self.scheduled, self.number, self.answer = [], 0, None
        self.halted = True

    @property
    def bar(self) -> int:
        """Beats of a bar."""
        return self.request.beats_per_bar

    def receive(self, message: Message, now_s: float) -> None:
        """Take in a message of the human's. All notes off is no panic: old keyboards send it with each last key."""
        self.tempo.receive(message, now_s)
        if message.type == "control_change" and message.control == ALL_SOUND_OFF:
            self.panic()
        elif self.phrase.receive(message, now_s):
            self.note_began(now_s)

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
        self.scheduled = [notes for notes in self.scheduled if grid.beat_at(now_s) < notes.end_beat + self.bar]
        for notes in self.scheduled:
            if spans := notes.due(grid, now_s + HORIZON_S):
                self.output.order("play", spans)
                self.report("play", "", spans=[(span.on_s, span.off_s, span.on.hex()) for span in spans])

    def step(self, now_s: float, grid: BeatGrid) -> None:
        """What this kind of partner does."""
        raise NotImplementedError

    def ask(self, prompt: Notes | None, start_beat: int, beats: int, beat_s: float) -> None:
        """Ask the model; an earlier question is dropped."""
        self.number, self.answer = self.number + 1, None
        prompt = None if prompt is None else prompt.between(max(0.0, prompt.end_s - PROMPT_S), prompt.end_s + 1)
        self.model.ask(Question(self.number, prompt, start_beat, beats, beat_s))

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
