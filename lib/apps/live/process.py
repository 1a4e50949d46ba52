"""Priority and signals of the duet's processes.

The scheduler goes before all others when the processor is short, the model after them. Scheduler and watchdog outlive
the command, to silence what it left, so that what ends the command must not reach them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

import psutil

HIGH = getattr(psutil, "HIGH_PRIORITY_CLASS", -15)  # Windows has classes, other systems niceness
LOW = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 5)


class ProcessError(RuntimeError):
    """A process of the duet did not start, or has died; the message gives the reason."""


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


def lower_priority() -> None:
    """Lower this process's priority: always allowed."""
    psutil.Process().nice(LOW)


@contextlib.contextmanager
def ignored_signals() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM meanwhile: for what takes a few seconds, and must not be left half done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives them
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def detach_from_terminal() -> None:
    """Let Ctrl-C and a closed window end the command alone; this process ends after it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.kernel32.FreeConsole()  # Windows ends all who share a console when its window is closed
    elif hasattr(os, "setsid"):
        os.setsid()
