"""What the scheduler does with orders, on a clock that only moves when told."""

import pytest

from lib.apps.live import scheduler
from lib.apps.live.ports import PortError
from lib.apps.live.scheduler import RETRY_S, STALE_S, Scheduler, key, pedal, without_overlap

CLOCK, START, STOP = b"\xf8", b"\xfa", b"\xfc"


def silence(channels):
    """Bytes of the messages that silence channels."""
    return [bytes(message.bin()) for message in scheduler.silence(channels)]


class Port:
    """Keeps what is sent; breaks when told."""

    def __init__(self):
        self.sent, self.broken, self.there, self.has_hung_up = [], False, True, False

    def __call__(self):
        if not self.there:
            raise PortError("not there")
        self.broken = self.has_hung_up = False
        return self

    def send(self, content):
        if self.broken:
            raise OSError("gone")
        self.sent.append(bytes(content.bin()))

    def close(self):
        self.broken = True


class Stage:
    """A scheduler, its port and its time."""

    def __init__(self):
        self.now_s, self.port = 100.0, Port()
        self.scheduler = Scheduler(self.port, (0, 9), lambda: self.now_s)

    def at(self, now_s):
        """Let it be later: what was sent since."""
        before = len(self.port.sent)
        while self.scheduler.due_s is not None and self.scheduler.due_s <= now_s:
            self.now_s = self.scheduler.due_s
            self.scheduler.send_due()
        self.now_s = now_s
        self.scheduler.send_due()
        return self.port.sent[before:]


@pytest.fixture
def stage():
    return Stage()


def test_each_at_its_time_and_each_on_has_its_off(stage):
    stage.scheduler.play([key(101, 102, 60, 80), key(101.5, 101.9, 64, 70, 3), pedal(101, 103)])
    assert stage.at(100.9) == []
    assert stage.at(101.1) == [b"\x90\x3c\x50", b"\xb0\x40\x7f"]
    assert stage.at(101.6) == [b"\x93\x40\x46"]
    assert stage.at(102) == [b"\x83\x40\x40", b"\x80\x3c\x40"]
    assert stage.at(104) == [b"\xb0\x40\x00"] and stage.scheduler.due_s is None
    assert [due_s for due_s, _, _ in stage.scheduler.report()["sent"]] == [101, 101, 101.5, 101.9, 102, 103]


def test_a_key_is_up_before_it_is_struck_at_the_same_time(stage):
    stage.scheduler.play([key(102, 103, 60, 90)])
    stage.scheduler.play([key(101, 102, 60, 80)])
    stage.at(102.5)
    assert stage.port.sent == [b"\x90\x3c\x50", b"\x80\x3c\x40", b"\x90\x3c\x5a"]


def test_clear_lets_go_without_touching_what_others_play(stage):
    stage.scheduler.play([key(101, 110, 60, 80), pedal(101.5, 111), key(105, 106, 62, 80)])
    stage.at(102)
    stage.scheduler.clear()
    assert stage.port.sent[2:] == [b"\x80\x3c\x40", b"\xb0\x40\x00"] and stage.at(120) == []


def test_panic_and_close_silence_everything(stage):
    stage.scheduler.play([key(101, 110, 60, 80), key(101, 110, 62, 80, 9)])
    stage.at(102)
    stage.scheduler.panic()
    assert stage.port.sent[2:] == silence({0, 9}) and stage.scheduler.due_s is None
    assert {b"\x80\x3c\x40", b"\x89\x3e\x40"} < set(silence({0, 9}))
    before = len(stage.port.sent)
    assert stage.scheduler.close()
    assert stage.port.sent[before:] == silence({0, 9}) and stage.port.broken


def test_a_key_that_is_too_late_is_not_struck(stage):
    stage.scheduler.play([key(101, 102, 60, 80)])
    stage.now_s = 101 + STALE_S * 2
    stage.scheduler.send_due()
    assert stage.port.sent == [] and stage.scheduler.due_s is None


def test_a_lost_port_is_silenced_when_it_is_back_and_nothing_stale_is_played(stage):
    stage.scheduler.play([key(101, 110, 60, 80), key(103, 104, 62, 80), key(120, 121, 64, 80)])
    stage.at(102)
    stage.port.broken, stage.port.there = True, False
    stage.at(103.5)
    assert stage.scheduler.port is None and stage.scheduler.report()["lost"] == 1
    stage.scheduler.play([key(104, 105, 65, 80)])
    stage.scheduler.check()
    assert stage.scheduler.port is None and stage.scheduler.due_s is None
    stage.now_s += RETRY_S
    stage.port.there = True
    stage.now_s += 2 * RETRY_S
    before = len(stage.port.sent)
    stage.scheduler.check()
    assert stage.port.sent[before:] == silence({0, 9})
    assert stage.at(130) == []


def test_whoever_closes_while_the_port_is_lost_is_told_so(stage):
    stage.scheduler.play([key(101, 110, 60, 80)])
    stage.at(102)
    stage.port.broken = True
    assert not stage.scheduler.close()


def test_a_loss_that_somebody_else_saw(stage):
    stage.scheduler.play([key(101, 110, 60, 80)])
    stage.at(102)
    stage.scheduler.lose()
    assert stage.scheduler.port is None
    stage.now_s += 2 * RETRY_S
    stage.scheduler.check()
    assert stage.port.sent[1:] == silence({0, 9})


def test_a_port_is_looked_at_and_regained_while_a_clock_ticks(stage):
    stage.scheduler.start_clock(100.0, 0.3)
    stage.at(101.2)
    stage.port.has_hung_up, stage.port.there = True, False
    stage.scheduler.check()
    assert stage.scheduler.port is None and stage.scheduler.num_lost == 1
    stage.port.there = True
    for number in range(600):
        stage.at(101.2 + number / 1000)
        stage.scheduler.check()
    assert stage.scheduler.port is not None and stage.port.sent[-1] == CLOCK


def test_the_clock_ticks_24_times_a_beat_and_stops(stage):
    stage.scheduler.start_clock(101.0, 0.6)
    assert stage.at(101.001) == [START, CLOCK]
    assert stage.at(101.6001) == [CLOCK] * 24
    before = len(stage.port.sent)
    stage.scheduler.close()
    assert stage.port.sent[before] == STOP


@pytest.mark.parametrize("order", ["clear", "panic"])
def test_a_clock_goes_on_when_notes_are_taken_back(stage, order):
    stage.scheduler.start_clock(101.0, 0.6)
    stage.scheduler.play([key(101.1, 110, 60, 80), key(103, 104, 62, 80)])
    stage.at(102)
    getattr(stage.scheduler, order)()
    assert set(stage.at(104)) == {CLOCK}


def test_a_key_is_up_before_it_is_struck_again():
    spans = without_overlap([key(0, 2, 60, 80), key(1, 3, 60, 90), key(1, 2, 62, 90)])
    assert [(span.on.note, span.on_s, span.off_s) for span in spans] == [(60, 0, 0.995), (62, 1, 2), (60, 1, 3)]
    twice = without_overlap([key(1, 3, 60, 90), key(1, 4, 60, 70)])  # struck twice at once: once is enough
    assert [(span.on_s, span.off_s) for span in twice] == [(1, 4)]
