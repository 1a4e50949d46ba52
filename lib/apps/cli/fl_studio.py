"""FL Studio: solos as a script in its piano roll."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lib.apps.cli import option
from lib.config import ConfigError

NAME = "Mehldau Solo"
fl_studio_app = typer.Typer(no_args_is_help=True, help="FL Studio: solos as a script in its piano roll.")
Takes = Annotated[list[Path], typer.Argument(help="MIDI files, 1 to 4: the takes to choose from.")]
Tempo = Annotated[float | None, option("Quarters a minute; else what each file says.", min=20, max=400)]
UserData = Annotated[Path | None, option("FL Studio's user data folder, where it has been moved.")]


@fl_studio_app.command()
def write(
    midi: Takes, out: Annotated[Path, option("Script to write.")] = Path(f"{NAME}.pyscript"), tempo: Tempo = None
):
    """Write a script; put it into FL Studio's folder `Settings/Piano roll scripts` yourself."""
    _write(midi, out, tempo)


@fl_studio_app.command()
def install(
    midi: Takes,
    name: Annotated[str, option("What FL Studio's menu calls it.")] = NAME,
    tempo: Tempo = None,
    user_data: UserData = None,
):
    """Write a script where FL Studio finds it, on Windows and macOS."""
    from lib.apps.fl_studio import folders

    path = folders.script_path(folders.user_data(user_data), name)
    _write(midi, path, tempo)
    print(f"In FL Studio: piano roll > menu > Tools > Scripting > {path.stem}")


@fl_studio_app.command()
def uninstall(user_data: UserData = None):
    """Remove our scripts from FL Studio's folder, and nothing else."""
    from lib.apps.fl_studio import folders

    removed = folders.uninstall(folders.user_data(user_data))
    print("\n".join(f"removed {path}" for path in removed) or "there is no script of ours")


def _write(midi, path, tempo):
    from lib.apps.fl_studio import folders, script

    if path.suffix != folders.SUFFIX:
        raise ConfigError(f"--out {path}: FL Studio takes files that end in {folders.SUFFIX}.")
    folders.install(script.script_text([script.read_take(file, tempo) for file in midi], path.stem), path)
    print(f"{path}: {len(midi)} take{'s' if len(midi) > 1 else ''}, {path.stat().st_size / 1000:.0f} kB")
