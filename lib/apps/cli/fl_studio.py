"""FL Studio: solos as a script in its piano roll."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli import option

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
    from lib.apps.fl_studio import folders

    if out.suffix != folders.SUFFIX:
        raise configs.ConfigError(f"--out {out}: FL Studio takes files that end in {folders.SUFFIX}.")
    _report(folders.install(_text(midi, out.stem, tempo), out), len(midi))


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
    _report(folders.install(_text(midi, path.stem, tempo), path), len(midi))
    print(f"In FL Studio: piano roll > menu > Tools > Scripting > {path.stem}")


@fl_studio_app.command()
def uninstall(user_data: UserData = None):
    """Remove our scripts from FL Studio's folder, and nothing else."""
    from lib.apps.fl_studio import folders

    removed = folders.uninstall(folders.user_data(user_data))
    print("\n".join(f"removed {path}" for path in removed) or "there is no script of ours")


def _text(midi, name, tempo):
    from lib.apps.fl_studio.script import read_take, script_text

    return script_text([read_take(path, tempo) for path in midi], name)


def _report(path, takes):
    print(f"{path}: {takes} take{'s' if takes > 1 else ''}, {path.stat().st_size / 1000:.0f} kB")
