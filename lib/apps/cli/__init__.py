"""The command line's groups of commands, and the options they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def option(text: str, *names: str, **settings):
    """An option with its help; by default its name is the parameter's."""
    return typer.Option(*names, help=text, **settings)


def hidden(text: str, *names: str, **settings):
    """An option that `--help-all` alone shows."""
    return option(text, *names, hidden=True, **settings)


DataDir = Annotated[Path, option("Folder of archives and note stores.")]
RunsDir = Annotated[Path, option("Folder of runs.")]
HiddenDataDir = Annotated[Path, hidden("Folder of archives and note stores.")]
HiddenDevice = Annotated[str, hidden("cuda, mps, cpu or auto.")]
Run = Annotated[Path | None, option("brad_final, or a run of diffusion or fine_tune.")]
Released = Annotated[bool, option("Play with the weights of data/released.", "--released")]
ChartFile = Annotated[Path | None, option("A chart: iReal Pro (irealb:// or its HTML), MusicXML, a text file.")]
Transpose = Annotated[int, hidden("Semitones up, of the chart.", min=-11, max=11)]
Tune = Annotated[str | None, hidden("Which of the chart's tunes, by its title.")]
DATA_DIR, RUNS_DIR, OUTPUT_DIR = Path("data"), Path("runs"), Path("outputs")
STOPPED_EARLY = 75  # exit code: run the same command again
