"""The scheduler: the process that holds the output port and sends each note at its time.

It knows no model. It gets orders over a pipe, ahead of time, and ends what it began: on `bye`, on SIGTERM, when the
port is back after it was lost, and when the other end of the pipe is gone. It reports every key to the watchdog
(watchdog.py) before it goes down, so that even a kill -9 of this process leaves nothing hanging, nor a port that is
away while this process ends.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import heapq
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection

from lib.apps.live.messages import (
    CLOCK,
    CLOCKS_A_QUARTER,
    CONTINUE,
    CONTROL,
    NOTE_ON,
    START,
    STOP,
    SUSTAIN,
    MidiSpan,
    SoundingKeys,
    is_note_on,
    silence,
    song_position,
)
from lib.apps.live.ports import PortError, is_available, open_output
from lib.apps.live.process import detach_from_terminal, raise_priority
from lib.apps.live.watchdog import GOODBYE

COARSE_S = 0.02  # so long before a note the pipe is no longer waited on: such waits may be this much too long (Windows)
SPIN_S = 0.001  # the last of the way is spent awake: sleep comes back late by some tenths of a millisecond
SLICE_S = 0.002  # of sleep between looks at the pipe
GAP_S = 0.005  # before the next message: time enough to check the port
IDLE_S = 0.25  # between checks of the port
STALE_S = 0.05  # a key this late is not struck any more (the machine slept)
SENT = 100_000  # messages whose times are kept until the next report
ALL_CHANNELS = range(16)


class Scheduler:
    """What is to be sent when, and what sounds.

    Parameters
    ----------
    open_port : callable() -> a port, see ports.open_output
    clock : callable() -> seconds
    notify : callable(bytes), called with each message: before one that begins a key is sent, after others
    """

    def __init__(
        self, open_port: Callable, clock: Callable = time.perf_counter, notify: Callable = lambda message: None
    ):
        self.open_port, self.clock, self.notify = open_port, clock, notify
        self.port, self.sounding = open_port(), SoundingKeys()
        self.heap = []  # rows (due_s, rank, count, message, MidiSpan or state of the clock)
        self.count = itertools.count()
        self.ticking = None  # origin_s, quarter_s and number of the next tick
        self.lost, self.checked_s = 0, clock()
        self.sent, self.dropped = collections.deque(maxlen=SENT), 0

    # Orders

    def play(self, spans: list[MidiSpan]) -> None:
        """Send spans at their times; where the port is lost they are dropped."""
        if self.port is None:
            self.dropped += len(spans)
            return
        for span in spans:
            self._push(span.on_s, span.on, span)

    def clear(self) -> None:
        """Drop what is to come and release what sounds, other players' sound left alone; a clock continues."""
        self._drop_notes()
        self._send(
            [*silence(self.sounding.keys, ()), *(bytes((CONTROL | c, SUSTAIN, 0)) for c in self.sounding.channels)]
        )

    def panic(self) -> None:
        """Drop what is to come and silence all channels that were ever played on; a clock continues."""
        self._drop_notes()
        self._send(silence(self.sounding.keys, self.sounding.channels or {0}))

    def start_clock(self, origin_s: float, quarter_s: float, tick: int = 0) -> None:
        """MIDI clock, 24 ticks a quarter: start, or continue from a later tick after its song position."""
        self.ticking = (origin_s, quarter_s, tick)
        for message in [*song_position(tick), CONTINUE] if tick else [START]:
            self._push(origin_s, message)
        self._push(origin_s, CLOCK, self.ticking)

    def stop_clock(self) -> None:
        """No more ticks."""
        if self.ticking is not None:
            self.ticking = None
            self._send([STOP])

    def lose(self) -> None:
        """The port is gone: close it, drop the notes to come. `check` opens it again."""
        if self.port is not None:
            self.port.close()
            self.port, self.lost = None, self.lost + 1
        self._drop_notes()

    def report(self) -> dict:
        """Since the last report: (due_s, sent_s, message) of each; how often the port was lost, dropped spans."""
        sent = list(self.sent)
        self.sent.clear()
        return {"sent": sent, "lost": self.lost, "dropped": self.dropped, "open": self.port is not None}

    # Time

    @property
    def due_s(self) -> float | None:
        """When the next message is due."""
        return self.heap[0][0] if self.heap else None

    def send_due(self) -> None:
        """Send all that is due now."""
        while self.heap and self.heap[0][0] <= self.clock():
            due_s, _, _, message, owner = heapq.heappop(self.heap)
            if self._follow_up(due_s, message, owner):
                self._send([message])
                self.sent.append((due_s, self.clock(), message))

    def may_check(self) -> bool:
        """Whether it is time to check the port: now and then, in a gap between messages; a clock leaves small ones."""
        now_s = self.clock()
        if now_s - self.checked_s <= IDLE_S:
            return False
        return self.port is None or self.due_s is None or self.due_s - now_s > GAP_S

    def check(self) -> None:
        """See whether the port is lost; open a lost one again and silence all channels."""
        self.checked_s = self.clock()
        if self.port is not None:
            with self._losing():
                self.port.check()
            return
        with contextlib.suppress(PortError):
            self.port = self.open_port()
            self._send(silence(self.sounding.keys, ALL_CHANNELS))

    def close(self) -> bool:
        """Silence the port and close it: whether it was there to be silenced."""
        self.stop_clock()
        self.panic()
        if self.port is None:
            return False
        self.port.close()
        return True

    def _push(self, due_s: float, message: bytes, owner: object = None) -> None:
        rank = 0 if message[0] >= 0xF0 else 1  # of messages due at one time the clock's come first
        heapq.heappush(self.heap, (due_s, rank, next(self.count), message, owner))

    def _follow_up(self, due_s: float, message: bytes, owner: object) -> bool:
        """Push what follows a message (a span's end, the next tick): whether the message itself is still to be sent."""
        in_time = self.clock() <= due_s + STALE_S
        if message == CLOCK:
            if owner is not self.ticking:  # of a clock that was stopped
                return False
            origin_s, quarter_s, tick = self.ticking
            self.ticking = (origin_s, quarter_s, tick + 1)
            self._push(due_s + quarter_s / CLOCKS_A_QUARTER, CLOCK, self.ticking)
        elif owner is None:  # a span's end: never too late
            return True
        elif in_time:
            self._push(max(owner.off_s, due_s), owner.off)
        else:
            self.dropped += 1
        return in_time

    def _send(self, messages: Iterable[bytes]) -> None:
        for message in messages:
            if is_note_on(message):
                self._update(message)
            if self.port is None:
                continue
            with self._losing():
                self.port.send(message)
                if not is_note_on(message):
                    self._update(message)

    def _update(self, message: bytes) -> None:
        self.sounding.update(message)
        if message[0] < 0xF0:
            self.notify(message)

    @contextlib.contextmanager
    def _losing(self):
        try:
            yield
        except OSError:
            self.lose()

    def _drop_notes(self) -> None:
        self.heap = [row for row in self.heap if row[3][0] >= 0xF0]  # the clock continues
        heapq.heapify(self.heap)


def run_scheduler(name: str, orders: Connection, watchdog: Connection) -> None:
    """The process: open the port, answer ("", priority) or (error, "") over `orders`, obey until the pipe ends.

    Parameters
    ----------
    name : see ports.open_output
    orders : in come (name of a method of Scheduler, *its arguments) or ("bye",), out goes the answer to `report`
    watchdog : gets each note's messages
    """
    detach_from_terminal()
    try:
        scheduler = Scheduler(lambda: open_output(name), notify=_notifier(watchdog))
    except PortError as error:
        _say_goodbye(watchdog)
        orders.send((str(error), ""))
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        orders.send(("", raise_priority()))
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in the wrong moment costs milliseconds
        _obey(scheduler, orders)
    except (EOFError, OSError, SystemExit):
        pass  # the command is gone, or a signal came: either way the end is below
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        keys = sorted(scheduler.sounding.keys)
        # not every system reports that what was sent went nowhere
        if scheduler.close() and is_available(name, "output"):
            _say_goodbye(watchdog)
        else:
            for channel, pitch in keys:  # they may be down still
                scheduler.notify(bytes((NOTE_ON | channel, pitch, 1)))


def _obey(scheduler: Scheduler, orders: Connection) -> None:
    while True:
        if _wait(scheduler, orders):
            order, *arguments = orders.recv()
            if order == "bye":
                return
            answer = getattr(scheduler, order)(*arguments)
            if order == "report":
                orders.send(answer)
        scheduler.send_due()
        if scheduler.may_check():
            scheduler.check()


def _wait(scheduler: Scheduler, orders: Connection) -> bool:
    """Until the next message is due, or some of the way: whether there is an order."""
    left_s = IDLE_S if scheduler.due_s is None else scheduler.due_s - scheduler.clock()
    if left_s > COARSE_S:
        return orders.poll(min(left_s - COARSE_S, IDLE_S))
    if left_s > SPIN_S:
        time.sleep(min(left_s - SPIN_S, SLICE_S))
        return orders.poll(0)
    while scheduler.clock() < scheduler.due_s:
        pass
    return orders.poll(0) if left_s < -COARSE_S else False


def _notifier(watchdog: Connection) -> Callable[[bytes], None]:
    """A function that sends to the watchdog and never waits for it: a watchdog that does not read is given up."""
    if hasattr(os, "set_blocking") and os.name == "posix":
        os.set_blocking(watchdog.fileno(), False)

    def notify(message):
        with contextlib.suppress(OSError):
            watchdog.send_bytes(message)

    return notify


def _say_goodbye(watchdog: Connection) -> None:
    """Only after silence: a pipe that ends without it starts the watchdog's work."""
    with contextlib.suppress(OSError):
        watchdog.send_bytes(GOODBYE)


def _exit(signum, frame):
    raise SystemExit
