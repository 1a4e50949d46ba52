"""Reasons to stop: a time budget, a number of epochs, a signal, or another runtime that has taken over."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

# a free or Pro runtime lives at most so long (https://research.google.com/colaboratory/faq.html)
COLAB_RUNTIME_S = 12 * 3600
SPARE_S = 120.0  # before the end of a runtime: the clock of its birth is only about right


class StopReason(Enum):
    """Why a training stops before its last step: the value for events.jsonl, and a text for people."""

    TIME_BUDGET = "time_budget", "time budget used up"
    EPOCHS = "epochs", "epochs of this runtime done"
    CTRL_C = "ctrl_c", "stopped by Ctrl-C"
    SIGTERM = "sigterm", "stopped by SIGTERM"
    TAKEN_OVER = "taken_over", "taken over by another runtime"
    OTHER_PROCESS = "other_process", "stopped by another process"

    def __new__(cls, value: str, text: str):  # noqa: D102
        reason = object.__new__(cls)
        reason._value_, reason.text = value, text
        return reason


SIGNALS = {signal.SIGINT: StopReason.CTRL_C, signal.SIGTERM: StopReason.SIGTERM}


def runtime_age_s(proc: Path = Path("/proc")) -> float | None:
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

    def __init__(self, seconds: float | None = None, epochs: int | None = None, clock: Callable = time.monotonic):
        self.clock, self.epochs = clock, epochs
        if seconds is None and "COLAB_RELEASE_TAG" in os.environ:
            left_s = COLAB_RUNTIME_S - SPARE_S - (runtime_age_s() or math.inf)
            seconds = left_s if left_s > 0 else None  # one that is older lives longer than most: nobody knows how long
        self.deadline = None if seconds is None else clock() + seconds

    def spent(self, save_s: float, step: int, steps_an_epoch: float, start: int) -> StopReason | None:
        """Why to stop after `step`: a last save, which takes `save_s`, must still fit. None: train on."""
        if self.deadline is not None and self.clock() + save_s >= self.deadline:
            return StopReason.TIME_BUDGET
        if self.epochs is not None and step >= start + self.epochs * steps_an_epoch:
            return StopReason.EPOCHS
        return None


@dataclass
class Stop:
    """Whether a signal asked to stop: why, None where none did."""

    reason: StopReason | None = None


@contextmanager
def stop_requested() -> Iterator[Stop]:
    """A Stop that Ctrl-C or SIGTERM sets: the step is finished and saved first. A second Ctrl-C interrupts."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def ask(number, frame):
        if stop.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.reason = SIGNALS[number]
        with suppress(RuntimeError):  # in the middle of another print
            print("\nStopping after this step; saving ...", flush=True)

    try:
        for number in before:
            signal.signal(number, ask)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
