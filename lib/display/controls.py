"""The control panel of notebook 06: knobs, a solo that grows while it is sampled, takes, and their code."""

from __future__ import annotations

import itertools
import logging
import threading
from functools import partial
from pathlib import Path

import ipywidgets as widgets

from lib.config import ConfigError
from lib.display.jobs import Cancelled, Job, TimeLeft
from lib.display.knob_panel import KnobPanel
from lib.display.knobs import make_fault, request_of
from lib.display.player import framed, takes_html
from lib.display.preview import Preview
from lib.display.take_strip import TakeActions, TakeStrip
from lib.display.takes import Call
from lib.music.audio import render_audio
from lib.music.hands import left_hand
from lib.music.midi_writer import write_midi

__all__ = ["SoloPanel", "request_of", "solo_controls"]
VARIATIONS = 3
log = logging.getLogger(__name__)


def solo_controls(improvise, request_type, styles=(), soundfont=None, infill=None, folder=None, in_background=None):
    """Knobs, buttons that play, the player, and the takes so far.

    Parameters
    ----------
    improvise : callable(GenerateRequest, callback) -> something with notes, chords, tempo_map and begins_s
        (generate.Solo); to continue a take, it is called with prompt=Notes and tempo_map=TempoMap too. It must let
        through what the callback raises
    request_type : GenerateRequest of lib.generation.request
    styles : names of pianists to choose from; none: no such knob
    soundfont : path of an .sf2, or None
    infill : callable(GenerateRequest, Notes, from_s, to_s, callback, tempo_map=TempoMap), as improvise; None: passages
        can't be resampled
    folder : where kept takes are written as MIDI files, or None
    in_background : play in a thread, so that it can be cancelled; None: inside a notebook

    Returns
    -------
    SoloPanel
    """
    in_background = _in_notebook() if in_background is None else in_background
    return SoloPanel(improvise, request_type, styles, soundfont, infill, folder, in_background)


def _in_notebook():
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


class SoloPanel(widgets.VBox):
    """The widget that `solo_controls` returns.

    Attributes
    ----------
    knob_panel : KnobPanel, with the chart and the die
    knobs, faults : widgets by the name of what they set, and the error below each; `passage` is a fault too
    play, cancel, show_code : buttons
    progress, message, preview, player, code : widgets
    strip, actions : TakeStrip, TakeActions
    """

    def __init__(self, improvise, request_type, styles, soundfont, infill, folder, in_background):
        super().__init__()
        self.add_class("player-desk")  # by which the player finds where to tell what is selected in it
        self._improvise, self._infill, self._soundfont, self._folder = improvise, infill, soundfont, folder
        self._in_background, self._job, self._lock = in_background, None, threading.RLock()
        self.knob_panel = KnobPanel(request_type, styles, self._tell_code)
        self.knobs, self.faults = self.knob_panel.knobs, self.knob_panel.faults
        self.faults["passage"] = make_fault()
        self.strip = TakeStrip(self.hear, self._write)
        self.actions = TakeActions(self.faults["passage"], infill is not None)
        self.play = widgets.Button(description="Generate", button_style="primary", icon="music")
        self.cancel = widgets.Button(description="Cancel", icon="stop", disabled=True)
        self.show_code = widgets.ToggleButton(False, description="Show code", icon="code")
        self.progress = widgets.FloatProgress(min=0, max=1, layout=widgets.Layout(width="200px", display="none"))
        self.message = widgets.Label()
        self.preview, self.player = (widgets.HTML(layout=widgets.Layout(width="100%")) for _ in range(2))
        self.code = widgets.Textarea(layout=widgets.Layout(width="100%", height="120px", display="none"))
        self._connect()
        row = (self.play, self.cancel, self.show_code, self.progress, self.message)
        row = widgets.HBox(row, layout=widgets.Layout(flex_flow="row wrap"))
        self.children = (self.knob_panel, row, self.code, self.preview, self.player, self.actions, self.strip)
        self._tell_code()

    def _connect(self):
        self.play.on_click(lambda _: self._ask(lambda: [Call(self.knob_panel.request())]))
        self.cancel.on_click(lambda _: self._stop())
        self.show_code.observe(
            lambda change: setattr(self.code.layout, "display", "" if change["new"] else "none"), "value"
        )
        presses = {
            "continue": lambda: [self._continuation()],
            "resample": lambda: [self._resampling()],
            "vary": self._variations,
        }
        for name, calls in presses.items():
            self.actions.buttons[name].on_click(lambda _, calls=calls: self._ask(calls))
        self.actions.buttons["compare"].on_click(lambda _: self._hear_ticked())

    def _continuation(self):
        return Call(self.knob_panel.request(), self.strip.chosen, None, self.actions.passage[1])

    def _resampling(self):
        return Call(self.knob_panel.request(), self.strip.chosen, *self.actions.passage)

    def _variations(self):
        """The chosen take with the next seeds that it wasn't played with yet."""
        call = self.strip.chosen.call
        played = {take.call.request.seed for take in self.strip.takes if take.call.with_seed(0) == call.with_seed(0)}
        seeds = (seed for seed in itertools.count(call.request.seed + 1) if seed not in played)
        return [call.with_seed(seed) for seed in itertools.islice(seeds, VARIATIONS)]

    def _ask(self, calls):
        """Begin to play what callable `calls` gives, a list of Call, unless something is being played."""
        if self.play.disabled:
            return
        self.knob_panel.forget_faults()
        try:
            calls = calls()
        except ConfigError as error:
            self.knob_panel.blame(error)
            self.message.value = str(error)
            return
        self._be_busy(True)
        self.message.value, self.progress.value = "", 0.0
        self._job = Job(partial(self._work, calls), self._in_background, self._job)

    def _work(self, calls, job):
        """Play, in a thread perhaps; of a cancelled job nothing is shown any more."""
        fault = None
        try:
            text = self._perform(calls, job)
        except Cancelled:
            return
        except ValueError as error:  # a misspelt chord, a value out of range: say it and wait for the next try
            fault, text = error, str(error)
        except Exception as error:
            log.exception("a solo could not be played")
            text = f"It could not be played: {type(error).__name__}: {error}"
        with self._lock:
            if not job.cancelled:
                self._be_busy(False)
                self.message.value = text
                if fault is not None:
                    self.knob_panel.blame(fault)

    def _perform(self, calls, job):
        """Play, hear and show each call; what to say in the end."""
        job.check()
        left, takes, basis = TimeLeft(), [], self.strip.chosen
        for number, call in enumerate(calls):
            solo = call.play(self._improvise, self._infill, self._reporter(job, left, number, len(calls)))
            job.check()
            self._show(job, message="rendering the sound", preview="")
            audio = render_audio(solo.notes, self._soundfont)
            with self._lock:
                job.check()
                takes.append(self.strip.add(call, solo, audio))
        self.hear(takes[-1], takes if len(takes) == 1 else [basis, *takes], job)
        if len(takes) == 1:
            return f"{len(takes[0].notes)} notes"
        return f"{len(takes)} variations beside take {basis.number}"

    def _reporter(self, job, left, number, count):
        """The callback of one of `count` calls: shows progress, time left and the roll so far; raises Cancelled."""
        preview = Preview(lambda picture: self._show(job, preview=picture))

        def report(state):
            progress = (state["window"] + state["step"] / state["num_steps"]) / state["num_windows"]
            progress = (number + progress) / count
            self._show(job, progress=progress, message=left(progress))
            preview(state)

        return report

    def _show(self, job, **values):
        """Set the widgets of these names, unless the job is cancelled: then what called this ends."""
        with self._lock:
            job.check()
            for name, value in values.items():
                getattr(self, name).value = value

    def _stop(self):
        with self._lock:
            if self._job is not None and self.play.disabled:
                self._job.cancel()
                self._be_busy(False)
                self.message.value = "cancelled"

    def _be_busy(self, busy):
        self.play.disabled, self.cancel.disabled = busy, not busy
        self.actions.enable(not busy)
        self.progress.layout.display = "" if busy else "none"
        if not busy:
            self.preview.value = ""

    def hear(self, take, among=None, job=None):
        """Put a take in the player, with others to switch to; `job`: the job that ends so, unless it was cancelled."""
        takes = {one.name: (one.notes, one.audio, one.chords, one.tempo_map) for one in among or [take]}
        page = framed(takes_html(takes, take.call.request.chords), " / ".join(takes))
        with self._lock:
            if job is not None:
                job.check()
            self.player.value = page
            self.strip.mark(take)
            self.actions.be_about(take)
            self.code.value = take.call.code(f"take_{take.number}")

    def _hear_ticked(self):
        ticked = self.strip.ticked
        if len(ticked) < 2:
            self.message.value = "Tick A/B at two takes or more to compare them."
        else:
            self.hear(ticked[0], ticked)

    def _tell_code(self):
        """The code of what Generate would play."""
        try:
            self.code.value = Call(self.knob_panel.request()).code()
        except ConfigError as error:
            self.code.value = f"# {error}".replace("\n", " ")

    def _write(self, take):
        """Keep a take as a MIDI file, where there is a folder."""
        if self._folder is not None:
            request, hands = take.call.request, left_hand(take.notes)
            path = Path(self._folder) / f"take_{take.number}_seed_{request.seed}.mid"
            write_midi(take.notes, path, take.tempo_map, take.chords, hands)
            self.message.value = f"kept as {path.name}"

    def wait(self, timeout_s=None):
        """Wait until the running job is done or has noticed that it was cancelled; whether it is."""
        return self._job is None or self._job.wait(timeout_s)
