"""A duet over real ports: four processes, and the loop that keeps them together.

This process listens and decides; the model, the sender (which holds the output port) and its look-out are processes of their own.
Whichever of them dies, nothing goes on sounding, and what can be started anew is.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import threading
import time

from lib.apps.live.call import CallAndResponse
from lib.apps.live.composer import Composer
from lib.apps.live.ports import VIRTUAL, PortError, is_there, open_input
from lib.apps.live.process import undisturbed
from lib.apps.live.silencer import PATIENCE_S
from lib.apps.live.tempo import ClockTempo, OwnTempo
from lib.apps.live.turns import Turns
from lib.apps.live.voice import Voice

TICK_S = 0.004  # between looks at the partner, where nothing is heard
LOOK_S = 1.0  # between looks at ports and processes
RETRY_S = 5.0  # before two processes are started once more for a port that was away
AGAIN_S = 10.0  # before a model that has died is started once more
LOADING_S = 300.0  # a model that is not ready by then does not come
LATE_MS = 10.0  # of messages, worth a word


class Journal:
    """What happens, in words for people and, where a file is given, as lines of JSON.

    Parameters
    ----------
    say : callable(text)
    path : file to append to, or None
    """

    def __init__(self, say=print, path=None):
        self.say, self.file = say, None if path is None else open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def __call__(self, kind, words, **values):
        if words:
            self.say(words)
        if self.file is not None:
            self.file.write(json.dumps({"kind": kind, "now_s": time.perf_counter(), "words": words, **values}) + "\n")

    def close(self):
        """Close the file."""
        if self.file is not None:
            self.file.close()


class Ear:
    """An input port that survives unplugging: messages come into `heard` as (message, time_s).

    Raises
    ------
    PortError : the port is not there at the start
    """

    def __init__(self, name, tell):
        self.name, self.tell, self.heard = name, tell, queue.SimpleQueue()
        self.gone = False
        self.port = self._open()

    def _open(self):
        return open_input(self.name, lambda message, now_s: self.heard.put((message, now_s)), self._lost)

    def _lost(self):
        self.gone = True

    def look(self, there):
        """Notice that the port is gone, or open it again.

        Parameters
        ----------
        there : whether the system shows it

        Returns
        -------
        bool : whether it was lost now
        """
        lost = self.port is not None and (self.gone or not there)
        if lost:
            self.tell("input_lost", f"the input {self.name!r} is gone; waiting for it")
            self.port.close()
            self.port = None
        if self.port is None and there:
            with contextlib.suppress(PortError):
                self.gone = False
                self.port = self._open()
                self.tell("input_back", f"the input {self.name!r} is back")
        return lost

    def close(self):
        """Let go of the port."""
        if self.port is not None:
            self.port.close()


class Lookout(threading.Thread):
    """Asks the system now and then which ports are there: a slow question, so the loop does not wait for it."""

    def __init__(self, input_name, output_name):
        super().__init__(name="ports", daemon=True)
        self.names = {"input": input_name, "output": output_name}
        self.there, self.over = dict.fromkeys(self.names, True), threading.Event()

    def run(self):
        """Until `over`."""
        while not self.over.wait(LOOK_S):
            self.there = {kind: is_there(name, kind) for kind, name in self.names.items()}


class LiveDuet:
    """Everything together.

    Parameters
    ----------
    wished : DuetRequest
    input_name, output_name : see ports
    loading : words of generate.load_improviser
    tell : Journal

    Raises
    ------
    PortError : a port is not there; ComposerError : the model can't be loaded
    """

    def __init__(self, wished, input_name, output_name, loading, tell):
        self.wished, self.tell, self.output_name = wished, tell, output_name
        self.voice = self.composer = self.ear = None
        self.was_there, self.lost, self.looked_s, self.mended_s = True, 0, 0.0, -AGAIN_S
        self.mending, self.tried_s, self.told_of_giving_up = False, -RETRY_S, False
        try:
            self.voice = Voice(output_name)
            self.ear = Ear(input_name, tell)
            self.composer = Composer(wished, loading)
            tell("loading", f"in: {input_name}; out: {output_name}, with {self.voice.priority} priority. Loading the model ...")
            self.composer.wait(LOADING_S)
        except BaseException:
            self.close()
            raise
        self.lookout = Lookout(input_name, output_name)
        own = OwnTempo(wished.tempo_bpm, wished.beats_per_bar)
        tempo = ClockTempo(wished.beats_per_bar) if wished.clock == "in" else own
        kind = CallAndResponse if wished.mode == "call" else Turns
        self.partner = kind(wished, tempo, self.voice, self.composer, tell)

    def begin(self):
        """Count in, start the clock, listen."""
        self.lookout.start()
        while not self.ear.heard.empty():  # what was played while the model was loaded
            message, at_s = self.ear.heard.get()
            self.partner.tempo.hear(message, at_s)
        now_s = time.perf_counter()
        if self.wished.mode != "call":
            self.partner.count_in(now_s)
        elif self.wished.clock == "out":
            self.partner.tempo.begin(now_s + LOOK_S / 2)
        self._send_clock()
        self.tell("ready", "ready: play. Ctrl-C ends it")

    def run(self, until=lambda: False):
        """Play until `until()`, or KeyboardInterrupt."""
        while not until():
            with contextlib.suppress(queue.Empty):
                message, at_s = self.ear.heard.get(timeout=TICK_S)
                self.partner.hear(message, at_s)
                while not self.ear.heard.empty():
                    self.partner.hear(*self.ear.heard.get())
            now_s = time.perf_counter()
            self.partner.tick(now_s)
            if now_s - self.looked_s > LOOK_S:
                self.looked_s = now_s
                self._look()

    def close(self):
        """Silence, and an end to all processes: whether all is silent."""
        with undisturbed():
            if getattr(self, "lookout", None) is not None:
                self.lookout.over.set()
            for part in (self.voice, self.ear, self.composer):
                if part is not None:
                    part.close()
        if self.voice is None:
            return True
        if self.voice.is_waiting:
            self._wait_for_output()
        elif self.voice.gave_up:
            self._tell_of_giving_up()
        return self.voice.is_silent

    def _wait_for_output(self):
        """Stay until the output is back and silent; Ctrl-C gives it up."""
        self.tell("waits", f"the output {self.output_name!r} is away while keys may sound: waiting up to {PATIENCE_S:.0f} s to "
                           "silence it. Ctrl-C gives it up")  # fmt: skip
        silent = False
        with contextlib.suppress(KeyboardInterrupt):
            silent = self.voice.wait()
        self.tell("silenced" if silent else "not_silenced", "it was back and is silent" if silent else "it was not silenced")

    def _send_clock(self):
        if self.wished.clock == "out":
            grid = self.partner.tempo.now
            beat = max(0, grid.next_beat(time.perf_counter() + LOOK_S / 4))
            self.voice.order("start_clock", grid.time_of(beat), grid.beat_s, beat * 24)

    def _look(self):
        if self.ear.look(self.lookout.there["input"]):
            self.partner.phrase.let_go(time.perf_counter())
        if self.was_there and not self.lookout.there["output"]:
            self.voice.order("lose")
        self.was_there = self.lookout.there["output"]
        if not self.voice.alive:
            self._mend_voice()
        elif (report := self.voice.report()) is not None:
            self._tell_of(report)
        if not self.composer.alive and self.looked_s - self.mended_s > AGAIN_S:
            self.mended_s = self.looked_s
            self.tell("model_died", "the model's process has ended; starting it anew")
            self.composer.mend()
            self.partner.begin_anew()

    def _mend_voice(self):
        if not self.mending:
            self.tell("sender_died", "the process that sends notes has ended; silencing the output, starting it anew")
        self.partner.withdraw()
        self.partner.begin_anew()
        self.mending = True
        if self.voice.is_waiting or self.looked_s - self.tried_s < RETRY_S:  # a later look tries again
            return
        try:
            self.voice.mend()
        except PortError:
            self.tried_s = self.looked_s
            if self.voice.gave_up and not self.told_of_giving_up:
                self.told_of_giving_up = True
                self._tell_of_giving_up()
            return
        self.mending = self.told_of_giving_up = False
        self._send_clock()

    def _tell_of_giving_up(self):
        self.tell("not_silenced", f"the output {self.output_name!r} was away too long: it was not silenced, keys may sound")

    def _tell_of(self, report):
        if report["lost"] > self.lost:
            self.tell("output_lost", f"the output {self.output_name!r} was lost; it is silenced when it is back")
        self.lost = report["lost"]
        late_ms = max((1000 * (sent_s - due_s) for due_s, sent_s, _ in report["sent"]), default=0.0)
        if late_ms > LATE_MS:
            self.tell("slow", f"a message was {late_ms:.0f} ms late: this machine is busy")
        sent = [(due_s, sent_s, message.hex()) for due_s, sent_s, message in report["sent"]]
        self.tell("sent", "", sent=sent, dropped=report["dropped"])


def play_duet(wished, input_name, output_name, loading, say=print, journal=None, until=lambda: False):
    """Play until Ctrl-C, SIGTERM or `until()`.

    Parameters
    ----------
    wished : DuetRequest
    input_name, output_name : see ports
    loading : words of generate.load_improviser
    say : callable(text)
    journal : file that lines of JSON are appended to, or None
    """
    signal.signal(signal.SIGTERM, _interrupt)
    tell = Journal(say, journal)
    duet, interrupted = None, False
    if input_name == output_name and not input_name.startswith(VIRTUAL):
        tell("echo", f"Both ports are {input_name!r}: where that is a cable inside the computer, the partner will hear itself.")
    try:
        duet = LiveDuet(wished, input_name, output_name, loading, tell)
        duet.begin()
        duet.run(until)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        silent = duet is None or duet.close()
        if interrupted:
            tell("end", "silence; good-bye" if silent else "good-bye")
        tell.close()


def _interrupt(signum, frame):
    raise KeyboardInterrupt
