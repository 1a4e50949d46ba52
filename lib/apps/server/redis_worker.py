"""A worker of the queue in Redis: it plays the jobs of a message together and returns what became of each.

What fails in company, or was being played when a worker died, comes back as messages of their own: one of them may be
to blame, and whoever is free plays the others.
"""

from __future__ import annotations

import logging
import uuid

import dramatiq
import redis
from dramatiq.rate_limits.backends import RedisBackend as Counters

from lib.apps.server.limits import Limits
from lib.apps.server.redis_queue import (
    ACTOR,
    CANCELLED,
    PROGRESS,
    QUEUE,
    RESULT_MS,
    WORKER_NAME,
    Parcel,
    connect,
    make_broker,
    post,
    read,
)
from lib.apps.server.results import as_values
from lib.apps.server.worker import Stopped, play, reason
from lib.devices import give_back_memory

log = logging.getLogger(__name__)


class InCompany(Exception):
    """A batch that did not end well: its jobs are to be played one by one."""


def make_worker(url: str, improviser, limits: Limits) -> dramatiq.Worker:
    """A worker, not started, that plays one message at a time; ConfigError where there is no Redis.

    Parameters
    ----------
    url : redis://HOST:PORT/NUMBER
    """
    player = Player(url, improviser, limits)
    dramatiq.actor(player.perform, actor_name=ACTOR, queue_name=QUEUE, broker=player.broker, throws=InCompany)
    worker = dramatiq.Worker(player.broker, worker_threads=1, worker_timeout=200)
    worker.queue_prefetch = 1  # it holds what it plays, and nothing more
    return worker


class Player:
    """Plays messages.

    Parameters
    ----------
    url, improviser, limits : see make_worker

    Attributes
    ----------
    client : redis.Redis
    quick : the same, for questions within a batch; it never tries again, for the music must not wait
    """

    def __init__(self, url: str, improviser, limits: Limits):
        name = f"{WORKER_NAME}{uuid.uuid4().hex}"
        self.client, self.quick = connect(url, name=name), connect(url, tries=0, name=name)
        self.broker, self.counters = make_broker(self.client, limits), Counters(client=self.client)
        self.improviser, self.limits = improviser, limits

    def perform(self, batch_id: str, rows: list) -> dict[str, dict]:
        """Play a message of Parcels as plain values: dict job id -> a Solo's values, or {"error": text}.

        Raises
        ------
        InCompany : several jobs, which failed, or ended a worker
        """
        parcels = [Parcel.from_plain(row) for row in rows]
        cancelled = read(self.client, CANCELLED, batch_id) or []
        parcels = [parcel for parcel in parcels if parcel.id not in cancelled]
        if not parcels:
            return {}
        key = f"{QUEUE}-tries:{batch_id}"
        if not self.counters.incr(key, 1, 1 if len(parcels) > 1 else self.limits.tries, RESULT_MS):
            if len(parcels) > 1:
                raise InCompany("A worker has died with these jobs.")
            return {parcels[0].id: {"error": "It ended the worker each time it was tried."}}
        try:
            return self._play(batch_id, parcels)
        finally:  # however it ended, the worker has outlived it
            self.counters.decr(key, 1, 0, RESULT_MS)
            give_back_memory()

    def _play(self, batch_id, parcels):
        try:
            solos = play(self.improviser, parcels, self.limits, lambda shares: self._still_wanted(batch_id, shares))
        except Stopped:
            return {}
        except Exception as error:  # whatever a job does, the worker lives on
            if len(parcels) > 1:
                log.warning("a batch failed (%r): its jobs one by one", error)
                raise InCompany(repr(error)) from error
            return {parcels[0].id: {"error": reason(parcels[0].id, error)}}
        return {parcel.id: as_values(solo) for parcel, solo in zip(parcels, solos)}

    def _still_wanted(self, batch_id, shares):
        """Tell how far they are; False where all are cancelled. A Redis that is away for a moment ends nothing."""
        try:
            post(self.quick, PROGRESS, batch_id, shares)
            return not set(shares) <= set(read(self.quick, CANCELLED, batch_id) or [])
        except redis.RedisError as error:
            log.warning("Redis: %s; playing on", error)
            return True
