"""What to play, as a user writes it: the same for command line, notebook, server and JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass

from lib.config import OWN, STRICT, Share, build
from lib.music.tempo_map import Metre

if TYPE_CHECKING:
    from lib.music.beat_grid import Timing
    from lib.music.chart import Chart

USUAL_S = 30.0  # whole choruses nearest to it are played where nobody says how long
GUIDANCE, STYLE_GUIDANCE = 2.0, 3.0  # measured: data/released/improviser.md


def _numbers(value):
    several = isinstance(value, str) and "," in value
    return tuple(part for part in value.split(",") if part.strip()) if several else value


def curve(low: float, high: float) -> type:
    """A number within bounds, or several, spread evenly over a solo: "4,9,3" or a tuple."""
    number = Annotated[float, Field(ge=low, le=high)]
    several = Annotated[tuple[number, ...], Field(min_length=1)]
    return Annotated[number | several, BeforeValidator(_numbers)]


def rule_target(option: str):
    """A field that asks for a rule, a row of lib.music.rules.RULES; `option` is the help of its command-line option."""
    return dataclasses.field(default=None, metadata={"option": option})


def _not_blank(text):
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _metre(value):
    """A metre as text; a number is so many quarters, as earlier versions had it."""
    text = str(value)
    return str(Metre.parse(f"{text}/4" if text.strip().isdigit() else text))


Density = Annotated[float, Field(ge=0, le=40)]
Swing = Annotated[float, Field(ge=0.5, le=0.75)]
PitchClasses = Annotated[tuple[float, ...], Field(min_length=12, max_length=12), BeforeValidator(_numbers)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GenerateRequest:
    """What to play."""

    chords: Annotated[str, AfterValidator(_not_blank)] = "Cmaj7 | Dm7 G7 | Em7 A7"  # repeats; see lib/music/chart.py
    own_changes: bool = False  # the pianist invents the chords; the same as chords="own"
    recall: Share = 0.5  # of the music of the chorus before, or of a section in capitals, that the model is reminded of
    choruses: Annotated[int, Field(ge=1, le=200)] | None = None  # how long: this, bars, seconds, or about 30 s
    bars: Annotated[int, Field(ge=1, le=2000)] | None = None
    seconds: Annotated[float, Field(gt=0, le=3600)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    tempo_bpm: Annotated[float, Field(ge=20, le=400)] = 120.0  # quarters; places the bars
    metre: Annotated[str, BeforeValidator(_metre)] = "4/4"
    feel: Literal["straight", "swing", "free"] = "free"
    style: str | None = None  # a name, or a mix NAME:SHARE,NAME:SHARE; None: whom the run was fine-tuned on
    density: curve(0, 40) | None = rule_target("Notes a second: 6, or an arc over the solo: 3,9,4.")
    left_density: Density | None = rule_target("Notes a second of the keys below middle C.")
    right_density: Density | None = rule_target("Notes a second of those from middle C on.")
    register: curve(21, 108) | None = rule_target("Mean pitch (MIDI): 60, or an arc: 50,70,55.")
    loudness: curve(1, 127) | None = rule_target("Mean velocity: 64, or an arc: 40,90.")
    swing: Swing | None = rule_target("Notes on eighths: 0.5 straight, 0.67 triplets.")
    melody: tuple[tuple[float, int], ...] | None = rule_target("Notes (seconds, MIDI pitch) that are to sound on top.")
    pitch_classes: PitchClasses | None = rule_target("Twelve weights, C to B: 1,0,1,0,1,1,0,1,0,1,0,1.")
    condition_model: bool = True  # chords, density and register condition the model; False: rules alone ask for them
    num_candidates: Annotated[int, Field(ge=1, le=64)] = 1  # of SCG: of a revision; a quarter in a step; 1: no rules
    guidance_scale: Annotated[float, Field(ge=0, le=20)] | None = None  # classifier-free, of what is played; 1: none
    num_steps: Annotated[int, Field(ge=1, le=1000)] = 30  # denoising steps a window
    temperature: Annotated[float, Field(gt=0, le=5)] = 0.9  # below 1 sharpens; measured: data/released/improviser.md

    def __post_init__(self):
        """Both ways of asking for own changes are one."""
        if self.chords.strip().lower() == OWN or self.own_changes and self.chords == type(self).chords:
            object.__setattr__(self, "chords", OWN)
            object.__setattr__(self, "own_changes", True)
        elif self.own_changes:
            reason = f"own_changes leaves the chords to the pianist, but {self.chords!r} is asked for"
            raise ValueError(f"{reason}. Leave one out")

        lengths = [name for name in ("choruses", "bars", "seconds") if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise ValueError(f"{' and '.join(lengths)} both say how long the music is. Give one of them")

    @property
    def timing(self) -> Timing:
        """How its tempo and metre become felt beats."""
        from lib.music.beat_grid import Timing

        return Timing.of(self.tempo_bpm, Metre.parse(self.metre))

    def parsed_chart(self) -> Chart:
        """Its chart; ChordError where it is none."""
        from lib.music.chart import Chart

        metre = Metre.parse(self.metre)
        return Chart.parse(self.chords, (metre.numerator, metre.denominator))

    def quarters(self, chart: Chart) -> Fraction:
        """How long the music is over a chart."""
        if self.seconds is not None:
            return Fraction(self.seconds) * Fraction(self.tempo_bpm) / 60
        if self.bars is not None:
            bars = islice(chart.played(chart.quarters * self.bars), self.bars)
            return sum((bar.quarters for _, bar in bars), Fraction(0))
        usual = round(USUAL_S * self.tempo_bpm / 60 / chart.quarters)
        return chart.quarters * (self.choruses or max(1, usual))

    @property
    def guidance(self) -> float:
        """guidance_scale, or what was measured to be good: more where a style is asked for, which is easily missed."""
        usual = GUIDANCE if self.style is None else STYLE_GUIDANCE
        return usual if self.guidance_scale is None else self.guidance_scale

    @property
    def asks_for_rules(self) -> bool:
        """Whether a rule is asked for besides the chords: candidates then compete where nobody says how many."""
        return any(getattr(self, name) is not None for name in RULE_OPTIONS)


# fields of GenerateRequest that ask for a rule -> the help of their command-line options
RULE_OPTIONS = {field.name: field.metadata["option"] for field in dataclasses.fields(GenerateRequest) if field.metadata}


def request_from(values: Mapping, where: object) -> GenerateRequest:
    """The GenerateRequest that a file or a message keeps, whichever version wrote it.

    Raises
    ------
    ConfigError : a field that is neither known nor renamed nor removed since, or a value that can't be
    """
    from lib.checkpoints.config_migration import known_values

    return build(GenerateRequest, known_values(GenerateRequest, values, where))
