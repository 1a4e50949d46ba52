"""What hands jobs on to workers, over a Redis that is made up here."""

import pytest
from serving import until

pytest.importorskip("dramatiq", reason="dramatiq is not installed (pip install -r requirements-serve.txt)")
from lib.apps.server import redis_queue  # noqa: E402
from lib.apps.server.jobs import Jobs  # noqa: E402
from lib.apps.server.limits import Limits  # noqa: E402
from lib.apps.server.metrics import Metrics  # noqa: E402
from lib.apps.server.schemas import Work  # noqa: E402
from lib.apps.server.service import Service  # noqa: E402
from lib.generation.request import GenerateRequest  # noqa: E402

redis = redis_queue.redis


class Redis:
    """One whose second message is lost with the connection, and which two workers are connected to."""

    def __init__(self):
        self.sent, self.calls = [], 0

    def client_list(self):
        names = ["", f"{redis_queue.WORKER_NAME}a", f"{redis_queue.WORKER_NAME}b", f"{redis_queue.WORKER_NAME}b"]
        return [{"name": name} for name in names]

    def do_qsize(self, name):
        return 1

    def enqueue(self, message):
        self.calls += 1
        if self.calls == 2:
            raise redis.ConnectionError("gone")
        self.sent.append([row[0] for row in message.args[1]])

    def lindex(self, key, index):
        return None

    def close(self):
        pass


def works(count, **values):
    """So many of like shape."""
    return [Work(GenerateRequest(seed=seed, **{"seconds": 2.0, "num_steps": 4, **values})) for seed in range(count)]


def test_a_redis_that_goes_away_midway_loses_no_job_and_each_worker_gets_a_share(tmp_path, monkeypatch):
    there, jobs = Redis(), Jobs(tmp_path, Limits())
    monkeypatch.setattr(redis_queue, "connect", lambda url: there)
    monkeypatch.setattr(redis_queue, "make_broker", lambda client, limits: there)
    ids = [jobs.add(work).id for work in works(7)]
    dispatcher = redis_queue.Dispatcher(jobs, None, Metrics(jobs), "redis://")
    dispatcher.start()
    assert until(lambda: sum(map(len, there.sent)) == 7)
    dispatcher.stop()
    assert sorted(sum(there.sent, [])) == sorted(ids)
    assert list(map(len, there.sent)) == [4, 3], "half of them each"
    jobs.close()


def test_a_server_that_is_killed_again_and_again_blames_no_job_of_the_workers(tmp_path, finished, monkeypatch):
    monkeypatch.setattr(redis_queue, "connect", lambda url: Redis())
    monkeypatch.setattr(redis_queue, "make_broker", lambda client, limits: Redis())
    job_id = None
    for _ in range(Limits().tries + 2):
        jobs = Service(tmp_path, finished, device="cpu", queue="redis://").jobs
        job_id = job_id or jobs.add(Work(GenerateRequest())).id
        assert [job.id for job in jobs.take()] == [job_id]
        jobs.close()


def test_a_password_is_not_shown():
    assert redis_queue.without_password("redis://:secret@host:6379/0") == "redis://host:6379/0"
    assert redis_queue.without_password("redis://host:6379/0") == "redis://host:6379/0"
