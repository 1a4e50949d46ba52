"""Notebooks without a screen: once, or over a grid of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli import DATA_DIR, OUTPUT_DIR, RUNS_DIR, STOPPED_EARLY, DataDir, RunsDir, option

FAILED = 1


def headless(
    preset: str = "demo",
    notebooks: Annotated[str, option("Numbers: 00-06, or 02,06.")] = "00-06",
    settings: Annotated[list[str] | None, option("NOTEBOOK.parameter=value.", "--set")] = None,
    sweep: Annotated[Path | None, option("A YAML with a grid of parameters: all combinations, and a table.")] = None,
    data_dir: DataDir = DATA_DIR,
    runs_dir: RunsDir = RUNS_DIR,
    output_dir: Path = OUTPUT_DIR,
    again: Annotated[bool, option("Run also what is done already.", "--again")] = False,
):
    """Run notebooks without a screen, one after the other; exit code 75: a training stopped early, run it again."""
    if sweep is not None:
        raise typer.Exit(_sweep(sweep, preset, notebooks, settings, (output_dir, data_dir, runs_dir), again))
    from lib.apps.headless import headless as runner

    results = runner.run(
        notebooks, preset, configs.parse_settings(settings or []), output_dir, data_dir, runs_dir, again=again
    )
    raise typer.Exit(STOPPED_EARLY if runner.has_stopped_early(results) else 0)


def _sweep(path, preset, notebooks, settings, folders, again):
    """The exit code of a sweep."""
    if settings:
        raise configs.ConfigError(f"With --sweep what --set says stands in {path}, under set.")
    from lib.apps.headless import headless as runner
    from lib.apps.headless.sweep import run_sweep
    from lib.apps.headless.sweep_grid import read_sweep

    statuses = {cell.status for cell in run_sweep(read_sweep(path, preset, notebooks), *folders, again=again)}
    return FAILED if "failed" in statuses else STOPPED_EARLY if runner.STOPPED_EARLY in statuses else 0
