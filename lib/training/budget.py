"""When to stop: a time budget, a number of epochs, or somebody who asks for it."""

from __future__ import annotations

import math
import os
import re
import signal
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from lib.config import ConfigError

BUDGET = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
COLAB_RUNTIME_S = 12 * 3600  # a free or Pro runtime lives at most so long (https://research.google.com/colaboratory/faq.html)
SPARE_S = 120.0  # before the end of a runtime: the clock of its birth is only about right


def parse_budget(text):
    """'11h30m', '20m', '90s' -> seconds."""
    found = BUDGET.fullmatch(text.strip())
    seconds = [int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)] if found else []
    if not sum(seconds):
        raise ConfigError(f"--time-budget wants something like 11h30m, 20m or 90s, got {text!r}.")
    return sum(seconds)


def runtime_age_s(proc=Path("/proc")):
    """How long this machine or container has been up: the age of its first process; None where that can't be read."""
    try:
        started = int((proc / "1" / "stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float((proc / "uptime").read_text().split()[0]) - started
    except (OSError, ValueError, IndexError):
        return None


class Budget:
    """How long this call may train.

    Parameters
    ----------
    seconds : from now on; None: on Colab what is left of its 12 hours, elsewhere no limit
    epochs : stop when so many more epochs are done; None: no limit
    clock : seconds that only go up
    """

    def __init__(self, seconds=None, epochs=None, clock=time.monotonic):
        self.clock, self.epochs = clock, epochs
        if seconds is None and "COLAB_RELEASE_TAG" in os.environ:
            left_s = COLAB_RUNTIME_S - SPARE_S - (runtime_age_s() or math.inf)
            seconds = left_s if left_s > 0 else None  # one that is older lives longer than most: nobody knows how long
        self.deadline = None if seconds is None else clock() + seconds

    def over(self, save_s, step, steps_an_epoch, start):
        """Why to stop after `step`, or "": a last save, which takes `save_s`, must still fit."""
        if self.deadline is not None and self.clock() + save_s >= self.deadline:
            return "time budget used up"
        if self.epochs is not None and step >= start + self.epochs * steps_an_epoch:
            return f"{self.epochs} epochs of this runtime done"
        return ""


class Stop:
    """Whether somebody asked to stop: `signal` is then its number."""

    def __init__(self):
        self.signal = None

    @property
    def why(self):
        """"", or who asked."""
        return "" if self.signal is None else "stopped by " + ("Ctrl-C" if self.signal == signal.SIGINT else "SIGTERM")


@contextmanager
def stop_requested():
    """A Stop that Ctrl-C or SIGTERM sets: the step is finished and saved first. A second Ctrl-C interrupts."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number, frame):
        if stop.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = number
        with suppress(RuntimeError):  # in the middle of another print
            print("\nStopping after this step; saving ...", flush=True)

    try:
        for number in before:
            signal.signal(number, ask)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
