"""Schedules messages and tracks sounding notes, in the process that holds the output port.

Conventions: channels are 0-15 inside, 1-16 to people; times are those of time.perf_counter, which all processes of a
machine share.
"""

from __future__ import annotations

import collections
import contextlib
import heapq
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mido import Message

from lib.apps.live.ports import PortError, is_lost

SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF = 64, 120, 123
CLOCKS_A_QUARTER = 24
RETRIGGER_S = 0.005  # a key is up so long before it is struck again
PIANO = range(21, 109)  # what a partner plays on; more messages at once than these some systems drop
RETRY_S = 0.25  # between tries to open a lost port
STALE_S = 0.05  # what begins is not sent so late (the machine slept)
SENT = 100_000  # messages whose times are kept until the next report
OF_CLOCK, END, BEGIN = range(3)  # the order of what is due at one time


@dataclass(frozen=True)
class MidiSpan:
    """A key or the pedal, from its beginning to its end: given as one, so that no note-on is without its note-off."""

    on_s: float
    off_s: float
    on: Message
    off: Message


def key(on_s: float, off_s: float, pitch: int, velocity: int, channel: int = 0) -> MidiSpan:
    """MidiSpan of a note."""
    down = Message("note_on", channel=channel, note=pitch, velocity=velocity)
    return MidiSpan(on_s, off_s, down, Message("note_off", channel=channel, note=pitch))


def pedal(down_s: float, up_s: float, channel: int = 0) -> MidiSpan:
    """MidiSpan of the sustain pedal."""
    down = Message("control_change", channel=channel, control=SUSTAIN, value=127)
    return MidiSpan(down_s, up_s, down, down.copy(value=0))


def silence(channels: Iterable[int]) -> list[Message]:
    """The messages after which nothing sounds: pedal up, all sound off, all notes off, a note-off for every key."""
    messages = []
    for channel in sorted(set(channels)):
        controls = (SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF)
        messages += [Message("control_change", channel=channel, control=control, value=0) for control in controls]
        messages += [Message("note_off", channel=channel, note=pitch) for pitch in PIANO]
    return messages


def without_overlap(spans: Iterable[MidiSpan]) -> list[MidiSpan]:
    """Spans in order in which a key is up before it is struck again; what would be too short for that is left out."""
    kept, last = [], {}
    for span in sorted(spans, key=lambda span: (span.on_s, span.off_s)):
        what = span.on.channel, getattr(span.on, "note", "pedal")
        if (index := last.get(what)) is not None:
            kept[index] = replace(kept[index], off_s=min(kept[index].off_s, span.on_s - RETRIGGER_S))
        last[what] = len(kept)
        kept.append(span)
    return [span for span in kept if span.off_s > span.on_s]


class Scheduler:
    """See the module; its first methods are orders of the command. Channels (0-15) are those that are played on."""

    def __init__(self, open_port: Callable, channels: Iterable[int], clock: Callable = time.perf_counter):
        self.open_port, self.channels, self.clock = open_port, channels, clock
        self.port, self.num_lost, self.tried_s = open_port(), 0, clock()
        self.heap = []  # rows (due_s, rank, count, message, the MidiSpan that it begins); what sounds has its END here
        self.count = itertools.count()
        self.tick_s = None  # of the MIDI clock
        self.sent = collections.deque(maxlen=SENT)

    def play(self, spans: list[MidiSpan]) -> None:
        """Send spans at their times; where the port is lost they are dropped."""
        for span in spans if self.port is not None else ():
            self._push(span.on_s, BEGIN, span.on, span)

    def clear(self) -> None:
        """Drop what is to come and end what sounds; a clock continues."""
        ends = [message for _, rank, _, message, _ in sorted(self.heap) if rank == END]
        self._drop_notes()
        self._send(ends)

    def panic(self) -> None:
        """Drop what is to come and silence all channels, also what others play on them; a clock continues."""
        self._drop_notes()
        self._send(silence(self.channels))

    def start_clock(self, origin_s: float, quarter_s: float) -> None:
        """MIDI clock, 24 ticks a quarter, from a start message on."""
        self.tick_s = quarter_s / CLOCKS_A_QUARTER
        for kind in ("start", "clock"):
            self._push(origin_s, OF_CLOCK, Message(kind))

    def lose(self) -> None:
        """The port is gone: close it, drop all notes. `check` opens it again."""
        if self.port is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self.port.close()
            self.port, self.num_lost = None, self.num_lost + 1
        self._drop_notes()

    def report(self) -> dict:
        """Since the last report: (due_s, sent_s, message) of each; how often the port was lost in all."""
        sent = list(self.sent)
        self.sent.clear()
        return {"sent": sent, "lost": self.num_lost}

    @property
    def due_s(self) -> float | None:
        """When the next message is due."""
        return self.heap[0][0] if self.heap else None

    def send_due(self) -> None:
        """Send all that is due now."""
        while self.heap and self.heap[0][0] <= self.clock():
            due_s, rank, _, message, span = heapq.heappop(self.heap)
            if message.type == "clock":
                self._push(due_s + self.tick_s, OF_CLOCK, message)
            if rank != END and self.clock() > due_s + STALE_S:
                continue
            if span is not None:
                self._push(max(span.off_s, due_s), END, span.off)
            self._send([message])
            self.sent.append((due_s, self.clock(), message))

    def check(self) -> None:
        """Notice that the port is lost; now and then try to open a lost one, and silence it."""
        if is_lost(self.port):
            self.lose()
        if self.port is None and self.clock() - self.tried_s > RETRY_S:
            self.tried_s = self.clock()
            with contextlib.suppress(PortError):
                self.port = self.open_port()
                self._send(silence(self.channels))

    def close(self) -> bool:
        """Silence the port and close it: whether it was there to be silenced."""
        if self.tick_s is not None:
            self._send([Message("stop")])
        self.panic()
        if self.port is None:
            return False
        self.port.close()
        return True

    def _push(self, due_s: float, rank: int, message: Message, span: MidiSpan | None = None) -> None:
        heapq.heappush(self.heap, (due_s, rank, next(self.count), message, span))

    def _send(self, messages: Iterable[Message]) -> None:
        try:
            for message in messages if self.port is not None else ():
                self.port.send(message)
        except (OSError, RuntimeError):  # rtmidi's errors are of both kinds
            self.lose()

    def _drop_notes(self) -> None:
        self.heap = [row for row in self.heap if row[1] == OF_CLOCK]
        heapq.heapify(self.heap)
