"""What to play, as a user writes it: the same for command line, notebook, server and JSON."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass

from lib.config import OWN, STRICT, ConfigError, Share, build
from lib.music.tempo_map import Metre

if TYPE_CHECKING:
    from lib.music.chart import Chart, Timing
    from lib.music.notes import Notes
    from lib.music.tempo_map import BeatNotes, TempoMap

MOST_POINTS = 10_000  # of an arc or a melody
USUAL_S = 30.0  # whole choruses nearest to it are played where nobody says how long
GUIDANCE, STYLE_GUIDANCE = 2.0, 3.0  # measured: data/released/improviser.md


def _numbers(value):
    several = isinstance(value, str) and "," in value
    return tuple(part for part in value.split(",") if part.strip()) if several else value


def curve(low: float, high: float) -> type:
    """A number within bounds, or several, spread evenly over a solo: "4,9,3" or a tuple."""
    number = Annotated[float, Field(ge=low, le=high)]
    several = Annotated[tuple[number, ...], Field(min_length=1, max_length=MOST_POINTS)]
    return Annotated[number | several, BeforeValidator(_numbers)]


def optional(kind: type, description: str, **bounds: float) -> type:
    """A number within bounds, or None."""
    return Annotated[Annotated[kind, Field(**bounds)] | None, Field(description=description)]


def rule_target(option: str, label: str = "", knob: tuple | None = None):
    """A field for a rule, a row of lib.music.rules.RULES, with all that command line, page and knobs need.

    Parameters
    ----------
    option : help of its command-line option
    label : its name on the server's page; "": it is not there
    knob : (lowest, highest, step) of its knob in notebooks, and "pitch" where it is one; None: no knob
    """
    return dataclasses.field(default=None, metadata={"option": option, "label": label, "knob": knob})


def _not_blank(text):
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _metre(value):
    """A metre as text; a number is so many quarters, as earlier versions had it."""
    text = str(value)
    return str(Metre.parse(f"{text}/4" if text.strip().isdigit() else text))


Density = Annotated[float, Field(ge=0, le=40)]
Melody = Annotated[tuple[tuple[float, int], ...], Field(max_length=MOST_POINTS)]
Swing = Annotated[float, Field(ge=0.5, le=0.75)]
PitchClasses = Annotated[tuple[float, ...], Field(min_length=12, max_length=12), BeforeValidator(_numbers)]
Vamp = optional(int, "Bars that return again and again, with changes.", ge=1, le=16)
Choruses = optional(int, "Length in choruses; or give --bars or --seconds.", ge=1, le=200)
Bars = optional(int, "Length in bars.", ge=1, le=2000)
Seconds = optional(float, "Length in seconds.", gt=0, le=3600)
Style = Annotated[str | None, Field(description="A name, or a mix: 'Brad Mehldau:0.7,Bill Evans:0.3'.")]
Seed = Annotated[int, Field(ge=0, lt=2**63, description="The same seed plays the same solo.")]
Tempo = Annotated[float, Field(ge=20, le=400, description="Quarters a minute.")]
MetreText = Annotated[str, BeforeValidator(_metre), Field(description="Such as 3/4, 7/8 or 12/8.")]
Feel = Annotated[Literal["straight", "swing", "free"], Field(description="How a beat is divided.")]
Steps = Annotated[int, Field(ge=1, le=1000, description="Denoising steps a window; fewer are faster.")]
Temperature = Annotated[float, Field(gt=0, le=5, description="Below 1 safer, above 1 more daring.")]
GuidanceScale = Annotated[
    Annotated[float, Field(ge=0, le=20)] | None,
    Field(description="How closely it follows chords and style; 1: no guidance."),
]
CHORDS_HELP = "'Dm7 | G7', a form such as 'blues in F', or 'own': the pianist's."


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GenerateRequest:
    """What to play. A field's description is the help of its option, and its text in the server's schema."""

    chords: Annotated[str, AfterValidator(_not_blank), Field(description=CHORDS_HELP)] = "blues in F"  # repeats
    own_changes: bool = False  # the pianist invents the chords; the same as chords="own"
    recall: Annotated[Share, Field(description="How much returns from the previous chorus, 0 to 1.")] = 0.5
    vamp: Vamp = None
    choruses: Choruses = None
    bars: Bars = None
    seconds: Seconds = None
    seed: Seed = 1
    tempo_bpm: Tempo = 120.0
    metre: MetreText = "4/4"
    feel: Feel = "free"
    style: Style = None  # None: whom the run was fine-tuned on
    density: curve(0, 40) | None = rule_target(
        "Notes a second: 6, or a curve over the solo: 3,9,4.", "Notes a second", knob=(0.0, 16.0, 0.5)
    )
    left_density: Density | None = rule_target("Notes a second of the keys below middle C.")
    right_density: Density | None = rule_target("Notes a second of those from middle C on.")
    register: curve(21, 108) | None = rule_target(
        "Mean pitch (MIDI): 60, or a curve: 50,70,55.", "Register (MIDI pitch)", knob=(40, 83, 3, "pitch")
    )
    loudness: curve(1, 127) | None = rule_target("Mean velocity: 64, or a curve: 40,90.", "Loudness (velocity)")
    swing: Swing | None = rule_target("Position of second eighths: 0.5 straight, 0.67 triplets.", "Swing")
    melody: Melody | None = rule_target("Melody notes (seconds, MIDI pitch) to play on top.")
    pitch_classes: PitchClasses | None = rule_target("Twelve weights, C to B: 1,0,1,0,1,1,0,1,0,1,0,1.")
    condition_model: Annotated[
        bool,
        Field(description="Whether chords, density and register condition the model, or only rules ask for them."),
    ] = True
    num_candidates: Annotated[
        int,
        Field(ge=1, le=64, description="Candidates that rules compare per revision (a quarter per step); 1: no rules."),
    ] = 1  # of SCG
    guidance_scale: GuidanceScale = None  # classifier-free, of what is played; None: see `guidance`
    num_steps: Steps = 30
    temperature: Temperature = 0.9  # measured: data/released/improviser.md

    def __post_init__(self):
        """Both ways of asking for own changes are one; a metre that the chart begins with is the metre."""
        if self.chords.strip().lower() == OWN or self.own_changes and self.chords == type(self).chords:
            object.__setattr__(self, "chords", OWN)
            object.__setattr__(self, "own_changes", True)
        elif self.own_changes:
            reason = f"own_changes leaves the chords to the pianist, but chords {self.chords!r} are given"
            raise ConfigError(f"{reason}. Leave one out", {"own_changes": reason})

        take_leading_metre(self, self.chords)
        lengths = [name for name in ("choruses", "bars", "seconds") if getattr(self, name) is not None]
        if len(lengths) > 1:
            reason = f"{' and '.join(lengths)} each give the length. Give only one of them"
            raise ConfigError(reason, {lengths[-1]: reason})

    @property
    def timing(self) -> Timing:
        """How its tempo and metre become felt beats."""
        from lib.music.chart import Timing

        return Timing.of(self.tempo_bpm, Metre.parse(self.metre))

    def parsed_chart(self) -> Chart:
        """Its chart; ChordError where it is none."""
        from lib.music.chart import Chart

        return Chart.parse(self.chords, Metre.parse(self.metre).pair)

    def blank_chart(self) -> Chart:
        """One bar in its metre, without a chord."""
        from lib.music.chart import Bar, Chart

        return Chart((Bar.of([None], Metre.parse(self.metre).pair),))

    @property
    def length_s(self) -> float:
        """How long the music is in seconds, to a bar where its changes are the pianist's; ChordError: of its chords."""
        if self.own_changes and self.choruses:
            return self.choruses * USUAL_S
        chart = self.blank_chart() if self.own_changes else self.parsed_chart()
        return float(60 * self.quarters(chart) / Fraction(self.tempo_bpm))

    def quarters(self, chart: Chart) -> Fraction:
        """How long the music is over a chart."""
        if self.seconds is not None:
            return Fraction(self.seconds) * Fraction(self.tempo_bpm) / 60
        if self.bars is not None:
            bars = islice(chart.played(chart.quarters * self.bars), self.bars)
            return sum((bar.quarters for _, bar in bars), Fraction(0))
        usual = round(USUAL_S * self.tempo_bpm / 60 / chart.quarters)
        return chart.length(self.choruses or max(1, usual))

    @property
    def guidance(self) -> float:
        """guidance_scale, or what was measured to be good: more where a style is asked for, which is easily missed."""
        usual = GUIDANCE if self.style is None else STYLE_GUIDANCE
        return usual if self.guidance_scale is None else self.guidance_scale

    @property
    def asks_for_rules(self) -> bool:
        """Whether a rule other than the chords is requested; then candidates compete by default."""
        return any(getattr(self, name) is not None for name in RULE_OPTIONS)


@dataclasses.dataclass(frozen=True)
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


def take_leading_metre(request: object, chords: str | None) -> None:
    """Set a new request's metre to the one that its chart's text begins with, where it begins with one."""
    if chords and re.search(r"T\d|\d/\d", chords, re.IGNORECASE):  # else nothing has to be imported
        from lib.music.chart_text import leading_metre

        object.__setattr__(request, "metre", leading_metre(chords) or request.metre)


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
