"""MIDI messages as bytes: what makes a port silent, and which messages play notes.

Conventions: channels are 0-15 inside, 1-16 to people; times are those of time.perf_counter, which all processes of a
machine share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

NOTE_OFF, NOTE_ON, CONTROL = 0x80, 0x90, 0xB0
SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF = 64, 120, 123
CLOCK, START, CONTINUE, STOP = b"\xf8", b"\xfa", b"\xfb", b"\xfc"
CLOCKS_A_QUARTER = 24
SONG_POSITION, LAST_SIXTEENTH = 0xF2, 0x3FFF  # 14 bits of sixteenths
RETRIGGER_S = 0.005  # a key is up so long before it is struck again


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


def song_position(tick: int) -> list[bytes]:
    """[the message] with a clock's next position, in whole sixteenths; [] where it is out of MIDI's range."""
    sixteenth = tick * 4 // CLOCKS_A_QUARTER
    return [bytes((SONG_POSITION, sixteenth & 0x7F, sixteenth >> 7))] if sixteenth <= LAST_SIXTEENTH else []


def is_note_on(message: bytes) -> bool:
    """Whether a message is a key going down."""
    return message[0] & 0xF0 == NOTE_ON and message[2] > 0


def is_note_off(message: bytes) -> bool:
    """Whether a message is a key going up."""
    return message[0] & 0xF0 == NOTE_OFF or message[0] & 0xF0 == NOTE_ON and message[2] == 0


def silence(sounding: Iterable[tuple[int, int]], channels: Iterable[int]) -> list[bytes]:
    """The messages after which nothing sounds.

    Parameters
    ----------
    sounding : set of (channel, pitch)
    channels : those that were played on; each gets pedal up, all sound off, all notes off
    """
    offs = [bytes((NOTE_OFF | channel, pitch, 64)) for channel, pitch in sorted(sounding)]
    controls = (SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF)
    return offs + [bytes((CONTROL | channel, number, 0)) for channel in sorted(channels) for number in controls]


class SoundingKeys:
    """Which keys (channel, pitch) are down after the messages so far, and which channels were played on."""

    def __init__(self):
        self.keys, self.channels = set(), set()

    def update(self, message: bytes) -> None:
        """Take a message into account."""
        if message[0] >= 0xF0:
            return
        channel, pitch = message[0] & 0x0F, message[1]
        self.channels.add(channel)
        if is_note_on(message):
            self.keys.add((channel, pitch))
        elif is_note_off(message):
            self.keys.discard((channel, pitch))


def without_overlap(spans: Iterable[MidiSpan]) -> list[MidiSpan]:
    """Spans in order in which a key is up before it is struck again; what would be too short for that is left out."""
    kept, last = [], {}
    for span in sorted(spans):
        index = last.get(span.on[:2])
        if index is not None and kept[index].off_s > span.on_s - RETRIGGER_S:
            before = kept[index]
            kept[index] = MidiSpan(before.on_s, max(before.on_s, span.on_s - RETRIGGER_S), before.on, before.off)
        last[span.on[:2]] = len(kept)
        kept.append(span)
    return [span for span in kept if span.off_s > span.on_s]
