"""Options of commands: those of a request, read from its dataclass, and a `--help` that fits one screen.

A command's help shows its common options; `--help-all` shows the hidden ones too.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from lib.config import ConfigError

OPTION_OF = {"tempo_bpm": "--tempo"}  # fields whose option has another name
EARLIER = {"metre": ("beats_per_bar", int)}  # fields -> their name in earlier versions, taken for one release, and type
FILES_INSTEAD = ("melody",)  # a command takes a file for it
PLAIN = (int, float, bool)  # what an option's text is read as here; the request reads all other text


def _show_all(context: typer.Context, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    hidden = [option for option in context.command.params if getattr(option, "hidden", False)]
    for option in hidden:
        option.hidden = False
    try:
        print(context.get_help())
    finally:
        for option in hidden:
            option.hidden = True
    raise typer.Exit


HelpAll = Annotated[
    bool, typer.Option("--help-all", is_eager=True, callback=_show_all, help="Show all options and exit.")
]


def with_help_all(command: Callable) -> Callable:
    """A decorator: the command gets `--help-all`, which shows its hidden options too."""
    return _with_options(command, _own_parameters(command), lambda values: values)


def with_request(
    request_type: type, common: Sequence[str], skipped: Iterable[str] = ()
) -> Callable[[Callable], Callable]:
    """A decorator: the command gets an option for each field of a request, and those that were given as `**request`.

    Parameters
    ----------
    request_type : pydantic dataclass; a field's description (or a rule's help) is its option's help
    common : names of the fields that `--help` shows; `--help-all` shows all
    skipped : names of fields without an option
    """

    def decorate(command):
        *own, _ = _own_parameters(command)
        left_out = {*skipped, *FILES_INSTEAD, *(parameter.name for parameter in own)}
        fields = sorted(
            set(request_type.__dataclass_fields__) - left_out, key=[*common, *request_type.__dataclass_fields__].index
        )
        options = [_parameter(request_type, name, name in common) for name in fields]
        first, rest = options[: len(common)], options[len(common) :]
        earlier = {old: _earlier_parameter(name, old, kind) for name, (old, kind) in EARLIER.items() if name in fields}

        def given(values):
            values = {name: value for name, value in values.items() if name not in fields or value is not None}
            old = {name: values.pop(name, None) for name in earlier}
            return values if set(old.values()) == {None} else _renamed(request_type, values, old)

        return _with_options(command, [*first, *own, *rest, *earlier.values()], given)

    return decorate


def _own_parameters(command: Callable) -> list[inspect.Parameter]:
    hints = get_type_hints(command, include_extras=True)
    return [
        p.replace(annotation=hints.get(p.name, p.annotation)) for p in inspect.signature(command).parameters.values()
    ]


def _with_options(command: Callable, parameters: list[inspect.Parameter], prepare: Callable) -> Callable:
    """The command with these parameters and `--help-all`; it is called with prepare(values)."""

    @functools.wraps(command)
    def wrapper(**values):
        del values["help_all"]
        return command(**prepare(values))

    help_all = inspect.Parameter("help_all", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=HelpAll)
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*parameters, help_all)]
    wrapper.__signature__ = inspect.Signature(parameters)
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _parameter(request_type, name, is_common):
    field = request_type.__dataclass_fields__[name]
    described = request_type.__pydantic_fields__[name]
    type_, choices = _base_type(get_type_hints(request_type, include_extras=False)[name])
    option = OPTION_OF.get(name, f"--{name.replace('_', '-')}")
    default = described.default if type_ in (int, float) else None
    annotation = Annotated[
        type_ | None,
        typer.Option(
            option,
            help=field.metadata.get("option") or described.description,
            show_default=False if default is None else f"{default:g}",
            metavar="|".join(choices) or None,
            hidden=not is_common,
        ),
    ]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _earlier_parameter(name, old, kind):
    described = typer.Option(f"--{old.replace('_', '-')}", help=f"Now --{name}.", hidden=True, show_default=False)
    return inspect.Parameter(
        old, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, described]
    )


def _renamed(request_type, values, old):
    """The options with this version's names for those that were given by earlier ones."""
    from lib.checkpoints.config_migration import renamed

    return renamed(request_type, {**{name: value for name, value in old.items() if value is not None}, **values}, "--")


def _base_type(hint) -> tuple[type, tuple[str, ...]]:
    """(int, float, bool or str, the choices of a Literal) of a field's type."""
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    if get_origin(hint) in (typing.Union, types.UnionType):
        some = [kind for kind in get_args(hint) if kind is not type(None)]
        return _base_type(some[0]) if len(some) == 1 else (str, ())
    return (hint if hint in PLAIN else str), ()


def with_chart(request: dict[str, Any], chart: Path | None, tune: str | None) -> tuple[dict[str, Any], Any]:
    """The request's options completed from a file of iReal Pro or MusicXML: chords, tempo_bpm, metre.

    Parameters
    ----------
    request : options that were given; they win
    chart : path of the file, or None
    tune : title of one of its tunes, or None

    Returns
    -------
    (dict, Chart or None) : the Chart of the file

    Raises
    ------
    ConfigError : options that do not go together; ChordError : of the chart
    """
    if chart is None:
        if tune is not None:
            raise ConfigError("--tune wants --chart FILE.")
        return request, None
    if "chords" in request:
        raise ConfigError("Give either --chords or --chart, not both.")
    from lib.music.chart_files import read_chart

    read = read_chart(chart, tune)
    text = read.chart.text()
    print(f"{chart}: {read.title}, {read.metre}: {text}")
    tempo = {} if read.chart.tempo_bpm is None else {"tempo_bpm": read.chart.tempo_bpm}
    request = {"metre": read.metre, **tempo, **request, "chords": text}
    return request, read.chart if request["metre"] == read.metre else None


def check_source(run: Path | None, released: bool) -> None:
    """ConfigError unless either a run or the released weights are named."""
    if (run is None) != released:
        raise ConfigError("Give either --run RUN or --released.")
