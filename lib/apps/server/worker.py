"""The worker: a thread that takes jobs, several alike at a time, and plays them."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from functools import partial

from lib.apps.server.results import as_values
from lib.apps.server.schemas import Work
from lib.config import ConfigError
from lib.devices import give_back_memory
from lib.generation.generate import generate_many
from lib.music.chords import ChordError
from lib.music.notes import MidiError

LOOK_EVERY_S = 0.1  # whether jobs were cancelled, or the server ends, within a batch
SWEEP_EVERY_S = 30.0
MEANT_FOR_CLIENTS = (ConfigError, MidiError, ChordError)
log = logging.getLogger(__name__)


class Stopped(Exception):
    """Nobody wants the batch any more, or the server ends."""


class TooSlow(Exception):
    """The batch takes longer than a job may."""


class Worker(threading.Thread):
    """Plays until `stop`.

    Parameters
    ----------
    jobs : Jobs
    results : Results
    improviser : Improviser
    metrics : Metrics
    """

    def __init__(self, jobs, results, improviser, metrics):
        super().__init__(name="worker", daemon=True)
        self.jobs, self.results, self.improviser, self.metrics = jobs, results, improviser, metrics
        self.progress, self._ending = {}, threading.Event()

    def stop(self):
        """End within a denoising step or two; what was being played waits for the next start."""
        self._ending.set()
        self.jobs.arrived.set()
        self.join()

    def run(self):
        """Take, play, sweep."""
        swept_s = 0.0
        while not self._ending.is_set():
            try:
                if time.monotonic() - swept_s > SWEEP_EVERY_S:
                    swept_s = time.monotonic()
                    for job_id in self.jobs.sweep():
                        self.results.remove(job_id)
                if batch := self.jobs.take():
                    self._play(batch)
                else:
                    self.jobs.arrived.wait(1.0)
            except Exception:  # such as a full disk: what it was busy with is tried again
                log.exception("the worker continues")
                self._ending.wait(1.0)
                self._requeue()

    def _requeue(self):
        """Until it could be done, or the next start does it: what nobody plays would run for ever."""
        while not self._ending.is_set():
            try:
                return self.jobs.requeue()
            except sqlite3.Error:  # such as: the disk is still full
                self._ending.wait(1.0)

    def _play(self, batch):
        """Play jobs together; one that fails in company is tried alone."""
        here = self.jobs.running([job.id for job in batch])  # the others were cancelled meanwhile
        todo = [job for job in batch if job.id in here and not self._is_there(job)]
        if not todo:
            return
        ids = [job.id for job in todo]
        try:
            with self.metrics.playing(len(todo)):
                solos = play(self.improviser, todo, self.jobs.limits, self._still_wanted)
            for job, solo in zip(todo, solos):
                self._keep(job, solo)
        except Stopped:
            self.jobs.give_back(ids)
        except Exception as error:
            if len(todo) > 1:
                log.warning("a batch failed (%r): its jobs one by one", error)
                for job in todo:
                    self._play([job])
            else:
                self._fail(ids[0], error)
        finally:
            for job_id in ids:
                self.progress.pop(job_id, None)
            give_back_memory()

    def _is_there(self, job):
        """Whether a job's result was written before the process ended: then it is done."""
        return self.results.has(job.id) and self.jobs.finish(job.id)

    def _still_wanted(self, shares):
        self.progress |= shares
        return not self._ending.is_set() and self.jobs.running(list(shares))

    def _keep(self, job, solo):
        if not self.jobs.running([job.id]):
            return  # cancelled
        self.results.write(job.id, as_values(solo))
        if self.jobs.finish(job.id):
            self.metrics.ended("done", time.time() - job.created_s)
        else:
            self.results.remove(job.id)

    def _fail(self, job_id, error):
        if self.jobs.fail(job_id, reason(job_id, error)):
            self.metrics.ended("failed")


def play(improviser, jobs, limits, wanted):
    """Play jobs together.

    Parameters
    ----------
    improviser : Improviser
    jobs : list of what has `id`, `work` and `midi`, as jobs.Job
    limits : Limits
    wanted : callable(dict of id -> share in [0, 1] that is played) -> whether to go on, asked every LOOK_EVERY_S

    Returns
    -------
    list of generate.Solo

    Raises
    ------
    Stopped : nobody wants any of them; TooSlow : they took longer than a job may; and what generate_many raises
    """
    shares, began_s, looked_s = {job.id: 0.0 for job in jobs}, time.monotonic(), time.monotonic()

    def look(job_id, state):
        nonlocal looked_s
        shares[job_id] = (state["window"] + state["step"] / state["num_steps"]) / state["num_windows"]
        now_s = time.monotonic()
        if now_s - began_s > limits.job_s:
            raise TooSlow(f"It took longer than {limits.job_s:g} s.")
        if now_s - looked_s > LOOK_EVERY_S:
            looked_s = now_s
            if not wanted(shares):
                raise Stopped

    works = [Work.from_json(job.work, job.midi) for job in jobs]
    return generate_many(improviser, [work.order(limits, partial(look, job.id)) for job, work in zip(jobs, works)])


def reason(job_id, error):
    """What a client reads of an error; one that is not meant for clients goes to the log."""
    if isinstance(error, (TooSlow, *MEANT_FOR_CLIENTS)):
        return str(error)
    log.error("job %s", job_id, exc_info=error)
    return "Internal error; the log says more."
