"""The parameters of the notebooks: what each has, and whether what somebody wants to set exists and fits.

papermill only warns about a parameter that does not exist and hands text through as text, so names and types
are checked here, against each notebook's cell tagged `parameters`.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from lib import config
from lib.checkpoints.config_migration import renamed
from lib.generation.request import GenerateRequest

NOTEBOOKS = config.ROOT / "notebooks"
CONFIGS = {**config.STAGES, "listen": GenerateRequest}  # a notebook without its number -> where its parameters end up
EXAMPLES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def select(notebooks: str = "00-06") -> list[Path]:
    """'00-06', '02', '02_vqvae' or '00,02-04' -> the notebooks' paths, in order; ConfigError names what is unknown."""
    paths = {path.stem: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    chosen = set()
    for word in (word.strip() for word in notebooks.split(",")):
        first, _, last = word.partition("-")
        if first.isdigit() and last.isdigit():
            stems = {stem for stem in paths if int(first) <= int(stem[:2]) <= int(last)}
        else:
            stems = {stem for stem in paths if word in (stem, stem[:2])}
        if not stems:
            raise config.ConfigError(f"Unknown notebook {word!r}.{config.nearest(word, paths)}")
        chosen |= stems
    return [paths[stem] for stem in sorted(chosen)]


def parameters_of(path: Path) -> dict[str, Any]:
    """The parameters of a notebook and their defaults, from its cell tagged `parameters`."""
    import papermill

    parameters = papermill.inspect_notebook(str(path))
    return {name: ast.literal_eval(parameter["default"]) for name, parameter in parameters.items()}


def assign(paths: Sequence[Path], overrides: Mapping[str, Any], preset: str) -> dict[str, dict[str, Any]]:
    """{'02_vqvae.batch_size': '8'} -> {'02_vqvae': {'batch_size': 8}}, for all paths.

    Raises
    ------
    ConfigError : a name that is not there, a value that is not of its parameter's type, or one that the config that it
        ends up in refuses; names the nearest that would do
    """
    config.choose("preset", preset, config.PRESETS)
    assigned = {path.stem: {} for path in paths}
    for key, value in overrides.items():
        notebook, dot, name = str(key).partition(".")
        if not dot:
            raise config.ConfigError(f"Notebook parameters are written NOTEBOOK.NAME=VALUE, got {key!r}.")
        notebook = {stem[:2]: stem for stem in assigned}.get(notebook, notebook)
        config.choose("notebook among those to run:", notebook, assigned)
        current = renamed(notebook, {name: value}, f"{notebook}.")
        if notebook[3:] in CONFIGS:
            current = renamed(CONFIGS[notebook[3:]], current, f"{notebook}.")
        ((name, value),) = current.items()
        defaults = parameters_of(NOTEBOOKS / f"{notebook}.ipynb")
        config.choose(f"parameter of {notebook}:", name, defaults)
        assigned[notebook][name] = _typed(key, value, defaults[name])
    for notebook, values in assigned.items():
        _check(notebook[3:], values.get("preset", preset), values)
    return assigned


def _typed(name, value, default):
    """`value` as the type of `default`; text from a command line is read as a number or true/false."""
    kind = type(default)
    if value is None:
        return default
    try:
        if isinstance(value, bool) and kind is not bool:
            raise ValueError
        return TypeAdapter(kind, config=ConfigDict(coerce_numbers_to_str=True)).validate_python(value)
    except ValueError:  # pydantic's too
        wanted = f"{EXAMPLES[kind]} (its default is {default!r})"
        raise config.ConfigError(f"{name} wants {wanted}, got {value!r}.") from None


def _check(stage, preset, values):
    """Let the config that these parameters end up in refuse what is out of range."""
    if (config_type := CONFIGS.get(stage)) is None:
        return
    names = {field.name for field in dataclasses.fields(config_type)} - {"preset"}
    given = {name: value for name, value in values.items() if name in names and value not in ("", 0)}
    if stage in config.STAGES:
        config.preset(stage, preset, **given)
    else:
        config.build(config_type, given)
