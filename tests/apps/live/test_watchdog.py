"""The watchdog's work: a port that comes late, breaks once more, and is silenced in the end."""

import pytest

from lib.apps.live import watchdog
from lib.apps.live.messages import SoundingKeys, silence
from lib.apps.live.ports import PortError
from lib.apps.live.watchdog import silence_port


class Port:
    """Takes so many messages; `is_open` until it is closed."""

    def __init__(self, most):
        self.most, self.sent, self.is_open = most, [], True

    def send(self, content):
        if len(self.sent) == self.most:
            raise OSError("gone")
        self.sent.append(content)

    def close(self):
        self.is_open = False


@pytest.fixture
def sounding():
    sounding = SoundingKeys()
    for pitch in (60, 64):
        sounding.update(bytes((0x93, pitch, 80)))
    return sounding


def test_it_tries_until_all_has_been_sent(sounding, monkeypatch):
    waits, opened, tries = [], [], [None] * 30 + [Port(3), None, Port(99)]
    monkeypatch.setattr(watchdog.time, "sleep", waits.append)
    last = tries[-1]

    def open_port(name):
        assert not any(port.is_open for port in opened), "a port that failed is let go of before the next try"
        if (port := tries.pop(0)) is None:
            raise PortError("not there")
        opened.append(port)
        return port

    assert silence_port("Grand", sounding, open_port)
    assert len(opened) == 2 and not any(port.is_open for port in opened)
    assert last.sent == 2 * silence({(3, 60), (3, 64)}, {3}) and not tries
    assert waits[0] == watchdog.FIRST_WAIT_S and waits[30] == watchdog.LONGEST_WAIT_S == max(waits), "later tries are further apart"


def test_it_gives_up_in_the_end(sounding, monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(watchdog.time, "sleep", lambda seconds: now_s.append(now_s[-1] + seconds))
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now_s[-1])

    def nothing(name):
        raise PortError("not there")

    assert not silence_port("Grand", sounding, nothing)
    assert watchdog.PATIENCE_S <= now_s[-1] < watchdog.PATIENCE_S + watchdog.LONGEST_WAIT_S
