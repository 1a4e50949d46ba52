"""A solo that was played, and the order for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lib.generation.request import GenerateRequest
from lib.music.chart import Chart
from lib.music.hands import left_hand
from lib.music.midi_writer import to_midi
from lib.music.notes import Notes
from lib.music.piano_roll import PianoRoll
from lib.music.rules import Rule
from lib.music.tempo_map import BeatNotes, TempoMap
from lib.storage.atomic_write import write_bytes


@dataclass(frozen=True)
class Solo:
    """What was played.

    Attributes
    ----------
    notes : Notes, those of the prompt or around the passage included
    begins_s, ends_s : where the new music begins and ends
    tempo_map : TempoMap of all of it; a bar begins with a continuation, an infilled passage leaves the bars alone
    request : GenerateRequest, with the chart that was invented where own changes were asked for
    chords : list of (time_s, symbol), each chord of the chart where it begins
    rules : list of Rule, of all the new music (empty where none is asked for)
    piano_roll : PianoRoll (B = 1) of the new music alone, which its notes were read from
    seconds : how long it took
    """

    notes: Notes
    begins_s: float
    ends_s: float
    tempo_map: TempoMap
    request: GenerateRequest
    chords: list[tuple[float, str]]
    rules: list[Rule]
    piano_roll: PianoRoll
    seconds: float = 0.0

    @property
    def new_notes(self) -> Notes:
        """Notes of the new music alone, from 0."""
        return self.notes.between(self.begins_s, self.ends_s)

    @property
    def rule_losses(self) -> dict[str, float]:
        """name -> loss of each rule on the new music."""
        return {rule.name: float(rule.loss(self.piano_roll)[0]) for rule in self.rules}

    @property
    def length_s(self) -> float:
        """Of the new music."""
        return self.ends_s - self.begins_s

    def midi(self) -> bytes:
        """A MIDI file with a track a hand, tempo, metre, and chords as markers."""
        return to_midi(self.notes, self.tempo_map, self.chords, left_hand(self.notes))

    def write(self, path: Path | str) -> Path:
        """Write the MIDI file: its Path."""
        return write_bytes(path, self.midi())


@dataclass(frozen=True)
class Order:
    """A solo to be played.

    Attributes
    ----------
    request : GenerateRequest
    notes : Notes of a prompt, or, with from_s and to_s, of the performance of which that passage is infilled; or None
    from_s, to_s : the passage, or None; to_s alone: after a prompt the music begins on the first beat from there on
    callback, rules, chart, tempo_map, theme : as for `generate`
    into_bar : quarters of the first bar that are over when the music begins, where its changes are the pianist's own
    """

    request: GenerateRequest
    notes: Notes | None = None
    from_s: float | None = None
    to_s: float | None = None
    callback: Callable | None = None
    rules: Callable | None = None
    chart: Chart | None = None
    tempo_map: TempoMap | None = None
    theme: BeatNotes | None = None
    into_bar: Fraction = Fraction(0)

    @property
    def is_infilling(self) -> bool:
        """Whether a passage of `notes` is to be infilled."""
        return self.from_s is not None
