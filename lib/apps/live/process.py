"""What a process of the duet is to the system.

The one that sends notes goes before all others when the processor is short, the model after them; and those that must outlive
the command, to silence what it left, are not reached by what ends it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

NICE_FIRST, NICE_LAST = -15, 5
WINDOWS_FIRST, WINDOWS_LAST = 0x80, 0x4000  # HIGH_PRIORITY_CLASS, BELOW_NORMAL_PRIORITY_CLASS


def go_first():
    """Raise this process's priority as far as the system allows, and say how far: real time, high or usual."""
    if sys.platform == "win32":
        return "high" if _windows_class(WINDOWS_FIRST) else "usual"
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
        return "real time"
    except (OSError, AttributeError):  # macOS has no such call
        return "high" if _nice(NICE_FIRST) else "usual"


def go_last():
    """Lower this process's priority: always allowed."""
    return _windows_class(WINDOWS_LAST) if sys.platform == "win32" else _nice(NICE_LAST)


@contextlib.contextmanager
def undisturbed():
    """Ctrl-C and SIGTERM are not heard meanwhile: for what takes a few seconds, and must not be left half done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears them
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_the_terminal():
    """Ctrl-C and a closed window end the command; this process ends after it, and not before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.kernel32.FreeConsole()  # Windows ends all who share a console when its window is closed
    elif hasattr(os, "setsid"):
        os.setsid()


def _nice(niceness):
    try:
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    except OSError:
        return False
    return True


def _windows_class(number):
    import ctypes

    kernel = ctypes.windll.kernel32
    return bool(kernel.SetPriorityClass(kernel.GetCurrentProcess(), number))
