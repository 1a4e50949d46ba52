"""An output port whose notes end whatever happens: a process that holds the port, a watchdog, and the command's view.

The scheduler's process gets orders over a pipe, ahead of time, and ends what it began: on `bye`, on SIGTERM, when the
port is back after it was lost, and when the other end of the pipe is gone. The watchdog has no port and waits for the
end of another pipe. Only when all is silent does the scheduler say goodbye there: after a kill -9 of it, or where the
port was away when it ended, the watchdog opens the port as soon as it can and silences it.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection

import psutil

from lib.apps.live.ports import PortError, is_available, open_output
from lib.apps.live.scheduler import Scheduler, silence

COARSE_S = 0.02  # so long before a note the pipe is no longer waited on: such waits may be this much too long (Windows)
SPIN_S = 0.001  # the last of the way is spent awake: sleep comes back late by some tenths of a millisecond
SLICE_S, IDLE_S = 0.002, 0.25  # of sleep between looks at the pipe, near a note and far from one
PATIENCE_S, RETRY_S = 60.0, 0.1  # of the watchdog: a port that is not back by then is given up; between its tries
# over JACK a message may be lost right after a port is opened; some systems drop what is on its way when it closes
REPEATS, HOLD_S = 2, 0.2
START_S, REPORT_S, END_S = 60.0, 5.0, 5.0
WATCHDOG_END_S = 1.0  # for the watchdog to follow the scheduler: one that is still there then waits for the port
GOODBYE = b"bye"
HIGH = getattr(psutil, "HIGH_PRIORITY_CLASS", -15)  # Windows has classes, other systems niceness


def raise_priority() -> str:
    """Raise this process's priority as far as the system allows, and return how far: real time, high or usual."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
        return "real time"
    except (OSError, AttributeError):  # Windows and macOS have no such call
        pass
    try:
        psutil.Process().nice(HIGH)
        return "high"
    except psutil.Error:
        return "usual"


def detach_from_terminal() -> None:
    """Let Ctrl-C and a closed window end the command alone; this process ends after it, to silence what it left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.kernel32.FreeConsole()  # Windows ends all who share a console when its window is closed
    elif hasattr(os, "setsid"):
        os.setsid()


def run_scheduler(name: str, channels: Iterable[int], orders: Connection, watchdog: Connection) -> None:
    """The process: open the port, answer ("", priority) or (error, "") over `orders`, obey until the pipe ends.

    In come (name of a method of Scheduler, *its arguments) or ("bye",), out goes the answer to `report`.
    """
    detach_from_terminal()
    try:
        scheduler = Scheduler(lambda: open_output(name), channels)
    except PortError as error:
        watchdog.send_bytes(GOODBYE)
        orders.send((str(error), ""))
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    try:
        orders.send(("", raise_priority()))
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in the wrong moment costs milliseconds
        _obey(scheduler, orders)
    except (EOFError, OSError, SystemExit):
        pass  # the command is gone, or a signal came: either way the end is below
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # not every system says that what was sent went nowhere
        if scheduler.close() and is_available(name, "output"):
            with contextlib.suppress(OSError):
                watchdog.send_bytes(GOODBYE)


def _obey(scheduler: Scheduler, orders: Connection) -> None:
    while True:
        if _wait(scheduler, orders):
            order, *arguments = orders.recv()
            if order == "bye":
                return
            answer = getattr(scheduler, order)(*arguments)
            if order == "report":
                orders.send(answer)
        scheduler.send_due()
        scheduler.check()


def _wait(scheduler: Scheduler, orders: Connection) -> bool:
    """Until the next message is due, or some of the way: whether there is an order."""
    left_s = IDLE_S if scheduler.due_s is None else scheduler.due_s - scheduler.clock()
    if left_s > COARSE_S:
        return orders.poll(min(left_s - COARSE_S, IDLE_S))
    if left_s > SPIN_S:
        time.sleep(min(left_s - SPIN_S, SLICE_S))
        return orders.poll(0)
    while scheduler.clock() < scheduler.due_s:
        pass
    return orders.poll(0) if left_s < -COARSE_S else False


def run_watchdog(name: str, channels: Iterable[int], pipe: Connection) -> None:
    """The process: wait for the end of the pipe, then silence the port; exit code 1 where that could not be done."""
    detach_from_terminal()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends with the scheduler, which silences itself on SIGTERM
    try:
        pipe.recv_bytes()
    except (EOFError, OSError):
        if not silence_port(name, channels):
            raise SystemExit(1) from None


def silence_port(name: str, channels: Iterable[int], open_port: Callable = open_output) -> bool:
    """Wait for the port, open it and silence it; returns whether this worked."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        try:
            # where ports are exclusive, a broken one kept open bars the next try
            with contextlib.closing(open_port(name)) as port:
                for _ in range(REPEATS):
                    for message in silence(channels):
                        port.send(message)
                    time.sleep(HOLD_S)
            return True
        except (PortError, OSError, RuntimeError):
            time.sleep(RETRY_S)
    return False


class MidiOutputProcess:
    """Scheduler and watchdog as the command sees them, started and ended together; channels (0-15) are played on.

    PortError : the port, see ports.open_output, can't be opened.
    """

    def __init__(self, name: str, channels: tuple[int, ...] = (0,)):
        context = multiprocessing.get_context("spawn")  # no copy of the pipes is left in another process
        self.orders, orders = context.Pipe()
        life, goodbye = context.Pipe(duplex=False)
        self.watchdog = context.Process(target=run_watchdog, args=(name, channels, life), daemon=True)
        self.scheduler = context.Process(target=run_scheduler, args=(name, channels, orders, goodbye), daemon=True)
        for process in (self.watchdog, self.scheduler):
            process.start()
        for end in (orders, life, goodbye):
            end.close()
        error = "The scheduler did not start."
        with contextlib.suppress(EOFError, OSError):
            if self.orders.poll(START_S):
                error, self.priority = self.orders.recv()
        if error:
            self.close()
            raise PortError(error)

    @property
    def is_alive(self) -> bool:
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

    def close(self) -> bool | None:
        """Silence, and end both processes: whether that was done; None: the port is away, and the watchdog waits."""
        self.order("bye")
        self.orders.close()
        self.scheduler.join(END_S)
        self.watchdog.join(WATCHDOG_END_S)
        return None if self.watchdog.is_alive() else self.watchdog.exitcode == 0

    def wait(self) -> bool:
        """Until the port is back, or given up, as by an exception meanwhile: whether it was silenced."""
        try:
            self.watchdog.join(PATIENCE_S)
        finally:
            self.watchdog.kill()
            self.watchdog.join()
        return self.watchdog.exitcode == 0
