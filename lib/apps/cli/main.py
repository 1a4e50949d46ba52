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
PLAY, TRAIN, LOOK, SHARE = "Play", "Train", "Look and compare", "Share and automate"
COMMANDS = (  # panel of the help, name, function or group, its line in the list
    (PLAY, "generate", generate, "Improvise over chords, continue a file, or infill a passage."),
    (PLAY, "duet", duet, "Play together over live MIDI (docs/LIVE.md)."),
    (PLAY, "fl-studio", fl_studio_app, None),
    (PLAY, "style", style_app, None),
    (TRAIN, "plan", plan, "Hours, dollars and memory of a training; what a budget buys."),
    (TRAIN, "data", data_app, None),
    (TRAIN, "train", train, "Train a stage, or continue to."),
    (TRAIN, "until-done", until_done, "Run a command again and again until it is done."),
    (TRAIN, "runs", list_runs, "List runs: stage, step, loss, last save, mirror, size."),
    (LOOK, "identify", identify, "Who may be playing a MIDI file?"),
    (LOOK, "charts", charts_app, None),
    (LOOK, "reconstruct", reconstruct, "A MIDI file through the codec and back."),
    (LOOK, "evaluate", evaluate, "Evaluate a model against recordings and baselines."),
    (LOOK, "compare", compare, "Compare two models: paired differences, with intervals."),
    (LOOK, "listening-test", listening_test, "A blind test as one page; collect its answers."),
    (LOOK, "doctor", doctor, "Check this machine; how to fix what is missing."),
    (SHARE, "serve", serve, "A REST server, and a page with knobs and the player."),
    (SHARE, "worker", worker, "Play the jobs of a server with --queue."),
    (SHARE, "export", export, "Weights as a folder for others, or the Hugging Face hub."),
    (SHARE, "headless", headless, "Run notebooks unattended, also over a grid of parameters."),
)
for panel, name, command, line in COMMANDS:
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name, rich_help_panel=panel)
    else:
        passes_on = {"allow_extra_args": True, "ignore_unknown_options": True} if command is until_done else {}
        app.command(name, rich_help_panel=panel, short_help=line, context_settings=passes_on)(command)


def main():
    """Run a command; an error that the user can mend is one line, with exit code 2, what failed on the way has 1."""
    try:
        app()
    except (ValueError, RuntimeError, OSError) as error:
        code = _exit_code(error)
        if code is None:
            raise
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(code) from None


def _exit_code(error):
    """None for a defect."""
    from lib.apps.headless.headless import NotebookError
    from lib.apps.live.model_process import ProcessError
    from lib.data.note_store import CorpusError
    from lib.music.audio import SoundFontError
    from lib.music.chords import ChordError
    from lib.music.notes import MidiError
    from lib.training.run import SaveError

    if isinstance(error, ConfigError | CorpusError | MidiError | ChordError | SoundFontError | FileNotFoundError):
        return 2
    return 1 if isinstance(error, NotebookError | SaveError | ProcessError) else None
