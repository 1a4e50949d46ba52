"""The second look-out: it holds no port, and silences the port if the process that held it is killed.

It is told of each note. When the pipe ends without a goodbye, the sender was killed: then the port is opened anew.
"""

from __future__ import annotations

import signal
import time

from lib.serve.messages import Sounding
from lib.serve.ports import PortError, open_output
from lib.serve.process import leave_the_terminal

PATIENCE_S, AGAIN_S = 10.0, 0.05  # a port may be free only after the system has cleared up after who held it


def run_silencer(name, told):
    """The process: follow the notes until the pipe ends, then silence what is left.

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
    if sounding.channels:
        silence_port(name, sounding)


def hear(told):
    """The next message, or None where the other end is gone."""
    try:
        return told.recv_bytes()
    except (EOFError, OSError):
        return None


def silence_port(name, sounding, open_port=open_output):
    """Open the port and end all of it: whether that could be done."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        try:
            port = open_port(name)
            for message in sounding.silence():
                port.send(message)
            time.sleep(AGAIN_S)  # some systems drop what is still on its way when a port closes
            port.close()
            return True
        except (PortError, OSError):
            time.sleep(AGAIN_S)
    return False
