"""The command line: python -m lib COMMAND."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli import DATA_DIR, RUNS_DIR, STOPPED_EARLY, DataDir, RunsDir, hidden, option
from lib.apps.cli.charts import charts_app
from lib.apps.cli.data import beats, data_app
from lib.apps.cli.doctor import doctor
from lib.apps.cli.duet import duet
from lib.apps.cli.evaluate import compare, evaluate
from lib.apps.cli.export import export
from lib.apps.cli.fl_studio import fl_studio_app
from lib.apps.cli.generate import generate, write_sound
from lib.apps.cli.headless import headless
from lib.apps.cli.listening_test import listening_test
from lib.apps.cli.options import check_source, with_help_all
from lib.apps.cli.plan import plan
from lib.apps.cli.serve import serve, worker
from lib.apps.cli.style import identify, style_app

BUDGET = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")

# underscores in options and commands are taken as hyphens
SETTINGS = {"token_normalize_func": lambda name: name.replace("_", "-")}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
    help="Brad Mehldau AI: data, training and solos.",
)


@with_help_all
def train(
    stage: Annotated[str, typer.Argument(help="vqvae, style_encoder, diffusion or fine_tune.")],
    preset: Annotated[str, option("tiny, demo, laptop, colab or large.")] = "laptop",
    data_dir: DataDir = DATA_DIR,
    runs_dir: RunsDir = RUNS_DIR,
    steps: Annotated[int | None, option("At most so many optimizer steps.")] = None,
    batch_size: Annotated[int | None, option("Examples of a forward pass.")] = None,
    device: Annotated[str | None, option("cuda, mps, cpu or auto.")] = None,
    pianist: Annotated[str | None, option("Whom to fine-tune on.")] = None,
    time_budget: Annotated[str | None, option("Stop and save in time for, e.g., 11h30m; exit code 75.")] = None,
    mirror: Annotated[str | None, option("Copy checkpoints: a folder, or rclone's REMOTE:", envvar="MIRROR")] = None,
    resume: Annotated[str | None, option("Continue a run or checkpoint: RUN, RUN/best, RUN/step-00000250.")] = None,
    when_done: Annotated[str, option("nothing, release (Colab) or stop-pod (Runpod).")] = "nothing",
    settings: Annotated[list[str] | None, option("Any other field of the config: key=value.", "--set")] = None,
    run: Annotated[str | None, hidden("Name of the run's folder; the stage's name by default.")] = None,
    epochs: Annotated[int | None, hidden("At most so many passes over the music.")] = None,
    lr: Annotated[float | None, hidden("Peak learning rate.")] = None,
    mixed_precision: Annotated[str | None, hidden("no, fp16, bf16 or auto.")] = None,
    gradient_accumulation: Annotated[int | None, hidden("Forward passes of an optimizer step.")] = None,
    save_dir: Annotated[Path | None, hidden("--runs-dir and --run in one: runs/vqvae.")] = None,
    folder: Annotated[
        Path | None, hidden("Fine-tune on the MIDI files of a folder, played by --pianist.", "--folder", "--brad-data")
    ] = None,
    vqvae_run: Annotated[
        Path | None, hidden("Whose codec: a run, or a finished improviser.", "--vqvae-run", "--vqvae-ckpt")
    ] = None,
    style_encoder_run: Annotated[
        Path | None, hidden("Whose style encoder: likewise.", "--style-encoder-run", "--style-encoder-ckpt")
    ] = None,
    diffusion_run: Annotated[Path | None, hidden("Whose weights to begin with: likewise, e.g. data/released.")] = None,
    from_weights: Annotated[Path | None, hidden("Begin a new run with a file of export --interim.")] = None,
    first_step: Annotated[int | None, hidden("At which step; by default the file's own.", min=0)] = None,
    epochs_this_runtime: Annotated[int | None, hidden("Stop and save after so many epochs.", min=1)] = None,
    take_over: Annotated[
        bool, hidden("Train although another runtime's lease says that it does.", "--take-over")
    ] = False,
    wandb_project: Annotated[str | None, hidden("Log to Weights & Biases as well.")] = None,
):
    """Train a stage, or continue to; Ctrl-C saves, the same command continues (until-done: by itself)."""
    from lib.apps.headless import when_done as endings
    from lib.checkpoints.config_migration import renamed_settings
    from lib.data.note_store import STORE_NAME
    from lib.data.prepare import prepare
    from lib.training import loop

    overrides = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "lr": lr,
        "device": device,
        "mixed_precision": mixed_precision,
        "gradient_accumulation": gradient_accumulation,
        "pianist": pianist,
        **renamed_settings(stage, configs.parse_settings(settings or [])),
        **(_own_corpus(stage, folder, data_dir, pianist) if folder else {}),
    }
    config = configs.preset(stage, preset, **overrides)
    configs.choose("ending", when_done, endings.ACTIONS)
    if save_dir is not None and run is not None:
        raise configs.ConfigError("--save-dir names the run already: leave --run out.")
    if save_dir is not None:
        runs_dir, run = save_dir.parent, save_dir.name
    if "demo" in config.corpora and not (data_dir / "demo" / STORE_NAME).exists():
        prepare(["demo"], data_dir)  # it comes with the suite
    result = loop.train(
        config,
        data_dir,
        runs_dir,
        run,
        vqvae_run,
        style_encoder_run,
        diffusion_run,
        mirror=mirror,
        resume=resume,
        take_over=take_over,
        time_budget_s=parse_budget(time_budget) if time_budget else None,
        epochs_this_runtime=epochs_this_runtime,
        wandb_project=wandb_project,
        from_weights=from_weights,
        first_step=first_step,
    )
    print(result.message)
    if result.finished:
        endings.when_done(when_done, runs_dir, mirror)
    raise typer.Exit(0 if result.finished else STOPPED_EARLY)


def parse_budget(text: str) -> int:
    """'11h30m', '20m', '90s' -> seconds; ConfigError for anything else."""
    match = BUDGET.fullmatch(text.strip())
    seconds = sum(int(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1))) if match else 0
    if not seconds:
        raise configs.ConfigError(f"--time-budget wants something like 11h30m, 20m or 90s, got {text!r}.")
    return seconds


def _own_corpus(stage, folder, data_dir, pianist):
    """Settings for fine-tuning on a folder, which is ingested, and its beats found."""
    from lib.data.ingest import MidiFolder, ingest_source

    if stage != "fine_tune":
        way = f"python -m lib data ingest mine --folder {folder}"
        raise configs.ConfigError(f"--folder is for fine_tune; for {stage} ingest it: {way}")
    folder = folder.expanduser().resolve()
    player = pianist or folder.name
    report = ingest_source(f"own-{folder.name}", data_dir, MidiFolder(folder), pianist=player)
    print(f"{report.name}: {report.pieces:,} pieces, {report.hours:.2f} h, {len(report.skipped)} skipped")
    beats(report.name, data_dir)
    return {"corpora": (report.name,), "pianist": player}


def until_done(context: typer.Context):
    """Run a command again and again until it is done: python -m lib until-done train vqvae ..."""
    from lib.apps.headless.until_done import run_until_done

    raise typer.Exit(run_until_done(context.args))


def list_runs(runs_dir: RunsDir = RUNS_DIR):
    """List runs: stage, step, loss, last save, mirror, size."""
    from lib.apps.cli.runs_table import overview, table

    print(table(overview(runs_dir)))


def reconstruct(
    midi: Path,
    run: Annotated[Path | None, option("A vqvae run, or an improviser's folder.")] = None,
    released: Annotated[bool, typer.Option("--released")] = False,
    out: Annotated[Path, option("MIDI file to write.")] = Path("reconstruction.mid"),
    wav: Annotated[Path | None, option("Sound file to write.")] = None,
    device: str = "auto",
):
    """Send a MIDI file through the codec and back, in its own beats, and say how much of it survived."""
    check_source(run, released)
    from lib.generation.performance import read_performance
    from lib.generation.reconstruct import reconstruct as through_codec
    from lib.music.midi_writer import write_midi

    original, tempo_map = read_performance(midi)
    notes, score = through_codec(configs.RELEASED if released else run, original, device, tempo_map)
    write_midi(notes, out, tempo_map)
    f1 = f"{score.onset:.3f}, with offset {score.onset_offset:.3f}, with velocity {score.onset_velocity:.3f}"
    print(f"{out}: {len(notes)} notes for {len(original)}; onset F1 {f1}")
    if wav is not None:
        write_sound(notes, wav)


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

    if isinstance(
        error, configs.ConfigError | CorpusError | MidiError | ChordError | SoundFontError | FileNotFoundError
    ):
        return 2
    return 1 if isinstance(error, NotebookError | SaveError | ProcessError) else None
