"""Writes a performance as a MIDI file: ticks, tempo and metre from a tempo map; no key is struck while it sounds."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import mido
import numpy as np

from lib.music.chords import in_ascii
from lib.music.midi_file import PEDAL_CONTROLLER
from lib.music.notes import Notes
from lib.music.tempo_map import BEATS_ONLY, Metre, TempoMap, bar_table
from lib.storage.atomic_write import write_bytes

TICKS_PER_QUARTER = 480  # of files that are written: 20 of a roll's frame in 4/4
TEMPO_ROUNDING = 1  # microseconds a quarter; a change of tempo by no more is no event
SLOWEST_TEMPO = 2**24 - 1  # microseconds a quarter that a file can hold


def write_midi(
    notes: Notes,
    path: Path | str,
    tempo_map: TempoMap | None = None,
    markers: Iterable[tuple[float, str]] = (),
    left_hand: np.ndarray | None = None,
) -> Path:
    """Write the performance as a standard MIDI file, see to_midi; the folder is made, the file replaced whole."""
    return write_bytes(path, to_midi(notes, tempo_map, markers, left_hand))


def to_midi(
    notes: Notes,
    tempo_map: TempoMap | None = None,
    markers: Iterable[tuple[float, str]] = (),
    left_hand: np.ndarray | None = None,
) -> bytes:
    """Bytes of a standard MIDI file of format 1: a piano with its pedal, tempo and metre, markers, which studios show.

    Parameters
    ----------
    tempo_map : of the notes, from second 0 or later on: its bars are the file's; None: 120 quarters a minute in 4/4
    markers : (time_s, text), such as chord symbols; written in ASCII
    left_hand : bool (N,), see music.hands: each hand then has its track, right first; None: one track
    """
    clock = _TickClock(tempo_map or TempoMap.constant(120.0, Metre(4, 4), 1))
    everything = np.ones(len(notes), dtype=bool)
    tracks = {"Piano": everything} if left_hand is None else {"Right hand": ~left_hand, "Left hand": left_hand}
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_QUARTER)
    texts = [(clock(time_s), mido.MetaMessage("marker", text=in_ascii(text))) for time_s, text in markers]
    file.tracks.append(_track([*clock.events(), *texts]))
    ticks = _ticks(notes, clock, everything if left_hand is None else left_hand)
    for name, chosen in tracks.items():
        messages = _messages(notes, chosen, ticks, clock)
        file.tracks.append(_track([(0, mido.MetaMessage("track_name", name=name)), *messages]))
    content = io.BytesIO()
    file.save(file=content)
    return content.getvalue()


class _TickClock:
    """Ticks of times in seconds by a tempo map, second 0 at tick 0, and its tempo and metre as events."""

    def __init__(self, tempo_map):
        self.map, bars = tempo_map, tempo_map.bars if len(tempo_map.bars) else bar_table([0.0], [1.0], BEATS_ONLY, 0.0)
        self.starts, self.metres = bars["start"], bars[["numerator", "denominator"]]
        self.quarters_per_beat = tempo_map.quarters_per_beat if len(tempo_map.bars) else np.ones(1)
        lengths = self.quarters_per_beat * bars["beats"]
        self.quarters = np.cumsum(lengths) - lengths
        self.zero = 0
        self.zero = int(self(0.0))

    def __call__(self, time_s):
        return self.at(self.map.to_beats(time_s))

    def at(self, position):
        """Ticks of positions in beats."""
        bar = np.maximum(np.searchsorted(self.starts, np.asarray(position) + 1e-6) - 1, 0)
        quarters = self.quarters[bar] + (position - self.starts[bar]) * self.quarters_per_beat[bar]
        return np.rint(quarters * TICKS_PER_QUARTER).astype(np.int64) - self.zero

    def events(self):
        """(tick, message) of each change of tempo or metre."""
        ticks, gaps_s = self.at(np.arange(self.map.num_beats)), np.diff(self.map.beats_s)
        tempos = np.rint(gaps_s / np.maximum(np.diff(ticks), 1) * TICKS_PER_QUARTER * 1e6).clip(1, SLOWEST_TEMPO)
        first = int(np.clip(np.searchsorted(ticks, 0, side="right") - 1, 0, len(gaps_s) - 1))
        ticks[first], before = 0, None  # the file begins there
        for tick, tempo in zip(ticks[first:-1].tolist(), tempos[first:].astype(int).tolist()):
            if before is None or abs(tempo - before) > TEMPO_ROUNDING:
                yield tick, mido.MetaMessage("set_tempo", tempo=tempo)
                before = tempo
        before = None
        for tick, metre in zip(self.at(self.starts).tolist(), self.metres.tolist()):
            above, below = metre
            if tick >= 0 and above and metre != before:
                yield tick, mido.MetaMessage("time_signature", numerator=above, denominator=below)
            before = metre if tick >= 0 else None  # bars of unknown metre part those of a known one


def _ticks(notes, clock, hand):
    """(onset, release) of each note in ticks: no key is struck while it sounds, and each note lasts a tick at least.

    A key that the other hand strikes next is released a tick before: the order of tracks says nothing within a tick.
    """
    onset, release = clock(notes.onset_s), clock(notes.onset_s + notes.duration_s)
    order = np.lexsort((onset, notes.pitch))
    apart = notes.pitch[order].astype(np.int64) * (onset.max(initial=0) + 2 * len(onset) + 1)  # keys one after another
    rank = np.arange(len(order))
    onset[order] = np.maximum.accumulate(onset[order] + apart - 2 * rank) + 2 * rank - apart
    following = np.append(onset[order][1:], np.iinfo(np.int64).max)
    following[:-1][np.diff(notes.pitch[order].astype(int)) != 0] = np.iinfo(np.int64).max
    following[:-1] -= hand[order][1:] != hand[order][:-1]
    release[order] = np.minimum(np.maximum(release[order], onset[order] + 1), following)
    return onset, release


def _messages(notes, chosen, ticks, clock):
    """(tick, message) of the chosen notes, and of the pedal: it holds both hands. Ends come before what begins."""
    onset, release = (column[chosen] for column in ticks)
    rows = zip(notes.pitch[chosen].tolist(), notes.velocity[chosen].tolist(), strict=True)
    begins, ends = [], []
    for on, off, (pitch, velocity) in zip(onset.tolist(), release.tolist(), rows, strict=True):
        begins.append((on, mido.Message("note_on", note=pitch, velocity=velocity)))
        ends.append((off, mido.Message("note_off", note=pitch, velocity=0)))
    pedal = [
        (int(clock(time_s)), mido.Message("control_change", control=PEDAL_CONTROLLER, value=value))
        for span in notes.pedal_s
        for value, time_s in zip((127, 0), span)
    ]
    return [*ends, *pedal, *begins]


def _track(events):
    """A mido.MidiTrack of (tick, message) in any order; of one tick in the order that they stand in."""
    track, now = mido.MidiTrack(), 0
    for tick, message in sorted(events, key=lambda event: event[0]):
        track.append(message.copy(time=max(0, int(tick) - now)))
        now = max(now, int(tick))
    return track
