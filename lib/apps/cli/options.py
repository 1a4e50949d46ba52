"""Options of commands: those of a request, read from its dataclass, and a `--help` that fits one screen.

A command's help shows its common options; `--help-all` shows the hidden ones too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from lib.config import OWN, ConfigError

OPTION_OF = {"tempo_bpm": "tempo"}  # fields whose option has another name
EARLIER = {"beats_per_bar": "metre"}  # an option of earlier versions -> its name now; taken for one release
NUMBERS = {int, float, bool}  # what an option's text is read as here; the request reads all other text


def option(text: str, *names: str, **settings):
    """An option with its help; by default its name is the parameter's."""
    return typer.Option(*names, help=text, **settings)


def hidden(text: str, *names: str, **settings):
    """An option that `--help-all` alone shows."""
    return option(text, *names, hidden=True, **settings)


DataDir = Annotated[Path, option("Folder of archives and note stores.")]
RunsDir = Annotated[Path, option("Folder of runs.")]
Run = Annotated[Path | None, option("brad_final, or a run of diffusion or fine_tune.")]
Released = Annotated[bool, option("Play with the weights of data/released.", "--released")]
DATA_DIR, RUNS_DIR, OUTPUT_DIR = Path("data"), Path("runs"), Path("outputs")


def _show_all(context: typer.Context, value: bool) -> None:
    if value and not context.resilient_parsing:
        for parameter in context.command.params:
            parameter.hidden = False
        print(context.get_help())
        raise typer.Exit


HelpAll = Annotated[bool, option("Show all options and exit.", "--help-all", is_eager=True, callback=_show_all)]


def with_request(request_type: type, common: Sequence[str], skipped: Iterable[str] = ()) -> Callable:
    """A decorator: the command gets an option for each field of a request, and those that were given as `**request`.

    Parameters
    ----------
    request_type : pydantic dataclass; a field's description (or a rule's help) is its option's help
    common : names of the fields that `--help` shows; `--help-all` shows all
    skipped : names of fields without an option
    """

    def decorate(command):
        hints = get_type_hints(command, include_extras=True)
        signature = inspect.signature(command).parameters
        own = [signature[name].replace(annotation=hints[name]) for name in signature if name in hints]
        left_out = {*common, *skipped, *(parameter.name for parameter in own)}
        rare = [name for name in request_type.__dataclass_fields__ if name not in left_out]
        first, rest = ([_field_parameter(request_type, name, common) for name in names] for names in (common, rare))
        for old, name in EARLIER.items():
            if name in {*common, *rare}:
                rest.append(_parameter(old, str, help=f"Now --{name}.", hidden=True, show_default=False))

        @functools.wraps(command)
        def wrapper(**values):
            given = {name: values.pop(name, None) for name in fields}
            given = {name: value for name, value in given.items() if value is not None}
            if given.keys() & EARLIER:
                from lib.checkpoints.config_migration import renamed

                given = renamed(request_type, given, "--")
            return command(**values, **given)

        fields = [parameter.name for parameter in (*first, *rest)]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*first, *own, *rest)]
        wrapper.__signature__ = inspect.Signature(parameters)
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapper

    return decorate


def _field_parameter(request_type, name, common):
    field, described = request_type.__dataclass_fields__[name], request_type.__pydantic_fields__[name]
    hint, default = get_type_hints(request_type)[name], described.default
    kinds = set(get_args(hint) or [hint]) - {NoneType}
    return _parameter(
        name,
        kinds.pop() if len(kinds) == 1 and kinds <= NUMBERS else str,
        help=field.metadata.get("option") or described.description,
        show_default=f"{default:g}" if type(default) in (int, float) else False,
        metavar="|".join(get_args(hint)) if get_origin(hint) is Literal else None,
        hidden=name not in common,
    )


def _parameter(name, kind, **settings):
    """A parameter that is None where its option is not given."""
    option_name = f"--{OPTION_OF.get(name, name).replace('_', '-')}"
    annotation = Annotated[kind | None, typer.Option(option_name, **settings)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def with_chart(request: dict[str, Any], chart: Path | None, tune: str | None, transpose: int = 0) -> dict[str, Any]:
    """The options of a request, completed from a chart's file: chords, tempo_bpm, metre.

    Parameters
    ----------
    request : options that were given
    chart : path of a file of iReal Pro, MusicXML or typed chords, or None
    tune : title of one of its tunes, or None
    transpose : semitones up, of the file's chords or of those that were given

    Raises
    ------
    ConfigError : options that do not go together; ChordError : of the chart
    """
    from lib.music.chart import Chart

    if chart is None and tune is not None:
        raise ConfigError("--tune needs --chart FILE.")
    if chart is None and not transpose:
        return request
    if chart is None:
        if request.get("chords", OWN).strip().lower() == OWN:
            raise ConfigError("--transpose needs --chords or --chart.")
        text = Chart.parse(request["chords"]).transposed(transpose).text()
        print(f"transposed by {transpose:+d}: {text}")
        return {**request, "chords": text}
    if "chords" in request:
        raise ConfigError("Give either --chords or --chart, not both.")
    from lib.music.chart_files import read_chart

    read = read_chart(chart, tune)
    if "metre" in request and request["metre"] != read.metre:
        raise ConfigError(f"--metre {request['metre']}, but {read.title} is in {read.metre}: leave --metre out.")
    text = read.chart.transposed(transpose).text()
    moved = f", transposed by {read.transposition:+d} as saved" if read.transposition else ""
    moved += f", and by {transpose:+d}" if transpose else ""
    print(f"{chart}: {read.title}, {read.metre}{moved}: {text}")
    tempo = {} if read.chart.tempo_bpm is None else {"tempo_bpm": read.chart.tempo_bpm}
    return {"metre": read.metre, **tempo, **request, "chords": text}


def check_source(run: Path | None, released: bool) -> None:
    """ConfigError unless either a run or the released weights are named."""
    if (run is None) != released:
        raise ConfigError("Which model? Give either --released (the project's weights) or --run RUN (your own).")
