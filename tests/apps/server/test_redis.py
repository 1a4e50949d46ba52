"""Workers over a real Redis: three of them, one killed in the middle, and every job has one result; batches of like shape."""

import contextlib
import json
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
from lib.apps.server.orders import Work  # noqa: E402
from lib.apps.server.results import Results  # noqa: E402
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


def works(count, **values):
    """So many of like shape."""
    return [Work(GenerateRequest(seed=seed, **{"seconds": 2.0, "num_steps": 4, **values})) for seed in range(count)]


@pytest.fixture
def player(queue, finished, monkeypatch):
    """A worker's hands, in this process; `played` are the seeds of each batch that went through the model."""
    played, generate_many = [], playing.generate_many

    def counting(improviser, orders):
        played.append([order.request.seed for order in orders])
        return generate_many(improviser, orders)

    monkeypatch.setattr(playing, "generate_many", counting)
    player = redis_worker.Player(queue, load_improviser(finished, device="cpu"), Limits(tries=2))
    player.played = played
    yield player
    for connection in (player.connection, player.glance, player.broker.client):
        connection.close()


def rows_of(*works):
    return [redis_queue.Parcel(f"{work.request.seed:032x}", work.to_json(), work.midi).as_plain() for work in works]


def waiting(player):
    """Messages that wait, as lists of seeds; they are taken out."""
    ids = player.broker.do_fetch(redis_queue.QUEUE, 100)
    messages = [redis_queue.dramatiq.Message.decode(content) for content in ids]
    return [[json.loads(work)["request"]["seed"] for _, work, _ in message.args[0]] for message in messages]


def begin(player, *works):
    """Take jobs, as a worker does."""
    player._within_tries([redis_queue.Parcel.from_plain(row) for row in rows_of(*works)])


def be_killed_with(player, *works):
    begin(player, *works)
    for work in works:
        player.connection.delete(redis_queue.key("playing", f"{work.request.seed:032x}"))  # in time it is over by itself


def answer(player, seed):
    return json.loads(player.connection.get(redis_queue.key("result", f"{seed:032x}")) or "null")


def test_jobs_of_like_shape_share_a_batch_with_one_worker(queue, finished, player, tmp_path):
    jobs = Jobs(tmp_path, Limits())
    ids = [jobs.add(work).id for work in [*works(5), *works(3, seconds=8.0)]]
    dispatcher = redis_queue.Dispatcher(jobs, Results(tmp_path / "results"), Metrics(jobs), queue)
    worker = redis_worker.make_worker(queue, player.improviser, Limits())
    worker.start()
    dispatcher.start()
    try:
        assert until(lambda: all(jobs.find(job_id).state == "done" for job_id in ids), 60)
    finally:
        dispatcher.stop()
        worker.stop()
    assert player.played == [[0, 1, 2, 3, 4], [0, 1, 2]], "eight jobs, two batches"
    assert 'mehldau_batch_jobs_sum 8.0' in dispatcher.metrics.text().decode()
    assert len(list((tmp_path / "results").iterdir())) == 8
    jobs.close()


def test_one_that_fails_in_company_is_tried_alone(player):
    good, bad = works(2)[1], Work(GenerateRequest(seed=0, seconds=2.0, num_steps=4, style="Nobody Known"))
    player.perform(rows_of(bad, good))
    alone = waiting(player)
    assert alone == [[0], [1]] and answer(player, 1) is None
    for work in (bad, good):
        player.perform(rows_of(work))
    assert "Nobody Known" in answer(player, 0)["error"] and answer(player, 1)["notes"] is not None


def test_a_cancelled_job_ends_no_other_and_all_cancelled_end_the_batch(player, monkeypatch):
    monkeypatch.setattr(playing, "LOOK_EVERY_S", 0.0)
    cancel = [redis_queue.key("cancel", f"{seed:032x}") for seed in range(2)]
    look, looks = player._still_wanted, []

    def cancelling(shares):
        looks.append(dict(shares))
        for name in cancel[: 1 + player.both]:
            player.connection.set(name, 1)
        return look(shares)

    monkeypatch.setattr(player, "_still_wanted", cancelling)
    player.both = False
    player.perform(rows_of(*works(2)))
    assert answer(player, 1)["notes"] is not None and len(looks) >= 4 and answer(player, 0) is None
    assert float(player.connection.get(redis_queue.key("progress", f"{1:032x}"))) > 0.5
    player.connection.flushall()
    looks.clear()
    player.both = True
    player.perform(rows_of(*works(2)))
    assert len(looks) == 1 and not player.connection.keys(redis_queue.key("result", "*"))


def test_what_a_worker_was_killed_with_is_played_alone_and_the_first_result_stays(player):
    batch = works(3)
    be_killed_with(player, *batch)
    player.perform(rows_of(*batch))
    assert waiting(player) == [[0], [1], [2]] and not player.played
    player.perform(rows_of(batch[0]))
    first = answer(player, 0)
    player.perform(rows_of(batch[0]))
    player._leave(f"{0:032x}", {"error": "later"})
    assert player.played == [[0]] and answer(player, 0) == first
    be_killed_with(player, batch[1])
    player.perform(rows_of(batch[1]))
    assert "each time it was tried" in answer(player, 1)["error"] and player.played == [[0]]


def test_what_another_worker_plays_now_is_left_to_it_and_blamed_for_nothing(player):
    batch, names = works(2), [redis_queue.key("tries", f"{seed:032x}") for seed in range(2)]
    begin(player, *batch)
    assert 0 < player.connection.pttl(redis_queue.key("playing", f"{0:032x}")) < redis_queue.HEARTBEAT_MS
    for _ in range(3):  # servers that start
        player.perform(rows_of(*batch))
    assert not player.played and not waiting(player) and player.connection.mget(names) == ["1", "1"]
    player.connection.delete(redis_queue.key("playing", f"{0:032x}"))
    player._still_wanted({f"{0:032x}": 0.5})
    player.perform(rows_of(batch[0]))
    assert not player.played, "it plays on"


def test_a_worker_that_outlives_a_job_gives_its_try_back(player):
    good, bad = works(2)[1], Work(GenerateRequest(seed=0, seconds=2.0, num_steps=4, style="Nobody Known"))
    for _ in range(4):
        player.perform(rows_of(bad, good))
    assert waiting(player) == [[0], [1]] * 4 and player.played == [[0, 1]] * 4, "it never came to be tried too often"
    player.perform(rows_of(good))
    assert answer(player, 1)["notes"] is not None


def test_a_redis_that_is_away_for_a_moment_costs_no_solo(port, tmp_path):
    with redis_server(port, tmp_path) as address:
        player = redis_worker.Player(address, None, Limits())
    parcels = [redis_queue.Parcel.from_plain(row) for row in rows_of(*works(2))]
    calls = [lambda: player._leave(parcels[0].id, {"notes": []}), lambda: player._wanted(parcels),
             lambda: player._within_tries(parcels), lambda: player._send_on(parcels)]
    with ThreadPoolExecutor(len(calls)) as hands:
        began_s = time.monotonic()
        assert player._still_wanted({parcels[0].id: 0.5}) and time.monotonic() - began_s < 1.0, "the music doesn't wait"
        waiting_calls = [hands.submit(call) for call in calls]
        time.sleep(0.3)
        assert not any(call.done() for call in waiting_calls)
        with redis_server(port, tmp_path):
            for call in waiting_calls:
                call.result()
            assert answer(player, 0) == {"notes": []} and len(waiting(player)) == 2
            for connection in (player.connection, player.glance, player.broker.client):
                connection.close()


def test_a_silent_redis_holds_no_broker(queue):
    pool = redis_queue.make_broker(queue).client.connection_pool
    assert pool.connection_kwargs["socket_timeout"] == redis_queue.SILENT_S == pool.connection_kwargs["socket_connect_timeout"]
    pool.disconnect()


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
