"""The parameters of the notebooks: what each has, and whether what somebody wants to set exists and fits.

papermill only warns about a parameter that does not exist and hands text through as text, so names and types
are checked here, against each notebook's cell tagged `parameters`.
"""

from __future__ import annotations

import ast
import dataclasses

from lib import config
from lib.checkpoints.config_migration import renamed
from lib.generation.request import GenerateRequest

NOTEBOOKS = config.ROOT / "notebooks"


def select(notebooks="00-06"):
    """'00-06', '02', '02_vqvae' or '00,02-04' -> the notebooks' paths, in order.

    Raises
    ------
    ConfigError : names a notebook that does not exist, and the nearest that does
    """
    paths = {path.stem: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    chosen = set()
    for word in (word.strip() for word in notebooks.split(",")):
        first, dash, last = word.partition("-")
        if dash and first.isdigit() and last.isdigit():
            found = {stem for stem in paths if int(first) <= int(stem[:2]) <= int(last)}
        else:
            found = {stem for stem in paths if word in (stem, stem[:2])}
        if not found:
            raise config.ConfigError(f"Unknown notebook {word!r}.{config.nearest(word, paths)}")
        chosen |= found
    return [paths[stem] for stem in sorted(chosen)]


def parameters_of(path):
    """The parameters of a notebook and their defaults, from its cell tagged `parameters`."""
    import papermill

    found = papermill.inspect_notebook(str(path))
    return {name: ast.literal_eval(parameter["default"]) for name, parameter in found.items()}


def _typed(name, value, default):
    """`value` as the type of `default`; text from a command line is read as a number or true/false."""
    wanted = type(default)
    if value is None or type(value) is wanted:
        return default if value is None else value
    if wanted is str and not isinstance(value, (list, dict, tuple)):
        return str(value)
    if wanted is bool and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    if wanted in (int, float) and isinstance(value, (str, int)) and not isinstance(value, bool):
        try:
            return wanted(value)
        except ValueError:
            pass
    examples = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    raise config.ConfigError(f"{name} wants {examples[wanted]} (its default is {default!r}), got {value!r}.")


def assign(paths, overrides):
    """{'02_vqvae.batch_size': 8} -> {'02_vqvae': {'batch_size': 8}}, every name and type checked."""
    assigned = {path.stem: {} for path in paths}
    for key, value in overrides.items():
        notebook, dot, name = str(key).partition(".")
        if not dot:
            raise config.ConfigError(f"Notebook parameters are written NOTEBOOK.NAME=VALUE, got {key!r}.")
        notebook = {stem[:2]: stem for stem in assigned}.get(notebook, notebook)
        config.choose("notebook among those to run:", notebook, assigned)
        defaults, named = parameters_of(NOTEBOOKS / f"{notebook}.ipynb"), {name: value}
        for owner in (notebook, *_config_types(notebook)):
            named = renamed(owner, named, f"{notebook}.")
        ((name, value),) = named.items()
        config.choose(f"parameter of {notebook}:", name, defaults)
        assigned[notebook][name] = _typed(key, value, defaults[name])
    return assigned


def check_values(notebook, preset, values):
    """Let the config that these parameters end up in refuse what is out of range."""
    stage = notebook[3:]
    for config_type in _config_types(notebook):
        names = {field.name for field in dataclasses.fields(config_type)} - {"preset"}
        given = {name: value for name, value in values.items() if name in names and value not in ("", 0)}
        if stage in config.STAGES:
            config.preset(stage, preset, **given)
        else:
            config.build(config_type, given)


def _config_types(notebook):
    """The config that a notebook's parameters end up in, if any, in a list."""
    config_type = {**config.STAGES, "listen": GenerateRequest}.get(notebook[3:])
    return [config_type] if config_type else []
