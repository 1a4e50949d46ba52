"""The request for a duet: every option of `python -m lib duet` that is about music."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from lib.config import OWN, STRICT, ConfigError
from lib.generation.request import (
    CHORDS_HELP,
    Density,
    Feel,
    GuidanceScale,
    MetreText,
    Steps,
    Style,
    Temperature,
    Tempo,
    take_leading_metre,
)

FREE, FORM = "N.C.", "blues in F"  # where no chords are given (but see model_process.chart_of)
NAMED_CUES = {"silence": ("silence", None), "pedal": ("cc", 67)}  # the soft pedal


def parse_cue(text: str) -> tuple[str, int | None]:
    """("silence", None), ("cc", number) or ("key", pitch); ConfigError where it is none of them."""
    if text in NAMED_CUES:
        return NAMED_CUES[text]
    match = re.fullmatch(r"(cc|key):(\d{1,3})", text)
    if match is None or int(match[2]) > 127:
        raise ConfigError(f"ends_by: {text!r} ends no phrase. Say silence, pedal, cc:NUMBER or key:PITCH (0 to 127).")
    return match[1], int(match[2])


def _chords(text):
    """A chart that can be parsed, OWN or None."""
    from lib.music.chart import Chart  # it brings torch

    if text is None or text.strip().lower() == OWN:
        return text and OWN
    return Chart.parse(text) and text


Cue = Annotated[
    str,
    AfterValidator(lambda text: parse_cue(text) and text),
    Field(description="What ends your phrase: silence, pedal (soft), cc:NUMBER, key:PITCH."),
]


def _choice(text, *choices):
    return Annotated[Literal[choices], Field(description=text)]


def _number(text, kind=int, **bounds):
    return Annotated[kind, Field(description=text, **bounds)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DuetRequest:
    """Who plays when, over what, and how it sounds."""

    mode: _choice("Answer each phrase, take turns over a chart, or accompany.", "call", "fours", "comp") = "call"
    tempo_bpm: Tempo = 120.0  # a clock that is followed has its own
    metre: MetreText = "4/4"
    feel: Feel = "free"
    clock: _choice("Its own tempo, follow a MIDI clock, or send one.", "own", "in", "out") = "own"
    chords: Annotated[str | None, AfterValidator(_chords), Field(description=CHORDS_HELP)] = None
    bars: _number("Of a turn: 4; in call and response as many as your phrase.", int | None, ge=1, le=16) = None
    count_in: _number("Bars of clicks before fours and comping.", ge=0, le=8) = 1
    first: _choice("Who has the first four.", "you", "me") = "you"
    ends_by: Cue = "silence"
    silence_beats: _number("Beats without a key down that end a phrase.", float, gt=0, le=16) = 2.0
    give_way: Annotated[bool, Field(description="Stop when you play into an answer.")] = False
    channel: _number("MIDI channel to play on.", ge=1, le=16) = 1
    click_channel: _number("MIDI channel to count in on.", ge=1, le=16) = 10  # General MIDI: drums
    style: Style = None  # as of GenerateRequest
    density: Annotated[Density | None, Field(description="Notes a second.")] = None  # comping: 4
    seed: _number("The answers count on from it.", ge=0, lt=2**62) = 1
    num_steps: Steps = 12  # fewer than a solo's, to be ready in time
    temperature: Temperature = 0.9
    guidance_scale: GuidanceScale = None  # None: 1 in call and response (half the work)

    def __post_init__(self):
        """A metre that the chart begins with is the metre."""
        take_leading_metre(self, self.chords)

    @property
    def own_changes(self) -> bool:
        """Whether the pianist invents the chords."""
        return self.chords == OWN

    @property
    def form(self) -> str:
        """The chart's text."""
        return self.chords or (FREE if self.mode == "call" else FORM)
