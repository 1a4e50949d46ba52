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
)

FREE, FORM = "N.C.", "blues in F"  # where no chords are given (but see model_process.chart_of)
Channel = Annotated[int, Field(ge=1, le=16)]
SOFT_PEDAL = 67
CUE = re.compile(r"(cc|key):(\d{1,3})")


def parse_cue(text: str) -> tuple[str, int | None]:
    """("silence", None), ("cc", number) or ("key", pitch).

    Raises
    ------
    ConfigError : says what there is
    """
    if text == "silence":
        return "silence", None
    if text == "pedal":
        return "cc", SOFT_PEDAL
    match = CUE.fullmatch(text)
    if match is None or int(match[2]) > 127:
        raise ConfigError(f"ends_by: {text!r} ends no phrase. Say silence, pedal, cc:NUMBER or key:PITCH (0 to 127).")
    return match[1], int(match[2])


def _checked(parse):
    def check(text):
        parse(text)
        return text

    return AfterValidator(check)


def _readable(text):
    """Whether a chart can be parsed; OWN is none."""
    from lib.music.chart import Chart  # it brings torch

    return text.strip().lower() == OWN or Chart.parse(text)


def _described(type_, text):
    return Annotated[type_, Field(description=text)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DuetRequest:
    """Who plays when, over what, and how it sounds."""

    mode: _described(Literal["call", "fours", "comp"], "Answer each phrase, take turns over a chart, or accompany.") = (
        "call"
    )
    tempo_bpm: Tempo = 120.0  # a clock that is followed has its own
    metre: MetreText = "4/4"
    feel: Feel = "free"
    clock: _described(Literal["own", "in", "out"], "Its own tempo, follow a MIDI clock, or send one.") = "own"
    chords: _described(Annotated[str, _checked(_readable)] | None, CHORDS_HELP) = None  # see music/chart.py
    own_changes: bool = False  # the pianist invents the chords; the same as chords="own"
    bars: _described(
        Annotated[int, Field(ge=1, le=16)] | None, "Of a turn: 4; in call and response as many as your phrase."
    ) = None
    count_in: Annotated[int, Field(ge=0, le=8, description="Bars of clicks before fours and comping.")] = 1
    first: _described(Literal["you", "me"], "Who has the first four.") = "you"
    ends_by: Annotated[
        str,
        _checked(parse_cue),
        Field(description="What ends your phrase: silence, pedal (soft), cc:NUMBER, key:PITCH."),
    ] = "silence"
    silence_beats: Annotated[float, Field(gt=0, le=16, description="Beats without a key down that end a phrase.")] = (
        2.0  # time enough to make the answer
    )
    give_way: _described(bool, "Stop when you play into an answer.") = False
    channel: _described(Channel, "MIDI channel to play on.") = 1
    click_channel: _described(Channel, "MIDI channel to count in on.") = 10  # General MIDI: drums
    style: Style = None  # as of GenerateRequest
    density: _described(Density | None, "Notes a second.") = None  # comping: 4
    seed: Annotated[int, Field(ge=0, lt=2**62, description="The answers count on from it.")] = 1
    num_steps: Steps = 12  # fewer than a solo's, to be ready in time
    temperature: Temperature = 0.9
    guidance_scale: GuidanceScale = None  # None: 1 in call and response (half the work)

    def __post_init__(self):
        """Both ways of asking for own changes are one."""
        if self.chords is not None and self.chords.strip().lower() == OWN:
            object.__setattr__(self, "chords", None)
            object.__setattr__(self, "own_changes", True)
        if self.own_changes and self.chords is not None:
            raise ValueError(
                f"own_changes leaves the chords to the pianist, but {self.chords!r} is asked for. Leave one out"
            )

    @property
    def form(self) -> str:
        """The chart's text."""
        return self.chords or (FREE if self.mode == "call" else FORM)
