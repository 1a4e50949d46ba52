"""What a sweep's file asks for: a grid of notebook parameters, every cell of it checked before anything runs."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from lib.apps.headless.notebook_parameters import assign, check_values, select
from lib.checkpoints.config_migration import renamed
from lib.config import PRESETS, ConfigError, choose

FIELDS = ("preset", "notebooks", "set", "grid")
MOST_CELLS = 1000
LONGEST_NAME = 60


@dataclass(frozen=True)
class Sweep:
    """What a sweep's file says, checked.

    Attributes
    ----------
    name : of the file
    preset : str
    notebooks : paths, in order
    common : dict "NOTEBOOK.NAME" -> value, of all cells
    grid : dict "NOTEBOOK.NAME" -> list of values
    """

    name: str
    preset: str
    notebooks: list
    common: dict
    grid: dict

    @property
    def cells(self):
        """list of dict "NOTEBOOK.NAME" -> value, the last parameter changing fastest."""
        return [dict(zip(self.grid, values)) for values in itertools.product(*self.grid.values())]

    @property
    def shared(self):
        """Notebooks before the first that differs."""
        first = min(key.partition(".")[0] for key in self.grid)
        return [path for path in self.notebooks if path.stem < first]

    @property
    def varied(self):
        """The notebooks after them, which each cell runs."""
        return [path for path in self.notebooks if path not in self.shared]

    def folder(self, values: dict) -> str:
        """A cell's name: its values, and a hash of all that it depends on."""
        text = "_".join(f"{key.partition('.')[2]}={value}" for key, value in values.items())
        return _folder_name(text, [self.preset, self.common, values])

    @property
    def shared_folder(self) -> str:
        """The name of what all cells share."""
        stems = [path.stem for path in self.shared]
        common = {key: value for key, value in self.common.items() if key.partition(".")[0] in stems}
        return _folder_name("shared", [self.preset, common, {}])


def _folder_name(text, facts):
    mark = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9.=_-]', '-', text)[:LONGEST_NAME]}.{mark}"


def read_sweep(path, preset="demo", notebooks="00-06"):
    """Sweep of a file, every name and value of every cell checked.

    Parameters
    ----------
    path : of the YAML
    preset, notebooks : where the file does not say

    Raises
    ------
    ConfigError : names what is wrong, and where
    """
    path = Path(path)
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    said = renamed("sweep", said, f"{path}: ") if isinstance(said, dict) else {}
    if not isinstance(said.get("grid"), dict) or not said["grid"]:
        raise ConfigError(f"{path} wants a grid: NOTEBOOK.NAME: [VALUE, VALUE], one a line.")
    for name in said:
        choose(f"field of {path}:", name, FIELDS)
    paths = select(_selection(said.get("notebooks", notebooks)))
    grid = {}
    for key, values in said["grid"].items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{path}: {key} wants a list of values, got {values!r}.")
        typed = [_typed(paths, key, value) for value in values]
        grid[typed[0][0]] = list(dict.fromkeys(value for _, value in typed))
    common = dict(_typed(paths, key, value) for key, value in (said.get("set") or {}).items())
    sweep = Sweep(path.stem, choose("preset", said.get("preset", preset), PRESETS), paths, common, grid)
    _check(sweep, path)
    return sweep


def _selection(notebooks):
    """The text of a selection; YAML takes 02 for a number, and a list is allowed."""
    several = notebooks if isinstance(notebooks, list) else [notebooks]
    return ",".join(f"{one:02d}" if isinstance(one, int) else str(one) for one in several)


def _typed(paths, key, value):
    """(key with the notebook's whole name, value with its parameter's type)."""
    ((notebook, found),) = ((stem, values) for stem, values in assign(paths, {key: value}).items() if values)
    ((name, typed),) = found.items()
    return f"{notebook}.{name}", typed


def _check(sweep, path):
    both = sorted(set(sweep.common) & set(sweep.grid))
    if both:
        raise ConfigError(f"{path}: {', '.join(both)} stands in set and in grid.")
    if len(sweep.cells) > MOST_CELLS:
        raise ConfigError(f"{path}: the grid has {len(sweep.cells):,} cells, more than {MOST_CELLS:,}.")
    for cell in sweep.cells:
        for notebook, values in assign(sweep.notebooks, {**sweep.common, **cell}).items():
            check_values(notebook, sweep.preset, values)
