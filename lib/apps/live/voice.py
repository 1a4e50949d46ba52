"""The sender and its look-out as the command sees them: two processes, started, watched, and started anew."""

from __future__ import annotations

import contextlib
import multiprocessing

from lib.apps.live.ports import PortError
from lib.apps.live.sender import run_sender
from lib.apps.live.silencer import PATIENCE_S, run_silencer

START_S, ANSWER_S, END_S = 60.0, 5.0, 5.0
LOOKOUT_S = 1.0  # for the look-out to follow the sender: one that is still there then waits for the port


class Voice:
    """An output port in safe hands.

    Parameters
    ----------
    name : see ports.open_output

    Raises
    ------
    PortError : the port can't be opened
    """

    def __init__(self, name):
        self.name, self.gave_up = name, False  # gave_up: a look-out could not silence the port, nor could anybody since
        self._start()

    def _start(self, anew=False):
        context = multiprocessing.get_context("spawn")  # no copy of the pipes is left in another process
        self.orders, orders = context.Pipe()
        told, lookout = context.Pipe(duplex=False)
        self.silencer = context.Process(target=run_silencer, args=(self.name, told), name="look-out", daemon=True)
        self.sender = context.Process(target=run_sender, args=(self.name, orders, lookout, anew), name="sender", daemon=True)
        for process in (self.silencer, self.sender):
            process.start()
        for end in (orders, told, lookout):
            end.close()
        try:
            word, said = self.orders.recv() if self.orders.poll(START_S) else ("error", "The sender did not start.")
        except (EOFError, OSError):
            word, said = "error", "The sender ended while it started."
        if word == "error":
            self.close()
            raise PortError(said)
        self.priority = said

    @property
    def alive(self):
        """Whether both processes are."""
        return self.sender.is_alive() and self.silencer.is_alive()

    def mend(self):
        """Start both anew, after a death. PortError : the port is away, or the look-out is not done (see `is_waiting`)."""
        if not self.is_waiting or self.sender.is_alive():
            self.close()
        if self.is_waiting:
            raise PortError(f"{self.name} is away; the look-out waits for it.")
        self._start(anew=True)
        self.gave_up = False  # the new sender has silenced the port

    def order(self, name, *words):
        """Give an order of sender.Sender; to a dead one it is not given."""
        with contextlib.suppress(OSError, ValueError):
            self.orders.send((name, *words))

    def report(self):
        """What Sender.report says, or None where the sender is dead."""
        self.order("report")
        try:
            return self.orders.recv() if self.orders.poll(ANSWER_S) else None
        except (EOFError, OSError):
            return None

    def close(self):
        """Silence, and an end to both; but where the port is away the look-out waits for it: see `wait`."""
        self.order("bye")
        self.orders.close()
        self.sender.join(END_S)
        self.silencer.join(LOOKOUT_S)
        self.gave_up = self.gave_up or self.silencer.exitcode == 1

    @property
    def is_waiting(self):
        """After `close`, or the sender's death: whether something may sound still, because the port is away."""
        return self.silencer.is_alive()

    @property
    def is_silent(self):
        """After `close` or `wait`: whether the look-out says so."""
        return self.silencer.exitcode == 0 and not self.gave_up

    def wait(self):
        """Until the port is back, or given up, as by an exception meanwhile: whether it was silenced."""
        try:
            self.silencer.join(PATIENCE_S)
        finally:
            self.silencer.kill()
            self.silencer.join()
        return self.silencer.exitcode == 0
