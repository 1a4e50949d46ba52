"""MIDI ports by name: those of the system, virtual ones, and sockets.

A port is named as `list_ports` shows it, or by a part of that which no other port has. `virtual:NAME` makes a port that
other programs see (Linux and macOS). `socket:HOST:PORT` speaks plain MIDI bytes over TCP, as mido's sockets do. The
environment variable MIDO_BACKEND chooses another system than the usual, e.g. mido.backends.rtmidi/UNIX_JACK.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
import time
from collections.abc import Callable

from mido import Backend, Message, Parser

from lib.config import ConfigError, nearest

# put behind a name, and another one when the port is plugged in again; elsewhere a number is the name's own
SYSTEM_NUMBERS = {"linux": r" \d+:\d+$", "win32": r" \d+$"}
CONNECT_S = 0.5  # a socket that does not answer by then is not there
VIRTUAL, SOCKET = "virtual:", "socket:"
NO_RTMIDI = "Live MIDI needs python-rtmidi, which is not installed ({}): pip install -r requirements-live.txt."
NO_WHEEL = " There are no wheels of it for Python {}.{}: use 3.10, 3.11 or 3.12, or a C++ compiler with pip."


class PortError(ConfigError):
    """A port that is not there, or a system without MIDI; the message says what to do."""


def backend() -> Backend:
    """mido's backend; PortError where python-rtmidi is missing."""
    chosen, version = Backend(), sys.version_info[:2]
    try:
        chosen.load()
    except ImportError as error:
        has_wheel = (3, 10) <= version <= (3, 12)
        raise PortError(NO_RTMIDI.format(error) + ("" if has_wheel else NO_WHEEL.format(*version))) from None
    return chosen


def list_ports() -> tuple[list[str], list[str]]:
    """(names of inputs, names of outputs) of the system; PortError where it has no MIDI."""
    chosen = backend()
    try:
        return chosen.get_input_names(), chosen.get_output_names()
    except (OSError, RuntimeError) as error:
        raise PortError(f"This system has no MIDI ({str(error).strip()}). docs/LIVE.md says what to install.") from None


def describe_ports() -> str:
    """The ports by name, or the reason why there are none."""
    try:
        rows = zip(("inputs:", "outputs:"), list_ports())
    except PortError as error:
        return str(error)
    return "\n".join("\n  ".join([kind, *(names or ["none"])]) for kind, names in rows)


def find_port(name: str, names: list[str], kind: str) -> str:
    """The one port of a list that a name means; PortError where there are none or several, with the nearest."""
    plain = _plain(name)
    matches = [port for port in names if port == name] or [port for port in names if _plain(port) == plain]
    matches = matches or [port for port in names if plain in port.lower()]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise PortError(f"--{kind} {name!r} could be {', '.join(map(repr, matches))}: write more of its name.")
    hint = nearest(name, names) if names else " There are none."
    raise PortError(
        f"There is no MIDI {kind} {name!r}.{hint} python -m lib duet --list shows all; docs/LIVE.md says more."
    )


def _plain(name):
    return re.sub(SYSTEM_NUMBERS.get(sys.platform, "(?!)"), "", name).lower()


def is_available(name: str, kind: str) -> bool:
    """Whether the system lists a port now; for virtual ports and sockets, only opening them tells."""
    if name.startswith((VIRTUAL, SOCKET)):
        return True
    try:
        return bool(find_port(name, list_ports()[kind == "output"], kind))
    except PortError:
        return False


def open_output(name: str):
    """A port with send(mido.Message) and close(), both of which may raise OSError or RuntimeError where it is lost.

    PortError : it is not there.
    """
    return SocketPort(name) if name.startswith(SOCKET) else _open("output", name)


def open_input(name: str, on_message: Callable):
    """A port that calls on_message(mido.Message, time of time.perf_counter) from a thread, until close().

    PortError : it is not there.
    """
    if name.startswith(SOCKET):
        return SocketPort(name, on_message)
    return _open("input", name, callback=lambda message: on_message(message, time.perf_counter()))


def is_lost(port) -> bool:
    """Whether an open port itself says that it is gone; those of the system do not, but `is_available` does."""
    return getattr(port, "has_hung_up", False)


def _open(kind, name, **options):
    chosen = backend()
    opening = chosen.open_output if kind == "output" else chosen.open_input
    is_virtual = name.startswith(VIRTUAL)
    if is_virtual and sys.platform == "win32":
        raise PortError(f"Windows has no virtual ports such as {name!r}: make one with loopMIDI and give its name.")
    listed = name.removeprefix(VIRTUAL) if is_virtual else find_port(name, list_ports()[kind == "output"], kind)
    try:
        return opening(listed, virtual=is_virtual, **options)
    except (OSError, RuntimeError, ValueError) as error:  # rtmidi's errors are of all three kinds
        raise PortError(f"The MIDI {kind} {name!r} can't be opened: {str(error).strip()}.") from None


class SocketPort:
    """MIDI bytes over TCP, without the delay of collecting small packets; an output ignores what comes in."""

    def __init__(self, name: str, on_message: Callable = lambda message, now_s: None):
        self.on_message, self.has_hung_up = on_message, False
        try:
            host, port = name.removeprefix(SOCKET).rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)), CONNECT_S)
        except ValueError:
            raise PortError(f"{name!r} is no socket: write socket:HOST:PORT, e.g. socket:127.0.0.1:9080.") from None
        except OSError as error:
            raise PortError(f"{name} does not answer: {error}.") from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(None)
        threading.Thread(target=self._listen, name=name, daemon=True).start()

    def send(self, message: Message) -> None:
        """Send a message; OSError if the other end has closed the connection."""
        if self.has_hung_up:
            raise ConnectionResetError("the other end has hung up")
        self.socket.sendall(message.bin())

    def close(self) -> None:
        """Hang up."""
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
                    self.on_message(message, now_s)
        self.has_hung_up = True
