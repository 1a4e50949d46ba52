"""A worker of the queue in Redis: it plays the jobs of a message together, and leaves the first result of each.

What fails in company, or was being played when a worker ended, is sent on as messages of their own: one of them may be to blame,
and whoever is free plays the others.
"""

from __future__ import annotations

import json
import logging

from lib.apps.server.redis_queue import (
    ACTOR,
    HEARTBEAT_MS,
    QUEUE,
    RESULT_S,
    Parcel,
    connect,
    dramatiq,
    key,
    make_broker,
    redis,
    send,
)
from lib.apps.server.results import as_values
from lib.apps.server.worker import Stopped, play, reason
from lib.devices import give_back_memory

PLAYING_MS = HEARTBEAT_MS // 2  # over before a dead worker's message comes back: nobody would take that one, else
log = logging.getLogger(__name__)


def make_worker(url, improviser, limits):
    """dramatiq.Worker, not started, that plays one message at a time.

    Parameters
    ----------
    url : redis://HOST:PORT/NUMBER
    improviser : Improviser
    limits : Limits

    Raises
    ------
    ConfigError : there is no Redis
    """
    player = Player(url, improviser, limits)
    dramatiq.actor(player.perform, actor_name=ACTOR, queue_name=QUEUE, broker=player.broker)
    return dramatiq.Worker(player.broker, worker_threads=1, worker_timeout=200)


class Player:
    """Plays messages.

    Parameters
    ----------
    url, improviser, limits : see make_worker

    Attributes
    ----------
    connection : redis.Redis
    glance : the same, for questions within a batch; it never tries again, for the music must not wait
    broker : where what is to be played alone goes
    """

    def __init__(self, url, improviser, limits):
        self.connection, self.glance, self.broker = connect(url), connect(url, tries=0), make_broker(url)
        self.improviser, self.limits = improviser, limits

    def perform(self, rows):
        """Play what is still wanted of a message: Parcels as plain values."""
        parcels = self._wanted([Parcel.from_plain(row) for row in rows], "playing")
        tries = self.connection.mget([key("tries", parcel.id) for parcel in parcels]) if len(parcels) > 1 else []
        if any(int(count or 0) > 0 for count in tries):
            self._send_on(parcels)  # a worker has ended while it played them
        elif parcels := self._within_tries(parcels):
            self._play(parcels)

    def _wanted(self, parcels, *but):
        """Those that nobody has cancelled, nor any worker played, or ("playing") plays: a server that starts sends them anew."""
        pipe = self.connection.pipeline(transaction=False)
        for parcel in parcels:
            pipe.exists(*(key(kind, parcel.id) for kind in ("result", "cancel", *but)))
        return [parcel for parcel, over in zip(parcels, pipe.execute()) if not over]

    def _within_tries(self, parcels):
        """Count one more try of each: those that have not had too many; the others fail."""
        pipe = self.connection.pipeline(transaction=False)
        for parcel in parcels:
            pipe.incr(key("tries", parcel.id)).expire(key("tries", parcel.id), RESULT_S)
            pipe.set(key("playing", parcel.id), 1, px=PLAYING_MS)
        tries = pipe.execute()[::3]
        for parcel, count in zip(parcels, tries):
            if count > self.limits.tries:
                self._leave(parcel.id, {"error": "It ended the worker each time it was tried."})
        return [parcel for parcel, count in zip(parcels, tries) if count <= self.limits.tries]

    def _give_tries_back(self, parcels):
        """They ended no worker. Where Redis isn't told, what was played matters more."""
        pipe = self.connection.pipeline(transaction=False)
        for parcel in parcels:
            pipe.decr(key("tries", parcel.id)).expire(key("tries", parcel.id), RESULT_S).delete(key("playing", parcel.id))
        try:
            pipe.execute()
        except redis.RedisError as error:
            log.warning("Redis: %s; the tries stand", error)

    def _try(self, parcels):
        """As worker.play; however that ends, the worker has outlived it."""
        try:
            return play(self.improviser, parcels, self.limits, self._still_wanted)
        finally:
            self._give_tries_back(parcels)

    def _play(self, parcels):
        try:
            solos = self._try(parcels)
        except Stopped:
            return
        except Exception as error:
            if len(parcels) == 1:
                self._leave(parcels[0].id, {"error": reason(parcels[0].id, error)})
            else:
                log.warning("a batch failed (%r): its jobs one by one", error)
                self._send_on(parcels)
            return
        finally:
            give_back_memory()
        wanted = {parcel.id for parcel in self._wanted(parcels)}
        for parcel, solo in zip(parcels, solos):
            if parcel.id in wanted:
                self._leave(parcel.id, as_values(solo))

    def _still_wanted(self, shares):
        """Tell how far they are; False where all are cancelled. A Redis that is away for a moment ends nothing."""
        pipe = self.glance.pipeline(transaction=False)
        for job_id, share in shares.items():
            pipe.set(key("progress", job_id), share, ex=RESULT_S).exists(key("cancel", job_id))
            pipe.set(key("playing", job_id), 1, px=PLAYING_MS)
        try:
            return not all(pipe.execute()[1::3])
        except redis.RedisError as error:
            log.warning("Redis: %s; playing on", error)
            return True

    def _leave(self, job_id, answer):
        """The first answer of a job stays."""
        self.connection.set(key("result", job_id), json.dumps(answer), nx=True, ex=RESULT_S)

    def _send_on(self, parcels):
        for parcel in parcels:
            send(self.broker, [parcel])
