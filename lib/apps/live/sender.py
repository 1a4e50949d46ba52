"""The process that holds the output port and sends each note at its time.

It knows no model. It hears orders over a pipe, ahead of time, and what it began it ends: when it is told to stop, when it is
terminated, when the port comes back after it was lost, and when nobody is at the other end of the pipe any more. Every key goes
down here only after the look-out (silencer.py) was told, so that even a kill -9 of this process leaves nothing hanging, nor a port
that is away while this process ends.
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

from lib.apps.live.messages import (
    CLOCK,
    CLOCKS_A_BEAT,
    CONTINUE,
    CONTROL,
    NOTE_ON,
    START,
    STOP,
    SUSTAIN,
    Sounding,
    begins,
    silence,
    song_position,
)
from lib.apps.live.ports import PortError, is_there, open_output
from lib.apps.live.process import go_first, leave_the_terminal

COARSE_S = 0.02  # so long before a note the pipe is no longer waited on: such waits may be this much too long (Windows)
SPIN_S = 0.001  # the last of the way is spent awake: sleep comes back late by some tenths of a millisecond
SLICE_S = 0.002  # of sleep between looks at the pipe
GAP_S = 0.005  # before the next message: time enough to look at the port
IDLE_S = 0.25  # between looks at the port and the parent
STALE_S = 0.05  # a key this late is not struck any more (the machine slept)
SENT = 100_000  # messages whose times are kept until somebody asks
ALL_CHANNELS = range(16)


class Sender:
    """What is to be sent when, and what sounds.

    Parameters
    ----------
    open_port : callable() -> a port, see ports.open_output
    clock : callable() -> seconds
    tell : callable(bytes), told of each message: of one that begins a key before it is sent, of others after
    """

    def __init__(self, open_port, clock=time.perf_counter, tell=lambda message: None):
        self.open_port, self.clock, self.tell = open_port, clock, tell
        self.port, self.sounding = open_port(), Sounding()
        self.heap, self.count = [], itertools.count()
        self.ticking = None  # origin_s, beat_s and number of the next tick
        self.lost, self.looked_s = 0, clock()
        self.sent, self.dropped = collections.deque(maxlen=SENT), 0

    # Orders

    def play(self, spans):
        """Send spans at their times; where the port is lost they are not kept."""
        if self.port is None:
            self.dropped += len(spans)
            return
        for span in spans:
            heapq.heappush(self.heap, (span.on_s, 1, next(self.count), span.on, span))

    def clear(self):
        """Forget what is to come and let go of what sounds, other players' sound left alone; a clock goes on."""
        self._forget()
        self._send_all([*silence(self.sounding.keys, ()), *(bytes((CONTROL | c, SUSTAIN, 0)) for c in self.sounding.channels)])

    def panic(self):
        """Forget what is to come and silence all that was ever played on; a clock goes on."""
        self._forget()
        self._send_all(silence(self.sounding.keys, self.sounding.channels or {0}))

    def start_clock(self, origin_s, beat_s, tick=0):
        """MIDI clock: start (or go on, from a later tick, having said from where), then 24 a beat."""
        self.ticking = (origin_s, beat_s, tick)
        for message in [*song_position(tick), CONTINUE] if tick else [START]:
            heapq.heappush(self.heap, (origin_s, 0, next(self.count), message, None))
        heapq.heappush(self.heap, (origin_s, 0, next(self.count), CLOCK, self.ticking))

    def stop_clock(self):
        """No more ticks."""
        if self.ticking is not None:
            self.ticking = None
            self._send_all([STOP])

    def lose(self):
        """The port is gone, as somebody else has seen."""
        self._lose()

    def report(self):
        """Since the last report: (due_s, sent_s, message) of each, how often the port was lost, spans not sent."""
        sent = list(self.sent)
        self.sent.clear()
        return {"sent": sent, "lost": self.lost, "dropped": self.dropped, "open": self.port is not None}

    # Time

    @property
    def due_s(self):
        """When the next message is due, or None."""
        return self.heap[0][0] if self.heap else None

    def send_due(self):
        """Send all that is due now."""
        while self.heap and self.heap[0][0] <= self.clock():
            due_s, _, _, message, more = heapq.heappop(self.heap)
            self._send_one(due_s, message, more)

    def may_look(self):
        """Whether it is time to look at the port: now and then, in a gap between messages; a clock leaves small ones only."""
        now_s = self.clock()
        if now_s - self.looked_s <= IDLE_S:
            return False
        return self.port is None or self.due_s is None or self.due_s - now_s > GAP_S

    def look(self):
        """Open a lost port again, or see whether it is lost."""
        self.looked_s = self.clock()
        if self.port is None:
            self._regain()
            return
        try:
            self.port.check()
        except OSError:
            self._lose()

    def silence_all(self):
        """Silence what sounds, and every channel: nobody knows what was lost on the way."""
        self._send_all(silence(self.sounding.keys, ALL_CHANNELS))

    def close(self):
        """Silence, and let go of the port: whether it was there to be silenced."""
        self.stop_clock()
        self.panic()
        if self.port is None:
            return False
        self.port.close()
        return True

    def _send_one(self, due_s, message, more):
        now_s = self.clock()
        if message == CLOCK:
            if more is not self.ticking:  # of a clock that was stopped
                return
            origin_s, beat_s, tick = self.ticking
            self.ticking = (origin_s, beat_s, tick + 1)
            next_s = due_s + beat_s / CLOCKS_A_BEAT
            heapq.heappush(self.heap, (next_s, 0, next(self.count), CLOCK, self.ticking))
            if now_s > due_s + STALE_S:
                return
        elif more is not None:
            if now_s > due_s + STALE_S:
                self.dropped += 1
                return
            heapq.heappush(self.heap, (max(more.off_s, due_s), 0, next(self.count), more.off, None))
        self._send_all([message])
        self.sent.append((due_s, self.clock(), message))

    def _send_all(self, messages):
        for message in messages:
            if begins(message):
                self._follow(message)
            if self.port is None:
                continue
            try:
                self.port.send(message)
            except OSError:
                self._lose()
                continue
            if not begins(message):
                self._follow(message)

    def _follow(self, message):
        self.sounding.follow(message)
        if message[0] < 0xF0:
            self.tell(message)

    def _lose(self):
        if self.port is not None:
            self.port.close()
            self.port, self.lost = None, self.lost + 1
        self._forget()

    def _forget(self):
        self.heap = [entry for entry in self.heap if entry[3][0] >= 0xF0]  # the clock goes on
        heapq.heapify(self.heap)

    def _regain(self):
        try:
            self.port = self.open_port()
        except PortError:
            return
        self.silence_all()


def run_sender(name, orders, lookout, anew=False):
    """The process: open the port, say so over `orders`, obey until the pipe ends.

    Parameters
    ----------
    name : see ports.open_output
    orders : connection; in come (name of an order, *its words), out goes the answer to `report`
    lookout : connection to the look-out, to which each note is told
    anew : whether another one has died: what it may have left is silenced first
    """
    leave_the_terminal()
    try:
        sender = Sender(lambda: open_output(name), tell=_teller(lookout))
    except PortError as error:
        _say_goodbye(lookout)
        orders.send(("error", str(error)))
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        if anew:
            sender.silence_all()
        orders.send(("ready", go_first()))
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in the wrong moment costs milliseconds
        _obey(sender, orders)
    except (EOFError, OSError, SystemExit):
        pass  # nobody is there any more, or a signal: either way the end is below
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        keys = sorted(sender.sounding.keys)
        if sender.close() and is_there(name, "output"):  # not every system says that what was sent went nowhere
            _say_goodbye(lookout)
        else:
            for channel, pitch in keys:  # they may be down still
                sender.tell(bytes((NOTE_ON | channel, pitch, 1)))


def _obey(sender, orders):
    while True:
        if _wait(sender, orders):
            order, *words = orders.recv()
            if order == "bye":
                return
            answer = getattr(sender, order)(*words)
            if order == "report":
                orders.send(answer)
        sender.send_due()
        if sender.may_look():
            sender.look()


def _wait(sender, orders):
    """Until the next message is due, or some of the way: whether there is an order."""
    left_s = IDLE_S if sender.due_s is None else sender.due_s - sender.clock()
    if left_s > COARSE_S:
        return orders.poll(min(left_s - COARSE_S, IDLE_S))
    if left_s > SPIN_S:
        time.sleep(min(left_s - SPIN_S, SLICE_S))
        return orders.poll(0)
    while sender.clock() < sender.due_s:
        pass
    return orders.poll(0) if left_s < -COARSE_S else False


def _teller(lookout):
    """A function that tells the look-out, and never waits for it: a look-out that does not listen is given up."""
    if hasattr(os, "set_blocking") and os.name == "posix":
        os.set_blocking(lookout.fileno(), False)

    def tell(message):
        with contextlib.suppress(OSError):
            lookout.send_bytes(message)

    return tell


def _say_goodbye(lookout):
    """Only after silence: a pipe that ends without it is what the look-out waits for."""
    with contextlib.suppress(OSError):
        lookout.send_bytes(b"bye")


def _end(signum, frame):
    raise SystemExit
