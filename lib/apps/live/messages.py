"""MIDI messages as bytes: keys and pedals from beginning to end, and what makes a port silent.

Conventions: channels are 0-15 inside, 1-16 to people; times are those of time.perf_counter, which all processes of a
machine share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

NOTE_OFF, NOTE_ON, CONTROL = 0x80, 0x90, 0xB0
SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF = 64, 120, 123
CLOCK, START, STOP = b"\xf8", b"\xfa", b"\xfc"
CLOCKS_A_QUARTER = 24
RETRIGGER_S = 0.005  # a key is up so long before it is struck again
PIANO = range(21, 109)  # what a partner plays on; more messages at once than these some systems drop


@dataclass(frozen=True, order=True)
class MidiSpan:
    """A key or the pedal, from its beginning to its end: given as one, so that no note-on is without its note-off.

    Attributes
    ----------
    on_s, off_s : when
    on, off : bytes of the messages
    """

    on_s: float
    off_s: float
    on: bytes
    off: bytes


def key(on_s: float, off_s: float, pitch: int, velocity: int, channel: int = 0) -> MidiSpan:
    """MidiSpan of a note."""
    return MidiSpan(on_s, off_s, bytes((NOTE_ON | channel, pitch, velocity)), bytes((NOTE_OFF | channel, pitch, 64)))


def pedal(down_s: float, up_s: float, channel: int = 0) -> MidiSpan:
    """MidiSpan of the sustain pedal."""
    return MidiSpan(down_s, up_s, bytes((CONTROL | channel, SUSTAIN, 127)), bytes((CONTROL | channel, SUSTAIN, 0)))


def silence(channels: Iterable[int]) -> list[bytes]:
    """The messages after which nothing sounds: pedal up, all sound off, all notes off, a note-off for every key."""
    controls = (SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF)
    return [
        message
        for channel in sorted(set(channels))
        for message in (
            *(bytes((CONTROL | channel, number, 0)) for number in controls),
            *(bytes((NOTE_OFF | channel, pitch, 64)) for pitch in PIANO),
        )
    ]


def without_overlap(spans: Iterable[MidiSpan]) -> list[MidiSpan]:
    """Spans in order in which a key is up before it is struck again; what would be too short for that is left out."""
    kept, last = [], {}
    for span in sorted(spans):
        index = last.get(span.on[:2])
        if index is not None:
            kept[index] = replace(kept[index], off_s=min(kept[index].off_s, span.on_s - RETRIGGER_S))
        last[span.on[:2]] = len(kept)
        kept.append(span)
    return [span for span in kept if span.off_s > span.on_s]
