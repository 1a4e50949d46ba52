"""What hands jobs on to workers, over a Redis that is made up here."""

import pytest
from serving import until

pytest.importorskip("dramatiq", reason="dramatiq is not installed (pip install -r requirements-serve.txt)")
from lib.apps.server import redis_queue  # noqa: E402
from lib.apps.server.jobs import Jobs  # noqa: E402
from lib.apps.server.limits import Limits  # noqa: E402
from lib.apps.server.metrics import Metrics  # noqa: E402
from lib.apps.server.orders import Work  # noqa: E402
from lib.apps.server.studio import Studio  # noqa: E402
from lib.generation.request import GenerateRequest  # noqa: E402

redis = redis_queue.redis


class Redis:
    """One that has played nothing, where a message waits, and whose second message is lost with the connection."""

    namespace, broker_id, waiting = "of the tests", "this", 1

    def __init__(self):
        self.sent, self.calls = [], 0

    def mget(self, keys):
        return [None] * len(keys)

    def llen(self, name):
        return self.waiting

    def zrangebyscore(self, *words):
        return ["this", "a worker", "another"]

    def enqueue(self, message):
        self.calls += 1
        if self.calls == 2:
            raise redis.ConnectionError("gone")
        self.sent.append([row[0] for row in message.args[0]])


def works(count, **values):
    """So many of like shape."""
    return [Work(GenerateRequest(seed=seed, **{"seconds": 2.0, "num_steps": 4, **values})) for seed in range(count)]


def test_a_redis_that_goes_away_midway_loses_no_job_and_each_worker_gets_a_share(tmp_path, monkeypatch):
    there, jobs = Redis(), Jobs(tmp_path, Limits())
    monkeypatch.setattr(redis_queue, "connect", lambda url: there)
    monkeypatch.setattr(redis_queue, "make_broker", lambda url: there)
    ids = [jobs.add(work).id for work in works(7)]
    dispatcher = redis_queue.Dispatcher(jobs, None, Metrics(jobs), "redis://")
    dispatcher.start()
    assert until(lambda: sum(map(len, there.sent)) == 7)
    dispatcher.stop()
    assert sorted(sum(there.sent, [])) == sorted(ids)
    assert sorted(map(len, there.sent)) == [1, 1, 1, 4], "half of them each; the half that was lost is sent again one by one"
    jobs.close()


def test_a_job_that_waited_long_is_not_sent_again_and_a_silent_one_is(tmp_path, monkeypatch):
    there, jobs = Redis(), Jobs(tmp_path, Limits())
    monkeypatch.setattr(redis_queue, "connect", lambda url: there)
    monkeypatch.setattr(redis_queue, "make_broker", lambda url: there)
    job_id = jobs.add(works(1)[0]).id
    dispatcher = redis_queue.Dispatcher(jobs, None, Metrics(jobs), "redis://")
    dispatcher._hand_on()

    def fetch_after_long_silence():
        dispatcher._sent[job_id].heard_s -= 2 * Limits().job_s
        dispatcher._fetch()

    fetch_after_long_silence()
    there.waiting = 0
    dispatcher._fetch()
    assert there.sent == [[job_id]], "a worker has only just taken it"
    with pytest.raises(redis.ConnectionError):
        fetch_after_long_silence()
    there.waiting = 1
    dispatcher._fetch()
    assert there.sent == [[job_id]] * 2, "what was lost doesn't wait for an empty queue"
    jobs.close()


def test_a_server_that_is_killed_again_and_again_blames_no_job_of_the_workers(tmp_path, finished, monkeypatch):
    for name in ("connect", "make_broker"):
        monkeypatch.setattr(redis_queue, name, lambda url: Redis())
    job_id = None
    for _ in range(Limits().tries + 2):
        jobs = Studio(tmp_path, finished, device="cpu", queue="redis://").jobs
        job_id = job_id or jobs.add(Work(GenerateRequest())).id
        assert [job.id for job in jobs.take()] == [job_id]
        jobs.close()


def test_a_password_is_not_shown():
    assert redis_queue.without_password("redis://:secret@host:6379/0") == "redis://host:6379/0"
    assert redis_queue.without_password("redis://host:6379/0") == "redis://host:6379/0"
