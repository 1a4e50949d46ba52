"""A synthesizer in a process of its own, where a test or benchmark wants exact times."""

from __future__ import annotations

import multiprocessing
import sys

from instruments import Synthesizer
from mido import Message

from lib.apps.live.midi_output_process import raise_priority


def run_synthesizer(pipe):
    """A Synthesizer in a process of its own, where no other thread keeps a message waiting; it goes before all others.

    In come ("heard", from_number), ("down",), ("peer",), ("unplug",) and ("close",).
    """
    raise_priority()
    sys.setswitchinterval(0.0002)  # a message is stamped when its thread may run
    synthesizer = Synthesizer()
    pipe.send(synthesizer.name)
    answers = {
        "heard": lambda first: [(at_s, message.bin()) for at_s, message in synthesizer.heard[first:]],
        "down": lambda: set(synthesizer.down),
        "peer": lambda: synthesizer.connections[0].getpeername()[1],
        "unplug": synthesizer.unplug,
        "close": synthesizer.close,
    }
    word = ""
    while word != "close":
        word, *more = pipe.recv()
        pipe.send(answers[word](*more))


class Recorder(Synthesizer):
    """run_synthesizer as seen from here: what a Synthesizer has, and `peer`, the port at the other end of the first connection."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=run_synthesizer, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.name, self.known = self.pipe.recv(), []

    def _ask(self, *words):
        self.pipe.send(words)
        return self.pipe.recv()

    @property
    def heard(self):
        """[(time_s, mido.Message)]."""
        self.known += [(at_s, Message.from_bytes(content)) for at_s, content in self._ask("heard", len(self.known))]
        return self.known

    @property
    def down(self):
        """Keys that sound."""
        return self._ask("down")

    @property
    def peer(self):
        """The scheduler's end of the first connection: a TCP port."""
        return self._ask("peer")

    def unplug(self):
        """Hang up on everybody."""
        self._ask("unplug")

    def close(self):
        """An end to it."""
        self._ask("close")
        self.process.join()
        self.pipe.close()
