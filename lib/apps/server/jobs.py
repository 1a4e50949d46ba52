"""Jobs in SQLite: accepted, queued, running, done. Accepted jobs survive the process.

A job is queued, running, done, failed or cancelled. One process holds the file. What ran when it ended is queued again.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import sqlite3
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from lib.apps.server.limits import Limits
from lib.config import ConfigError

OPEN, ENDED = ("queued", "running"), ("done", "failed", "cancelled")
AMONG = "IN (SELECT value FROM json_each(?))"  # of a list as JSON
TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, state TEXT NOT NULL, work TEXT NOT NULL, midi BLOB,
    shape TEXT NOT NULL, weight INTEGER NOT NULL, created_s REAL NOT NULL, started_s REAL, ended_s REAL, error TEXT,
    tries INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, number);
"""


@dataclass(frozen=True)
class SoloJob:
    """A row; times are Unix seconds."""

    id: str
    state: str
    work: str  # of schemas.write_order
    shape: str  # jobs of the same may be played together
    weight: int  # candidates
    created_s: float
    started_s: float | None
    ended_s: float | None
    error: str | None
    tries: int


class Jobs:
    """The jobs of a folder.

    Parameters
    ----------
    folder : of jobs.sqlite
    tries : a job that runs when the process ends so often fails; None: limits.tries

    Attributes
    ----------
    arrived : an event that is set whenever a job is queued

    Raises
    ------
    ConfigError : another process holds the file, or it is not a job database of this program
    """

    def __init__(self, folder: Path | str, limits: Limits, tries: int | None = None):
        self.limits, self.arrived, self._lock = limits, threading.Event(), threading.RLock()
        path = Path(folder) / "jobs.sqlite"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            for setting in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
                self._db.execute(f"PRAGMA {setting}")
            self._db.executescript(TABLE)
            self._take_in_midi()
            self._requeue(limits.tries if tries is None else tries)
        except sqlite3.DatabaseError as error:
            self._db.close()
            reason = f"{path} can't be read ({error}): it is damaged, or another server is running there."
            raise ConfigError(f"{reason} Move it away, or give this one its own --serve-dir.") from None

    def _take_in_midi(self):
        """Earlier versions kept the MIDI file of a job in a column of its own."""
        for job_id, work, midi in self._execute("SELECT id, work, midi FROM jobs WHERE midi IS NOT NULL").fetchall():
            work = json.dumps({**json.loads(work), "midi": base64.b64encode(midi).decode()})
            self._execute("UPDATE jobs SET work = ?, midi = NULL WHERE id = ?", work, job_id)

    def _requeue(self, tries):
        """Queue again what ran when the process ended; what ended it too often fails."""
        change = "state = 'failed', ended_s = ?, error = 'It ended the server each time it was tried.'"
        self._execute(f"UPDATE jobs SET {change} WHERE state = 'running' AND tries >= ?", time.time(), tries)
        self._execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def add(self, work: str, shape: str, weight: int) -> SoloJob | None:
        """Accept a job, see SoloJob: it is safe on disk; None where too many wait."""
        row = uuid.uuid4().hex, work, shape, weight, time.time()
        with self._lock:
            if self.count("queued") >= self.limits.queued:
                return None
            columns = "(id, state, work, shape, weight, created_s)"
            self._execute(f"INSERT INTO jobs {columns} VALUES (?, 'queued', ?, ?, ?, ?)", *row)
            self.arrived.set()
            return self.find(row[0])

    def find(self, job_id: str) -> SoloJob | None:
        """The SoloJob, without its `work`, which may be large."""
        return next(iter(self._jobs("WHERE id = ?", job_id, work="''")), None)

    def count(self, state: str) -> int:
        """How many are in a state."""
        return self._execute("SELECT count(*) FROM jobs WHERE state = ?", state).fetchone()[0]

    def ahead_of(self, job_id: str) -> int:
        """How many wait in front of it."""
        before = "state = 'queued' AND number < (SELECT number FROM jobs WHERE id = ?)"
        return self._execute(f"SELECT count(*) FROM jobs WHERE {before}", job_id).fetchone()[0]

    def take(self, most: int | None = None) -> list[SoloJob]:
        """The oldest that waits, and others of its shape as far as a batch (or `most`) goes: now running.

        What was being played when the process ended is played alone: it may be to blame.
        """
        with self._lock:
            chosen = self._jobs("WHERE state = 'queued' ORDER BY number LIMIT 1")
            if chosen and not chosen[0].tries:
                fit = max(1, self.limits.batch // chosen[0].weight)
                like = "WHERE state = 'queued' AND tries = 0 AND shape = ? ORDER BY number LIMIT ?"
                chosen = self._jobs(like, chosen[0].shape, fit if most is None else min(most, fit))
            change = "state = 'running', tries = tries + 1, started_s = ?"
            self._set(change, [job.id for job in chosen], ("queued",), time.time())
            return chosen

    def running(self, ids: list[str]) -> set[str]:
        """Those of the ids that still run: the others were cancelled meanwhile."""
        rows = self._execute(f"SELECT id FROM jobs WHERE state = 'running' AND id {AMONG}", json.dumps(ids))
        return {row[0] for row in rows}

    def end(self, job_id: str, state: str, error: str | None = None) -> bool:
        """Whether it had not ended, and, to be done, was running: now it is done, cancelled or failed."""
        change, before = "state = ?, error = ?, ended_s = ?, work = '{}'", ("running",) if state == "done" else OPEN
        return self._set(change, [job_id], before, state, error, time.time()) > 0

    def give_back(self, ids: list[str]) -> None:
        """Queue these again, as if they had not been tried."""
        self._set("state = 'queued', tries = tries - 1", ids, ("running",))
        self.arrived.set()

    def sweep(self) -> list[str]:
        """Forget what ended long ago, or is one too many: the ids."""
        newest = "SELECT id FROM jobs WHERE ended_s IS NOT NULL ORDER BY ended_s DESC LIMIT ?"
        statement = f"DELETE FROM jobs WHERE ended_s < ? OR ended_s IS NOT NULL AND id NOT IN ({newest}) RETURNING id"
        with self._lock:
            rows = self._execute(statement, time.time() - self.limits.ttl_s, self.limits.kept)
            return [row[0] for row in rows]

    def _jobs(self, where, *values, work="work"):
        columns = ", ".join(work if field.name == "work" else field.name for field in dataclasses.fields(SoloJob))
        with self._lock:
            return [SoloJob(*row) for row in self._db.execute(f"SELECT {columns} FROM jobs {where}", values)]

    def _set(self, change, ids, states, *values):
        """Change those of the ids that are in one of the states: how many."""
        statement = f"UPDATE jobs SET {change} WHERE id {AMONG} AND state {AMONG}"
        return self._execute(statement, *values, json.dumps(ids), json.dumps(states)).rowcount

    def _execute(self, statement, *values):
        with self._lock:
            return self._db.execute(statement, values)
