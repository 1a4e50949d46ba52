"""The two ends of a duet without MIDI devices: a keyboard to play on, and a synthesizer that writes down what it hears.

Both are sockets of this machine, which `python -m lib duet` takes as ports under their `name`.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time

from mido import Message, Parser
from mido.sockets import PortServer

from lib.apps.live.scheduler import key, pedal, without_overlap


def wait_for(condition, seconds=10.0, step_s=0.005):
    """Whether a condition holds in time, looked at every step_s."""
    until_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until_s:
            return False
        time.sleep(step_s)
    return True


def read_journal(path, *kinds):
    """Whole lines of a duet's journal, of these kinds or of all: list of dict."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]
    return [line for line in lines if not kinds or line["kind"] in kinds]


def messages_of(notes):
    """[(time_s, mido.Message)] of Notes and their pedal, in order; a key is up before it is struck again."""
    rows = zip(notes.onset_s.tolist(), notes.duration_s.tolist(), notes.pitch.tolist(), notes.velocity.tolist())
    spans = [key(on_s, on_s + seconds, pitch, velocity) for on_s, seconds, pitch, velocity in rows]
    spans = without_overlap([*spans, *(pedal(down_s, up_s) for down_s, up_s in notes.pedal_s.tolist())])
    pairs = [pair for span in spans for pair in ((span.on_s, span.on), (span.off_s, span.off))]
    return sorted(pairs, key=lambda pair: pair[0])


class Keyboard:
    """mido's own server, as the input port of the duet: accept, then send."""

    def __init__(self):
        self.server = PortServer("127.0.0.1", 0)
        self.name, self.port = f"socket:127.0.0.1:{self.server._socket.getsockname()[1]}", None

    def accept(self, seconds=None):
        """Wait for the duet to connect, for ever or so long: whether it has."""
        if not select.select([self.server._socket], [], [], seconds)[0]:
            return False
        self.port = self.server.accept()
        self.port._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return True

    def send(self, *words, **values):
        """Send a message."""
        self.port.send(Message(*words, **values))

    def play(self, notes):
        """Play Notes in real time. Returns when the last key was released, by time.perf_counter."""
        begins_s, released_s = time.perf_counter(), 0.0
        for at_s, message in messages_of(notes):
            time.sleep(max(0.0, begins_s + at_s - time.perf_counter()))
            self.port.send(message)
            released_s = time.perf_counter() if message.type == "note_off" else released_s
        return released_s

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
        """Whether no key is down, and after the last key that went down came pedal up, all sound off and all notes off."""
        last_s = max((at_s for at_s, _ in self.notes_on()), default=0.0)
        controls = [m.control for at_s, m in list(self.heard) if m.type == "control_change" and m.value == 0 and at_s >= last_s]
        return not self.down and controls[-3:] == [64, 120, 123]

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
