"""One runtime at a time trains a run: a lease file with a heartbeat, in the run's folder and in its mirror.

Clocks of two machines are compared only for leases that are long dead: whether another is alive is seen by watching its
counter.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from lib.config import ConfigError
from lib.storage.backends import Storage, describe_error

NAME = "lease.json"
BEAT_S = 60.0  # seconds between heartbeats: a Drive counts what is written
WATCH_BEATS = 2.5  # another machine's lease is watched for so many heartbeats
COUNTDOWN_S = 30.0  # between two lines while it is watched
LENGTH = 512  # of the file, padded: it is overwritten where it stands, and read at any moment
OLD_S = 600.0  # a lease whose last heartbeat is older is dead, unless our clock is far ahead
TAKE_OVER = "take the run over: --take-over, or take_over in a notebook's form"
FIELDS = {"owner": str, "host": str, "boot": str, "pid": int, "counter": int, "time": int | float}
log = logging.getLogger("lib.training")


class LeaseError(ConfigError):
    """Another runtime trains this run."""


def _boot():
    """Text that identifies this machine and its last boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + "/" + os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{socket.gethostname()}/{uuid.getnode()}"


class _LeaseFile:
    """A lease file in one storage."""

    def __init__(self, storage, path, beat_s=None):
        self.storage, self.path = storage, path
        self.beat_s = beat_s or BEAT_S

    def read(self):
        """The lease as a dict of FIELDS; None where the file does not exist or is not a lease."""
        try:
            lease = json.loads(self.storage.read_text(self.path))
            return lease if all(isinstance(lease[name], kind) for name, kind in FIELDS.items()) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, lease):
        self.storage.check()  # never into an empty mount point
        self.storage.write_text(self.path, json.dumps(lease).ljust(LENGTH))


class Lease:
    """The right to train a run, as long as its heart beats.

    Parameters
    ----------
    locations : (storage, path of the lease file) each; a storage that can't be reached is left out
    beat_s : seconds between heartbeats; None: BEAT_S
    clock, sleep : of the time module

    Attributes
    ----------
    lost : None, or who has taken the run over
    """

    def __init__(
        self,
        locations: Sequence[tuple[Storage, str]],
        beat_s: float | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.files = [_LeaseFile(storage, path, beat_s) for storage, path in locations]
        self.clock, self.sleep, self.lost = clock, sleep, None
        self.owner, self.counter = uuid.uuid4().hex, 0
        self._held, self._stop, self._thread = [], threading.Event(), None

    def _lease(self):
        """The lease as it is written."""
        machine = {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid()}
        return {"owner": self.owner, **machine, "counter": self.counter, "time": round(self.clock(), 3)}

    def acquire(self, take_over: bool = False) -> None:
        """Take the lease; prints a line if it could not be written anywhere.

        Raises
        ------
        LeaseError : another process that is alive holds it, and `take_over` is not set
        """
        self._held, problems = [], []
        for file in self.files:
            try:
                if not take_over:
                    self._wait_for(file)
                file.write(self._lease())
                self._held.append(file)
            except OSError as error:  # a mirror that can't be reached must not stop the training
                problems.append(f"{file.storage.where}: {describe_error(error)}")
        if self.files and not self._held:
            line = f"No lease could be written ({'; '.join(problems)}): make sure that no other runtime trains it."
            log.warning(line)
            print(line, flush=True)
        self.sleep(random.uniform(0.0, 0.1))  # two that grab at once: the later writer has it
        for file in self._held:
            self._check_owner(file)
        if self.lost:
            raise LeaseError(f"{self.lost} at this moment. Let it train there, or {TAKE_OVER}.")

    def _wait_for(self, file):
        """Return when the file's lease is dead or there is none; LeaseError where it is alive."""
        lease = file.read()
        if lease is None or lease["owner"] == self.owner:
            return
        if lease["boot"] == _boot():
            alive = _is_alive(lease["pid"])
        else:
            alive = lease["time"] >= self.clock() - OLD_S and self._beats(file, lease)
        if alive:
            ago = max(0.0, self.clock() - lease["time"])
            raise LeaseError(
                f"Another runtime trains this run: {lease['host']}, process {lease['pid']}, "
                f"last heartbeat {ago:.0f} s ago ({file.storage.where}/{file.path}). "
                f"Stop it there, or {TAKE_OVER}."
            )

    def _beats(self, file, lease):
        """Whether the counter of another machine's lease moves."""
        left_s, seen = WATCH_BEATS * file.beat_s, (lease["owner"], lease["counter"])
        print(f"{lease['host']} was training this run; does it still? (--take-over does not wait)", flush=True)
        while left_s > 0:
            print(f"waiting for {left_s:.0f} s more ...", flush=True)
            pause_s = min(left_s, COUNTDOWN_S)
            self.sleep(pause_s)
            left_s -= pause_s
            now = file.read()
            if now is not None and (now["owner"], now["counter"]) != seen:
                return True
        return False

    def start(self) -> None:
        """Start the heartbeat, in a thread of its own."""
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def _beat(self):
        due = {file: time.monotonic() + file.beat_s for file in self._held}
        while not self._stop.wait(max(0.01, min(due.values(), default=60.0) - time.monotonic())):
            self.counter += 1
            for file in [file for file, moment in due.items() if moment <= time.monotonic()]:
                with contextlib.suppress(OSError):  # a mirror that has gone for a while
                    self._check_owner(file)
                    if self.lost:
                        return
                    file.write(self._lease())
                due[file] = time.monotonic() + file.beat_s

    def _check_owner(self, file):
        """Set `lost` if another runtime has written its lease there."""
        try:
            lease = file.read()
        except OSError:
            return
        if lease is not None and lease["owner"] != self.owner:
            self.lost = f"the run was taken over by {lease['host']}, process {lease['pid']}"

    def release(self) -> None:
        """Stop the heartbeat and remove what is ours."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)
        for file in self._held:
            with contextlib.suppress(OSError):  # it expires by itself
                lease = file.read()
                if lease is not None and lease["owner"] == self.owner:
                    file.storage.delete(file.path)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"  # dead, not yet buried
    except (OSError, IndexError):
        return True
