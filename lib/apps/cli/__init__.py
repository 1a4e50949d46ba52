"""The command line's groups of commands, and the options they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[Path, typer.Option(help="Folder of archives and note stores.")]
RunsDir = Annotated[Path, typer.Option(help="Folder of runs.")]
DATA_DIR, RUNS_DIR, OUTPUT_DIR = Path("data"), Path("runs"), Path("outputs")
STOPPED_EARLY = 75  # exit code: run the same command again
