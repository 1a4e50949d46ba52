"""What a client asks for: GenerateRequest and the performance that a solo continues, or fills a gap of."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from lib.apps.server.errors import Problem
from lib.checkpoints.config_migration import renamed
from lib.config import GUIDED_CANDIDATES, STRICT, ConfigError
from lib.generation.generate import Order
from lib.generation.request import RULE_OPTIONS, GenerateRequest, request_from
from lib.music.chart import Chart
from lib.music.chords import ChordError
from lib.music.notes import MidiError, Notes, read_midi, read_tempo

PLAIN = GenerateRequest()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SoloOrder(GenerateRequest):
    """A GenerateRequest as the server takes it: what is left out is chosen as on the command line."""

    seconds: Annotated[float, Field(gt=0, le=3600)] | None = None
    bars: Annotated[int, Field(ge=1)] | None = None  # instead of seconds
    tempo_bpm: Annotated[float, Field(ge=20, le=400)] | None = None  # None: as the MIDI file says, or 120
    num_candidates: Annotated[int, Field(ge=1, le=64)] | None = None  # None: 8 where a rule is asked, else 1
    midi: str | None = None  # a MIDI file in base64 to continue; with from_s and to_s: to fill that gap of
    from_s: Annotated[float, Field(ge=0)] | None = None
    to_s: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values):
        """Fields by the names of this version."""
        return renamed(GenerateRequest, values, "") if isinstance(values, dict) else values

    def length_s(self, tempo_bpm):
        """Of the new music."""
        if self.to_s is not None:
            return self.to_s - self.from_s
        return self.bars * self.beats_per_bar * 60 / tempo_bpm if self.bars else self.seconds or PLAIN.seconds

    def request(self, tempo_bpm, seconds):
        """GenerateRequest with everything decided."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(GenerateRequest)}
        candidates = self.num_candidates or (GUIDED_CANDIDATES if self.asks_for_rules else 1)
        return GenerateRequest(**{**own, "seconds": seconds, "tempo_bpm": tempo_bpm, "num_candidates": candidates})


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
        notes = None if self.midi is None else read_performance(self.midi, limits)
        return Order(self.request, notes, self.from_s, self.to_s, callback)

    @property
    def shape(self):
        """What must be the same for two to be worth playing together."""
        seconds = self.request.seconds if self.to_s is None else self.to_s - self.from_s
        return f"{math.ceil(seconds / 5)} {self.request.num_steps} {self.request.num_candidates} {self.to_s is None}"


def check(asked, styles, limits):
    """Work of a SoloOrder; Problem names the field that can't be."""
    _check_sizes(asked, limits)
    midi = None if asked.midi is None else decode_midi(asked.midi)
    if (asked.from_s is None) != (asked.to_s is None) or (asked.from_s is not None and midi is None):
        raise Problem.of_field("from_s" if asked.from_s is None else "to_s", "from_s, to_s and midi go together.")
    notes = None if midi is None else _of_field("midi", MidiError, read_performance, midi, limits)
    tempo_bpm = asked.tempo_bpm or (read_tempo(midi, asked.from_s) if midi else None) or PLAIN.tempo_bpm
    if not 0 < (seconds := asked.length_s(tempo_bpm)) <= limits.seconds:
        field = "bars" if asked.bars else "seconds" if asked.to_s is None else "to_s"
        raise Problem.of_field(
            field, f"{seconds:g} s of music; this server plays more than 0 and at most {limits.seconds:g} s."
        )
    request = asked.request(tempo_bpm, seconds)
    if asked.from_s is not None:
        _of_field("from_s", ConfigError, lambda: Order(request, notes, asked.from_s, asked.to_s).borders)
    if request.style is not None:
        _of_field("style", ConfigError, styles.vector, request.style)
    return Work(request, midi, asked.from_s, asked.to_s)


def _check_sizes(asked, limits):
    if asked.bars is not None and asked.seconds is not None:
        raise Problem.of_field("bars", "give either bars or seconds.")
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
    bars = 0 if asked.own_changes else len(_of_field("chords", ChordError, Chart.parse, asked.chords).bars)
    if bars > limits.bars:
        raise Problem.of_field("chords", f"{bars} bars; this server takes {limits.bars} at most.")


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


def read_performance(content, limits):
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


def notes_as_rows(notes):
    """(rows, pedal): [onset_s, duration_s, pitch, velocity] a note, [down_s, up_s] a pedal."""
    columns = (notes.onset_s.round(4), notes.duration_s.round(4), notes.pitch, notes.velocity)
    return [list(row) for row in zip(*(column.tolist() for column in columns))], notes.pedal_s.round(4).tolist()


def notes_from_rows(rows, pedal):
    """Notes of what notes_as_rows gave."""
    return Notes.from_arrays(*(np.array([row[i] for row in rows]) for i in range(4)), pedal)
