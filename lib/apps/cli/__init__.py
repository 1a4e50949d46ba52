"""The command line's groups of commands, and the options they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[Path, typer.Option(help="Folder of archives and note stores.")]
RunsDir = Annotated[Path, typer.Option(help="Folder of runs.")]
HiddenDataDir = Annotated[Path, typer.Option(help="Folder of archives and note stores.", hidden=True)]
HiddenDevice = Annotated[str, typer.Option(help="cuda, mps, cpu or auto.", hidden=True)]
Run = Annotated[Path | None, typer.Option(help="brad_final, or a run of diffusion or fine_tune.")]
Released = Annotated[bool, typer.Option("--released", help="Play with the weights of data/released.")]
ChartFile = Annotated[Path | None, typer.Option(help="A chart of iReal Pro (irealb:// or its HTML) or MusicXML.")]
Tune = Annotated[str | None, typer.Option(help="Which of the chart's tunes, by its title.", hidden=True)]
DATA_DIR, RUNS_DIR, OUTPUT_DIR = Path("data"), Path("runs"), Path("outputs")
STOPPED_EARLY = 75  # exit code: run the same command again
