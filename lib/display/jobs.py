"""Work that a button starts and another one cancels."""

from __future__ import annotations

import threading
import time


class Cancelled(Exception):
    """Raised within work that was cancelled, where it next reports."""


class Job:
    """A piece of work, begun at once.

    Parameters
    ----------
    work : callable(Job); it calls `check` whenever it can stop
    in_background : in a thread of its own; else it is done when this returns
    after : a Job to wait for, such as a cancelled one that hasn't noticed yet; or None
    """

    def __init__(self, work, in_background, after=None):
        self._work, self._after, self._stop, self._thread = work, after, threading.Event(), None
        if in_background:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        else:
            self._run()

    def _run(self):
        if self._after is not None:
            self._after.wait()
            self._after = None  # a chain of them would never be freed
        self._work(self)

    def cancel(self):
        """Let the work stop where it next checks."""
        self._stop.set()

    @property
    def cancelled(self):
        """Whether `cancel` was called."""
        return self._stop.is_set()

    def check(self):
        """Raise Cancelled where it was cancelled."""
        if self.cancelled:
            raise Cancelled

    def wait(self, timeout_s=None):
        """Until the work is done; whether it is."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        return True


class TimeLeft:
    """How long work will take from here, by how long it took from its first report on: starting up is not counted."""

    def __init__(self, clock=time.monotonic):
        self._clock, self._first = clock, None

    def __call__(self, progress):
        """Text such as "12 s left" at a progress in [0, 1]; "" at the first report."""
        now_s = self._clock()
        self._first = self._first or (now_s, progress)
        began_s, began = self._first
        if progress <= began:
            return ""
        return f"{format_duration(round((now_s - began_s) * (1 - progress) / (progress - began)))} left"


def format_duration(seconds):
    """Whole seconds as text: 75 is "1 min 15 s"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
