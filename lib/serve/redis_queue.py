"""The same jobs for workers on other machines: dramatiq over Redis, at least once, with one result each.

The server keeps its jobs in SQLite and hands them on; a worker leaves what it played in Redis, where the first result of a job
stays. A worker that dies stops sending its heartbeat, and another one gets what it had; should Redis itself forget, the server
sends the job again.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import threading
import time

from lib.config import ConfigError
from lib.serve.orders import Work
from lib.serve.worker import MEANT_FOR_CLIENTS, SWEEP_EVERY_S, TooSlow

os.environ.setdefault("dramatiq_queue_prefetch", "1")  # a worker holds what it plays, and one more

import dramatiq  # noqa: E402
import redis  # noqa: E402
from dramatiq.brokers.redis import RedisBroker  # noqa: E402

QUEUE, ACTOR = "solos", "play"
HEARTBEAT_MS = 10_000  # without one a worker is dead
MAINTENANCE = 200_000  # of a million calls, those that look for the dead
HANDED_ON = 32  # jobs that are in Redis at a time: the others wait where they can be counted
LOOK_EVERY_S, RESULT_S = 0.1, 24 * 3600
SILENT_S = 10.0  # a Redis that says nothing for so long is not there
log = logging.getLogger(__name__)


def connect(url):
    """redis.Redis of redis://HOST:PORT/NUMBER; ConfigError where there is none."""
    try:
        connection = redis.Redis.from_url(url, decode_responses=True, socket_timeout=SILENT_S, socket_connect_timeout=SILENT_S)
        connection.ping()
    except (redis.RedisError, ValueError) as error:
        raise ConfigError(f"--queue {without_password(url)}: {error}") from None
    return connection


def without_password(url):
    """The address as it may be shown."""
    return re.sub(r"//[^/]*@", "//", url)


def make_broker(url):
    """The broker of server and workers; what fails is told, not tried again."""
    broker = RedisBroker(url=url, middleware=[], heartbeat_timeout=HEARTBEAT_MS, maintenance_chance=MAINTENANCE)
    broker.declare_queue(QUEUE)
    return broker


def key(kind, job_id):
    """Where Redis keeps a job's result, progress, tries or cancel."""
    return f"mehldau:{kind}:{job_id}"


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
                while len(self._sent) < HANDED_ON and (batch := self.jobs.take()):
                    self._sent |= {job.id: (job, float("-inf")) for job in batch}  # remembered, should Redis fail midway
                    for job in batch:
                        self._send(job)
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

    def _send(self, job):
        """A job to whoever is free; where this fails it is sent again."""
        midi = None if job.midi is None else base64.b64encode(job.midi).decode()
        self.broker.enqueue(dramatiq.Message(QUEUE, ACTOR, (job.id, job.work, midi), {}, {}))
        self._sent[job.id] = (job, time.monotonic())

    def _fetch(self):
        ids = list(self._sent)
        running, kinds = self.jobs.running(ids), ("result", "progress")
        found, shares = (self.redis.mget([key(kind, job_id) for job_id in ids]) for kind in kinds)
        waiting = self.redis.llen(f"{self.broker.namespace}:{QUEUE}")  # those are not forgotten: sent again they would pile up
        for job_id, text, share in zip(ids, found, shares):
            job, sent_s = self._sent[job_id]
            if job_id not in running:
                self.redis.set(key("cancel", job_id), 1, ex=RESULT_S)
            elif text is not None:
                self._end(job, json.loads(text))
                self.redis.set(key("cancel", job_id), 1, ex=RESULT_S)  # whoever plays it once more may stop
                self.redis.delete(key("result", job_id))
            elif time.monotonic() - sent_s > self.jobs.limits.job_s + HEARTBEAT_MS / 1000 and not waiting:
                self._send(job)
                continue
            else:
                self.progress[job_id] = float(share or 0)
                continue
            self.progress.pop(job_id, None)
            del self._sent[job_id]

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


class Cancelled(Exception):
    """Nobody wants it any more."""


def make_worker(url, play, limits):
    """dramatiq.Worker, not started, that plays one job at a time.

    Parameters
    ----------
    url : redis://HOST:PORT/NUMBER
    play : callable(generate.Order) -> plain values of a Solo
    limits : Limits
    """
    connection, broker = connect(url), make_broker(url)

    def answer_of(job_id, work, midi):
        if connection.incr(key("tries", job_id)) > limits.tries:
            return {"error": "It ended the worker each time it was tried."}
        connection.expire(key("tries", job_id), RESULT_S)
        callback = _callback(connection, job_id, limits)
        return play(Work.from_json(work, None if midi is None else base64.b64decode(midi)).order(limits, callback))

    def perform(job_id, work, midi):
        if connection.exists(key("result", job_id), key("cancel", job_id)):
            return  # by another worker, or nobody wants it
        try:
            answer = answer_of(job_id, work, midi)
        except Cancelled:
            return
        except (TooSlow, *MEANT_FOR_CLIENTS) as error:
            answer = {"error": str(error)}
        except Exception:
            log.exception("job %s", job_id)
            answer = {"error": "Internal error; the worker's log says more."}
        connection.set(key("result", job_id), json.dumps(answer), nx=True, ex=RESULT_S)

    dramatiq.actor(perform, actor_name=ACTOR, queue_name=QUEUE, broker=broker)
    return dramatiq.Worker(broker, worker_threads=1, worker_timeout=200)


def _callback(connection, job_id, limits):
    """callable(dict) for generate: tells how far it is, and ends what is cancelled or too slow."""
    began_s, looked_s = time.monotonic(), 0.0

    def report(state):
        nonlocal looked_s
        now_s = time.monotonic()
        if now_s - began_s > limits.job_s:
            raise TooSlow(f"It took longer than {limits.job_s:g} s.")
        if now_s - looked_s > LOOK_EVERY_S:
            looked_s = now_s
            share = (state["window"] + state["step"] / state["num_steps"]) / state["num_windows"]
            connection.set(key("progress", job_id), share, ex=RESULT_S)
            if connection.exists(key("cancel", job_id)):
                raise Cancelled

    return report
