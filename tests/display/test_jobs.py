"""Work that can be cancelled, and how long it still takes."""

import threading
import time

import pytest

from lib.display.jobs import Cancelled, Job, TimeLeft, format_duration


def test_it_runs_at_once_or_behind():
    threads = []
    for in_background in (False, True):
        assert Job(lambda job: threads.append(threading.current_thread()), in_background).wait(5)
    assert threads[0] is threading.current_thread() and threads[1] is not threads[0]


def test_cancelled_work_ends_where_it_checks():
    ended = []

    def work(job):
        try:
            while True:
                job.check()
                time.sleep(0.01)
        except Cancelled:
            ended.append(True)

    job = Job(work, True)
    assert not job.wait(0.05)
    job.cancel()
    assert job.wait(1.0) and ended and job.cancelled


def test_the_next_waits_for_the_one_before():
    order, go_on = [], threading.Event()

    def first(_):
        go_on.wait(5)
        order.append(1)

    one = Job(first, True)
    two = Job(lambda _: order.append(2), True, one)
    assert not two.wait(0.05)
    go_on.set()
    assert two.wait(5) and order == [1, 2]


def test_time_left_counts_from_the_first_report():
    time_s = [100.0]
    left = TimeLeft(lambda: time_s[0])
    assert left(0.1) == ""
    time_s[0] += 4
    assert left(0.3) == "14 s left"
    time_s[0] += 60
    assert left(0.5) == "1 min 20 s left"


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (135, "2 min 15 s")])
def test_lengths(seconds, words):
    assert format_duration(seconds) == words
