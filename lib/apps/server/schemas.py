"""What a client asks for: GenerateRequest and the performance that a solo continues, or fills a gap of."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from lib.apps.server.errors import Problem
from lib.checkpoints.config_migration import renamed
from lib.config import GUIDED_CANDIDATES, STRICT, ConfigError
from lib.generation.generate import Order, find_passage
from lib.generation.performance import read_performance, tempo_and_metre
from lib.generation.request import RULE_OPTIONS, GenerateRequest, MetreText, Tempo, request_from
from lib.music.chords import ChordError
from lib.music.notes import MidiError, read_midi

LENGTHS = ("choruses", "bars", "seconds")
BEATS_ALIKE = 10  # solos whose lengths in felt beats differ by fewer may be played together


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SoloOrder(GenerateRequest):
    """A GenerateRequest as the server takes it: what is left out is chosen as on the command line."""

    tempo_bpm: Tempo | None = None  # None: as the MIDI file says, or 120
    metre: MetreText | None = None  # None: as the MIDI file says, or 4/4
    num_candidates: Annotated[int, Field(ge=1, le=64)] | None = None  # None: 8 where a rule is asked, else 1
    midi: str | None = None  # a MIDI file in base64 to continue; with from_s and to_s: to fill that gap of
    from_s: Annotated[float, Field(ge=0)] | None = None
    to_s: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values):
        """Fields by the names of this version."""
        return renamed(GenerateRequest, values, "") if isinstance(values, dict) else values

    def request(self, timing: dict) -> GenerateRequest:
        """GenerateRequest with everything decided: tempo_bpm and metre of a performance where they are left out."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(GenerateRequest)}
        values |= {name: value for name, value in timing.items() if values[name] is None}
        values["num_candidates"] = self.num_candidates or (GUIDED_CANDIDATES if self.asks_for_rules else 1)
        return GenerateRequest(**{name: value for name, value in values.items() if value is not None})


@dataclasses.dataclass(frozen=True)
class Work:
    """An order that was checked: what a worker needs of it.

    Attributes
    ----------
    request : GenerateRequest
    midi : bytes of a MIDI file, or None
    from_s, to_s : the gap, or None
    """

    request: GenerateRequest
    midi: bytes | None = None
    from_s: float | None = None
    to_s: float | None = None

    def to_json(self):
        """All but the MIDI file, as text."""
        return json.dumps({"request": dataclasses.asdict(self.request), "from_s": self.from_s, "to_s": self.to_s})

    @classmethod
    def from_json(cls, text, midi):
        """What to_json wrote."""
        values = json.loads(text)
        return cls(request_from(values.pop("request"), "The job"), midi, **values)

    def order(self, limits, callback=None):
        """generate.Order."""
        if self.midi is None:
            return Order(self.request, callback=callback)
        notes, tempo_map = check_performance(self.midi, limits)
        return Order(self.request, notes, self.from_s, self.to_s, callback, tempo_map=tempo_map)

    @property
    def length_s(self):
        """Of the new music."""
        return self.request.length_s if self.to_s is None else self.to_s - self.from_s

    @property
    def shape(self):
        """What must be the same for two to be worth playing together."""
        beats = self.length_s / 60 * self.request.timing.felt_bpm
        settings = self.request.num_steps, self.request.num_candidates, self.to_s is None
        return " ".join(map(str, (math.ceil(beats / BEATS_ALIKE), *settings)))


def check(asked, styles, limits):
    """Work of a SoloOrder; Problem names the field that can't be."""
    _check_sizes(asked, limits)
    midi = None if asked.midi is None else decode_midi(asked.midi)
    if (asked.from_s is None) != (asked.to_s is None) or (asked.from_s is not None and midi is None):
        raise Problem.of_field("from_s" if asked.from_s is None else "to_s", "from_s, to_s and midi go together.")
    timing = {}
    if midi is not None:
        notes, tempo_map = _of_field("midi", MidiError, check_performance, midi, limits)
        timing = tempo_and_metre(tempo_map, notes.end_s if asked.from_s is None else asked.from_s)
    work = Work(asked.request(timing), midi, asked.from_s, asked.to_s)
    if work.request.style is not None:
        _of_field("style", ConfigError, styles.vector, work.request.style)
    bars = 0 if work.request.own_changes else len(_of_field("chords", ChordError, work.request.parsed_chart).bars)
    if bars > limits.bars:
        raise Problem.of_field("chords", f"{bars} bars; this server takes {limits.bars} at most.")
    if work.length_s > limits.seconds:
        given = [name for name in LENGTHS if getattr(asked, name) is not None]
        field = "to_s" if asked.to_s is not None else given[0] if given else "chords"
        text = f"{work.length_s:g} s of music; this server plays {limits.seconds:g} s at most."
        raise Problem.of_field(field, text)
    if asked.from_s is not None:
        order = Order(work.request, notes, asked.from_s, asked.to_s, tempo_map=tempo_map)
        _of_field("from_s", ConfigError, find_passage, order)
    return work


def _check_sizes(asked, limits):
    for name, most in (
        ("num_steps", limits.num_steps),
        ("num_candidates", limits.num_candidates),
        ("bars", limits.bars),
    ):
        if (value := getattr(asked, name)) is not None and value > most:
            raise Problem.of_field(name, f"{value}; this server takes {most} at most.")
    for name in RULE_OPTIONS:
        if isinstance(value := getattr(asked, name), tuple) and len(value) > limits.points:
            raise Problem.of_field(name, f"{len(value)} points; this server takes {limits.points} at most.")
    for name in ("chords", "style"):
        if len(getattr(asked, name) or "") > limits.chart_characters:
            raise Problem.of_field(name, f"this server reads {limits.chart_characters} characters at most.")


def _of_field(field, kind, function, *words):
    """The function's answer; an error of this kind becomes a Problem of the field."""
    try:
        return function(*words)
    except kind as error:
        raise Problem.of_field(field, getattr(error, "fields", {}).get("passage") or str(error)) from None


def decode_midi(text):
    """bytes of base64; Problem where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Problem.of_field("midi", "is not base64.") from None


def check_notes(content, limits):
    """Notes of a MIDI file's bytes within the limits, no pedal beyond the last note; MidiError says what is wrong."""
    if content.count(b"MTrk") > limits.tracks:  # each takes a parser some kB: 2 MB of them, 300 MB
        raise MidiError(f"has {content.count(b'MTrk'):,} tracks; this server takes {limits.tracks} at most")
    notes = read_midi(content)
    if len(notes) > limits.notes or len(notes.pedal_s) > limits.notes:
        raise MidiError(f"has {len(notes):,} notes; this server takes {limits.notes:,} at most")
    if notes.end_s > limits.performance_s:
        raise MidiError(f"lasts {notes.end_s:.0f} s; this server takes {limits.performance_s:g} s at most")
    pedal_s = notes.pedal_s.clip(0, notes.end_s)
    return dataclasses.replace(notes, pedal_s=pedal_s[pedal_s[:, 1] > pedal_s[:, 0]])


def check_performance(content, limits):
    """(Notes, TempoMap) of such a file."""
    notes = check_notes(content, limits)
    return notes, read_performance(content)[1]


def notes_as_rows(notes):
    """(rows, pedal): [onset_s, duration_s, pitch, velocity] a note, [down_s, up_s] a pedal."""
    columns = (notes.onset_s.round(4), notes.duration_s.round(4), notes.pitch, notes.velocity)
    return [list(row) for row in zip(*(column.tolist() for column in columns))], notes.pedal_s.round(4).tolist()
