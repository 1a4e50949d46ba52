"""MIDI messages as bytes: what makes a port silent, and which messages play notes.

Conventions: channels are 0-15 inside, 1-16 to people; times are those of time.perf_counter, which all processes of a machine share.
"""

from __future__ import annotations

from dataclasses import dataclass

NOTE_OFF, NOTE_ON, CONTROL = 0x80, 0x90, 0xB0
SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF = 64, 120, 123
CLOCK, START, CONTINUE, STOP = b"\xf8", b"\xfa", b"\xfb", b"\xfc"
CLOCKS_A_BEAT = 24
SONG_POSITION, LAST_SIXTEENTH = 0xF2, 0x3FFF  # 14 bits of sixteenths
RETRIGGER_S = 0.005  # a key is up so long before it is struck again


@dataclass(frozen=True, order=True)
class Span:
    """Something that begins and ends: a key or the pedal. Sent as one, so that no beginning is ever without its end.

    Attributes
    ----------
    on_s, off_s : when
    on, off : bytes of the messages
    """

    on_s: float
    off_s: float
    on: bytes
    off: bytes


def key(on_s, off_s, pitch, velocity, channel=0):
    """Span of a note."""
    return Span(on_s, off_s, bytes((NOTE_ON | channel, pitch, velocity)), bytes((NOTE_OFF | channel, pitch, 64)))


def pedal(down_s, up_s, channel=0):
    """Span of the sustain pedal."""
    return Span(down_s, up_s, bytes((CONTROL | channel, SUSTAIN, 127)), bytes((CONTROL | channel, SUSTAIN, 0)))


def song_position(tick):
    """[the message] that says where a clock's next tick is, in whole sixteenths; [] where it can't be said."""
    sixteenth = tick * 4 // CLOCKS_A_BEAT
    return [bytes((SONG_POSITION, sixteenth & 0x7F, sixteenth >> 7))] if sixteenth <= LAST_SIXTEENTH else []


def begins(message):
    """Whether a message is a key going down."""
    return message[0] & 0xF0 == NOTE_ON and message[2] > 0


def ends(message):
    """Whether a message is a key going up."""
    return message[0] & 0xF0 == NOTE_OFF or message[0] & 0xF0 == NOTE_ON and message[2] == 0


def silence(sounding, channels):
    """The messages after which nothing sounds.

    Parameters
    ----------
    sounding : set of (channel, pitch)
    channels : those that were played on; each hears pedal up, all sound off, all notes off
    """
    offs = [bytes((NOTE_OFF | channel, pitch, 64)) for channel, pitch in sorted(sounding)]
    controls = (SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF)
    return offs + [bytes((CONTROL | channel, number, 0)) for channel in sorted(channels) for number in controls]


class Sounding:
    """Which keys are down after the messages so far, and which channels were played on."""

    def __init__(self):
        self.keys, self.channels = set(), set()

    def follow(self, message):
        """Take a message into account."""
        if message[0] >= 0xF0:
            return
        place = (message[0] & 0x0F, message[1])
        self.channels.add(place[0])
        if begins(message):
            self.keys.add(place)
        elif ends(message):
            self.keys.discard(place)

    def silence(self):
        """The messages that end all of it; they are taken to be sent."""
        messages = silence(self.keys, self.channels)
        self.keys.clear()
        return messages


def without_overlap(spans):
    """Spans in order in which a key is up before it is struck again; one that would be no longer than that is left out."""
    kept, last = [], {}
    for span in sorted(spans):
        place = last.get(span.on[:2])
        if place is not None and kept[place].off_s > span.on_s - RETRIGGER_S:
            before = kept[place]
            kept[place] = Span(before.on_s, max(before.on_s, span.on_s - RETRIGGER_S), before.on, before.off)
        last[span.on[:2]] = len(kept)
        kept.append(span)
    return [span for span in kept if span.off_s > span.on_s]
