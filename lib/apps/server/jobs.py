"""Jobs in SQLite: accepted, queued, running, done; what was accepted outlives the process.

A job is queued, running, done, failed or cancelled. One process holds the file. What ran when it ended is queued again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from dataclasses import dataclass, fields
from pathlib import Path

from lib.config import ConfigError

OPEN, ENDED = ("queued", "running"), ("done", "failed", "cancelled")
TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, state TEXT NOT NULL, work TEXT NOT NULL, midi BLOB, shape TEXT NOT NULL,
    weight INTEGER NOT NULL, created_s REAL NOT NULL, started_s REAL, ended_s REAL, error TEXT, tries INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, number);
"""
COLUMNS = "id, state, work, midi, shape, weight, created_s, started_s, ended_s, error, tries"


class QueueFull(Exception):
    """No more jobs may wait."""


@dataclass(frozen=True)
class Job:
    """A row: times are Unix seconds, `work` and `midi` are what schemas.Work.from_json takes, `weight` is its candidates."""

    id: str
    state: str
    work: str
    midi: bytes | None
    shape: str
    weight: int
    created_s: float
    started_s: float | None
    ended_s: float | None
    error: str | None
    tries: int


assert COLUMNS.split(", ") == [field.name for field in fields(Job)]


class Jobs:
    """The jobs of a folder.

    Parameters
    ----------
    folder : where jobs.sqlite lies or is made
    limits : Limits

    Raises
    ------
    ConfigError : another process holds the file, or it is none of ours
    """

    def __init__(self, folder, limits):
        self.limits, self.arrived, self._lock = limits, threading.Event(), threading.RLock()
        path = Path(folder) / "jobs.sqlite"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            for words in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
                self._db.execute(f"PRAGMA {words}")
            self._db.executescript(TABLE)
            self.requeue()
        except sqlite3.OperationalError as error:
            self._db.close()
            raise ConfigError(
                f"{path}: {error}. Is another server running there? Give this one its own --serve-dir."
            ) from None
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise ConfigError(f"{path} can't be read ({error}). Move it away, or give another --serve-dir.") from None

    def close(self):
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def add(self, work):
        """Accept schemas.Work: the Job, kept safe on disk; QueueFull where too many wait."""
        job_id, now_s = uuid.uuid4().hex, time.time()
        row = (job_id, work.to_json(), work.midi, work.shape, work.request.num_candidates, now_s)
        with self._lock:
            if self.count("queued") >= self.limits.queued:
                raise QueueFull
            self._db.execute("INSERT INTO jobs (id, state, work, midi, shape, weight, created_s) "
                             "VALUES (?, 'queued', ?, ?, ?, ?, ?)", row)  # fmt: skip
            self.arrived.set()
            return self.find(job_id)

    def find(self, job_id):
        """The Job, or None; without `work` and `midi`, which may be large and are for `take`."""
        return next(iter(self._jobs("WHERE id = ?", job_id, columns=COLUMNS.replace("work, midi", "'', NULL"))), None)

    def count(self, state):
        """How many are in a state."""
        with self._lock:
            return self._db.execute("SELECT count(*) FROM jobs WHERE state = ?", (state,)).fetchone()[0]

    def ahead_of(self, job_id):
        """How many wait in front of it."""
        with self._lock:
            words = (
                "SELECT count(*) FROM jobs WHERE state = 'queued' AND number < (SELECT number FROM jobs WHERE id = ?)"
            )
            return self._db.execute(words, (job_id,)).fetchone()[0]

    def take(self, most=None):
        """The oldest that waits, and others like it as far as a batch (or `most`) goes: now running; none where nothing waits.

        What was being played when the process ended is played alone: it may be to blame.
        """
        with self._lock:
            oldest = self._jobs("WHERE state = 'queued' ORDER BY number LIMIT 1")
            if not oldest:
                self.arrived.clear()
                return []
            fit = max(1, self.limits.batch // oldest[0].weight)
            most = fit if most is None else min(most, fit)
            like = "WHERE state = 'queued' AND tries = 0 AND shape = ? ORDER BY number LIMIT ?"
            chosen = oldest if oldest[0].tries else self._jobs(like, oldest[0].shape, most)
            ids = [job.id for job in chosen]
            self._db.execute(f"UPDATE jobs SET state = 'running', tries = tries + 1, started_s = ? WHERE id IN ({_marks(ids)})",
                             (time.time(), *ids))  # fmt: skip
            return chosen

    def running(self, ids):
        """Those of the ids that still run: the others were cancelled meanwhile."""
        with self._lock:
            rows = self._db.execute(f"SELECT id FROM jobs WHERE state = 'running' AND id IN ({_marks(ids)})", ids)
            return {row[0] for row in rows}

    def finish(self, job_id):
        """Done, where it still runs: whether it does."""
        return self._end(job_id, "done", ("running",))

    def fail(self, job_id, error):
        """Failed, with what to tell the client."""
        return self._end(job_id, "failed", OPEN, error)

    def cancel(self, job_id):
        """Cancelled, where it had not ended: whether it had not."""
        return self._end(job_id, "cancelled", OPEN)

    def _end(self, job_id, state, whence, error=None):
        with self._lock:
            words = f"UPDATE jobs SET state = ?, error = ?, ended_s = ?, midi = NULL WHERE id = ? AND state IN ({_marks(whence)})"
            return self._db.execute(words, (state, error, time.time(), job_id, *whence)).rowcount > 0

    def requeue(self):
        """Queue again what runs: nobody plays it any more. What has ended the process too often fails."""
        with self._lock:
            self._db.execute("UPDATE jobs SET state = 'failed', ended_s = ?, error = 'It ended the server each time it was tried.' "
                             "WHERE state = 'running' AND tries >= ?", (time.time(), self.limits.tries))  # fmt: skip
            self._db.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")
            self.arrived.set()

    def give_back(self, ids):
        """Queue these again, as if they had not been tried."""
        with self._lock:
            self._db.execute(f"UPDATE jobs SET state = 'queued', tries = tries - 1 "
                             f"WHERE state = 'running' AND id IN ({_marks(ids)})", ids)  # fmt: skip

    def sweep(self):
        """Forget what ended long ago, or is one too many: the ids."""
        with self._lock:
            marks = _marks(ENDED)
            old = self._db.execute(f"SELECT id FROM jobs WHERE state IN ({marks}) AND ended_s < ?",
                                   (*ENDED, time.time() - self.limits.ttl_s)).fetchall()  # fmt: skip
            many = self._db.execute(f"SELECT id FROM jobs WHERE state IN ({marks}) ORDER BY ended_s DESC LIMIT -1 OFFSET ?",
                                    (*ENDED, self.limits.kept)).fetchall()  # fmt: skip
            ids = sorted({row[0] for row in [*old, *many]})
            for job_id in ids:
                self._db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
            return ids

    def _jobs(self, where, *words, columns=COLUMNS):
        with self._lock:
            return [Job(*row) for row in self._db.execute(f"SELECT {columns} FROM jobs {where}", words)]


def _marks(values):
    return ", ".join("?" * len(values))
