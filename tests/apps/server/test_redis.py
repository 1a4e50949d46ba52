"""Workers over a real Redis: three of them, one killed in the middle, and every job has one result; batches of like shape."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from command_line import lib
from serving import ROOT, free_port, serving, until, wait_for

pytest.importorskip("dramatiq", reason="dramatiq is not installed (pip install -r requirements-serve.txt)")
from prometheus_client import generate_latest  # noqa: E402

from lib.apps.cli.sharing import worker  # noqa: E402
from lib.apps.server import dispatcher as playing  # noqa: E402
from lib.apps.server import redis_queue  # noqa: E402
from lib.apps.server.dispatcher import Dispatcher, JobFailed, Player, Stopped  # noqa: E402
from lib.apps.server.jobs import Jobs  # noqa: E402
from lib.apps.server.limits import Limits  # noqa: E402
from lib.apps.server.schemas import SoloOrder, write_order  # noqa: E402
from lib.apps.server.service import Service  # noqa: E402
from lib.generation.bulk import SoloStore  # noqa: E402
from lib.generation.generate import load_improviser  # noqa: E402

redis = redis_queue.redis
ORDER = {"seconds": 4, "num_steps": 100, "chords": "Dm7 G7 | Cmaj7"}


def is_there(address):
    with redis.Redis.from_url(address) as connection, contextlib.suppress(redis.ConnectionError):
        return connection.ping()


@contextlib.contextmanager
def redis_server(port, folder):
    """The address of a Redis of its own, that forgets."""
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    address = f"redis://127.0.0.1:{port}/0"
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            assert until(lambda: is_there(address))
            yield address
        finally:
            process.terminate()


@pytest.fixture
def port():
    """Of the Redis."""
    if not shutil.which("redis-server"):
        pytest.skip("there is no redis-server on this machine (apt install redis-server)")
    return free_port()


@pytest.fixture
def queue(port, tmp_path):
    """The address of a Redis."""
    with redis_server(port, tmp_path) as address:
        yield address


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
    assert [job["state"] for job in ended] == ["done"] * 12 and [r["request"]["seed"] for r in results] == [*range(12)]
    assert len(list((tmp_path / "serve" / "results").glob("*.json"))) == 12


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


def works(count, **values):
    """job id -> what is stored of it, so many of like shape."""
    orders = (SoloOrder(seed=seed, **{"seconds": 2.0, "num_steps": 4, **values}) for seed in range(count))
    return {job_id(order.seed): write_order(order) for order in orders}


def add(jobs, works, shape="alike"):
    """The ids of the jobs that are made of works."""
    return [jobs.add(work, shape, 1).id for work in works.values()]


@pytest.fixture
def played(monkeypatch):
    """The seeds of each batch that goes through the model."""
    seeds, generate_many = [], playing.generate_many

    def counting(improviser, orders):
        seeds.append([order.request.seed for order in orders])
        return generate_many(improviser, orders)

    monkeypatch.setattr(playing, "generate_many", counting)
    return seeds


@pytest.fixture
def improviser(finished):
    return load_improviser(finished, device="cpu")


@pytest.fixture
def worker_side(queue, improviser, played):
    """What a worker does with messages, in this process."""
    side = redis_queue.QueueWorker(queue, Player(improviser, Limits(tries=2)))
    yield side
    for connection in (side.client, side.quick):
        connection.close()


def job_id(seed):
    return f"{seed:032x}"


@contextlib.contextmanager
def dispatching(jobs, queue, folder):
    player = redis_queue.RemotePlayer(queue, Limits())
    dispatcher = Dispatcher(jobs, SoloStore(folder / "results"), player)
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        dispatcher.stop()
        player.client.close()


@contextlib.contextmanager
def working(queue, improviser):
    worker = redis_queue.make_worker(queue, Player(improviser, Limits()))
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def test_jobs_of_like_shape_share_a_batch_with_one_worker(queue, improviser, played, tmp_path):
    jobs = Jobs(tmp_path, Limits())
    ids = [*add(jobs, works(5)), *add(jobs, works(3, seconds=8.0), "longer")]
    with working(queue, improviser), dispatching(jobs, queue, tmp_path) as dispatcher:
        assert until(lambda: all(jobs.find(job_id).state == "done" for job_id in ids), 60)
    assert played == [[0, 1, 2, 3, 4], [0, 1, 2]], "eight jobs, two batches"
    assert "mehldau_batch_jobs_sum 8.0" in generate_latest(dispatcher.metrics.registry).decode()
    assert len(list((tmp_path / "results").glob("*.json"))) == 8
    jobs.close()


def test_one_that_fails_in_company_is_played_alone(queue, improviser, played, tmp_path):
    jobs = Jobs(tmp_path, Limits())
    ids = add(jobs, {**works(2), **works(1, style="Nobody Known")})
    with working(queue, improviser), dispatching(jobs, queue, tmp_path):
        assert until(lambda: all(jobs.find(job_id).state in ("done", "failed") for job_id in ids), 60)
    failed, done = (jobs.find(job_id) for job_id in ids)
    assert "Nobody Known" in failed.error and done.state == "done" and played[0] == [0, 1]
    jobs.close()


def test_a_queue_that_redis_forgot_is_sent_again(queue, improviser, played, tmp_path, monkeypatch):
    monkeypatch.setattr(redis_queue, "LOST_S", 0.3)
    jobs = Jobs(tmp_path, Limits())
    (only,) = add(jobs, works(1))
    with dispatching(jobs, queue, tmp_path) as dispatcher:
        assert until(lambda: dispatcher.player.broker.do_qsize(redis_queue.QUEUE) == 1)
        dispatcher.player.client.flushall()
        with working(queue, improviser):
            assert until(lambda: jobs.find(only).state == "done", 60)
    jobs.close()


def test_a_worker_that_ends_gives_its_batch_to_another(queue, improviser, played, tmp_path):
    jobs = Jobs(tmp_path, Limits())
    (only,) = add(jobs, works(1, seconds=170.0, num_steps=100))
    with dispatching(jobs, queue, tmp_path) as dispatcher:
        with working(queue, improviser):
            assert until(lambda: dispatcher.progress.get(only), 60)
        assert played == [[0]] and jobs.find(only).state == "running", "it was interrupted"
        with working(queue, improviser):
            assert until(lambda: len(played) == 2, 60)
            jobs.end(only, "cancelled")
    jobs.close()


def test_a_server_that_ends_has_its_batch_again(queue, improviser, played, tmp_path):
    jobs = Jobs(tmp_path, Limits())
    (only,) = add(jobs, works(1, seconds=170.0, num_steps=100))
    with working(queue, improviser):
        with dispatching(jobs, queue, tmp_path) as dispatcher:
            assert until(lambda: dispatcher.progress.get(only), 60)
        assert jobs.find(only).state == "queued" and jobs.find(only).tries == 0
        with dispatching(jobs, queue, tmp_path):
            assert until(lambda: len(played) == 2, 60), "the worker had given up what nobody waited for"
            jobs.end(only, "cancelled")
    jobs.close()


def test_what_is_cancelled_ends_the_batch(worker_side, monkeypatch, played):
    monkeypatch.setattr(playing, "LOOK_EVERY_S", 0.0)
    shares = [0.0]
    assert worker_side.perform("one", works(2))[job_id(1)]["midi"]
    assert redis_queue.read(worker_side.client, redis_queue.PROGRESS, "one")[job_id(1)] > 0.5
    look = worker_side._is_wanted

    def cancelling(message_id, told):
        redis_queue.post(worker_side.client, redis_queue.CANCELLED, message_id, True)
        shares.append(max(told.values()))
        return look(message_id, told)

    monkeypatch.setattr(worker_side, "_is_wanted", cancelling)
    assert worker_side.perform("both", works(2)) == {} and len(shares) == 2
    assert worker_side.perform("both", works(2)) == {} and len(played) == 2, "nobody wants it any more"


def test_what_workers_die_with_is_not_played_for_ever(worker_side, played):
    def die(*words):
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_side.player, "play", die)
        patch.setattr(worker_side.counters, "decr", lambda *words: None)  # a dead process counts nothing back
        with pytest.raises(SystemExit):
            worker_side.perform("batch", works(2))
    assert worker_side.perform("batch", works(2)) == {} and not played
    assert worker_side.perform("alone", works(1))[job_id(0)]["midi"] and played == [[0]]


def test_what_ends_its_workers_is_tried_alone_three_times(queue, monkeypatch):
    player, sizes = redis_queue.RemotePlayer(queue, Limits()), []
    monkeypatch.setattr(player, "_answer", lambda works, wanted: sizes.append(len(works)) or {})
    for count in (2, 1):
        with pytest.raises(JobFailed, match="each time it was tried"):
            player.play(works(count), lambda shares: True)
    assert sizes == [2, 1, 1, 1]
    player.client.close()


def test_a_worker_outlives_a_job_that_fails(worker_side, played):
    for _ in range(4):
        assert "Nobody Known" in worker_side.perform("batch", {**works(2), **works(1, style="Nobody Known")})["error"]
    assert played == [[0, 1]] * 4, "it never came to be tried too often"


def test_a_redis_that_is_away_for_a_moment_costs_no_solo(port, tmp_path):
    with redis_server(port, tmp_path) as address:
        side = redis_queue.QueueWorker(address, Player(None, Limits()))
    message = redis_queue.dramatiq.Message(redis_queue.QUEUE, redis_queue.ACTOR, (), {}, {})
    calls = [
        lambda: redis_queue.post(side.client, redis_queue.PROGRESS, "batch", {"job": 0.5}),
        lambda: redis_queue.read(side.client, redis_queue.CANCELLED, "batch"),
        lambda: side.counters.incr("key", 1, 2, 1000),
        lambda: side.broker.enqueue(message),
    ]
    with ThreadPoolExecutor(len(calls)) as hands:
        began_s = time.monotonic()
        assert side._is_wanted("batch", {"job": 0.5}) and time.monotonic() - began_s < 1.0, "the music doesn't wait"
        waiting_calls = [hands.submit(call) for call in calls]
        time.sleep(0.3)
        assert not any(call.done() for call in waiting_calls)
        with redis_server(port, tmp_path):
            for call in waiting_calls:
                call.result()
            assert side.broker.do_qsize(redis_queue.QUEUE) == 1
            for connection in (side.client, side.quick):
                connection.close()


def test_a_server_can_end_while_redis_is_away(port, tmp_path):
    with redis_server(port, tmp_path) as address:
        player = redis_queue.RemotePlayer(address, Limits())
    wanted = iter([True, False])
    with pytest.raises(Stopped):
        player.play(works(1), lambda shares: next(wanted))
    player.client.close()


def test_a_silent_redis_holds_no_broker(queue):
    with redis_queue.connect(queue) as client:
        options = redis_queue.make_broker(client, Limits()).client.connection_pool.connection_kwargs
        assert options["socket_timeout"] == redis_queue.SILENT_S == options["socket_connect_timeout"]


def test_a_worker_plays_until_it_is_told_to_end(monkeypatch, tmp_path):
    class Playing:
        told = []

        def start(self):
            os.kill(os.getpid(), signal.SIGTERM)  # at once: it must not be missed

        def stop(self):
            self.told.append("stop")

    monkeypatch.setattr(redis_queue, "make_worker", lambda *_: Playing())
    monkeypatch.setattr("lib.generation.generate.load_improviser", lambda *_: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        worker("redis://")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert Playing.told == ["stop"]


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
        self.sent.append([*message.args[1]])

    def lindex(self, key, index):
        return None

    def close(self):
        pass


def test_a_redis_that_goes_away_midway_loses_no_job_and_each_worker_gets_a_share(tmp_path, monkeypatch):
    fake, jobs = Redis(), Jobs(tmp_path, Limits())
    monkeypatch.setattr(redis_queue, "connect", lambda url: fake)
    monkeypatch.setattr(redis_queue, "make_broker", lambda client, limits: fake)
    ids = add(jobs, works(7))
    dispatcher = Dispatcher(jobs, SoloStore(tmp_path), redis_queue.RemotePlayer("redis://", Limits()))
    dispatcher.start()
    assert until(lambda: sum(map(len, fake.sent)) == 7)
    dispatcher.stop()
    assert sorted(sum(fake.sent, [])) == sorted(ids)
    assert sorted(map(len, fake.sent)) == [3, 4], "half of them each"
    jobs.close()


def test_a_server_that_is_killed_again_and_again_blames_no_job_of_the_workers(tmp_path, finished, monkeypatch):
    monkeypatch.setattr(redis_queue, "connect", lambda url: Redis())
    monkeypatch.setattr(redis_queue, "make_broker", lambda client, limits: Redis())
    only = None
    for _ in range(Limits().tries + 2):
        jobs = Service(tmp_path, finished, device="cpu", queue="redis://").jobs
        only = only or jobs.add("{}", "", 1).id
        assert [job.id for job in jobs.take()] == [only]
        jobs.close()


def test_a_password_is_not_shown():
    assert redis_queue.without_password("redis://:secret@host:6379/0") == "redis://host:6379/0"
    assert redis_queue.without_password("redis://host:6379/0") == "redis://host:6379/0"
