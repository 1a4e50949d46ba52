"""Notebooks without a screen: once, or over a grid of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli import DATA_DIR, OUTPUT_DIR, RUNS_DIR, STOPPED_EARLY, DataDir, RunsDir, option


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
    from lib.apps.headless import headless as runner
    from lib.apps.headless.sweep import read_sweep, run_sweep

    folders = output_dir, data_dir, runs_dir
    if sweep is None:
        results = runner.run(notebooks, preset, configs.parse_settings(settings or []), *folders, again=again)
    elif settings:
        raise configs.ConfigError(f"With --sweep what --set says stands in {sweep}, under set.")
    else:
        results = run_sweep(read_sweep(sweep, preset, notebooks), *folders, again=again)
    statuses = {result.status for result in results}
    raise typer.Exit(1 if "failed" in statuses else STOPPED_EARLY if runner.STOPPED_EARLY in statuses else 0)
