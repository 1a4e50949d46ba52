"""The same jobs for workers on other machines: dramatiq over Redis, at least once, with one result each.

The server keeps its jobs in SQLite and sends those of like shape as one message; a worker (redis_worker.py) plays them
together and returns what became of each. When a worker dies, dramatiq gives its message to another one; should Redis
itself forget, the server sends the jobs again. Results, retries, time limits and shutdown are dramatiq's middleware.
"""

from __future__ import annotations

import base64
import logging
import math
import re
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Retries, Shutdown, ShutdownNotifications, TimeLimit
from dramatiq.results import ResultFailure, ResultMissing, Results
from dramatiq.results.backends import RedisBackend
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from lib.apps.server.jobs import Job
from lib.apps.server.limits import Limits
from lib.apps.server.worker import LOOK_EVERY_S, SWEEP_EVERY_S
from lib.config import ConfigError

QUEUE, ACTOR = "solos", "play"
PROGRESS, CANCELLED = "progress", "cancelled"  # mailboxes of a batch: dict job id -> share; list of job ids
WORKER_NAME = "mehldau-worker-"  # of workers' connections, so that a server can count them
HEARTBEAT_MS = 10_000  # without one a worker is dead
MAINTENANCE = 200_000  # of a million calls, those that look for the dead
BATCHES_PER_WORKER = 2  # one that it plays and one that waits for it: later ones may still grow
RESULT_MS = 3600 * 1000
LOST_S = 2.0  # no message is in the queue for so long, and the answer is missing
STUCK_S = 30.0  # beyond the time that a job may take: the worker checks that by itself, between steps
SILENT_S = 10.0  # a Redis that says nothing for so long is not there
TRIES = 4  # more of each call, within some 2 s: a Redis that is away for a moment costs no solo
log = logging.getLogger(__name__)


def connect(url: str, tries: int = TRIES, name: str | None = None) -> redis.Redis:
    """redis.Redis of redis://HOST:PORT/NUMBER; ConfigError where there is none.

    Parameters
    ----------
    tries : how often a call is made again where Redis is away
    name : of its connections
    """
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), tries)
    errors = [redis.ConnectionError, redis.TimeoutError, OSError]  # redis-py 4 and 5 have OSError where nobody listens
    options = {"socket_timeout": SILENT_S, "socket_connect_timeout": SILENT_S, "retry": retry, "retry_on_error": errors}
    try:
        connection = redis.Redis.from_url(url, client_name=name, **options)
        connection.ping()
    except (redis.RedisError, ValueError) as error:
        raise ConfigError(f"--queue {without_password(url)}: {error}") from None
    return connection


def without_password(url: str) -> str:
    """The address as it may be shown."""
    return re.sub(r"//[^/]*@", "//", url)


def make_broker(client: redis.Redis, limits: Limits) -> RedisBroker:
    """The broker of server and workers; only what a worker had to give up when it was shut down is tried again."""
    middleware = [
        TimeLimit(time_limit=int(1000 * (limits.job_s + STUCK_S))),
        ShutdownNotifications(notify_shutdown=True),
        Retries(retry_when=lambda retries, error: isinstance(error, Shutdown), min_backoff=100),
        Results(backend=RedisBackend(client=client), store_results=True, result_ttl=RESULT_MS),
    ]
    options = {"heartbeat_timeout": HEARTBEAT_MS, "maintenance_chance": MAINTENANCE}
    broker = RedisBroker(client=client, middleware=middleware, **options)
    broker.declare_queue(QUEUE)
    return broker


def post(client: redis.Redis, box: str, batch_id: str, value: Any) -> None:
    """Leave the newest value of a batch for the other side."""
    RedisBackend(client=client).store_result(_address(box, batch_id), value, RESULT_MS)


def read(client: redis.Redis, box: str, batch_id: str) -> Any:
    """What `post` left; None where it left nothing."""
    try:
        return RedisBackend(client=client).get_result(_address(box, batch_id))
    except ResultMissing:
        return None


def _address(box, batch_id):
    return dramatiq.Message(QUEUE, box, (), {}, {}, message_id=batch_id)


class Parcel(NamedTuple):
    """What a worker needs of a jobs.Job, as it goes through Redis."""

    id: str
    work: str
    midi: bytes | None

    def as_plain(self) -> list:
        """For JSON."""
        return [self.id, self.work, None if self.midi is None else base64.b64encode(self.midi).decode()]

    @classmethod
    def from_plain(cls, values: list) -> Parcel:
        """What as_plain gave."""
        job_id, work, midi = values
        return cls(job_id, work, None if midi is None else base64.b64decode(midi))


@dataclass
class Batch:
    """Jobs that were sent together.

    Attributes
    ----------
    message : the dramatiq.Message; None: it has to be sent, perhaps again
    missing_since_s : since when the queue has been without it, by time.monotonic; None: it is there, as far as known
    cancelled : ids of which the worker knows that nobody wants them
    """

    jobs: list[Job]
    message: dramatiq.Message | None = None
    missing_since_s: float | None = None
    cancelled: set[str] = field(default_factory=set)


class Dispatcher(threading.Thread):
    """Stands where Worker stands: sends jobs to workers, and fetches what became of them.

    Parameters
    ----------
    jobs, results, metrics : as Worker takes them
    url : redis://HOST:PORT/NUMBER
    """

    def __init__(self, jobs, results, metrics, url: str):
        super().__init__(name="dispatcher", daemon=True)
        self.jobs, self.results, self.metrics = jobs, results, metrics
        self.redis = connect(url)
        self.broker = make_broker(self.redis, jobs.limits)
        self.progress, self._sent, self._ending = {}, [], threading.Event()

    def stop(self):
        """End; what is with workers is sent again at the next start."""
        self._ending.set()
        self.join()
        self.jobs.give_back([job.id for batch in self._sent for job in batch.jobs])
        self.redis.close()

    def run(self):
        """Send and fetch."""
        swept_s = 0.0
        while not self._ending.wait(LOOK_EVERY_S):
            try:
                self._send()
                self._fetch()
                if time.monotonic() - swept_s > SWEEP_EVERY_S:
                    swept_s = time.monotonic()
                    for job_id in self.jobs.sweep():
                        self.results.remove(job_id)
            except redis.RedisError as error:
                log.warning("Redis: %s; trying again", error)
                self._ending.wait(1.0)
            except Exception:  # such as a full disk: the thread must outlive it
                log.exception("the dispatcher continues")
                self._ending.wait(1.0)

    def _send(self):
        """Batches, of such sizes that no worker is left without; what could not be sent before goes first."""
        workers = max(1, self._count_workers())
        share = max(1, math.ceil(self.jobs.count("queued") / workers))
        while len(self._sent) < BATCHES_PER_WORKER * workers and (jobs := self.jobs.take(share)):
            self._sent.append(Batch(jobs))
            self.metrics.handed_on(len(jobs))
        for batch in self._sent:
            if batch.message is None:
                parcels = [Parcel(job.id, job.work, job.midi).as_plain() for job in batch.jobs]
                batch_id = uuid.uuid4().hex
                message = dramatiq.Message(QUEUE, ACTOR, (batch_id, parcels), {}, {}, message_id=batch_id)
                self.broker.enqueue(message)
                batch.message, batch.missing_since_s = message, None

    def _count_workers(self):
        """By the names of their connections."""
        names = {client["name"] for client in self.redis.client_list()}
        return sum(name.startswith(WORKER_NAME) for name in names)

    def _fetch(self):
        for batch in [batch for batch in self._sent if batch.message is not None]:
            running = self.jobs.running([job.id for job in batch.jobs])
            cancelled = {job.id for job in batch.jobs} - running
            if cancelled != batch.cancelled:
                post(self.redis, CANCELLED, batch.message.message_id, sorted(cancelled))
                batch.cancelled = cancelled
            try:
                answers = batch.message.get_result(backend=RedisBackend(client=self.redis))
            except ResultMissing:
                self._follow(batch)
                continue
            except ResultFailure as failure:
                answers = None if len(batch.jobs) > 1 else {batch.jobs[0].id: {"error": _reason(failure, self.jobs)}}
            self._sent.remove(batch)
            for job in batch.jobs:
                self.progress.pop(job.id, None)
                if answers is None:  # it failed in company, or its worker died: one of them may be to blame
                    self._sent += [Batch([job])] if job.id in running else []
                elif job.id in answers:
                    self._end(job, answers[job.id])

    def _follow(self, batch):
        """Note how far a batch is; it is sent again where the queue has lost it."""
        self.progress |= read(self.redis, PROGRESS, batch.message.message_id) or {}
        if self.broker.do_qsize(QUEUE) > 0:  # waiting, or being played
            batch.missing_since_s = None
        elif batch.missing_since_s is None:
            batch.missing_since_s = time.monotonic()
        elif time.monotonic() - batch.missing_since_s > LOST_S:
            batch.message = None

    def _end(self, job, answer):
        if "error" in answer:
            if self.jobs.fail(job.id, answer["error"]):
                self.metrics.ended("failed")
        elif self.jobs.running([job.id]):
            self.results.write(job.id, answer)
            if self.jobs.finish(job.id):
                self.metrics.ended("done", time.time() - job.created_s)
            else:
                self.results.remove(job.id)


def _reason(failure, jobs):
    """What a client reads where a worker gave up a job."""
    if failure.orig_exc_type == "TimeLimitExceeded":
        return f"It took longer than {jobs.limits.job_s:g} s."
    log.error("a worker gave up: %s", failure)
    return "Internal error; the log says more."
