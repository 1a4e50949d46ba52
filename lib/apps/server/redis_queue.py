"""The same jobs for workers on other machines: dramatiq over Redis, at least once, with one result each.

The server keeps its jobs in SQLite and hands them on, those of like shape as one message; a worker (redis_worker.py) leaves what it
played in Redis, where the first result of a job stays. A worker that dies stops sending its heartbeat, and another one gets what it
had; should Redis itself forget, the server sends the job again.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import os
import re
import threading
import time
import uuid
from dataclasses import dataclass
from typing import NamedTuple

from lib.apps.server.jobs import Job
from lib.apps.server.worker import LOOK_EVERY_S, SWEEP_EVERY_S
from lib.config import ConfigError

os.environ.setdefault("dramatiq_queue_prefetch", "1")  # a worker holds what it plays, and nothing more

import dramatiq  # noqa: E402
import redis  # noqa: E402
from dramatiq.brokers.redis import RedisBroker  # noqa: E402
from redis.backoff import ExponentialBackoff  # noqa: E402
from redis.retry import Retry  # noqa: E402

QUEUE, ACTOR = "solos", "play"
HEARTBEAT_MS = 10_000  # without one a worker is dead
MAINTENANCE = 200_000  # of a million calls, those that look for the dead
HANDED_ON = 2  # batches a worker, one that it plays and one that waits for it: later ones may still grow
RESULT_S = 24 * 3600
SILENT_S = 10.0  # a Redis that says nothing for so long is not there
TRIES = 4  # more of each call, within some 2 s: a Redis that is away for a moment costs no solo
log = logging.getLogger(__name__)


def connect(url, tries=TRIES, text=True):
    """redis.Redis of redis://HOST:PORT/NUMBER; ConfigError where there is none.

    Parameters
    ----------
    tries : how often a call is made again where Redis is away
    text : answers are str, else bytes
    """
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), tries)
    errors = [redis.ConnectionError, redis.TimeoutError, OSError]  # redis-py 4 and 5 have OSError where nobody listens
    words = {"socket_timeout": SILENT_S, "socket_connect_timeout": SILENT_S, "retry": retry, "retry_on_error": errors}
    try:
        connection = redis.Redis.from_url(url, decode_responses=text, **words)
        connection.ping()
    except (redis.RedisError, ValueError) as error:
        raise ConfigError(f"--queue {without_password(url)}: {error}") from None
    return connection


def without_password(url):
    """The address as it may be shown."""
    return re.sub(r"//[^/]*@", "//", url)


def make_broker(url):
    """The broker of server and workers; what fails is told, not tried again."""
    client = connect(url, text=False)
    broker = RedisBroker(client=client, middleware=[], heartbeat_timeout=HEARTBEAT_MS, maintenance_chance=MAINTENANCE)
    broker.declare_queue(QUEUE)
    return broker


def key(kind, job_id):
    """Where Redis keeps a job's result, progress, tries, cancel or playing."""
    return f"mehldau:{kind}:{job_id}"


class Parcel(NamedTuple):
    """What a worker needs of a jobs.Job, as it goes through Redis."""

    id: str
    work: str
    midi: bytes | None

    def as_plain(self):
        """For JSON."""
        return [self.id, self.work, None if self.midi is None else base64.b64encode(self.midi).decode()]

    @classmethod
    def from_plain(cls, values):
        """What as_plain gave."""
        job_id, work, midi = values
        return cls(job_id, work, None if midi is None else base64.b64decode(midi))


def send(broker, parcels):
    """Hand Parcels to whoever is free, to be played together."""
    broker.enqueue(dramatiq.Message(QUEUE, ACTOR, ([parcel.as_plain() for parcel in parcels],), {}, {}))


@dataclass
class Sent:
    """A job that is with the workers.

    Attributes
    ----------
    job : jobs.Job
    batch : the same for those that were sent together
    heard_s : when it was sent, or last got on, by time.monotonic
    share : in [0, 1], how far it is
    """

    job: Job
    batch: str
    heard_s: float = -math.inf  # not sent, as far as is known
    share: float = 0.0


class Dispatcher(threading.Thread):
    """Stands where Worker stands: hands jobs on, and fetches what became of them.

    Parameters
    ----------
    jobs, results, metrics : as Worker takes them
    url : redis://HOST:PORT/NUMBER
    """

    def __init__(self, jobs, results, metrics, url):
        super().__init__(name="dispatcher", daemon=True)
        self.jobs, self.results, self.metrics = jobs, results, metrics
        self.redis, self.broker = connect(url), make_broker(url)
        self.progress, self._sent, self._ending = {}, {}, threading.Event()

    def stop(self):
        """End; what is with workers is fetched at the next start."""
        self._ending.set()
        self.join()
        self.jobs.give_back(list(self._sent))

    def run(self):
        """Hand on and fetch."""
        swept_s = 0.0
        while not self._ending.wait(LOOK_EVERY_S):
            try:
                self._hand_on()
                if self._sent:
                    self._fetch()
                if time.monotonic() - swept_s > SWEEP_EVERY_S:
                    swept_s = time.monotonic()
                    for job_id in self.jobs.sweep():
                        self.results.remove(job_id)
            except redis.RedisError as error:
                log.warning("Redis: %s; trying again", error)
                self._ending.wait(1.0)
            except Exception:
                log.exception("the dispatcher goes on")
                self._ending.wait(1.0)

    def _hand_on(self):
        """Batches, of such sizes that no worker is left without."""
        workers = max(1, self._count_workers())
        share = max(1, math.ceil(self.jobs.count("queued") / workers))
        while len({sent.batch for sent in self._sent.values()}) < HANDED_ON * workers and (jobs := self.jobs.take(share)):
            batch = [Sent(job, jobs[0].id) for job in jobs]
            self._sent |= {sent.job.id: sent for sent in batch}  # remembered, should Redis fail midway
            self._send(batch)
            self.metrics.handed_on(len(jobs))

    def _count_workers(self):
        """Those whose heart beats, by dramatiq's own book; whoever sends stands in it too."""
        since_ms = time.time() * 1000 - HEARTBEAT_MS
        beating = self.redis.zrangebyscore(f"{self.broker.namespace}:__heartbeats__", since_ms, "inf")
        return len(set(beating) - {self.broker.broker_id})

    def _send(self, batch):
        """To whoever is free; where this fails it is sent again."""
        for sent in batch:
            sent.heard_s = -math.inf
        send(self.broker, [Parcel(sent.job.id, sent.job.work, sent.job.midi) for sent in batch])
        for sent in batch:
            sent.heard_s = time.monotonic()

    def _fetch(self):
        ids = list(self._sent)
        running, kinds = self.jobs.running(ids), ("result", "progress")
        found, shares = (self.redis.mget([key(kind, job_id) for job_id in ids]) for kind in kinds)
        waiting = self.redis.llen(f"{self.broker.namespace}:{QUEUE}")
        for job_id, text, share in zip(ids, found, shares):
            sent = self._sent[job_id]
            if job_id not in running:
                self.redis.set(key("cancel", job_id), 1, ex=RESULT_S)
            elif text is not None:
                self._end(sent.job, json.loads(text))
                self.redis.set(key("cancel", job_id), 1, ex=RESULT_S)  # whoever plays it once more may stop
                self.redis.delete(key("result", job_id))
            else:
                self._follow(sent, float(share or 0), waiting)
                continue
            self.progress.pop(job_id, None)
            del self._sent[job_id]

    def _follow(self, sent, share, waiting):
        """Take note of how far a job is; one of which nothing was heard for too long is sent again, alone.

        While messages wait it may be among them, and is not silent: sent again it would be played twice.
        """
        now_s = time.monotonic()
        if share != sent.share:
            sent.share, sent.heard_s = share, now_s
        elif waiting and sent.heard_s > -math.inf:
            sent.heard_s = now_s
        elif now_s - sent.heard_s > self.jobs.limits.job_s + HEARTBEAT_MS / 1000:
            sent.batch = uuid.uuid4().hex
            self._send([sent])
        self.progress[sent.job.id] = share

    def _end(self, job, answer):
        if "error" in answer:
            if self.jobs.fail(job.id, answer["error"]):
                self.metrics.ended("failed")
            return
        self.results.write(job.id, answer)
        if self.jobs.finish(job.id):
            self.metrics.ended("done", time.time() - job.created_s)
        else:
            self.results.remove(job.id)
