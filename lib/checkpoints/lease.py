"""One runtime at a time trains a run: a lease file with a heartbeat, in the run's folder and in its mirror.

Clocks of two machines are not compared if it can be helped: whether a lease is alive is seen by watching whether its
counter moves.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
import uuid
from pathlib import Path

from lib.config import ConfigError

NAME = "lease.json"
BEAT_S = {"folder": 15.0, "rclone": 30.0}
WATCH_BEATS = 2.5
OLD_S = 600.0  # a lease that says so is dead, if our clock is not far ahead


class LeaseError(ConfigError):
    """Another runtime trains this run."""


def _boot():
    """What tells this machine, since it was started, from all others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + "/" + os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{socket.gethostname()}/{uuid.getnode()}"


class _Spot:
    """One lease file: where it is, and what it says."""

    def __init__(self, storage, path, beat_s=None):
        self.storage, self.path = storage, path
        self.beat_s = beat_s or BEAT_S[storage.kind]

    def read(self):
        """The lease as a dict; None where there is none, or what is there is no lease."""
        try:
            found = json.loads(self.storage.read_text(self.path))
            wanted = {"owner": str, "host": str, "boot": str, "pid": int, "counter": int, "time": int | float}
            return found if all(isinstance(found[name], kind) for name, kind in wanted.items()) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, content):
        self.storage.check()  # never into an empty mount point
        self.storage.write_text(self.path, json.dumps(content))


class Lease:
    """The right to train a run, as long as its heart beats.

    Parameters
    ----------
    spots : list of (storage of lib.storage.backends, path of the lease file); one that can't be reached is left out
    beat_s : seconds between beats; None: 15 on a folder, 30 on rclone
    clock, sleep : of the time module

    Attributes
    ----------
    lost : None, or who has taken the run over
    """

    def __init__(self, spots, beat_s=None, clock=time.time, sleep=time.sleep):
        self.spots = [_Spot(storage, path, beat_s) for storage, path in spots]
        self.clock, self.sleep, self.lost = clock, sleep, None
        self.owner, self.counter = uuid.uuid4().hex, 0
        self._mine, self._stop, self._thread = [], threading.Event(), None

    def _content(self):
        return {"owner": self.owner, "host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(),
                "counter": self.counter, "time": round(self.clock(), 3)}  # fmt: skip

    def acquire(self, take_over=False):
        """Take the lease.

        Raises
        ------
        LeaseError : another process that is alive holds it, and `take_over` is not set
        """
        self._mine = []
        for spot in self.spots:
            try:
                if not take_over:
                    self._wait_for(spot)
                spot.write(self._content())
            except OSError:
                continue  # a mirror that can't be reached must not stop the training
            self._mine.append(spot)
        self.sleep(random.uniform(0.0, 0.1))  # two that grab at once: the later writer has it
        for spot in self._mine:
            self._look(spot)
        if self.lost:
            raise LeaseError(f"{self.lost} at this moment. Let it train there, or take it over with --take-over.")

    def _wait_for(self, spot):
        """Return when the spot's lease is dead, or there is none; LeaseError where it is alive."""
        lease = spot.read()
        if lease is None or lease["owner"] == self.owner:
            return
        if lease["boot"] == _boot():
            alive = _is_alive(lease["pid"])
        elif lease["time"] < self.clock() - OLD_S:
            alive = False
        else:
            alive = self._beats(spot, lease)
        if alive:
            ago = max(0.0, self.clock() - lease["time"])
            raise LeaseError(
                f"Another runtime trains this run: {lease['host']}, process {lease['pid']}, heard {ago:.0f} s ago "
                f"({spot.storage.where}/{spot.path}). Stop it there, or take the run over with --take-over."
            )

    def _beats(self, spot, lease):
        """Whether the counter of another machine's lease moves."""
        seconds = WATCH_BEATS * spot.beat_s
        print(
            f"{lease['host']} was training this run: watching for {seconds:.0f} s whether it still does ...", flush=True
        )
        self.sleep(seconds)
        now = spot.read()
        return now is not None and (now["owner"], now["counter"]) != (lease["owner"], lease["counter"])

    def start(self):
        """Let the heart beat, in a thread of its own."""
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def _beat(self):
        due = {spot: time.monotonic() + spot.beat_s for spot in self._mine}
        while not self._stop.wait(max(0.01, min(due.values(), default=60.0) - time.monotonic())):
            self.counter += 1
            for spot in [spot for spot, moment in due.items() if moment <= time.monotonic()]:
                try:
                    self._look(spot)
                    if self.lost:
                        return
                    spot.write(self._content())
                except OSError:
                    pass  # a mirror that has gone for a while
                due[spot] = time.monotonic() + spot.beat_s

    def _look(self, spot):
        try:
            found = spot.read()
        except OSError:
            return
        if found is not None and found["owner"] != self.owner:
            self.lost = f"the run was taken over by {found['host']}, process {found['pid']}"

    def release(self):
        """Stop beating, and remove what is ours."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)
        for spot in self._mine:
            try:
                found = spot.read()
                if found is not None and found["owner"] == self.owner:
                    spot.storage.delete(spot.path)
            except OSError:
                pass  # it goes stale by itself


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
