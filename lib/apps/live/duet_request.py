"""The request for a duet: every option of `python -m lib duet` that is about music."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from lib.apps.live.phrase import parse_cue
from lib.config import OWN, STRICT

FREE, FORM = "N.C.", "blues in F"  # where no chords are given (but see model_process.chart_of)
Channel = Annotated[int, Field(ge=1, le=16)]


def _checked(parse):
    def check(text):
        parse(text)
        return text

    return AfterValidator(check)


def _readable(text):
    """Whether a chart can be parsed; OWN is none."""
    from lib.music.chart import Chart  # it brings torch

    return text.strip().lower() == OWN or Chart.parse(text)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DuetRequest:
    """Who plays when, over what, and how it sounds."""

    mode: Literal["call", "fours", "comp"] = "call"  # answer each phrase, take turns over a chart, accompany
    tempo_bpm: Annotated[float, Field(ge=20, le=400)] = 120.0  # quarters; a clock that is followed has its own
    beats_per_bar: Annotated[int, Field(ge=1, le=16)] = 4  # quarters
    clock: Literal["own", "in", "out"] = "own"  # in: follow a MIDI clock; out: send one
    chords: Annotated[str, _checked(_readable)] | None = None  # see music/chart.py
    own_changes: bool = False  # the pianist invents the chords; the same as chords="own"
    bars: Annotated[int, Field(ge=1, le=16)] | None = None  # of a turn; None: 4, in call and response those of the phrase
    count_in: Annotated[int, Field(ge=0, le=8)] = 1  # bars, before fours and comping; none where a clock is followed
    first: Literal["you", "me"] = "you"  # whose the first four is
    ends_by: Annotated[str, _checked(parse_cue)] = "silence"  # what ends a phrase: silence, pedal, cc:NUMBER or key:PITCH
    silence_beats: Annotated[float, Field(gt=0, le=16)] = 2.0  # without a key down; time enough to make the answer
    give_way: bool = False  # whether an answer stops when the human plays into it
    channel: Channel = 1  # on which it plays
    click_channel: Channel = 10  # on which it counts in (General MIDI: drums)
    style: str | None = None  # as of GenerateRequest
    density: Annotated[float, Field(ge=0, le=40)] | None = None  # notes a second; comping: 4
    seed: Annotated[int, Field(ge=0, lt=2**62)] = 1  # the answers count on from it
    num_steps: Annotated[int, Field(ge=1, le=1000)] = 12  # of denoising: fewer than a solo's, to be ready in time
    temperature: Annotated[float, Field(gt=0, le=5)] = 0.9
    guidance_scale: Annotated[float, Field(ge=0, le=20)] | None = None  # None: 1 in call and response (half the work)

    def __post_init__(self):
        """Both ways of asking for own changes are one."""
        if self.chords is not None and self.chords.strip().lower() == OWN:
            object.__setattr__(self, "chords", None)
            object.__setattr__(self, "own_changes", True)
        if self.own_changes and self.chords is not None:
            raise ValueError(f"own_changes leaves the chords to the pianist, but {self.chords!r} is asked for. Leave one out")

    @property
    def form(self) -> str:
        """The chart's text."""
        return self.chords or (FREE if self.mode == "call" else FORM)
