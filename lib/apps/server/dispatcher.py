"""The dispatcher: takes similar jobs as a batch, has them played here or by workers, and stores their results."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from lib.apps.server.jobs import Jobs
from lib.apps.server.limits import Limits
from lib.apps.server.schemas import read_order
from lib.checkpoints.load import Improviser
from lib.config import ConfigError
from lib.devices import give_back_memory
from lib.generation.bulk import SoloStore, facts_of
from lib.generation.generate import Solo, generate_many
from lib.music.chords import ChordError
from lib.music.notes import MidiError

LOOK_EVERY_S = 0.1  # whether jobs were cancelled, or the server ends, within a batch
SWEEP_EVERY_S = 30.0
SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)
log = logging.getLogger(__name__)


class Stopped(Exception):
    """The batch is no longer wanted, or the server stops."""


class JobFailed(Exception):
    """A batch that can't be played; the message is for clients."""


def reason_of(error: Exception) -> str:
    """What a client reads of an error; one that is not meant for clients goes to the log."""
    if isinstance(error, JobFailed):
        return str(error)
    log.error("a job failed", exc_info=error)
    return "Internal error; the log says more."


class Player:
    """Plays on this machine, one batch at a time."""

    threads = 1

    def __init__(self, improviser: Improviser, limits: Limits):
        self.improviser, self.limits = improviser, limits

    def room(self, queued: int) -> tuple[int, int | None]:
        """How many batches may be under way, and of how many jobs each; None: as many as fit."""
        return 1, None

    def play(self, works: Mapping[str, str], wanted: Callable[[dict[str, float]], bool]) -> dict[str, dict]:
        """Play jobs together: job id -> its solo's facts and `midi` in base64.

        Parameters
        ----------
        works : job id -> what schemas.write_order wrote
        wanted : called with job id -> share in [0, 1] that is played, every LOOK_EVERY_S; False ends the batch

        Raises
        ------
        Stopped : it is not wanted any more; JobFailed : they took longer than a job may, or one can't be played
        """
        shares, began_s, looked_s = dict.fromkeys(works, 0.0), time.monotonic(), time.monotonic()

        def look(job_id, state):
            nonlocal looked_s
            shares[job_id] = (state["window"] + state["step"] / state["num_steps"]) / state["num_windows"]
            now_s = time.monotonic()
            if now_s - began_s > self.limits.job_s:
                raise JobFailed(f"It took longer than {self.limits.job_s:g} s.")
            if now_s - looked_s > LOOK_EVERY_S:
                looked_s = now_s
                if not wanted(shares):
                    raise Stopped

        try:
            orders = [read_order(text).order(self.limits, partial(look, job_id)) for job_id, text in works.items()]
            return dict(zip(works, map(as_values, generate_many(self.improviser, orders))))
        except (ConfigError, MidiError, ChordError) as error:
            raise JobFailed(str(error)) from error
        finally:
            give_back_memory()


def as_values(solo: Solo) -> dict:
    """All of a Solo as plain values for JSON."""
    return {"midi": base64.b64encode(solo.midi()).decode(), **facts_of(solo), "seconds": solo.seconds}


def keep_result(store: SoloStore, job_id: str, values: Mapping) -> None:
    """Keep a solo as as_values gives it; of two results of one job the first stays."""
    if store.facts(job_id) is None:
        facts = {name: value for name, value in values.items() if name != "midi"}
        store.write(job_id, base64.b64decode(values["midi"]), facts)


class Metrics:
    """What Prometheus may ask a server: counters in a registry of their own."""

    def __init__(self, jobs: Jobs):
        self.registry = registry = CollectorRegistry()
        self.answers = Counter("mehldau_answers", "Answers by HTTP status", ["status"], registry=registry)
        self.accepted = Counter("mehldau_jobs_accepted", "Jobs accepted", registry=registry)
        self.ended = Counter("mehldau_jobs_ended", "Jobs ended", ["state"], registry=registry)
        self.job_seconds = Histogram("mehldau_job_seconds", "From accept to done", buckets=SECONDS, registry=registry)
        sizes = {"buckets": (1, 2, 4, 8, 16, 32), "registry": registry}
        self.batch_jobs = Histogram("mehldau_batch_jobs", "Jobs played together", **sizes)
        self.batch_seconds = Histogram("mehldau_batch_seconds", "Time a batch took", buckets=SECONDS, registry=registry)
        for state in ("queued", "running"):
            gauge = Gauge(f"mehldau_jobs_{state}", f"Jobs that are {state}", registry=registry)
            gauge.set_function(partial(jobs.count, state))


class Dispatcher(threading.Thread):
    """Has jobs played by a Player, or a redis_queue.RemotePlayer, until `stop`; results go into the store.

    Attributes
    ----------
    progress : job id -> share in [0, 1], of those that are being played
    """

    def __init__(self, jobs: Jobs, store: SoloStore, player):
        super().__init__(name="dispatcher", daemon=True)
        self.jobs, self.store, self.player, self.metrics = jobs, store, player, Metrics(jobs)
        self.progress: dict[str, float] = {}
        self._ending, self._pool = threading.Event(), ThreadPoolExecutor(player.threads)
        self._under_way: set[Future] = set()

    def stop(self) -> None:
        """End within a denoising step or two; what was being played waits for the next start."""
        self._ending.set()
        self.jobs.arrived.set()
        self.join()

    def run(self) -> None:
        """Take, have played, sweep."""
        swept_s = 0.0
        while not self._ending.is_set():
            try:
                self._take()
                if time.monotonic() - swept_s > SWEEP_EVERY_S:
                    swept_s = time.monotonic()
                    for job_id in self.jobs.sweep():
                        self.store.remove(job_id)
                self.jobs.arrived.wait(1.0)
                self.jobs.arrived.clear()
            except Exception:  # such as a full disk
                log.exception("the dispatcher continues")
                self._ending.wait(1.0)
        self._pool.shutdown()

    def _take(self):
        count, size = self.player.room(self.jobs.count("queued"))
        while len(self._under_way) < count and (batch := self.jobs.take(size)):
            self.metrics.batch_jobs.observe(len(batch))
            self._submit(batch)

    def _submit(self, batch):
        future = self._pool.submit(self._play_or_give_back, batch)
        self._under_way.add(future)
        future.add_done_callback(self._is_over)

    def _is_over(self, future):
        self._under_way.discard(future)
        self.jobs.arrived.set()

    def _play_or_give_back(self, batch):
        """Play; where its end can't be noted, such as on a full disk, queue the batch again as soon as that can be."""
        try:
            return self._play(batch)
        except Exception:
            log.exception("a batch is queued again")
        while not self._ending.wait(1.0):
            try:
                return self.jobs.give_back([job.id for job in batch])
            except Exception as error:
                log.warning("not yet: %s", error)

    def _play(self, batch):
        """Play jobs together; one that fails in company is tried alone."""
        running = self.jobs.running([job.id for job in batch])  # the others were cancelled meanwhile
        batch = {job.id: job for job in batch if job.id in running}
        for job_id in [job_id for job_id in batch if self.store.facts(job_id) is not None]:
            if self.jobs.end(job_id, "done"):  # its result was written before the process ended
                del batch[job_id]
        if not batch:
            return
        try:
            with self.metrics.batch_seconds.time():
                results = self.player.play({job_id: job.work for job_id, job in batch.items()}, self._is_wanted)
        except Stopped:
            return self.jobs.give_back(list(batch))
        except Exception as error:  # whatever a job does, the server lives on
            return self._fail(list(batch.values()), error)
        else:
            for job_id, values in results.items():
                self._keep(batch[job_id], values)
        finally:  # a job is done, or waits again, before nobody knows how far it is
            for job_id in batch:
                self.progress.pop(job_id, None)

    def _is_wanted(self, shares):
        self.progress |= shares
        return not self._ending.is_set() and bool(self.jobs.running(list(shares)))

    def _fail(self, batch, error):
        if len(batch) > 1:
            log.warning("a batch failed (%r): its jobs one by one", error)
            for job in batch:
                self._submit([job])
        elif self.jobs.end(batch[0].id, "failed", reason_of(error)):
            self.metrics.ended.labels("failed").inc()

    def _keep(self, job, values):
        if not self.jobs.running([job.id]):
            return  # cancelled
        keep_result(self.store, job.id, values)
        if self.jobs.end(job.id, "done"):
            self.metrics.ended.labels("done").inc()
            self.metrics.job_seconds.observe(time.time() - job.created_s)
        else:
            self.store.remove(job.id)
