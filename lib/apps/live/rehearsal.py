"""A rehearsal: the duet's partner answers a phrase without ports and processes, in a time of its own.

The model's answers take as long as they took on this machine, so that one too late for a duet is late here.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass

import numpy as np
from mido import Message

from lib.apps.live.duet import partner_of
from lib.apps.live.duet_request import DuetRequest
from lib.apps.live.messages import MidiSpan, is_note_on, key, pedal, without_overlap
from lib.apps.live.model_process import Answer, Question, answer, chart_of, warm_up
from lib.apps.live.tempo import BeatGrid
from lib.checkpoints.load import Improviser
from lib.config import ConfigError
from lib.music.notes import Notes
from lib.music.tempo_map import TempoMap

FOOT_SWITCH = 20  # the controller that ends the phrase: the phrase itself may have rests
ANSWER_S, TICK_S = 120.0, 0.005  # an answer that is not over by then is not waited for
OVER = ("listens", "given_up", "failed")  # the partner's events when it has answered, or will not


@dataclass(frozen=True)
class Rehearsal:
    """What was played.

    Attributes
    ----------
    call : Notes from 0 on
    answer : Notes from 0 on, empty where none came in time
    answers_s : when the answer began, in seconds of the call; where there is none, the end of the call
    remarks : what the partner said meanwhile, such as that it was late
    tempo_map : TempoMap of both, its first bar line at the call's first note; None without a call
    """

    call: Notes
    answer: Notes
    answers_s: float
    remarks: list[str]
    tempo_map: TempoMap | None = None

    @property
    def notes(self) -> Notes:
        """Notes of both, one after the other."""
        return self.call.followed_by(self.answer, self.answers_s)


class _Studio:
    """Output and model of a Partner (see MidiOutputProcess, ModelProcess), and its journal, at the time `now_s`."""

    def __init__(self, request, improviser):
        self.request, self.improviser, self.chart = request, improviser, chart_of(request, improviser)
        self.now_s, self.spans, self.events, self.remarks = 0.0, [], [], []
        self.took_s, self.question, self.asked_s, self.answer = None, None, 0.0, None
        self.expected_s = warm_up(request, improviser, self.chart)[1]

    def order(self, name: str, spans: tuple[MidiSpan, ...] = ()) -> None:
        if name != "play":  # clear, panic
            sounding = [span for span in self.spans if span.on_s < self.now_s]
            self.spans = [dataclasses.replace(span, off_s=min(span.off_s, self.now_s)) for span in sounding]
        self.spans += spans

    def ask(self, question: Question) -> None:
        self.question, self.asked_s = question, self.now_s

    def drop(self) -> None:
        self.question = None

    def receive(self) -> Answer | None:
        if self.question is None:
            return None
        if self.answer is None or self.answer.question is not self.question:
            begins_s = time.perf_counter()
            self.answer = answer(self.question, self.request, self.improviser, self.chart)
            self.took_s = time.perf_counter() - begins_s
        if self.now_s < self.asked_s + self.took_s:
            return None
        self.question = None
        return self.answer

    def report(self, event: str, text: str, **fields) -> None:
        self.events.append(event)
        if text:
            self.remarks.append(text)

    @property
    def is_over(self) -> bool:
        """Whether the phrase was answered, or will not be: what failed while it was played was a first try."""
        ended = self.events.index("phrase_ended") if "phrase_ended" in self.events else len(self.events)
        return any(event in OVER for event in self.events[ended:])


def rehearse(phrase: Notes, request: DuetRequest, improviser: Improviser) -> Rehearsal:
    """Let the partner answer a phrase.

    Parameters
    ----------
    phrase : Notes from 0 on
    request : of mode "call"; the end of the phrase is its end, and the tempo the request's

    Raises
    ------
    ConfigError : another mode
    """
    if request.mode != "call":
        raise ConfigError(f'A rehearsal answers a phrase: mode must be "call", got {request.mode!r}.')
    if not len(phrase):
        return Rehearsal(phrase, phrase, 0.0, ["the phrase has no note: nothing to answer"])
    request = dataclasses.replace(request, ends_by=f"cc:{FOOT_SWITCH}", clock="own")
    studio = _Studio(request, improviser)
    partner = partner_of(request, studio, studio, studio.report)
    incoming = [(at_s, Message.from_bytes(content)) for at_s, content in messages_of(phrase)]
    incoming.append((incoming[-1][0], Message("control_change", control=FOOT_SWITCH, value=127)))
    end_s = phrase.end_s
    while not studio.is_over and studio.now_s < end_s + ANSWER_S:
        while incoming and incoming[0][0] <= studio.now_s:
            at_s, message = incoming.pop(0)
            partner.receive(message, at_s)
        partner.tick(studio.now_s)
        studio.now_s += TICK_S
    if not studio.is_over:
        studio.remarks.append(f"no answer within {ANSWER_S:g} s")
    return _written_down(phrase, studio.spans, studio.remarks, partner.tempo.now)


def messages_of(notes: Notes) -> list[tuple[float, bytes]]:
    """(time_s, message) of Notes and their pedal, in order; a key is up before it is struck again."""
    rows = zip(notes.onset_s.tolist(), notes.duration_s.tolist(), notes.pitch.tolist(), notes.velocity.tolist())
    spans = [key(on_s, on_s + seconds, int(pitch), int(velocity)) for on_s, seconds, pitch, velocity in rows]
    spans = without_overlap([*spans, *(pedal(down_s, up_s) for down_s, up_s in notes.pedal_s.tolist())])
    return sorted(pair for span in spans for pair in ((span.on_s, span.on), (span.off_s, span.off)))


def _written_down(phrase: Notes, spans: list[MidiSpan], remarks: list[str], grid: BeatGrid) -> Rehearsal:
    """Rehearsal of the spans that were sent."""
    keys = [span for span in spans if is_note_on(span.on)]
    pedals = [(span.on_s, span.off_s) for span in spans if not is_note_on(span.on)]
    answers_s = min((span.on_s for span in keys), default=phrase.end_s)
    rows = np.array([(span.on_s - answers_s, span.off_s - span.on_s, *span.on[1:]) for span in keys]).reshape(-1, 4)
    answer = Notes.from_arrays(*rows.T, (np.array(pedals).reshape(-1, 2) - answers_s).clip(min=0))
    num_bars = math.ceil(grid.beat_at(answers_s + answer.end_s) / grid.metre.beats)
    tempo_map = TempoMap.constant(60 / grid.beat_s, grid.metre, max(1, num_bars), grid.origin_s)
    return Rehearsal(phrase, answer, answers_s, remarks, tempo_map)
