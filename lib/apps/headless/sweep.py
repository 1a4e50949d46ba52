"""A grid of parameters, each combination a run of notebooks without a screen, and a table of what came of each.

    preset: tiny                       sweep.yaml; preset, notebooks and set may be left out
    notebooks: 02-03
    set: {02_vqvae.steps: 50}          the same in all cells
    grid:
      03_style_encoder.lr: [1e-3, 3e-4]
      03_style_encoder.batch_size: [4, 8]

What comes before the first notebook that differs is run once, for all cells. Each cell has its own folders of outputs and runs;
what has succeeded is not run again (headless.py), so that running the sweep again runs failed and missing cells alone.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
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
    status : "done", "failed", "to go on" (its training stopped in time for the end of the runtime) or "missing"
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


def run_sweep(sweep, output_dir=None, data_dir=None, runs_dir=None, again=False):
    """Run what is missing of a sweep, cell after cell; the table is written after each.

    Parameters
    ----------
    sweep : Sweep
    output_dir, data_dir, runs_dir : as lib.apps.headless.headless.run takes them; cells have folders below sweep-NAME in them
    again : bool; run also what has succeeded

    Returns
    -------
    list of Cell; beside it results.csv and results.md in OUTPUT/sweep-NAME

    Raises
    ------
    NotebookError : what all cells build on failed; a cell that fails is kept as failed, and the next is run
    """
    home = google_colab_shim.mount()
    folders = google_colab_shim.folders(home, sweep.preset, data_dir or "", runs_dir or "", output_dir or "")
    output, runs = (folder / f"sweep-{sweep.name}" for folder in (folders.output, folders.runs))
    output.mkdir(exist_ok=True)
    before = _run_shared(sweep, output, folders.data, runs, folders.mirror, again)
    cells = [Cell(values, folder=sweep.folder(values)) for values in sweep.cells]
    for number, cell in enumerate(cells):
        print(f"\n=== cell {number + 1} of {len(cells)}: {_words(cell.values)}", flush=True)
        _link(before, runs / cell.folder)
        try:
            cells[number] = _run_cell(sweep, cell, output, folders.data, runs, folders.mirror, again)
        finally:  # Ctrl-C, too
            _write(cells, output)
    print(f"\n{_markdown(cells)}\n\n{output / 'results.csv'}", flush=True)
    return cells


def _run_shared(sweep, output, data, runs, mirror, again):
    """The folder of runs that all cells build on; None where the first notebook differs already."""
    if not sweep.shared:
        return None
    stems = [path.stem for path in sweep.shared]
    chosen = {key: value for key, value in sweep.common.items() if key.partition(".")[0] in stems}
    name = Sweep(sweep.name, sweep.preset, sweep.shared, chosen, {}).folder({})
    print(f"=== for all cells: {', '.join(stems)}", flush=True)
    with _mirror(mirror, sweep, name):
        results = headless.run(",".join(stems), sweep.preset, chosen, output / name, data, runs / name, again)
    if any(result.status == "to go on" for result in results):
        raise headless.NotebookError("What all cells build on is not finished: run the sweep again, and it goes on.")
    return runs / name


def _link(before, runs):
    """Let a cell find the runs that it builds on."""
    runs.mkdir(parents=True, exist_ok=True)
    for path in before.iterdir() if before else ():
        place = runs / path.name
        if place.is_symlink() or place.exists():
            continue
        try:
            place.symlink_to(path, target_is_directory=path.is_dir())
        except OSError:  # Windows without the right to
            shutil.copytree(path, place)


def _run_cell(sweep, cell, output, data, runs, mirror, again):
    """Cell after its notebooks were run."""
    rest = [path.stem for path in sweep.notebooks if path not in sweep.shared]
    chosen = {key: value for key, value in {**sweep.common, **cell.values}.items() if key.partition(".")[0] in rest}
    why, status = "", "done"
    with _mirror(mirror, sweep, cell.folder):
        try:
            results = headless.run(",".join(rest), sweep.preset, chosen, output / cell.folder, data, runs / cell.folder, again)
            status = "to go on" if any(result.status == "to go on" for result in results) else "done"
        except headless.NotebookError as error:
            why, status = str(error), "failed"
            print(error, flush=True)
    return Cell(cell.values, status, _seconds(output / cell.folder), _figures(runs / cell.folder, rest), cell.folder, why)


@contextlib.contextmanager
def _mirror(mirror, sweep, name):
    """Cells have runs of one name each: a place of its own in the mirror for each cell."""
    before = os.environ.get("MIRROR")
    if mirror is not None:
        place = f"{mirror.rstrip('/')}/sweeps/{sweep.name}"
        if before is None or Path(mirror).is_dir():  # a folder; a remote makes its own
            Path(place).mkdir(parents=True, exist_ok=True)
        os.environ["MIRROR"] = f"{place}/{name}"
    try:
        yield
    finally:
        os.environ.pop("MIRROR", None)
        if before is not None:
            os.environ["MIRROR"] = before


def _seconds(folder):
    summary = folder / "summary.json"
    entries = json.loads(summary.read_text(encoding="utf-8"))["notebooks"] if summary.exists() else []
    return round(sum(entry["seconds"] for entry in entries), 1)


def _figures(runs, notebooks):
    """The last figures of each stage that the notebooks train."""
    found = {}
    for stage in (stem[3:] for stem in notebooks if stem[3:] in STAGES):
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
    return [head, *([*cell.values.values(), cell.status, cell.seconds, *((cell.figures or {}).get(name, "") for name in figures),
                     cell.folder, _last_line(cell.why)] for cell in cells)]  # fmt: skip


def _last_line(why):
    """The error itself: the line before the one that says where the executed copy is."""
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    return lines[-2] if len(lines) > 1 else "".join(lines)


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
