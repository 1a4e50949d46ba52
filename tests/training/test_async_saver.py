"""Saving beside training."""

import threading

from lib.training.run import AsyncSaver


def test_where_no_thread_can_be_started_it_saves_all_the_same(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    saver, written = AsyncSaver(), []
    saver.start(3, lambda: written.append(3))
    saver.wait()
    assert written == [3] and saver.durable == 3
