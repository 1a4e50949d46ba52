"""Workers over a real Redis: three of them, one killed in the middle, and every job has one result."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from command_line import lib
from serving import ROOT, free_port, serving, wait_for

pytest.importorskip("dramatiq", reason="dramatiq is not installed (pip install -r requirements-serve.txt)")
from lib.commands.serve import worker  # noqa: E402
from lib.config import GenerateRequest  # noqa: E402
from lib.serve import redis_queue  # noqa: E402
from lib.serve.jobs import Jobs  # noqa: E402
from lib.serve.limits import Limits  # noqa: E402
from lib.serve.orders import Work  # noqa: E402
from lib.serve.studio import Studio  # noqa: E402

redis = redis_queue.redis
ORDER = {"seconds": 4, "num_steps": 100, "chords": "Dm7 G7 | Cmaj7"}


@pytest.fixture
def queue(tmp_path):
    """The address of a Redis of its own."""
    if not shutil.which("redis-server"):
        pytest.skip("there is no redis-server on this machine (apt install redis-server)")
    port = free_port()
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait()


@pytest.fixture
def workers(queue, finished):
    """Three, that play already."""
    command = [sys.executable, "-m", "lib", "worker", "--queue", queue, "--run", str(finished), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert all("playing for" in process.stdout.readline() for process in started)
    yield started
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.slow
def test_three_workers_one_killed(queue, workers, finished, tmp_path):
    with serving(finished, tmp_path / "serve", "--queue", queue) as (_, client):
        jobs = [client.post("/v1/solos", json={**ORDER, "seed": seed}).json() for seed in range(12)]
        wait_for(client, jobs[0], 120)
        workers[0].kill()
        ended = [wait_for(client, job, 180) for job in jobs]
        results = [client.get(f"/v1/solos/{job['id']}.json").json() for job in ended]
    assert not redis_queue.connect(queue).keys(redis_queue.key("result", "*")), "they are the server's now"
    assert [job["state"] for job in ended] == ["done"] * 12 and [r["request"]["seed"] for r in results] == [*range(12)]
    assert len(list((tmp_path / "serve" / "results").iterdir())) == 12


@pytest.mark.slow
def test_cancel_reaches_a_worker_and_faults_come_back(queue, workers, finished, tmp_path):
    with serving(finished, tmp_path / "serve", "--queue", queue) as (_, client):
        long = [client.post("/v1/solos", json={**ORDER, "seconds": 180, "num_candidates": 8, "seed": n}).json() for n in range(3)]
        while not all(client.get(job["links"]["self"]).json()["progress"] for job in long):
            time.sleep(0.1)
        for job in long:
            assert client.delete(job["links"]["self"]).json()["state"] == "cancelled"
        assert wait_for(client, client.post("/v1/solos", json=ORDER).json(), 60)["state"] == "done", "all three were busy"


def test_a_redis_that_is_not_there_is_said(finished):
    refused = lib("worker", "--queue", f"redis://127.0.0.1:{free_port()}/0", "--run", finished, check=2)
    assert "--queue redis://127.0.0.1" in refused.stderr


class Redis:
    """One that has nothing, and whose second message is lost with the connection."""

    namespace = "of the tests"

    def __init__(self):
        self.sent, self.calls = [], 0

    def mget(self, keys):
        return [None] * len(keys)

    def llen(self, name):
        return 0

    def enqueue(self, message):
        self.calls += 1
        if self.calls == 2:
            raise redis.ConnectionError("gone")
        self.sent.append(message.args[0])


def test_a_redis_that_goes_away_midway_loses_no_job(tmp_path, monkeypatch):
    there, jobs = Redis(), Jobs(tmp_path, Limits())
    monkeypatch.setattr(redis_queue, "connect", lambda url: there)
    monkeypatch.setattr(redis_queue, "make_broker", lambda url: there)
    ids = [jobs.add(Work(GenerateRequest(seed=seed))).id for seed in range(4)]
    dispatcher = redis_queue.Dispatcher(jobs, None, None, "redis://")
    dispatcher.start()
    until_s = time.monotonic() + 10
    while there.calls < 5 and time.monotonic() < until_s:
        time.sleep(0.05)
    dispatcher.stop()
    assert sorted(there.sent) == sorted(ids)
    jobs.close()


def test_a_worker_plays_until_it_is_told_to_end(monkeypatch, tmp_path):
    class Playing:
        told = []

        def start(self):
            os.kill(os.getpid(), signal.SIGTERM)  # at once: it must not be missed

        def stop(self):
            self.told.append("stop")

    monkeypatch.setattr(redis_queue, "make_worker", lambda *_: Playing())
    monkeypatch.setattr("lib.generate.load_improviser", lambda *_: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        worker("redis://")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert Playing.told == ["stop"]


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
    from lib.serve.redis_queue import without_password

    assert without_password("redis://:secret@host:6379/0") == "redis://host:6379/0"
    assert without_password("redis://host:6379/0") == "redis://host:6379/0"
