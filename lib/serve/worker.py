"""The worker: a thread that takes jobs, several alike at a time, and plays them."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time

from lib.config import ConfigError
from lib.data.notes import MidiError
from lib.generate import generate_many
from lib.music.chord_symbols import ChordError
from lib.serve.orders import Work
from lib.serve.results import as_values
from lib.training.devices import give_back_memory

LOOK_EVERY_S = 0.1  # whether jobs were cancelled, within a batch
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
    improviser : trained.Improviser
    metrics : Metrics
    """

    def __init__(self, jobs, results, improviser, metrics):
        super().__init__(name="worker", daemon=True)
        self.jobs, self.results, self.improviser, self.metrics = jobs, results, improviser, metrics
        self.progress, self._ending = {}, threading.Event()

    def stop(self):
        """End within a denoising step; what was being played waits for the next start."""
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
                log.exception("the worker goes on")
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
        watch = Watch(self.jobs, ids, self._ending, self.progress)
        try:
            with self.metrics.playing(len(todo)):
                orders = [Work.from_json(job.work, job.midi).order(self.jobs.limits, watch.callback(job.id)) for job in todo]
                solos = generate_many(self.improviser, orders)
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

    def _keep(self, job, solo):
        if not self.jobs.running([job.id]):
            return  # cancelled
        self.results.write(job.id, as_values(solo))
        if self.jobs.finish(job.id):
            self.metrics.ended("done", time.time() - job.created_s)
        else:
            self.results.remove(job.id)

    def _fail(self, job_id, error):
        meant = isinstance(error, (TooSlow, *MEANT_FOR_CLIENTS))
        if not meant:
            log.error("job %s", job_id, exc_info=error)
        if self.jobs.fail(job_id, str(error) if meant else "Internal error; the server's log says more."):
            self.metrics.ended("failed")


class Watch:
    """Progress of a batch, and whether to go on with it."""

    def __init__(self, jobs, ids, ending, progress):
        self.jobs, self.ids, self.ending, self.progress = jobs, ids, ending, progress
        self.began_s = self.looked_s = time.monotonic()

    def callback(self, job_id):
        """callable(dict) for generate."""

        def report(state):
            done = state["window"] + state["step"] / state["num_steps"]
            self.progress[job_id] = done / state["num_windows"]
            self.look()

        return report

    def look(self):
        """Raise where the batch is to end."""
        now_s = time.monotonic()
        if self.ending.is_set():
            raise Stopped
        if now_s - self.began_s > self.jobs.limits.job_s:
            raise TooSlow(f"It took longer than {self.jobs.limits.job_s:g} s.")
        if now_s - self.looked_s > LOOK_EVERY_S:
            self.looked_s = now_s
            if not self.jobs.running(self.ids):
                raise Stopped
