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
from lib.apps.cli.serve import worker  # noqa: E402
from lib.apps.server import redis_queue, redis_worker  # noqa: E402
from lib.apps.server import worker as playing  # noqa: E402
from lib.apps.server.jobs import Jobs  # noqa: E402
from lib.apps.server.limits import Limits  # noqa: E402
from lib.apps.server.metrics import Metrics  # noqa: E402
from lib.apps.server.results import Results  # noqa: E402
from lib.apps.server.schemas import Work  # noqa: E402
from lib.generation.generate import load_improviser  # noqa: E402
from lib.generation.request import GenerateRequest  # noqa: E402

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
    """So many of like shape."""
    return [Work(GenerateRequest(seed=seed, **{"seconds": 2.0, "num_steps": 4, **values})) for seed in range(count)]


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
def player(queue, improviser, played):
    """A worker's hands, in this process."""
    player = redis_worker.Player(queue, improviser, Limits(tries=2))
    player.played = played
    yield player
    for connection in (player.client, player.quick):
        connection.close()


def job_id(seed):
    return f"{seed:032x}"


def rows_of(*works):
    return [redis_queue.Parcel(job_id(work.request.seed), work.to_json(), work.midi).as_plain() for work in works]


@contextlib.contextmanager
def dispatching(jobs, queue, folder):
    dispatcher = redis_queue.Dispatcher(jobs, Results(folder / "results"), Metrics(jobs), queue)
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        dispatcher.stop()


@contextlib.contextmanager
def working(queue, improviser):
    worker = redis_worker.make_worker(queue, improviser, Limits())
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def test_jobs_of_like_shape_share_a_batch_with_one_worker(queue, improviser, played, tmp_path):
    jobs = Jobs(tmp_path, Limits())
    ids = [jobs.add(work).id for work in [*works(5), *works(3, seconds=8.0)]]
    with working(queue, improviser), dispatching(jobs, queue, tmp_path) as dispatcher:
        assert until(lambda: all(jobs.find(job_id).state == "done" for job_id in ids), 60)
    assert played == [[0, 1, 2, 3, 4], [0, 1, 2]], "eight jobs, two batches"
    assert "mehldau_batch_jobs_sum 8.0" in dispatcher.metrics.text().decode()
    assert len(list((tmp_path / "results").glob("*.json"))) == 8
    jobs.close()


def test_one_that_fails_in_company_is_played_alone(queue, improviser, played, tmp_path):
    jobs = Jobs(tmp_path, Limits())
    bad, good = Work(GenerateRequest(seed=0, seconds=2.0, num_steps=4, style="Nobody Known")), works(2)[1]
    ids = [jobs.add(work).id for work in (bad, good)]
    with working(queue, improviser), dispatching(jobs, queue, tmp_path):
        assert until(lambda: all(jobs.find(job_id).state in ("done", "failed") for job_id in ids), 60)
    failed, done = (jobs.find(job_id) for job_id in ids)
    assert "Nobody Known" in failed.error and done.state == "done" and played[0] == [0, 1]
    jobs.close()


def test_a_queue_that_redis_forgot_is_sent_again(queue, improviser, played, tmp_path, monkeypatch):
    monkeypatch.setattr(redis_queue, "LOST_S", 0.3)
    jobs = Jobs(tmp_path, Limits())
    job = jobs.add(works(1)[0])
    with dispatching(jobs, queue, tmp_path) as dispatcher:
        assert until(lambda: any(batch.message for batch in dispatcher._sent))
        dispatcher.redis.flushall()
        with working(queue, improviser):
            assert until(lambda: jobs.find(job.id).state == "done", 60)
    jobs.close()


def test_a_worker_that_ends_gives_its_batch_to_another(queue, improviser, played, tmp_path):
    jobs = Jobs(tmp_path, Limits())
    job = jobs.add(works(1, seconds=170.0, num_steps=100)[0])
    with dispatching(jobs, queue, tmp_path) as dispatcher:
        with working(queue, improviser):
            assert until(lambda: dispatcher.progress.get(job.id), 60)
        assert played == [[0]] and jobs.find(job.id).state == "running", "it was interrupted"
        with working(queue, improviser):
            assert until(lambda: len(played) == 2, 60)
            jobs.cancel(job.id)
    jobs.close()


def test_a_cancelled_job_ends_no_other_and_all_cancelled_end_the_batch(player, monkeypatch):
    monkeypatch.setattr(playing, "LOOK_EVERY_S", 0.0)
    look, looks = player._still_wanted, []

    def cancelling(batch_id, shares):
        looks.append(dict(shares))
        redis_queue.post(player.client, redis_queue.CANCELLED, batch_id, [job_id(seed) for seed in player.cancelled])
        return look(batch_id, shares)

    monkeypatch.setattr(player, "_still_wanted", cancelling)
    player.cancelled = [0]
    answers = player.perform("one", rows_of(*works(2)))
    assert answers[job_id(1)]["midi"] and len(looks) >= 4
    assert redis_queue.read(player.client, redis_queue.PROGRESS, "one")[job_id(1)] > 0.5
    looks.clear()
    player.cancelled = [0, 1]
    assert player.perform("both", rows_of(*works(2))) == {} and len(looks) == 1
    assert player.perform("both", rows_of(*works(2))) == {} and len(player.played) == 2, "nobody wants it any more"


def test_what_workers_die_with_is_played_alone_and_not_for_ever(player):
    def die_with(batch_id, *works):
        def die(*words):
            raise SystemExit

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(player, "_play", die)
            patch.setattr(player.counters, "decr", lambda *words: None)  # a dead process counts nothing back
            with contextlib.suppress(SystemExit):
                return player.perform(batch_id, rows_of(*works))

    batch = works(2)
    die_with("batch", *batch)
    with pytest.raises(redis_worker.InCompany):
        player.perform("batch", rows_of(*batch))
    assert not player.played and player.perform("alone", rows_of(batch[0]))[job_id(0)]["midi"]
    for _ in range(2):
        die_with("poison", batch[1])
    assert "each time it was tried" in player.perform("poison", rows_of(batch[1]))[job_id(1)]["error"]
    assert player.played == [[0]]


def test_a_worker_that_outlives_a_job_is_not_counted(player):
    good, bad = works(2)[1], Work(GenerateRequest(seed=0, seconds=2.0, num_steps=4, style="Nobody Known"))
    for _ in range(4):
        with pytest.raises(redis_worker.InCompany):
            player.perform("batch", rows_of(bad, good))
    assert player.played == [[0, 1]] * 4, "it never came to be tried too often"


def test_a_redis_that_is_away_for_a_moment_costs_no_solo(port, tmp_path):
    with redis_server(port, tmp_path) as address:
        player = redis_worker.Player(address, None, Limits())
    message = redis_queue.dramatiq.Message(redis_queue.QUEUE, redis_queue.ACTOR, (), {}, {})
    calls = [
        lambda: redis_queue.post(player.client, redis_queue.PROGRESS, "batch", {"job": 0.5}),
        lambda: redis_queue.read(player.client, redis_queue.CANCELLED, "batch"),
        lambda: player.counters.incr("key", 1, 2, 1000),
        lambda: player.broker.enqueue(message),
    ]
    with ThreadPoolExecutor(len(calls)) as hands:
        began_s = time.monotonic()
        assert player._still_wanted("batch", {"job": 0.5}) and time.monotonic() - began_s < 1.0, "the music doesn't wait"
        waiting_calls = [hands.submit(call) for call in calls]
        time.sleep(0.3)
        assert not any(call.done() for call in waiting_calls)
        with redis_server(port, tmp_path):
            for call in waiting_calls:
                call.result()
            assert player.broker.do_qsize(redis_queue.QUEUE) == 1
            for connection in (player.client, player.quick):
                connection.close()


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

    monkeypatch.setattr(redis_worker, "make_worker", lambda *_: Playing())
    monkeypatch.setattr("lib.generation.generate.load_improviser", lambda *_: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        worker("redis://")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert Playing.told == ["stop"]
