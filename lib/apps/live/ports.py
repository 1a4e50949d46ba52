"""MIDI ports by name: those of the system, virtual ones, and sockets.

A port is named as `list_ports` shows it, or by a part of that which no other port has. `virtual:NAME` makes a port that other
programs see (Linux and macOS). `socket:HOST:PORT` speaks plain MIDI bytes over TCP, as mido's sockets do. The environment
variable MIDO_BACKEND chooses another system than the usual, e.g. mido.backends.rtmidi/UNIX_JACK.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import sys
import threading
import time

from mido import Backend, Message, Parser

from lib.config import ConfigError, nearest

# put behind a name, and another one when the port is plugged in again; elsewhere a number is the name's own ("IAC Driver Bus 2")
SYSTEM_NUMBERS = {"linux": r" \d+:\d+$", "win32": r" \d+$"}
CONNECT_S = 0.5  # a socket that does not answer by then is not there
VIRTUAL, SOCKET = "virtual:", "socket:"


class PortError(ConfigError):
    """A port that is not there, or a system without MIDI; the message says what to do."""


def backend():
    """mido's backend.

    Raises
    ------
    PortError : python-rtmidi is missing, or finds no MIDI system
    """
    chosen = Backend()
    try:
        chosen.load()
    except ImportError as error:
        wheels = "" if (3, 10) <= sys.version_info[:2] <= (3, 12) else (
            f" There are no wheels of it for Python {sys.version_info[0]}.{sys.version_info[1]}: use Python 3.10, 3.11 or 3.12,"
            " or a C++ compiler with pip.")  # fmt: skip
        raise PortError(
            f"Live MIDI wants python-rtmidi, which is not installed ({error}): pip install -r requirements-live.txt.{wheels}"
        ) from None
    return chosen


def list_ports():
    """(names of inputs, names of outputs) of the system. PortError as `backend`."""
    chosen = backend()
    try:
        return chosen.get_input_names(), chosen.get_output_names()
    except (OSError, RuntimeError) as error:
        raise PortError(f"This system has no MIDI ({str(error).strip()}). docs/LIVE.md says what to install.") from None


def find_port(name, names, kind):
    """The one port of a list that a name means.

    Raises
    ------
    PortError : none or several, with the nearest
    """
    plain = _plain(name)
    found = [port for port in names if port == name] or [port for port in names if _plain(port) == plain]
    found = found or [port for port in names if plain in port.lower()]
    if len(found) == 1:
        return found[0]
    if found:
        raise PortError(f"--{kind} {name!r} could be {', '.join(map(repr, found))}: write more of its name.")
    there = nearest(name, names) if names else " There are none."
    raise PortError(f"There is no MIDI {kind} {name!r}.{there} python -m lib duet --list shows all; docs/LIVE.md says more.")


def _plain(name):
    number = SYSTEM_NUMBERS.get(sys.platform)
    return (re.sub(number, "", name) if number else name).lower()


def is_there(name, kind):
    """Whether a port of the system can be found now; of virtual ports and sockets, who opens them finds out."""
    if name.startswith((VIRTUAL, SOCKET)):
        return True
    try:
        find_port(name, list_ports()[kind == "output"], kind)
    except PortError:
        return False
    return True


def open_output(name):
    """A port with send(bytes of one message) and close(); send raises OSError where it is lost. PortError: it is not there."""
    if name.startswith(SOCKET):
        return SocketPort(name)
    return SystemOutput(_open("output", name))


def open_input(name, heard, lost=lambda: None):
    """A port that calls heard(mido.Message, time of time.perf_counter) from a thread, until close().

    Parameters
    ----------
    lost : called once where the port itself says that it is gone (a socket)

    Raises
    ------
    PortError : it is not there
    """
    if name.startswith(SOCKET):
        return SocketPort(name, heard, lost)
    return _open("input", name, callback=lambda message: heard(message, time.perf_counter()))


def _open(kind, name, **words):
    chosen = backend()
    opening = chosen.open_output if kind == "output" else chosen.open_input
    try:
        if name.startswith(VIRTUAL):
            return opening(name.removeprefix(VIRTUAL), virtual=True, **words)
        return opening(find_port(name, list_ports()[kind == "output"], kind), **words)
    except PortError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # rtmidi's errors are of all three kinds
        why = str(error).strip()
        if name.startswith(VIRTUAL) and sys.platform == "win32":
            why = "Windows has no virtual ports: make one with loopMIDI and give its name"
        raise PortError(f"The MIDI {kind} {name!r} can't be opened: {why}.") from None


class SystemOutput:
    """A port of the system."""

    def __init__(self, port):
        self.port = port

    def send(self, content):
        """Send the bytes of one message; OSError where the system says that the port is lost."""
        try:
            self.port.send(Message.from_bytes(content))
        except RuntimeError as error:
            raise OSError(str(error)) from error

    def check(self):
        """The system does not say whether a port is still there: `is_there` looks."""

    def close(self):
        """Let go of the port; one that is lost already is let go of as well."""
        with contextlib.suppress(OSError, RuntimeError):
            self.port.close()


class SocketPort:
    """MIDI bytes over TCP, without the delay of collecting small packets."""

    def __init__(self, name, heard=None, lost=lambda: None):
        self.heard, self.lost = heard, lost
        try:
            host, port = name.removeprefix(SOCKET).rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)), CONNECT_S)
        except ValueError:
            raise PortError(f"{name!r} is no socket: write socket:HOST:PORT, e.g. socket:127.0.0.1:9080.") from None
        except OSError as error:
            raise PortError(f"{name} does not answer: {error}.") from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(None if heard else CONNECT_S)
        if heard:
            threading.Thread(target=self._listen, name=name, daemon=True).start()

    def send(self, content):
        """Send the bytes of one message."""
        self.check()
        self.socket.sendall(content)

    def check(self):
        """OSError where the other end has hung up; what it says is not listened to."""
        while select.select([self.socket], [], [], 0)[0]:
            if not self.socket.recv(4096):
                raise ConnectionResetError("the other end has hung up")

    def close(self):
        """Hang up."""
        self.lost = lambda: None
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _listen(self):
        parser = Parser()
        with contextlib.suppress(OSError):
            while content := self.socket.recv(4096):
                now_s = time.perf_counter()
                parser.feed(content)
                for message in parser:
                    self.heard(message, now_s)
        self.lost()
