"""When to stop: a time budget, or somebody who asks for it."""

from __future__ import annotations

import re
import signal
import threading
from contextlib import contextmanager

from lib.config import ConfigError

BUDGET = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def parse_budget(text):
    """'11h30m', '20m', '90s' -> seconds."""
    found = BUDGET.fullmatch(text.strip())
    seconds = [int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)] if found else []
    if not sum(seconds):
        raise ConfigError(f"--time-budget wants something like 11h30m, 20m or 90s, got {text!r}.")
    return sum(seconds)


@contextmanager
def stop_requested():
    """An Event that Ctrl-C or SIGTERM sets: the step is finished and saved first. A second Ctrl-C interrupts."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number, frame):
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()
        print("Stopping after this step; saving ...", flush=True)

    try:
        for number in before:
            signal.signal(number, ask)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
