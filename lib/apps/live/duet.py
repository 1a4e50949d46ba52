"""A duet over real ports: four processes, and the loop that keeps them together.

This process listens and decides; the model, the scheduler (which holds the output port) and its watchdog are processes
of their own. Whichever of them dies, nothing sounds on: a model is started again, without scheduler or watchdog the
duet ends.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lib.apps.live.call import CallAndResponse
from lib.apps.live.duet_request import DuetRequest
from lib.apps.live.messages import CLOCKS_A_QUARTER
from lib.apps.live.midi_output_process import MidiOutputProcess
from lib.apps.live.model_process import ModelProcess
from lib.apps.live.ports import VIRTUAL, PortError, is_available, open_input
from lib.apps.live.process import ProcessError, ignored_signals
from lib.apps.live.tempo import ClockTempo, OwnTempo
from lib.apps.live.turns import Turns
from lib.apps.live.watchdog import PATIENCE_S
from lib.music.tempo_map import Metre

TICK_S = 0.004  # between ticks of the partner, where no message comes
CHECK_S = 1.0  # between checks of ports and processes
RESTART_S = 10.0  # before a model that has died is started once more
LOADING_S = 300.0  # a model that is not ready by then does not come
LATE_MS = 10.0  # of messages, worth a warning


class Journal:
    """What happens, in words for people and, where a file is given, as lines of JSON.

    Parameters
    ----------
    say : callable(text)
    path : file to append to, or None
    """

    def __init__(self, say: Callable = print, path: Path | None = None):
        self.say, self.file = say, None
        if path is not None:
            self.file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def __call__(self, event: str, text: str, **fields) -> None:
        if text:
            self.say(text)
        if self.file is not None:
            line = {"kind": event, "now_s": time.perf_counter(), "words": text, **fields}
            self.file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()


class MidiInput:
    """An input port that survives unplugging: its queue `messages` gets (message, time_s).

    Raises
    ------
    PortError : the port is not there at the start
    """

    def __init__(self, name: str, report: Callable):
        self.name, self.report, self.messages = name, report, queue.SimpleQueue()
        self.gone = False
        self.port = self._open()

    def _open(self):
        return open_input(self.name, lambda message, now_s: self.messages.put((message, now_s)), self._lose)

    def _lose(self):
        self.gone = True

    def check(self, is_listed: bool) -> bool:
        """Notice that the port is gone, or open it again.

        Parameters
        ----------
        is_listed : whether the system lists it

        Returns
        -------
        bool : whether it was lost now
        """
        lost = self.port is not None and (self.gone or not is_listed)
        if lost:
            self.report("input_lost", f"the input {self.name!r} is gone; waiting for it")
            self.port.close()
            self.port = None
        if self.port is None and is_listed:
            with contextlib.suppress(PortError):
                self.gone = False
                self.port = self._open()
                self.report("input_back", f"the input {self.name!r} is back")
        return lost

    def close(self) -> None:
        """Close the port."""
        if self.port is not None:
            self.port.close()


class PortMonitor(threading.Thread):
    """Asks the system now and then which ports it lists: a slow question, so the loop does not wait for it."""

    def __init__(self, input_name: str, output_name: str):
        super().__init__(name="ports", daemon=True)
        self.names = {"input": input_name, "output": output_name}
        self.listed, self.over = dict.fromkeys(self.names, True), threading.Event()

    def run(self) -> None:
        """Until `over`."""
        while not self.over.wait(CHECK_S):
            self.listed = {kind: is_available(name, kind) for kind, name in self.names.items()}


def partner_of(request: DuetRequest, output, model, report: Callable = lambda event, text, **fields: None):
    """The Partner that a request asks for, with its tempo."""
    metre = Metre.parse(request.metre)
    tempo = ClockTempo(metre) if request.clock == "in" else OwnTempo(request.tempo_bpm, metre)
    return (CallAndResponse if request.mode == "call" else Turns)(request, tempo, output, model, report)


class LiveDuet:
    """Everything together.

    Parameters
    ----------
    request : DuetRequest
    input_name, output_name : see ports
    loading : keyword arguments of generate.load_improviser
    journal : Journal

    Raises
    ------
    PortError : a port is not there; ProcessError : the model can't be loaded
    """

    def __init__(self, request: DuetRequest, input_name: str, output_name: str, loading: Mapping, journal: Journal):
        self.request, self.journal, self.output_name = request, journal, output_name
        self.output = self.model = self.input = None
        self.monitor = PortMonitor(input_name, output_name)
        self.output_listed, self.lost, self.checked_s, self.restarted_s = True, 0, 0.0, -RESTART_S
        try:
            self.output = MidiOutputProcess(output_name)
            self.input = MidiInput(input_name, journal)
            self.model = ModelProcess(request, loading)
            ports = f"in: {input_name}; out: {output_name}, with {self.output.priority} priority"
            journal("loading", f"{ports}. Loading the model ...")
            self.model.wait(LOADING_S)
        except BaseException:
            self.close()
            raise
        self.partner = partner_of(request, self.output, self.model, journal)

    def begin(self) -> None:
        """Count in, start the clock, listen."""
        self.monitor.start()
        while not self.input.messages.empty():  # what was played while the model was loaded
            self.partner.tempo.receive(*self.input.messages.get())
        now_s = time.perf_counter()
        if self.request.mode != "call":
            self.partner.count_in(now_s)
        elif self.request.clock == "out":
            self.partner.tempo.begin(now_s + CHECK_S / 2)
        if self.request.clock == "out":
            grid = self.partner.tempo.now
            beat = max(0.0, grid.next_beat(time.perf_counter() + CHECK_S / 4))
            tick = round(beat * float(grid.metre.quarters_per_beat) * CLOCKS_A_QUARTER)
            self.output.order("start_clock", grid.time_of(beat), grid.quarter_s, tick)
        self.journal("ready", "ready: play. Ctrl-C ends it")

    def run(self, until: Callable = lambda: False) -> None:
        """Play until `until()`, or KeyboardInterrupt. ProcessError : scheduler or watchdog have died."""
        while not until():
            with contextlib.suppress(queue.Empty):
                self.partner.receive(*self.input.messages.get(timeout=TICK_S))
                while not self.input.messages.empty():
                    self.partner.receive(*self.input.messages.get())
            now_s = time.perf_counter()
            self.partner.tick(now_s)
            if now_s - self.checked_s > CHECK_S:
                self.checked_s = now_s
                self.check()

    def check(self) -> None:
        """Look after ports and processes. ProcessError : scheduler or watchdog have died."""
        if self.input.check(self.monitor.listed["input"]):
            self.partner.release_all(time.perf_counter())
        if self.output_listed and not self.monitor.listed["output"]:
            self.output.order("lose")
        self.output_listed = self.monitor.listed["output"]
        report = self.output.report()
        if not self.output.alive:
            raise ProcessError("The process that sends notes, or its watchdog, has ended. Start the duet again.")
        if report is not None:
            self._journal_report(report)
        if not self.model.alive and self.checked_s - self.restarted_s > RESTART_S:
            self.restarted_s = self.checked_s
            self.journal("model_died", "the model's process has ended; starting it again")
            self.model.restart()
            self.partner.reset()

    def close(self) -> bool:
        """Silence, and end all processes: whether all is silent. Waits for an output that is away."""
        with ignored_signals():
            self.monitor.over.set()
            for part in (self.output, self.input, self.model):
                if part is not None:
                    part.close()
        if self.output is None:
            return True
        if self.output.is_waiting:
            waits = f"waiting up to {PATIENCE_S:.0f} s to silence it. Ctrl-C gives it up"
            self.journal("waits", f"the output {self.output_name!r} is away while keys may sound: {waits}")
            with contextlib.suppress(KeyboardInterrupt):
                self.output.wait()
            if self.output.is_silent:
                self.journal("silenced", "it was back and is silent")
        if not self.output.is_silent:
            self.journal("not_silenced", f"the output {self.output_name!r} was not silenced: keys may sound")
        return self.output.is_silent

    def _journal_report(self, report: dict) -> None:
        if report["lost"] > self.lost:
            self.journal("output_lost", f"the output {self.output_name!r} was lost; it is silenced when it is back")
        self.lost = report["lost"]
        late_ms = max((1000 * (sent_s - due_s) for due_s, sent_s, _ in report["sent"]), default=0.0)
        if late_ms > LATE_MS:
            self.journal("slow", f"a message was {late_ms:.0f} ms late: this machine is busy", late_ms=late_ms)
        sent = [(due_s, sent_s, message.hex()) for due_s, sent_s, message in report["sent"]]
        self.journal("sent", "", sent=sent, dropped=report["dropped"])


def play_duet(
    request: DuetRequest,
    input_name: str,
    output_name: str,
    loading: Mapping,
    say: Callable = print,
    journal: Path | None = None,
) -> None:
    """Play until Ctrl-C or SIGTERM.

    Parameters
    ----------
    request : DuetRequest
    input_name, output_name : see ports
    loading : keyword arguments of generate.load_improviser
    say : callable(text)
    journal : file that lines of JSON are appended to, or None
    """
    signal.signal(signal.SIGTERM, _interrupt)
    journal = Journal(say, journal)
    duet, interrupted = None, False
    if input_name == output_name and not input_name.startswith(VIRTUAL):
        cable = "where that is a cable inside the computer, the partner will answer itself"
        journal("echo", f"Both ports are {input_name!r}: {cable}.")
    try:
        duet = LiveDuet(request, input_name, output_name, loading, journal)
        duet.begin()
        duet.run()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        silent = duet is None or duet.close()
        if interrupted:
            journal("end", "silence; good-bye" if silent else "good-bye")
        journal.close()


def _interrupt(signum, frame):
    raise KeyboardInterrupt
