"""Saving beside training: a snapshot is taken between two steps, a thread writes it while the next steps are done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class AsyncSaver:
    """One save at a time, in a thread of its own.

    Attributes
    ----------
    durable : the newest step that is on disk
    seconds : how long the last save took
    error : the exception of the last save, None where it went well
    """

    def __init__(self, durable: int = 0):
        self.durable, self.seconds, self.error = durable, 0.0, None
        self._thread = None

    def start(self, step: int, write: Callable[[], object]) -> None:
        """Wait for the last save, then call `write` in the background: it returns when checkpoint `step` is on disk."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(step, write), name="save")
        try:
            self._thread.start()
        except RuntimeError:  # no memory is left for a thread's stack: training waits for this one
            self._thread = None
            self._run(step, write)

    def _run(self, step, write):
        began = time.monotonic()
        try:
            write()
            self.durable, self.error = step, None
        except Exception as error:  # a full disk must not end the training: the caller reports it
            self.error = error
        self.seconds = time.monotonic() - began

    def wait(self) -> None:
        """Return when nothing is being written."""
        if self._thread is not None:
            self._thread.join()
