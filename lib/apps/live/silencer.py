"""The second look-out: it holds no port, and silences the port if the process that held it could not.

It is told of each note. When the pipe ends without a goodbye, the sender was killed, or the port was away when it ended: then the
port is opened anew, as soon as it is there again.
"""

from __future__ import annotations

import contextlib
import signal
import time

from lib.apps.live.messages import Sounding
from lib.apps.live.ports import PortError, open_output
from lib.apps.live.process import leave_the_terminal

PATIENCE_S = 60.0  # a port that is not back by then is given up
# between tries, more and more: a port may be free only after the system has cleared up after who held it
SOON_S, AGAIN_S, LATER = 0.05, 0.5, 1.2
# over JACK a message may be lost right after a port is opened; some systems drop what is still on its way when it closes
TWICE, HOLD_S = 2, 0.2


def run_silencer(name, told):
    """The process: follow the notes until the pipe ends, then silence what is left; its exit code is 1 where that was not possible.

    Parameters
    ----------
    name : see ports.open_output
    told : connection from the sender
    """
    leave_the_terminal()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # ends with the sender, which comes to no harm by a SIGTERM
    sounding = Sounding()
    while (message := hear(told)) is not None:
        if message == b"bye":
            return
        sounding.follow(message)
    if sounding.channels and not silence_port(name, sounding):
        raise SystemExit(1)


def hear(told):
    """The next message, or None where the other end is gone."""
    try:
        return told.recv_bytes()
    except (EOFError, OSError):
        return None


def silence_port(name, sounding, open_port=open_output):
    """Open the port, waiting for it, and end all that sounds: whether that could be done."""
    messages, wait_s, give_up_s = sounding.silence(), SOON_S, time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        try:
            with contextlib.closing(open_port(name)) as port:  # where ports are exclusive, a broken one kept open bars the next try
                for _ in range(TWICE):
                    for message in messages:
                        port.send(message)
                    time.sleep(HOLD_S)
            return True
        except (PortError, OSError):
            time.sleep(wait_s)
            wait_s = min(wait_s * LATER, AGAIN_S)
    return False
