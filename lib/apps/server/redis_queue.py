"""Workers on other machines: dramatiq over Redis, at least once, with one result each.

The server keeps its jobs in SQLite and sends those of like shape as one message; a worker plays them together. When a
worker dies, dramatiq gives its message to another one; should Redis itself forget, the server sends the message again.
Results, retries, time limits and shutdown are dramatiq's middleware.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Retries, Shutdown, ShutdownNotifications, TimeLimit
from dramatiq.rate_limits.backends import RedisBackend as Counters
from dramatiq.results import ResultFailure, ResultMissing, Results
from dramatiq.results.backends import RedisBackend
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from lib.apps.server.dispatcher import LOOK_EVERY_S, JobFailed, Player, Stopped, reason_of
from lib.apps.server.limits import Limits
from lib.config import ConfigError

QUEUE, ACTOR = "solos", "play"
PROGRESS, CANCELLED = "progress", "cancelled"  # mailboxes of a message: dict job id -> share; True
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


def post(client: redis.Redis, box: str, message_id: str, value: Any) -> None:
    """Leave a value about a message for the other side, in place of an older one."""
    RedisBackend(client=client).store_result(_message(box, message_id), value, RESULT_MS)


def read(client: redis.Redis, box: str, message_id: str) -> Any:
    """What `post` left, or, in the box ACTOR, the message's result; None where there is nothing."""
    try:
        return RedisBackend(client=client).get_result(_message(box, message_id))
    except ResultMissing:
        return None


def _message(actor, message_id, *values):
    return dramatiq.Message(QUEUE, actor, values, {}, {}, message_id=message_id)


class RemotePlayer:
    """Plays as dispatcher.Player does, by workers; ConfigError where there is no Redis at the url."""

    threads = 64

    def __init__(self, url: str, limits: Limits):
        self.client, self.limits, self._workers = connect(url), limits, 1
        self.broker = make_broker(self.client, limits)

    def room(self, queued: int) -> tuple[int, int]:
        """How many batches may be under way, and of how many jobs each: no worker is left without."""
        with contextlib.suppress(redis.RedisError):  # then there are as many as there were
            names = {client["name"] for client in self.client.client_list()}
            self._workers = max(1, sum(name.startswith(WORKER_NAME) for name in names))
        return BATCHES_PER_WORKER * self._workers, max(1, math.ceil(queued / self._workers))

    def play(self, works: Mapping[str, str], wanted: Callable[[dict[str, float]], bool]) -> dict[str, dict]:
        """As Player.play; jobs that a worker died with fail together, and one alone when it has ended several."""
        for _ in range(1 if len(works) > 1 else self.limits.tries):
            answer = self._answer(works, wanted)
            if "error" in answer:
                raise JobFailed(answer["error"])
            if answer:
                return answer
        raise JobFailed("It ended the worker each time it was tried.")

    def _answer(self, works, wanted):
        """What QueueWorker.perform returned."""
        message_id, shares, seen_s = None, dict.fromkeys(works, 0.0), 0.0
        while wanted(shares):
            try:
                if message_id is None:
                    new_id = uuid.uuid4().hex
                    self.broker.enqueue(_message(ACTOR, new_id, new_id, dict(works)))
                    message_id, seen_s = new_id, time.monotonic()
                if (answer := read(self.client, ACTOR, message_id)) is not None:
                    return answer
                shares |= read(self.client, PROGRESS, message_id) or {}
                if self.broker.do_qsize(QUEUE) > 0:  # waiting, or being played
                    seen_s = time.monotonic()
                elif time.monotonic() - seen_s > LOST_S:
                    message_id = None
            except ResultFailure as failure:
                if failure.orig_exc_type == "TimeLimitExceeded":
                    return {"error": f"It took longer than {self.limits.job_s:g} s."}
                raise
            except redis.RedisError as error:
                log.warning("Redis: %s; trying again", error)
            time.sleep(LOOK_EVERY_S)
        if message_id is not None:
            with contextlib.suppress(redis.RedisError):
                post(self.client, CANCELLED, message_id, True)
        raise Stopped


class QueueWorker:
    """What a worker does with messages.

    Attributes
    ----------
    client : redis.Redis
    quick : the same, for questions within a batch; it never tries again, for the music must not wait
    """

    def __init__(self, url: str, player: Player):
        name = f"{WORKER_NAME}{uuid.uuid4().hex}"
        self.client, self.quick = connect(url, name=name), connect(url, tries=0, name=name)
        self.broker, self.counters = make_broker(self.client, player.limits), Counters(client=self.client)
        self.player = player

    def perform(self, message_id: str, works: dict[str, str]) -> dict:
        """Play the jobs of a message: Player.play's results; {"error": text}; {} where a worker has died with it."""
        if read(self.client, CANCELLED, message_id):
            return {}
        key = f"{QUEUE}-tries:{message_id}"
        if not self.counters.incr(key, 1, 1, RESULT_MS):
            return {}
        try:
            return self.player.play(works, lambda shares: self._is_wanted(message_id, shares))
        except Stopped:
            return {}
        except Exception as error:  # whatever a job does, the worker lives on
            return {"error": reason_of(error)}
        finally:  # however it ended, the worker has outlived it
            self.counters.decr(key, 1, 0, RESULT_MS)

    def _is_wanted(self, message_id, shares):
        """Report progress; False if the jobs are no longer wanted. A short Redis outage ends nothing."""
        try:
            post(self.quick, PROGRESS, message_id, shares)
            return not read(self.quick, CANCELLED, message_id)
        except redis.RedisError as error:
            log.warning("Redis: %s; playing on", error)
            return True


def make_worker(url: str, player: Player) -> dramatiq.Worker:
    """A worker, not started, that plays one message at a time; ConfigError where there is no Redis at the url."""
    worker = QueueWorker(url, player)
    dramatiq.actor(worker.perform, actor_name=ACTOR, queue_name=QUEUE, broker=worker.broker)
    started = dramatiq.Worker(worker.broker, worker_threads=1, worker_timeout=200)
    started.queue_prefetch = 1  # it holds what it plays, and nothing more
    return started
