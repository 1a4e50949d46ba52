"""The watchdog's work: a port that comes late, breaks once more, and is silenced in the end."""

from lib.apps.live import midi_output_process
from lib.apps.live.midi_output_process import silence_port
from lib.apps.live.ports import PortError
from lib.apps.live.scheduler import silence


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


def test_it_tries_until_all_has_been_sent(monkeypatch):
    waits, opened, tries = [], [], [None] * 30 + [Port(3), None, Port(999)]
    monkeypatch.setattr(midi_output_process.time, "sleep", waits.append)
    last = tries[-1]

    def open_port(name):
        assert not any(port.is_open for port in opened), "a port that failed is let go of before the next try"
        if (port := tries.pop(0)) is None:
            raise PortError("not there")
        opened.append(port)
        return port

    assert silence_port("Grand", (3,), open_port)
    assert len(opened) == 2 and not any(port.is_open for port in opened)
    assert last.sent == 2 * silence({3}) and not tries
    assert waits[:32] == [midi_output_process.RETRY_S] * 32


def test_it_gives_up_in_the_end(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(midi_output_process.time, "sleep", lambda seconds: now_s.append(now_s[-1] + seconds))
    monkeypatch.setattr(midi_output_process.time, "monotonic", lambda: now_s[-1])

    def nothing(name):
        raise PortError("not there")

    assert not silence_port("Grand", (3,), nothing)
    assert midi_output_process.PATIENCE_S <= now_s[-1] < midi_output_process.PATIENCE_S + 2 * midi_output_process.RETRY_S
