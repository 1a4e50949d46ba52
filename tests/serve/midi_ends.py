"""The two ends of a duet, over real sockets: a keyboard to play on, and a synthesizer that writes down what it hears."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import sys
import threading
import time

from mido import Message, Parser
from mido.sockets import PortServer

from lib.serve.process import go_first


def free_port():
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds=10.0, step_s=0.005):
    """Whether a condition holds in time, looked at every step_s."""
    until_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until_s:
            return False
        time.sleep(step_s)
    return True


class Keyboard:
    """mido's own server, as the input port of the duet: accept, then send."""

    def __init__(self):
        self.number = free_port()
        self.server = PortServer("127.0.0.1", self.number)
        self.name, self.port = f"socket:127.0.0.1:{self.number}", None

    def accept(self):
        """Wait for the duet to connect."""
        self.port = self.server.accept()
        self.port._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, *words, **values):
        """Send a message."""
        self.port.send(Message(*words, **values))

    def unplug(self):
        """Hang up."""
        with contextlib.suppress(OSError):
            self.port._socket.shutdown(socket.SHUT_RDWR)
        self.port.close()

    def close(self):
        """An end to it."""
        if self.port is not None and not self.port.closed:
            self.unplug()
        self.server.close()


class Synthesizer:
    """Everything that any connection sends: `heard` is a list of (time_s, mido.Message); `down` are keys that sound."""

    def __init__(self, number=0):
        self.heard, self.down, self.connections, self.over = [], set(), [], False
        self.server = socket.create_server(("127.0.0.1", number))
        self.name = f"socket:127.0.0.1:{self.server.getsockname()[1]}"
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while not self.over:
                connection = self.server.accept()[0]
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections.append(connection)
                self.threads.append(threading.Thread(target=self._hear, args=(connection,), daemon=True))
                self.threads[-1].start()

    def _hear(self, connection):
        parser = Parser()
        with contextlib.suppress(OSError):
            while content := connection.recv(4096):
                now_s = time.perf_counter()
                parser.feed(content)
                for message in parser:
                    self.heard.append((now_s, message))
                    self._follow(message)
        connection.close()

    def _follow(self, message):
        if message.type in ("note_on", "note_off"):
            place = (message.channel, message.note)
            (self.down.add if message.type == "note_on" and message.velocity else self.down.discard)(place)

    def notes_on(self):
        """[(time_s, pitch)] of the keys that went down."""
        return [(at_s, m.note) for at_s, m in list(self.heard) if m.type == "note_on" and m.velocity]

    def controls(self, number):
        """[(time_s, value)] of a controller."""
        return [(at_s, m.value) for at_s, m in list(self.heard) if m.is_cc(number)]

    def is_silent(self):
        """Whether no key is down, and pedal up, all sound off and all notes off came last."""
        last = [m.control for _, m in list(self.heard)[-3:] if m.type == "control_change"]
        return not self.down and last == [64, 120, 123]

    def unplug(self):
        """Hang up on everybody."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def come_back(self):
        """A Synthesizer at the same place, after `close`."""
        return Synthesizer(int(self.name.rsplit(":", 1)[1]))

    def close(self):
        """An end to it."""
        self.over = True
        self.unplug()
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for thread in self.threads:
            thread.join(2)


def run_synthesizer(pipe):
    """A Synthesizer in a process of its own, where no other thread keeps a message waiting; it goes before all others.

    In come ("heard", from_number), ("down",), ("peer",), ("unplug",) and ("close",).
    """
    go_first()
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
        """The sender's end of the first connection: a TCP port."""
        return self._ask("peer")

    def unplug(self):
        """Hang up on everybody."""
        self._ask("unplug")

    def close(self):
        """An end to it."""
        self._ask("close")
        self.process.join()
        self.pipe.close()
