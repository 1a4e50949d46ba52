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
from collections.abc import Mapping
from pathlib import Path

from mido import Message

from lib.apps.live.duet_request import DuetRequest
from lib.apps.live.midi_output_process import PATIENCE_S, MidiOutputProcess
from lib.apps.live.model_process import ModelProcess, ProcessError
from lib.apps.live.partner import CallAndResponse, Turns
from lib.apps.live.ports import VIRTUAL, PortError, is_available, is_lost, open_input
from lib.apps.live.tempo import ClockTempo, OwnTempo
from lib.music.tempo_map import Metre

TICK_S = 0.004  # between ticks of the partner, where no message comes
CHECK_S = 1.0  # between checks of ports and processes
RESTART_S = 10.0  # before a model that has died is started once more
LOADING_S = 300.0  # a model that is not ready by then does not come
LATE_MS = 10.0  # of messages, worth a warning


class Journal:
    """What happens, in words for people and, where a file is given, appended to it as lines of JSON."""

    def __init__(self, path: Path | None = None):
        self.file = None if path is None else path.open("a", encoding="utf-8", buffering=1)

    def __call__(self, event: str, text: str, **fields) -> None:
        if text:
            print(text, flush=True)
        if self.file is not None:
            line = {"kind": event, "now_s": time.perf_counter(), "words": text, **fields}
            self.file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()


class PortMonitor(threading.Thread):
    """Opens the input, again when it is back after unplugging, and asks the system now and then which ports it lists:
    a slow question, so the loop does not wait for it. PortError : the input is not there at the start.

    `events` gets (name, mido.Message or None, time_s): message, input_lost, input_back, output_gone.
    """

    def __init__(self, input_name: str, output_name: str):
        super().__init__(name="ports", daemon=True)
        self.input_name, self.output_name = input_name, output_name
        self.events, self.over = queue.SimpleQueue(), threading.Event()
        self.port, self.is_output_listed = self._open(), True

    def _open(self):
        return open_input(self.input_name, lambda *received: self.events.put(("message", *received)))

    def _put(self, event):
        self.events.put((event, None, time.perf_counter()))

    def run(self) -> None:
        """Until `close`."""
        while not self.over.wait(CHECK_S):
            self.check(is_available(self.input_name, "input"), is_available(self.output_name, "output"))

    def check(self, is_input_listed: bool, is_output_listed: bool) -> None:
        """Notice that a port is gone, or open the input again."""
        if self.port is not None and (is_lost(self.port) or not is_input_listed):
            self.port.close()
            self.port = None
            self._put("input_lost")
        if self.port is None and is_input_listed:
            with contextlib.suppress(PortError):
                self.port = self._open()
                self._put("input_back")
        if self.is_output_listed and not is_output_listed:
            self._put("output_gone")
        self.is_output_listed = is_output_listed

    def close(self) -> None:
        """Close the input."""
        self.over.set()
        if self.port is not None:
            self.port.close()


class LiveDuet:
    """Everything together, see `play_duet`. PortError : a port is missing; ProcessError : the model can't be loaded."""

    def __init__(self, request: DuetRequest, input_name: str, output_name: str, loading: Mapping, journal: Journal):
        self.request, self.journal, self.input_name, self.output_name = request, journal, input_name, output_name
        self.num_lost, self.checked_s, self.restarted_s = 0, 0.0, -RESTART_S
        with contextlib.ExitStack() as started:
            self.output = MidiOutputProcess(output_name, (request.channel - 1, request.click_channel - 1))
            started.callback(self.output.close)
            self.ports = PortMonitor(input_name, output_name)
            started.callback(self.ports.close)
            self.model = ModelProcess(request, loading)
            started.callback(self.model.close)
            ports = f"in: {input_name}; out: {output_name}, with {self.output.priority} priority"
            journal("loading", f"{ports}. Loading the model ...")
            self.model.wait(LOADING_S)
            started.pop_all()
        metre = Metre.parse(request.metre)
        tempo = ClockTempo(metre) if request.clock == "in" else OwnTempo(request.tempo_bpm, metre)
        kind = CallAndResponse if request.mode == "call" else Turns
        self.partner = kind(request, tempo, self.output, self.model, journal)

    def run(self) -> None:
        """Count in and play, for ever. ProcessError : scheduler or watchdog have died."""
        while not self.ports.events.empty():  # of what came while the model was loaded a clock alone counts
            _, message, at_s = self.ports.events.get()
            self.partner.tempo.receive(message, at_s)
        self.ports.start()
        now_s = time.perf_counter()
        if self.request.mode != "call":
            self.partner.count_in(now_s)
        elif self.request.clock == "out":
            self.partner.tempo.begin(now_s + CHECK_S / 2)
        if self.request.clock == "out":
            self.output.order("start_clock", self.partner.tempo.now.origin_s, 60 / self.request.tempo_bpm)
        self.journal("ready", "ready: play. Ctrl-C ends it")
        while True:
            with contextlib.suppress(queue.Empty):
                self.receive(*self.ports.events.get(timeout=TICK_S))
                while True:
                    self.receive(*self.ports.events.get_nowait())
            now_s = time.perf_counter()
            self.partner.tick(now_s)
            if now_s - self.checked_s > CHECK_S:
                self.check(now_s)

    def receive(self, event: str, message: Message | None, at_s: float) -> None:
        """Take in what a PortMonitor reports."""
        if event == "message":
            self.partner.receive(message, at_s)
        elif event == "input_lost":
            self.journal(event, f"the input {self.input_name!r} is gone; waiting for it")
            self.partner.release_all(at_s)
        elif event == "input_back":
            self.journal(event, f"the input {self.input_name!r} is back")
        else:
            self.output.order("lose")

    def check(self, now_s: float) -> None:
        """Look after the processes. ProcessError : scheduler or watchdog have died."""
        self.checked_s = now_s
        report = self.output.report() or {"lost": 0, "sent": []}
        if not self.output.is_alive:
            raise ProcessError("The process that sends notes, or its watchdog, has ended. Start the duet again.")
        if report["lost"] > self.num_lost:
            self.num_lost = report["lost"]
            self.journal("output_lost", f"the output {self.output_name!r} was lost; it is silenced when it is back")
        late_ms = max((1000 * (sent_s - due_s) for due_s, sent_s, _ in report["sent"]), default=0.0)
        if late_ms > LATE_MS:
            self.journal("slow", f"a message was {late_ms:.0f} ms late: this machine is busy", late_ms=late_ms)
        if not self.model.is_alive and now_s - self.restarted_s > RESTART_S:
            self.restarted_s = now_s
            self.journal("model_died", "the model's process has ended; starting it again")
            self.model.restart()
            self.partner.reset()

    def close(self) -> bool:
        """Silence, and end all processes: whether all is silent. Waits for an output that is away."""
        signals = (signal.SIGINT, signal.SIGTERM)  # ignored meanwhile: what takes seconds must not be left half done
        handlers = [signal.signal(number, signal.SIG_IGN) for number in signals]
        silent, *_ = [part.close() for part in (self.output, self.ports, self.model)]
        for number, handler in zip(signals, handlers):
            signal.signal(number, handler)
        if silent is None:
            waits = f"waiting up to {PATIENCE_S:.0f} s to silence it. Ctrl-C gives it up"
            self.journal("waits", f"the output {self.output_name!r} is away while keys may sound: {waits}")
            with contextlib.suppress(KeyboardInterrupt):
                silent = self.output.wait()
            if silent:
                self.journal("silenced", "it was back and is silent")
        if not silent:
            self.journal("not_silenced", f"the output {self.output_name!r} was not silenced: keys may sound")
        return bool(silent)


def play_duet(
    request: DuetRequest, input_name: str, output_name: str, loading: Mapping, journal_path: Path | None = None
) -> None:
    """Play until Ctrl-C or SIGTERM, over ports (see ports), with a model of load_improviser(**loading).

    What happens is appended as lines of JSON to the file of `journal_path`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    journal, duet, interrupted = Journal(journal_path), None, False
    if input_name == output_name and not input_name.startswith(VIRTUAL):
        cable = "where that is a cable inside the computer, the partner will answer itself"
        journal("echo", f"Both ports are {input_name!r}: {cable}.")
    try:
        duet = LiveDuet(request, input_name, output_name, loading, journal)
        duet.run()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        silent = duet is None or duet.close()
        if interrupted:
            journal("end", "silence; good-bye" if silent else "good-bye")
        journal.close()
