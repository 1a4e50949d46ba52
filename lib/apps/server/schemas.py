"""A client's request: a GenerateRequest, and MIDI files to continue, infill or use as a theme."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Callable
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from lib.apps.server.errors import field_error, of_field
from lib.apps.server.limits import Limits
from lib.checkpoints.config_migration import known_values, renamed
from lib.checkpoints.load import Styles
from lib.config import STRICT, build
from lib.generation.generate import find_passage
from lib.generation.performance import as_theme, order_of, read_performance
from lib.generation.request import GenerateRequest, MetreText, Order, Tempo
from lib.music.notes import MidiError, Notes, read_midi
from lib.music.tempo_map import TempoMap

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
    theme: str | None = None  # a MIDI file in base64 that the music comes back to with each chorus

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values):
        """Fields by the names of this version."""
        return renamed(GenerateRequest, values, "") if isinstance(values, dict) else values

    def order(self, limits: Limits, callback: Callable | None = None) -> Order:
        """What is to be played, with everything decided; ConfigError names a MIDI file that can't be read."""
        notes, tempo_map = (None, None) if self.midi is None else _read_field("midi", self.midi, limits)
        theme = None if self.theme is None else as_theme(*_read_field("theme", self.theme, limits))
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(GenerateRequest)}
        about = {"from_s": self.from_s, "to_s": self.to_s, "theme": theme, "callback": callback}
        return order_of(values, notes, tempo_map, **about)


def write_order(asked: SoloOrder) -> str:
    """As JSON, for `read_order`."""
    return json.dumps(dataclasses.asdict(asked))


def read_order(text: str) -> SoloOrder:
    """What write_order wrote, in whichever version; ConfigError for a field that this one does not know."""
    values = json.loads(text)
    values |= values.pop("request", {})  # where versions without themes kept all but the passage
    return build(SoloOrder, known_values(SoloOrder, values, "The job"))


def check(asked: SoloOrder, styles: Styles, limits: Limits) -> Order:
    """The Order of what is asked for; ConfigError names the field that can't be, or is beyond the limits."""
    for name in ("num_steps", "num_candidates", "bars"):
        if (getattr(asked, name) or 0) > (most := getattr(limits, name)):
            raise field_error(name, f"{getattr(asked, name)}; this server takes {most} at most.")
    for name in ("chords", "style"):
        if len(getattr(asked, name) or "") > limits.chart_characters:
            raise field_error(name, f"this server reads {limits.chart_characters} characters at most.")
    if (asked.from_s is None) != (asked.to_s is None) or (asked.from_s is not None and asked.midi is None):
        raise field_error("from_s" if asked.from_s is None else "to_s", "from_s, to_s and midi go together.")
    order = asked.order(limits)
    if order.request.style is not None:
        with of_field("style"):
            styles.vector(order.request.style)
    with of_field("chords"):
        bars = 0 if order.request.own_changes else len(order.request.parsed_chart().bars)
    if bars > limits.bars:
        raise field_error("chords", f"{bars} bars; this server takes {limits.bars} at most.")
    if (length_s := _length_s(order)) > limits.seconds:
        given = [name for name in ("to_s", *LENGTHS) if getattr(asked, name) is not None]
        text = f"{length_s:g} s of music; this server plays {limits.seconds:g} s at most."
        raise field_error((*given, "chords")[0], text)
    if order.is_infilling:
        with of_field("from_s"):
            find_passage(order)
    return order


def shape_of(order: Order) -> str:
    """Orders of the same shape may be played together without waiting much for each other."""
    beats = _length_s(order) / 60 * order.request.timing.felt_bpm
    settings = order.request.num_steps, order.request.num_candidates, not order.is_infilling
    return " ".join(map(str, (math.ceil(beats / BEATS_ALIKE), *settings)))


def _length_s(order):
    """Of the new music."""
    return order.to_s - order.from_s if order.is_infilling else order.request.length_s


def _read_field(field, text, limits):
    """(Notes, TempoMap) of a MIDI file in base64."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        raise field_error(field, "is not base64.") from None
    with of_field(field):
        return check_performance(content, limits)


def check_performance(content: bytes, limits: Limits) -> tuple[Notes, TempoMap]:
    """Notes of a MIDI file within the limits, no pedal beyond the last note, and its beats; MidiError otherwise."""
    notes = check_notes(content, limits)
    return notes, read_performance(content)[1]


def check_notes(content: bytes, limits: Limits) -> Notes:
    """The notes of check_performance alone."""
    if content.count(b"MTrk") > limits.tracks:  # each takes a parser some kB: 2 MB of them, 300 MB
        raise MidiError(f"has {content.count(b'MTrk'):,} tracks; this server takes {limits.tracks} at most")
    notes = read_midi(content)
    if len(notes) > limits.notes or len(notes.pedal_s) > limits.notes:
        raise MidiError(f"has {len(notes):,} notes; this server takes {limits.notes:,} at most")
    if notes.end_s > limits.performance_s:
        raise MidiError(f"lasts {notes.end_s:.0f} s; this server takes {limits.performance_s:g} s at most")
    pedal_s = notes.pedal_s.clip(0, notes.end_s)
    return dataclasses.replace(notes, pedal_s=pedal_s[pedal_s[:, 1] > pedal_s[:, 0]])
