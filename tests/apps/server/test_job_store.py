"""Jobs on disk: what was accepted is played once, whatever happens to the process."""

import dataclasses
import sqlite3

import pytest
from serving import until

from lib.apps.server.jobs import Jobs, QueueFull
from lib.apps.server.limits import Limits
from lib.apps.server.schemas import Work
from lib.config import ConfigError
from lib.generation.request import GenerateRequest

LIMITS = Limits(queued=4, batch=3, tries=2, kept=2)


@pytest.fixture
def jobs(tmp_path):
    opened = Jobs(tmp_path, LIMITS)
    yield opened
    opened.close()


def work(**wishes):
    return Work(GenerateRequest(**{"seconds": 5.0, **wishes}))


def test_what_is_accepted_comes_back_as_it_was(jobs):
    wishes = work(chords="Dm7 | G7", density=(3.0, 9.0), melody=((0.5, 72),))
    asked = dataclasses.replace(wishes, midi=b"MThd\0", from_s=1.0, to_s=2.0)
    assert jobs.find(jobs.add(asked).id).state == "queued"
    (job,) = jobs.take()
    assert Work.from_json(job.work, job.midi) == asked
    assert jobs.find("0" * 32) is None


def test_like_jobs_are_taken_together_the_oldest_first(jobs):
    ids = [jobs.add(one).id for one in (work(seed=1), work(seconds=50.0), work(seed=2), work(seed=3))]
    assert [job.id for job in jobs.take()] == [ids[0], ids[2], ids[3]]
    assert [job.id for job in jobs.take()] == [ids[1]] and jobs.take() == []
    heavy = [jobs.add(work(seed=seed, num_candidates=2)).id for seed in range(2)]  # 3 candidates go together at most
    assert [len(jobs.take()) for _ in heavy] == [1, 1]


def test_no_more_wait_than_may(jobs):
    for _ in range(4):
        jobs.add(work())
    with pytest.raises(QueueFull):
        jobs.add(work())
    jobs.take()
    jobs.add(work())


def test_a_job_ends_once(jobs):
    done, dropped = jobs.add(work()).id, jobs.add(work()).id
    assert not jobs.finish(done), "it does not run yet"
    jobs.take()
    assert jobs.finish(done) and not jobs.finish(done) and not jobs.cancel(done) and not jobs.fail(done, "no")
    assert jobs.cancel(dropped) and not jobs.finish(dropped)
    assert [jobs.find(i).state for i in (done, dropped)] == ["done", "cancelled"] and jobs.running([done, dropped]) == set()


def test_what_ran_when_the_process_ended_is_queued_again_but_not_for_ever(tmp_path):
    job_id = None
    for state in ("queued", "queued", "failed"):
        jobs = Jobs(tmp_path, LIMITS)
        job_id = job_id or jobs.add(work()).id
        assert jobs.find(job_id).state == state
        jobs.take()
        jobs.close()
    assert "ended the server" in sqlite3.connect(tmp_path / "jobs.sqlite").execute("SELECT error FROM jobs").fetchone()[0]


def test_after_the_process_ended_jobs_are_played_alone(tmp_path):
    jobs = Jobs(tmp_path, LIMITS)
    ids = [jobs.add(work(seed=seed)).id for seed in range(4)]
    assert len(jobs.take()) == 3
    jobs.requeue()
    assert [[job.id for job in jobs.take()] for _ in range(4)] == [[job_id] for job_id in ids]
    jobs.close()


def test_one_server_a_folder(jobs, tmp_path):
    with pytest.raises(ConfigError, match="another server.*--serve-dir"):
        Jobs(tmp_path, LIMITS)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "jobs.sqlite").write_text("no database " * 100)
    with pytest.raises(ConfigError, match=r"jobs\.sqlite can't be read"):
        Jobs(tmp_path, LIMITS)


def test_what_ended_is_forgotten_in_time_and_number(jobs):
    ids = [jobs.add(work(seed=seed)).id for seed in range(4)]
    jobs.take()
    for job_id in ids[:3]:
        jobs.finish(job_id)
    assert jobs.sweep() == ids[:1] and jobs.find(ids[0]) is None  # two are kept
    jobs.limits = dataclasses.replace(LIMITS, ttl_s=-1.0)
    assert set(jobs.sweep()) == set(ids[1:3]) and jobs.find(ids[3]).state == "queued"


def test_a_worker_outlives_a_disk_that_is_full_for_a_while(jobs, monkeypatch):
    from lib.apps.server.worker import Worker

    played, faults = [], ["take", "requeue"]

    def full_once(name, function):
        def call():
            if name in faults:
                faults.remove(name)
                raise sqlite3.OperationalError("database or disk is full")
            return function()

        return call

    for name in ("take", "requeue"):
        monkeypatch.setattr(jobs, name, full_once(name, getattr(jobs, name)))
    worker = Worker(jobs, results=None, improviser=None, metrics=None)
    monkeypatch.setattr(worker, "_play", lambda batch: played.extend(job.id for job in batch))
    job_id = jobs.add(work()).id
    worker.start()
    assert until(lambda: played, 10) and played == [job_id] and worker.is_alive() and not faults
    worker.stop()
