"""The process that holds the model: it receives a prompt and a number of beats, and returns notes on those beats.

Beats are those of tempo.py. Only the last question counts: a new one, or the end of the pipe, ends the one in work at
its next denoising step.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import numpy as np
import psutil

from lib.apps.live.duet_request import DuetRequest
from lib.config import build
from lib.generation.request import GenerateRequest, Order
from lib.music.notes import SLOWEST_FASTEST
from lib.music.tempo_map import BeatNotes, Metre, TempoMap, in_beats, in_seconds

if TYPE_CHECKING:
    from lib.checkpoints.load import Improviser
    from lib.music.chart import Chart

COMPING = {"density": 4.0, "register": 50.0}  # where it accompanies
AT_ONCE = {"guidance_scale": 1.0}  # where it must be ready in a breath: guidance doubles the work
PROMPT_BEATS = 20  # that the model is given of what was played
FORGET = 0.5  # of an older measurement, each time
LOW = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 5)  # Windows has classes, other systems niceness


class ProcessError(RuntimeError):
    """A process of the duet did not start, or has died; the message gives the reason."""


@dataclass(frozen=True)
class Question:
    """What the model is to play."""

    number: int  # identifies its Answer, and counts on from the request's seed
    prompt: BeatNotes  # of the PROMPT_BEATS before the music begins, from 0 on
    start: float  # beat of the chart on which it is to begin
    beats: float  # how long it is to be
    beat_s: float  # length of a beat now


@dataclass(frozen=True)
class Answer:
    """What the model played, in `took_s`: BeatNotes from 0 on, or None where it failed, for a `reason`."""

    question: Question
    notes: BeatNotes | None
    reason: str = ""
    took_s: float = 0.0


def order_of(question: Question, request: DuetRequest, chart: Chart | None, callback: Callable | None = None) -> Order:
    """Order of a Question over its part of a chart (None: changes of the pianist's own): its prompt at the tempo
    of now, its bar lines where those of the chart are."""
    asked, metre = request_of(question, request, own_changes=chart is None), Metre.parse(request.metre)
    start, length, given = (
        Fraction(beats) * metre.quarters_per_beat for beats in (question.start, question.beats, PROMPT_BEATS)
    )
    bars = asked.blank_chart()
    order = {"callback": callback, "chart": chart and chart.excerpt(start, length), "into_bar": start % bars.quarters}
    if not len(question.prompt):
        return Order(asked, **order)
    before = bars.excerpt((start - given) % bars.quarters, given + bars.quarters)
    tempo_map = asked.timing.tempo_map(before, round(before.quarters * asked.timing.latents_per_quarter))
    steady = _steady(asked)
    begins_s = float(steady.to_seconds(PROMPT_BEATS))
    prompt = in_seconds(question.prompt, steady).until(begins_s)
    return Order(asked, prompt, to_s=begins_s, tempo_map=tempo_map, **order)


def request_of(question: Question, request: DuetRequest, own_changes: bool = False) -> GenerateRequest:
    """GenerateRequest of a Question."""
    metre = Metre.parse(request.metre)
    tempo_bpm = 60.0 / question.beat_s * float(metre.quarters_per_beat)
    names = ("metre", "feel", "style", "num_steps", "temperature", "density", "guidance_scale")
    given = {name: value for name in names if (value := getattr(request, name)) is not None}
    usual = COMPING if request.mode == "comp" else AT_ONCE if request.mode == "call" else {}
    music = {"chords": request.form, "choruses": 1}
    if own_changes:
        music = {"own_changes": True, "bars": round(question.beats / metre.beats)}
    now = {"tempo_bpm": float(np.clip(tempo_bpm, *SLOWEST_FASTEST)), "seed": request.seed + question.number}
    return build(GenerateRequest, {**usual, **given, **music, **now, "recall": 0.0})


def _steady(asked: GenerateRequest) -> TempoMap:
    """The map of the duet's beats at a request's tempo, from 0 s on."""
    metre = Metre.parse(asked.metre)
    return TempoMap.constant(asked.tempo_bpm / float(metre.quarters_per_beat), metre, 1)


def chart_of(request: DuetRequest, improviser: Improviser) -> Chart | None:
    """The Chart of a DuetRequest; None: changes of the pianist's own, as where no chords are given and he knows some:
    then an answer continues those of the phrase."""
    from lib.music.chart import Chart

    continues = request.mode == "call" and request.chords is None and any(map(len, improviser.changes.values()))
    if request.own_changes or continues:
        return None
    metre = Metre.parse(request.metre)
    return Chart.parse(request.form, metre.pair)


def answer(question: Question, request: DuetRequest, improviser: Improviser, callback=None) -> Answer:
    """Let the model play; `callback` of generate may raise to end it."""
    from lib.generation.generate import generate_many
    from lib.music.hands import left_hand
    from lib.music.notes import select

    began_s = time.perf_counter()
    try:
        (solo,) = generate_many(improviser, [order_of(question, request, chart_of(request, improviser), callback)])
    except (ValueError, RuntimeError) as error:
        return Answer(question, None, str(error), time.perf_counter() - began_s)
    notes = solo.new_notes
    if request.mode == "comp":
        notes = select(notes, left_hand(notes))
    return Answer(question, in_beats(notes, _steady(solo.request)), took_s=time.perf_counter() - began_s)


def warm_up_question(request: DuetRequest) -> Question:
    """A Question of one bar after a note."""
    metre = Metre.parse(request.metre)
    columns = (np.array([value]) for value in (PROMPT_BEATS - 1.0, PROMPT_BEATS - 0.5, 60, 64))
    beat_s = 60.0 / request.tempo_bpm * float(metre.quarters_per_beat)
    return Question(0, BeatNotes(*columns, np.zeros((0, 2))), 0.0, metre.beats, beat_s)


def warm_up(request: DuetRequest, improviser: Improviser) -> Answer:
    """The second Answer to a short question: the first one takes longer than later ones."""
    answer(warm_up_question(request), request, improviser)
    return answer(warm_up_question(request), request, improviser)


class _SupersededError(Exception):
    """A newer question has come in."""


def run_model(pipe: Connection, request: DuetRequest, loading: Mapping) -> None:
    """The process: load the model, warm it up, answer questions until the pipe ends.

    In come Questions, or None (drop the one in work); out go Answers: the first, of no music where the model can't be
    loaded, when it is ready.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends it
    psutil.Process().nice(LOW)
    # OpenMP's threads else spin for one another: on a busy machine 0.6 s of music then took 10 to 40 s
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from lib.generation.generate import load_improviser

    def stop_if_superseded(state):
        if pipe.poll(0):
            raise _SupersededError

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))  # a core is left to whatever makes the sound
    try:
        improviser = load_improviser(**loading)
        ready = warm_up(request, improviser)
    except (ValueError, OSError, RuntimeError) as error:
        ready = Answer(warm_up_question(request), None, str(error))
    with contextlib.suppress(EOFError, OSError):
        pipe.send(ready)
        while not ready.reason:
            question = pipe.recv()
            while pipe.poll(0):
                question = pipe.recv()
            with contextlib.suppress(_SupersededError):
                if question is not None:
                    pipe.send(answer(question, request, improviser, stop_if_superseded))


class ModelProcess:
    """The model's process as the command sees it; `expected_s` is how long an answer takes, by those until now."""

    def __init__(self, request: DuetRequest, loading: Mapping):
        self.request, self.loading, self.expected_s = request, loading, 0.0
        self._start()

    def _start(self):
        self.number = None  # of the question in work
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=run_model, args=(theirs, self.request, self.loading), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def is_alive(self) -> bool:
        """Whether the process is."""
        return self.process.is_alive()

    def wait(self, seconds: float) -> None:
        """Until the model is ready. ProcessError : it does not come."""
        error = f"The model was not ready after {seconds:g} s."
        try:
            if self.pipe.poll(seconds):
                ready = self.pipe.recv()
                error, self.expected_s = ready.reason, ready.took_s
        except (EOFError, OSError):
            error = "The model's process ended while it was loading."
        if error:
            raise ProcessError(error)

    def ask(self, question: Question | None) -> None:
        """Let it work on this, and on nothing else."""
        self.number = question and question.number
        with contextlib.suppress(OSError):
            self.pipe.send(question)

    def drop(self) -> None:
        """Let it work on nothing."""
        if self.number is not None:
            self.ask(None)

    def receive(self) -> Answer | None:
        """The Answer to the last question; None: not yet."""
        with contextlib.suppress(EOFError, OSError):
            while self.pipe.poll(0):
                reply = self.pipe.recv()
                self.expected_s = max(reply.took_s, FORGET * self.expected_s + (1 - FORGET) * reply.took_s)
                if reply.question.number == self.number:
                    self.number = None
                    return reply
        return None

    def restart(self) -> None:
        """Start it again, after a death; what was asked is dropped."""
        self.close()
        self._start()

    def close(self) -> None:
        """Kill the process: it holds no state."""
        self.pipe.close()
        self.process.kill()
        self.process.join()
