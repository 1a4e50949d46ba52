"""Scheduler and watchdog as the command sees them: two processes, started and ended together."""

from __future__ import annotations

import contextlib
import multiprocessing

from lib.apps.live.ports import PortError
from lib.apps.live.scheduler import run_scheduler
from lib.apps.live.watchdog import PATIENCE_S, run_watchdog

START_S, REPORT_S, END_S = 60.0, 5.0, 5.0
WATCHDOG_END_S = 1.0  # for the watchdog to follow the scheduler: one that is still there then waits for the port


class MidiOutputProcess:
    """An output port whose notes end whatever happens to this process.

    Parameters
    ----------
    name : see ports.open_output

    Raises
    ------
    PortError : the port can't be opened
    """

    def __init__(self, name: str):
        context = multiprocessing.get_context("spawn")  # no copy of the pipes is left in another process
        self.orders, orders = context.Pipe()
        notes_in, notes_out = context.Pipe(duplex=False)
        self.watchdog = context.Process(target=run_watchdog, args=(name, notes_in), name="watchdog", daemon=True)
        self.scheduler = context.Process(
            target=run_scheduler, args=(name, orders, notes_out), name="scheduler", daemon=True
        )
        for process in (self.watchdog, self.scheduler):
            process.start()
        for end in (orders, notes_in, notes_out):
            end.close()
        error = "The scheduler did not start."
        with contextlib.suppress(EOFError, OSError):
            if self.orders.poll(START_S):
                error, self.priority = self.orders.recv()
        if error:
            self.close()
            raise PortError(error)

    @property
    def alive(self) -> bool:
        """Whether both processes are."""
        return self.scheduler.is_alive() and self.watchdog.is_alive()

    def order(self, name: str, *arguments) -> None:
        """Call a method of scheduler.Scheduler; a dead one gets nothing."""
        with contextlib.suppress(OSError, ValueError):
            self.orders.send((name, *arguments))

    def report(self) -> dict | None:
        """Scheduler.report, or None where the scheduler is dead."""
        self.order("report")
        try:
            return self.orders.recv() if self.orders.poll(REPORT_S) else None
        except (EOFError, OSError):
            return None

    def close(self) -> None:
        """Silence, and end both processes; but where the port is away the watchdog waits for it: see `wait`."""
        self.order("bye")
        self.orders.close()
        self.scheduler.join(END_S)
        self.watchdog.join(WATCHDOG_END_S)

    @property
    def is_waiting(self) -> bool:
        """After `close`, or the scheduler's death: whether something may sound still, because the port is away."""
        return self.watchdog.is_alive()

    @property
    def is_silent(self) -> bool:
        """After `close` or `wait`: whether the port was silenced."""
        return self.watchdog.exitcode == 0

    def wait(self) -> bool:
        """Until the port is back, or given up, as by an exception meanwhile: whether it was silenced."""
        try:
            self.watchdog.join(PATIENCE_S)
        finally:
            self.watchdog.kill()
            self.watchdog.join()
        return self.is_silent
