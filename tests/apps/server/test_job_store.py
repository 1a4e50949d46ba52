"""Jobs on disk: what was accepted is played once, whatever happens to the process."""

import dataclasses
import json
import sqlite3
from types import SimpleNamespace

import pytest
from serving import until

from lib.apps.server.dispatcher import Stopped
from lib.apps.server.jobs import Jobs
from lib.apps.server.limits import Limits
from lib.apps.server.schemas import SoloOrder, read_order, write_order
from lib.config import ConfigError

LIMITS = Limits(queued=4, batch=3, tries=2, kept=2)
RESULT = {"midi": ""}


@pytest.fixture
def jobs(tmp_path):
    opened = Jobs(tmp_path, LIMITS)
    yield opened
    opened.close()


def add(jobs, shape="5 s", weight=1):
    return jobs.add("{}", shape, weight).id


def test_what_is_accepted_comes_back_as_it_was(jobs):
    asked = SoloOrder(chords="Dm7 | G7", density=(3.0, 9.0), melody=((0.5, 72),), midi="TVRo", from_s=1.0, to_s=2.0, theme="TVRo")
    assert jobs.find(jobs.add(write_order(asked), "", 1).id).state == "queued"
    (job,) = jobs.take()
    assert read_order(job.work) == asked and jobs.find(job.id).work == ""
    assert jobs.find("0" * 32) is None


def test_a_job_of_an_earlier_version_keeps_its_file(tmp_path):
    jobs = Jobs(tmp_path, LIMITS)
    job_id = jobs.add(json.dumps({"request": {"seconds": 5.0, "told": False}, "from_s": 1.0, "to_s": 2.0}), "", 1).id
    jobs._execute("UPDATE jobs SET midi = ?", b"MThd")
    jobs.close()
    jobs = Jobs(tmp_path, LIMITS)
    (job,) = jobs.take()
    expected = SoloOrder(seconds=5.0, condition_model=False, midi="TVRoZA==", from_s=1.0, to_s=2.0)
    assert job.id == job_id and read_order(job.work) == expected
    jobs.close()


def test_like_jobs_are_taken_together_the_oldest_first(jobs):
    ids = [add(jobs), add(jobs, "50 s"), add(jobs), add(jobs)]
    assert [job.id for job in jobs.take()] == [ids[0], ids[2], ids[3]]
    assert [job.id for job in jobs.take()] == [ids[1]] and jobs.take() == []
    heavy = [add(jobs, weight=2) for _ in range(2)]  # 3 candidates go together at most
    assert [len(jobs.take()) for _ in heavy] == [1, 1]


def test_no_more_wait_than_may(jobs):
    for _ in range(4):
        add(jobs)
    assert jobs.add("{}", "", 1) is None
    jobs.take()
    assert jobs.add("{}", "", 1) is not None


def test_a_job_ends_once(jobs):
    done, dropped = add(jobs), add(jobs)
    assert not jobs.end(done, "done"), "it does not run yet"
    jobs.take()
    assert jobs.end(done, "done") and not any(jobs.end(done, state) for state in ("done", "cancelled", "failed"))
    assert jobs.end(dropped, "cancelled") and not jobs.end(dropped, "done")
    assert [jobs.find(i).state for i in (done, dropped)] == ["done", "cancelled"] and jobs.running([done, dropped]) == set()


def test_what_ran_when_the_process_ended_is_queued_again_but_not_for_ever(tmp_path):
    job_id = None
    for state in ("queued", "queued", "failed"):
        jobs = Jobs(tmp_path, LIMITS)
        job_id = job_id or add(jobs)
        assert jobs.find(job_id).state == state
        jobs.take()
        jobs.close()
    assert "ended the server" in sqlite3.connect(tmp_path / "jobs.sqlite").execute("SELECT error FROM jobs").fetchone()[0]


def test_after_the_process_ended_jobs_are_played_alone(tmp_path):
    jobs = Jobs(tmp_path, LIMITS)
    ids = [add(jobs) for _ in range(4)]
    assert len(jobs.take()) == 3
    jobs.close()
    jobs = Jobs(tmp_path, LIMITS)
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
    ids = [add(jobs) for _ in range(4)]
    jobs.take()
    for job_id in ids[:3]:
        jobs.end(job_id, "done")
    assert jobs.sweep() == ids[:1] and jobs.find(ids[0]) is None  # two are kept
    jobs.limits = dataclasses.replace(LIMITS, ttl_s=-1.0)
    assert set(jobs.sweep()) == set(ids[1:3]) and jobs.find(ids[3]).state == "queued"


def dispatch(jobs, play, kept):
    """A Dispatcher whose player is a function, and whose results are the ids in a list."""
    from lib.apps.server.dispatcher import Dispatcher

    store = SimpleNamespace(facts=lambda job_id: None, write=lambda job_id, midi, facts: kept.append(job_id))
    return Dispatcher(jobs, store, SimpleNamespace(threads=1, room=lambda queued: (1, None), play=play))


def test_a_cancelled_job_ends_no_other_and_all_cancelled_end_the_batch(jobs):
    kept, wanted_by = [], []
    for cancelled in (1, 2):
        ids = [add(jobs), add(jobs)]

        def play(works, wanted, cancelled=ids[:cancelled]):
            for job_id in cancelled:
                jobs.end(job_id, "cancelled")
            wanted_by.append(wanted(dict.fromkeys(works, 0.5)))
            if not wanted_by[-1]:
                raise Stopped
            return dict.fromkeys(works, RESULT)

        dispatcher = dispatch(jobs, play, kept)
        dispatcher.start()
        assert until(lambda: not jobs.count("queued") and not jobs.count("running"), 10)
        dispatcher.stop()
        assert [jobs.find(job_id).state for job_id in ids] == ["cancelled", "done" if cancelled == 1 else "cancelled"]
    assert wanted_by == [True, False] and len(kept) == 1


def test_the_dispatcher_outlives_a_disk_that_is_full_for_a_while(jobs, monkeypatch):
    played, faults = [], ["take", "end", "give_back"]

    def full_once(name, function):
        def call(*words):
            if name in faults:
                faults.remove(name)
                raise sqlite3.OperationalError("database or disk is full")
            return function(*words)

        return call

    for name in faults:
        monkeypatch.setattr(jobs, name, full_once(name, getattr(jobs, name)))
    dispatcher = dispatch(jobs, lambda works, wanted: dict.fromkeys(works, RESULT), played)
    job_id = add(jobs)
    dispatcher.start()
    assert until(lambda: jobs.find(job_id).state == "done", 10) and dispatcher.is_alive() and not faults
    assert played == [job_id] * 2, "what could not be kept was played again"
    dispatcher.stop()
