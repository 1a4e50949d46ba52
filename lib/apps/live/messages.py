"""MIDI of a duet: keys and pedals from beginning to end, and what makes a port silent.

Conventions: channels are 0-15 inside, 1-16 to people; times are those of time.perf_counter, which all processes of a
machine share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mido import Message

SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF = 64, 120, 123
CLOCKS_A_QUARTER = 24
RETRIGGER_S = 0.005  # a key is up so long before it is struck again
PIANO = range(21, 109)  # what a partner plays on; more messages at once than these some systems drop


@dataclass(frozen=True)
class MidiSpan:
    """A key or the pedal, from its beginning to its end: given as one, so that no note-on is without its note-off.

    Attributes
    ----------
    on_s, off_s : when
    on, off : messages
    """

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
