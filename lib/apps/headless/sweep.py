"""A grid of parameters, each combination a run of notebooks without a screen, and a table of what came of each.

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
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from lib import google_colab_shim
from lib.apps.headless import headless
from lib.apps.headless.sweep_grid import Sweep
from lib.checkpoints.history import SPEEDS, read_history
from lib.config import STAGES
from lib.storage.atomic_write import write_text

NO_FIGURES = ("epoch", "time", "split", "runtime", "gradient_norm", "lr", *SPEEDS)  # of a line of a run's history


@dataclass(frozen=True)
class Cell:
    """What became of one combination.

    Attributes
    ----------
    values : dict "NOTEBOOK.NAME" -> value
    status : "done", "failed", "stopped early" (its training stopped in time for the end of the runtime) or "missing"
    seconds : of the runs that did the work
    figures : dict "STAGE.FIGURE" -> number, the last that was validated, else trained
    folder : name of its folder of outputs
    why : what went wrong, or ""
    """

    values: dict
    status: str = "missing"
    seconds: float = 0.0
    figures: dict | None = None
    folder: str = ""
    why: str = ""


def run_sweep(
    sweep: Sweep,
    output_dir: Path | None = None,
    data_dir: Path | None = None,
    runs_dir: Path | None = None,
    again: bool = False,
) -> list[Cell]:
    """Run what is missing of a sweep, cell after cell; the table is written after each.

    Parameters
    ----------
    output_dir, data_dir, runs_dir : as headless.run takes them; cells have folders below sweep-NAME in them
    again : run also what has succeeded

    Returns
    -------
    one Cell a combination; beside them results.csv and results.md in OUTPUT/sweep-NAME

    Raises
    ------
    NotebookError : what all cells build on failed; a cell that fails is kept as failed, and the next is run
    """
    home = google_colab_shim.mount()
    folders = google_colab_shim.folders(home, sweep.preset, data_dir or "", runs_dir or "", output_dir or "")
    output, runs = (folder / f"sweep-{sweep.name}" for folder in (folders.output, folders.runs))
    output.mkdir(exist_ok=True)

    def run(notebooks, values, name):
        return headless.run(
            ",".join(path.stem for path in notebooks),
            sweep.preset,
            values,
            output / name,
            folders.data,
            runs / name,
            again,
            _mirror_of(folders.mirror, sweep, name),
        )

    cells = [Cell(values, folder=sweep.folder(values)) for values in sweep.cells]
    shared, values = sweep.shared_folder, _values_of(sweep.shared, sweep.common)
    if sweep.shared:
        print(f"=== for all cells: {', '.join(path.stem for path in sweep.shared)}", flush=True)
        if headless.has_stopped_early(run(sweep.shared, values, shared)):
            return [dataclasses.replace(cell, status=headless.STOPPED_EARLY) for cell in cells]
    for number, cell in enumerate(cells):
        print(f"\n=== cell {number + 1} of {len(cells)}: {_words(cell.values)}", flush=True)
        _link(runs / shared, runs / cell.folder)
        try:
            status, why = _run_cell(sweep, cell, run)
            figures = _figures(runs / cell.folder, sweep.varied)
            cells[number] = Cell(cell.values, status, _seconds(output / cell.folder), figures, cell.folder, why)
        finally:  # Ctrl-C, too
            _write(cells, output)
    print(f"\n{_markdown(cells)}\n\n{output / 'results.csv'}", flush=True)
    return cells


def _run_cell(sweep, cell, run):
    """(status, what went wrong) of a cell."""
    try:
        results = run(sweep.varied, _values_of(sweep.varied, {**sweep.common, **cell.values}), cell.folder)
    except headless.NotebookError as error:
        print(error, flush=True)
        return "failed", error.reason
    return headless.STOPPED_EARLY if headless.has_stopped_early(results) else "done", ""


def _values_of(notebooks, values):
    stems = [path.stem for path in notebooks]
    return {key: value for key, value in values.items() if key.partition(".")[0] in stems}


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


def _seconds(folder):
    summary = folder / "summary.json"
    entries = json.loads(summary.read_text(encoding="utf-8"))["notebooks"] if summary.exists() else []
    return round(sum(entry["seconds"] for entry in entries), 1)


def _figures(runs, notebooks):
    """The last figures of each stage that the notebooks train."""
    found = {}
    for stage in (path.stem[3:] for path in notebooks if path.stem[3:] in STAGES):
        rows = read_history(runs / stage)
        last = next((row for split in ("validation", "train") for row in reversed(rows) if row["split"] == split), {})
        found |= {f"{stage}.{name}": value for name, value in last.items() if name not in NO_FIGURES}
    return found


# --- The table -----------------------------------------------------------------------------


def _words(values):
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _rows(cells):
    """A head and a row a cell, of text and numbers."""
    figures = list(dict.fromkeys(name for cell in cells for name in cell.figures or {}))
    head = [*cells[0].values, "status", "seconds", *figures, "folder", "why"]
    return [
        head,
        *(
            [
                *cell.values.values(),
                cell.status,
                cell.seconds,
                *((cell.figures or {}).get(name, "") for name in figures),
                cell.folder,
                cell.why,
            ]
            for cell in cells
        ),
    ]


def _markdown(cells):
    def line(row):
        texts = (f"{value:.5g}" if isinstance(value, float) else str(value) for value in row)
        return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

    head, *rows = _rows(cells)
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def _write(cells, output):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_rows(cells))
    write_text(output / "results.csv", text.getvalue())
    write_text(output / "results.md", _markdown(cells) + "\n")
