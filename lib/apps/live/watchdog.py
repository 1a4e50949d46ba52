"""The watchdog: a process without a port that silences the output if the scheduler, which holds the port, could not.

The scheduler reports each note to it. When the pipe ends without a goodbye, the scheduler was killed, or the port was
away when it ended: then the watchdog opens the port, as soon as it is back.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from lib.apps.live.messages import SoundingKeys, silence
from lib.apps.live.ports import PortError, open_output
from lib.apps.live.process import detach_from_terminal

PATIENCE_S = 60.0  # a port that is not back by then is given up
# between tries, more and more: a port may be free only after the system has cleared up after who held it
FIRST_WAIT_S, LONGEST_WAIT_S, WAIT_GROWTH = 0.05, 0.5, 1.2
# over JACK a message may be lost right after a port is opened; some systems drop what is on its way when it closes
REPEATS, HOLD_S = 2, 0.2
GOODBYE = b"bye"


def run_watchdog(name: str, pipe: Connection) -> None:
    """The process: follow the notes until the pipe ends, then silence what is left; exit code 1 where it could not.

    Parameters
    ----------
    name : see ports.open_output
    pipe : from the scheduler: bytes of messages, or GOODBYE
    """
    detach_from_terminal()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends with the scheduler, which silences itself on SIGTERM
    sounding = SoundingKeys()
    with contextlib.suppress(EOFError, OSError):
        while (message := pipe.recv_bytes()) != GOODBYE:
            sounding.update(message)
        return
    if sounding.channels and not silence_port(name, sounding):
        raise SystemExit(1)


def silence_port(name: str, sounding: SoundingKeys, open_port: Callable = open_output) -> bool:
    """Open the port, waiting for it, and end all that sounds: whether that could be done."""
    messages = silence(sounding.keys, sounding.channels)
    wait_s, deadline_s = FIRST_WAIT_S, time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        try:
            # where ports are exclusive, a broken one kept open bars the next try
            with contextlib.closing(open_port(name)) as port:
                for _ in range(REPEATS):
                    for message in messages:
                        port.send(message)
                    time.sleep(HOLD_S)
            return True
        except (PortError, OSError):
            time.sleep(wait_s)
            wait_s = min(wait_s * WAIT_GROWTH, LONGEST_WAIT_S)
    return False
