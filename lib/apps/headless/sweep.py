"""Sweeps: an unattended run of notebooks for each combination of parameters, and a table of the results.

    preset: tiny                       sweep.yaml; preset, notebooks and set may be left out
    notebooks: 02-03
    set: {02_vqvae.steps: 50}          the same in all cells
    grid:
      03_style_encoder.lr: [1e-3, 3e-4]
      03_style_encoder.batch_size: [4, 8]

What comes before the first notebook that differs is run once, for all cells. Each cell has its own folders of outputs
and runs; what has succeeded is not run again (headless.py), so that running the sweep again runs failed and missing
cells alone.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import itertools
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lib import google_colab_shim
from lib.apps.headless import headless
from lib.apps.headless.headless import assign, select
from lib.checkpoints.config_migration import renamed
from lib.checkpoints.history import NO_FIGURES, read_history
from lib.config import STAGES, ConfigError, choose
from lib.storage.atomic_write import write_text

FIELDS = ("preset", "notebooks", "set", "grid")
MOST_CELLS = 1000
LONGEST_NAME = 60


@dataclass(frozen=True)
class Sweep:
    """What a sweep's file says, checked; parameters are called "NOTEBOOK.NAME"."""

    name: str  # of the file
    preset: str
    notebooks: list[Path]  # in order
    common: dict[str, Any]  # parameter -> value, of all cells
    grid: dict[str, list]  # parameter -> values

    @property
    def cells(self) -> list[dict[str, Any]]:
        """Parameter -> value of each cell, the last parameter changing fastest."""
        return [dict(zip(self.grid, values)) for values in itertools.product(*self.grid.values())]

    @property
    def shared(self) -> list[Path]:
        """The notebooks before the first that differs."""
        first = min(self.grid).partition(".")[0]
        return [path for path in self.notebooks if path.stem < first]

    def folder(self, values: Mapping[str, Any]) -> str:
        """A cell's name: its values, and a hash of all that it depends on; {} is that of what all share."""
        text = "_".join(f"{key.partition('.')[2]}={value}" for key, value in values.items()) or "shared"
        common = self.common if values else _values_of(self.shared, self.common)
        mark = hashlib.sha256(json.dumps([self.preset, common, values], sort_keys=True).encode()).hexdigest()[:8]
        return f"{re.sub(r'[^A-Za-z0-9.=_-]', '-', text)[:LONGEST_NAME]}.{mark}"


def read_sweep(path: Path | str, preset: str = "demo", notebooks: str = "00-06") -> Sweep:
    """The Sweep of a YAML file, every name and value of every cell checked; preset and notebooks where it does not say.

    ConfigError names what is wrong, and where.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    values = renamed("sweep", values, f"{path}: ") if isinstance(values, dict) else {}
    if not isinstance(values.get("grid"), dict) or not values["grid"]:
        raise ConfigError(f"{path} wants a grid: NOTEBOOK.NAME: [VALUE, VALUE], one a line.")
    for name in values:
        choose(f"field of {path}:", name, FIELDS)
    preset, selection = values.get("preset", preset), values.get("notebooks", notebooks)
    several = selection if isinstance(selection, list) else [selection]  # YAML takes 02 for a number
    paths = select(",".join(f"{each:02d}" if isinstance(each, int) else str(each) for each in several))
    grid = {}
    for key, choices in values["grid"].items():
        if not isinstance(choices, list) or not choices:
            raise ConfigError(f"{path}: {key} wants a list of values, got {choices!r}.")
        for choice in choices:
            for name, value in _flat(assign(paths, {key: choice}, preset)).items():
                grid[name] = list(dict.fromkeys([*grid.get(name, ()), value]))
    sweep = Sweep(path.stem, preset, paths, _flat(assign(paths, values.get("set") or {}, preset)), grid)
    if both := sorted(set(sweep.common) & set(grid)):
        raise ConfigError(f"{path}: {', '.join(both)} stands in set and in grid.")
    if len(sweep.cells) > MOST_CELLS:
        raise ConfigError(f"{path}: the grid has {len(sweep.cells):,} cells, more than {MOST_CELLS:,}.")
    for cell in sweep.cells:
        assign(paths, {**sweep.common, **cell}, preset)
    return sweep


def _flat(assigned):
    """{"02_vqvae": {"lr": 1}} -> {"02_vqvae.lr": 1}."""
    return {f"{notebook}.{name}": value for notebook, values in assigned.items() for name, value in values.items()}


def _values_of(notebooks, values):
    """Those that are of these notebooks."""
    stems = [path.stem for path in notebooks]
    return {key: value for key, value in values.items() if key.partition(".")[0] in stems}


@dataclass(frozen=True)
class Cell:
    """What became of one combination."""

    values: dict[str, Any]  # parameter -> value
    folder: str  # name of its folder of outputs
    status: str = "missing"  # or done, failed, stopped early (in time for the end of the runtime)
    seconds: float = 0.0  # of the runs that did the work
    figures: dict[str, float] = field(default_factory=dict)  # "STAGE.FIGURE" -> number, last validated, else trained
    why: str = ""  # what went wrong


def run_sweep(
    sweep: Sweep,
    output_dir: Path | None = None,
    data_dir: Path | None = None,
    runs_dir: Path | None = None,
    again: bool = False,
) -> list[Cell]:
    """Run what is missing of a sweep (`again`: all of it), cell after cell: one Cell a combination.

    Folders are as headless.run takes them; cells have their own below sweep-NAME in them, and after each
    OUTPUT/sweep-NAME/results.csv and results.md are written. A cell that fails is kept as failed, and the next is run.
    NotebookError : what all cells build on failed.
    """
    home = google_colab_shim.mount()
    folders = google_colab_shim.folders(home, sweep.preset, data_dir or "", runs_dir or "", output_dir or "")
    output, runs = (folder / f"sweep-{sweep.name}" for folder in (folders.output, folders.runs))
    output.mkdir(exist_ok=True)

    def run(notebooks, values, name):
        selection, values = ",".join(path.stem for path in notebooks), _values_of(notebooks, {**sweep.common, **values})
        places = output / name, folders.data, runs / name
        return headless.run(selection, sweep.preset, values, *places, again, _mirror_of(folders.mirror, sweep, name))

    cells = [Cell(values, sweep.folder(values)) for values in sweep.cells]
    varied = [path for path in sweep.notebooks if path not in sweep.shared]
    if sweep.shared:
        print(f"=== for all cells: {', '.join(path.stem for path in sweep.shared)}", flush=True)
        if headless.has_stopped_early(run(sweep.shared, {}, sweep.folder({}))):
            return [dataclasses.replace(cell, status=headless.STOPPED_EARLY) for cell in cells]
    for number, cell in enumerate(cells):
        settings = ", ".join(f"{key}={value}" for key, value in cell.values.items())
        print(f"\n=== cell {number + 1} of {len(cells)}: {settings}", flush=True)
        _link(runs / sweep.folder({}), runs / cell.folder)
        try:
            results = run(varied, cell.values, cell.folder)
            status = headless.STOPPED_EARLY if headless.has_stopped_early(results) else "done"
            figures, seconds = _figures(runs / cell.folder, varied), round(sum(result.seconds for result in results), 1)
            cells[number] = Cell(cell.values, cell.folder, status, seconds, figures)
        except headless.NotebookError as error:
            print(error, flush=True)
            cells[number] = Cell(cell.values, cell.folder, "failed", why=error.reason)
        finally:  # Ctrl-C, too
            table = _write_table(cells, output)
    print(f"\n{table}\n{output / 'results.csv'}", flush=True)
    return cells


def _link(shared, runs):
    """Let a cell find the runs that it builds on."""
    runs.mkdir(parents=True, exist_ok=True)
    for path in shared.iterdir() if shared.is_dir() else ():
        link = runs / path.name
        if link.is_symlink() or link.exists():
            continue
        try:
            link.symlink_to(path, target_is_directory=path.is_dir())
        except OSError:  # Windows without the right to
            shutil.copytree(path, link)


def _mirror_of(mirror, sweep, name):
    """A folder of its own in the mirror for each cell, because their runs have the same names."""
    if mirror is None:
        return None
    folder = f"{mirror.rstrip('/')}/sweeps/{sweep.name}/{name}"
    if Path(mirror).is_dir():  # a remote makes its own
        Path(folder).parent.mkdir(parents=True, exist_ok=True)
    return folder


def _figures(runs, notebooks):
    """The last figures of each stage that the notebooks train."""
    figures = {}
    for stage in (path.stem[3:] for path in notebooks if path.stem[3:] in STAGES):
        last = {row["split"]: row for row in read_history(runs / stage)}
        row = last.get("validation", last.get("train", {}))
        names = [name for name in row if name == "step" or name not in (*NO_FIGURES, "gradient_norm", "lr")]
        figures |= {f"{stage}.{name}": row[name] for name in names}
    return figures


def _write_table(cells, output):
    """results.csv and results.md, a row a cell: the latter's text."""
    figures = dict.fromkeys(name for cell in cells for name in cell.figures)
    rows = [[*cells[0].values, "status", "seconds", *figures, "folder", "why"]]
    for cell in cells:
        numbers = [cell.figures.get(name, "") for name in figures]
        rows.append([*cell.values.values(), cell.status, cell.seconds, *numbers, cell.folder, cell.why])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(output / "results.csv", text.getvalue())
    texts = [[f"{value:.5g}" if isinstance(value, float) else str(value) for value in row] for row in rows]
    texts.insert(1, ["---"] * len(rows[0]))
    lines = [" | ".join(text.replace("|", "\\|") for text in row) for row in texts]
    markdown = "".join(f"| {line} |\n" for line in lines)
    write_text(output / "results.md", markdown)
    return markdown
