"""The command line: python -m lib COMMAND."""

from __future__ import annotations

import typer

from lib.apps.cli.comparing import charts_app, compare, doctor, evaluate, identify, listening_test
from lib.apps.cli.playing import duet, fl_studio_app, generate, reconstruct, style_app
from lib.apps.cli.sharing import export, headless, serve, worker
from lib.apps.cli.training import data_app, list_runs, plan, train, until_done
from lib.config import ConfigError

# underscores in options and commands are taken as hyphens
SETTINGS = {"token_normalize_func": lambda name: name.replace("_", "-")}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
    help="Brad Mehldau AI: data, training and solos.",
)
UNREADABLE = FileNotFoundError | IsADirectoryError | NotADirectoryError | PermissionError  # a path that was given
COMMANDS = {  # panel of the help -> name -> function, or group
    "Play": {"generate": generate, "duet": duet, "fl-studio": fl_studio_app, "style": style_app},
    "Train": {"plan": plan, "data": data_app, "train": train, "until-done": until_done, "runs": list_runs},
    "Look and compare": {
        "identify": identify,
        "charts": charts_app,
        "reconstruct": reconstruct,
        "evaluate": evaluate,
        "compare": compare,
        "listening-test": listening_test,
        "doctor": doctor,
    },
    "Share and automate": {"serve": serve, "worker": worker, "export": export, "headless": headless},
}
for panel, commands in COMMANDS.items():
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            passes_on = {"allow_extra_args": True, "ignore_unknown_options": True} if command is until_done else {}
            app.command(name, rich_help_panel=panel, context_settings=passes_on)(command)


def main():
    """Run a command. An error that the user can fix is one line, with exit code 2; a failure on the way has code 1."""
    try:
        app()
    except (ValueError, RuntimeError, OSError) as error:
        code = _exit_code(error)
        if code is None:
            raise
        text = f"{error.filename}: {error.strerror}." if isinstance(error, OSError) and error.filename else str(error)
        typer.echo(f"Error: {text}", err=True)
        raise SystemExit(code) from None


def _exit_code(error):
    """None for a defect of the program."""
    from lib.apps.headless.headless import NotebookError
    from lib.apps.live.model_process import ProcessError
    from lib.data.note_store import CorpusError
    from lib.music.audio import SoundFontError
    from lib.music.chords import ChordError
    from lib.music.notes import MidiError
    from lib.training.run import SaveError

    if isinstance(error, ConfigError | CorpusError | MidiError | ChordError | SoundFontError | UNREADABLE):
        return 2
    return 1 if isinstance(error, NotebookError | SaveError | ProcessError) else None
