"""The process that has the model: asked for so many beats after what was heard, it answers with Notes.

Only the last ask counts: a new one, or the end of the pipe, ends the one in work at its next denoising step.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass

from lib.apps.live.process import go_last
from lib.config import build
from lib.generation.request import GenerateRequest
from lib.music.chart import Chart
from lib.music.notes import Notes

COMPING = {"density": 4.0, "register": 50.0}  # asked of the model where it accompanies
AT_ONCE = {"guidance_scale": 1.0}  # where it must be ready in a breath: guidance doubles the work
FIRST_GUESS_S = 2.0  # how long an answer may take, before one was made
FORGET = 0.5  # of an older measurement, each time


class ComposerError(RuntimeError):
    """The model can't be loaded or does not play; the message says why."""


@dataclass(frozen=True)
class Ask:
    """What is wanted.

    Attributes
    ----------
    number : by which the take is known again
    before : Notes heard so far, or None
    start_beat : of the chart, where the music is to begin
    beats : how long it is to be
    beat_s : length of a beat now
    """

    number: int
    before: Notes | None
    start_beat: int
    beats: int
    beat_s: float


@dataclass(frozen=True)
class Take:
    """What came of it: the Ask, and Notes from 0 on (None where the model failed: `why`)."""

    ask: Ask
    notes: Notes | None
    why: str = ""


def order_of(ask, wished, chart, callback=None):
    """generate.Order of an Ask within a DuetRequest.

    Parameters
    ----------
    chart : Chart, of which the Ask's beats are taken; None: the changes are the pianist's own
    """
    from lib.generation.generate import Order

    prompt = ask.before if ask.before is not None and len(ask.before) else None
    excerpt = chart and chart.excerpt(ask.start_beat, ask.beats)
    return Order(request_of(ask, wished, own_changes=chart is None), prompt, callback=callback, chart=excerpt)


def request_of(ask, wished, own_changes=False):
    """GenerateRequest of an Ask within a DuetRequest."""
    tempo_bpm = min(max(60.0 / ask.beat_s, 20.0), 400.0)
    values = {
        **({"own_changes": True} if own_changes else {"chords": wished.form}),
        **{"tempo_bpm": tempo_bpm, "beats_per_bar": wished.beats_per_bar, "seconds": ask.beats * 60.0 / tempo_bpm},
        **{"seed": wished.seed + ask.number, "style": wished.style, "recall": 0.0},
        **{"num_steps": wished.num_steps, "temperature": wished.temperature},
    }
    knobs = COMPING if wished.mode == "comp" else AT_ONCE if wished.mode == "call" else {}
    asked = {"density": wished.density, "guidance_scale": wished.guidance_scale}
    values |= knobs | {name: value for name, value in asked.items() if value is not None}
    return build(GenerateRequest, values)


def chart_of(wished, improviser):
    """The Chart of a DuetRequest; None: the changes are the pianist's own.

    Where no chords are given, an answer continues those it has heard, if the pianist's changes are known.
    """
    if wished.own_changes or (wished.mode == "call" and wished.chords is None and any(map(len, improviser.changes.values()))):
        return None
    return Chart.parse(wished.form, wished.beats_per_bar)


class _Superseded(Exception):
    """A newer ask has come in."""


def run_composer(pipe, wished, loading):
    """The process: load the model, warm it up, answer asks until the pipe ends.

    Parameters
    ----------
    pipe : connection; in come Ask or None (drop the one in work), out go "ready", then Take, or an exception's text
    wished : DuetRequest
    loading : words of generate.load_improviser
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends it
    go_last()
    import torch

    from lib.generation import generate

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))  # a core is left to whatever makes the sound
    try:
        improviser = generate.load_improviser(**loading)
        chart = chart_of(wished, improviser)
        warm_up = Ask(0, None, 0, wished.beats_per_bar, 60.0 / wished.tempo_bpm)
        generate.generate_many(improviser, [order_of(warm_up, wished, chart)])
    except (ValueError, OSError, RuntimeError) as error:
        pipe.send(("error", str(error)))
        return
    with contextlib.suppress(EOFError, OSError):
        pipe.send(("ready", ""))
        while True:
            _answer(pipe, generate, improviser, wished, chart)


def _answer(pipe, generate, improviser, wished, chart):
    ask = pipe.recv()
    while pipe.poll(0):
        ask = pipe.recv()
    if ask is None:
        return

    def look(state):
        if pipe.poll(0):
            raise _Superseded

    try:
        (solo,) = generate.generate_many(improviser, [order_of(ask, wished, chart, look)])
        notes = solo.new_notes
        notes = left_hand_of(notes) if wished.mode == "comp" else notes
        pipe.send(Take(ask, notes))
    except _Superseded:
        pass
    except (ValueError, RuntimeError) as error:
        pipe.send(Take(ask, None, str(error)))


def left_hand_of(notes):
    """What the left hand plays of it."""
    from lib.music.hands import left_hand

    chosen = left_hand(notes)
    return Notes(notes.onset_s[chosen], notes.duration_s[chosen], notes.pitch[chosen], notes.velocity[chosen], notes.pedal_s)


@contextlib.contextmanager
def _environment(name, value):
    """A variable for processes that are started within, where it is not set already.

    Passive waiting: on a busy machine OpenMP's threads otherwise spin for one another, and 0.6 s of music took 10 to 40 s.
    """
    known = name in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if not known:
            del os.environ[name]


class Composer:
    """The model's process as the command sees it.

    Parameters
    ----------
    wished, loading : see run_composer
    clock : callable() -> seconds
    """

    def __init__(self, wished, loading, clock=time.perf_counter):
        self.wished, self.loading, self.clock = wished, loading, clock
        self.expected_s, self.took_s, self.asked, self.ready = FIRST_GUESS_S, None, {}, False
        self._start()

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=run_composer, args=(theirs, self.wished, self.loading), name="model", daemon=True)
        with _environment("OMP_WAIT_POLICY", "PASSIVE"):
            self.process.start()
        theirs.close()

    @property
    def alive(self):
        """Whether the process is."""
        return self.process.is_alive()

    def wait(self, seconds):
        """Until the model is ready. ComposerError : it does not come."""
        try:
            word, said = self.pipe.recv() if self.pipe.poll(seconds) else ("error", f"was not ready after {seconds:g} s")
        except (EOFError, OSError):
            word, said = "error", "ended while it was loaded"
        if word == "error":
            raise ComposerError(f"The model {said}" if said[:3] in ("was", "end") else said)
        self.ready = True

    def ask(self, ask):
        """Let it work on this, and on nothing else."""
        self.asked = {ask.number: self.clock()}
        self._send(ask)

    def drop(self):
        """Let it work on nothing."""
        if self.asked:
            self.asked = {}
            self._send(None)

    def give_up(self):
        """It was too late: let it work on nothing, and expect it to take longer the next time."""
        if self.asked and self.ready:
            waited_s = self.clock() - max(self.asked.values())
            self.expected_s = max(self.expected_s, FORGET * self.expected_s + (1 - FORGET) * waited_s)
        self.drop()

    def take(self):
        """The Take of the last ask, or None: not yet."""
        try:
            while self.pipe.poll(0):
                answer = self.pipe.recv()
                if isinstance(answer, tuple):
                    self.ready = answer[0] == "ready"
                elif answer.ask.number in self.asked:
                    self.took_s = self.clock() - self.asked.pop(answer.ask.number)
                    self.expected_s = max(self.took_s, FORGET * self.expected_s + (1 - FORGET) * self.took_s)
                    return answer
        except (EOFError, OSError):
            pass
        return None

    def mend(self):
        """Start anew, after a death; what was asked is forgotten."""
        self.close()
        self.asked, self.ready = {}, False
        self._start()

    def close(self):
        """An end to it: it has nothing to clear up."""
        self.pipe.close()
        self.process.kill()
        self.process.join()

    def _send(self, ask):
        with contextlib.suppress(OSError):
            self.pipe.send(ask)
