"""The command line: python -m lib COMMAND."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli import DATA_DIR, RUNS_DIR, STOPPED_EARLY, DataDir, RunsDir
from lib.apps.cli.data import data_app
from lib.apps.cli.doctor import doctor
from lib.apps.cli.duet import duet
from lib.apps.cli.evaluate import compare, evaluate
from lib.apps.cli.export import export
from lib.apps.cli.fl_studio import fl_studio_app
from lib.apps.cli.generate import generate, write_sound
from lib.apps.cli.headless import headless
from lib.apps.cli.listening_test import listening_test
from lib.apps.cli.plan import plan
from lib.apps.cli.serve import serve, worker
from lib.apps.cli.style import identify, style_app

BUDGET = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Brad Mehldau AI: data, training and solos.")  # fmt: skip
app.add_typer(data_app, name="data")
app.add_typer(style_app, name="style")
app.add_typer(fl_studio_app, name="fl-studio")
app.command()(identify)
app.command()(generate)
app.command()(duet)
app.command()(evaluate)
app.command()(compare)
app.command()(serve)
app.command()(worker)
app.command()(export)
app.command()(headless)
app.command("listening-test")(listening_test)
app.command()(plan)
app.command()(doctor)


@app.command()
def train(
    stage: Annotated[str, typer.Argument(help="vqvae, style_encoder, diffusion or fine_tune.")],
    preset: Annotated[str, typer.Option(help="tiny, demo, laptop, colab or large.")] = "laptop",
    data_dir: DataDir = DATA_DIR,
    runs_dir: RunsDir = RUNS_DIR,
    run: Annotated[str | None, typer.Option(help="Name of the run's folder; the stage's name by default.")] = None,
    epochs: int | None = None,
    steps: Annotated[int | None, typer.Option(help="At most so many optimizer steps.")] = None,
    batch_size: int | None = None,
    lr: float | None = None,
    device: Annotated[str | None, typer.Option(help="cuda, mps, cpu or auto.")] = None,
    mixed_precision: Annotated[str | None, typer.Option(help="no, fp16, bf16 or auto.")] = None,
    gradient_accumulation: int | None = None,
    pianist: Annotated[str | None, typer.Option(help="Whom to fine-tune on.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Fine-tune on the MIDI files of a folder, played by --pianist.")] = None,
    vqvae_run: Annotated[Path | None, typer.Option(help="Whose codec: a run, or a finished improviser.")] = None,
    style_encoder_run: Annotated[Path | None, typer.Option(help="Whose style encoder: likewise.")] = None,
    diffusion_run: Annotated[Path | None, typer.Option(help="Whose weights to begin with: likewise, e.g. data/released.")] = None,
    time_budget: Annotated[str | None, typer.Option(help="Stop and save in time for, e.g., 11h30m; exit code 75.")] = None,
    epochs_this_runtime: Annotated[int | None, typer.Option(min=1, help="Stop and save after so many epochs.")] = None,
    mirror: Annotated[str | None, typer.Option(envvar="MIRROR", help="Copy checkpoints: a folder, or rclone's REMOTE:")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on from a run or checkpoint: RUN, RUN/best, RUN/step-00000250.")] = None,
    from_weights: Annotated[Path | None, typer.Option(help="Begin a new run with a file of export --interim.")] = None,
    first_step: Annotated[int | None, typer.Option(min=0, help="At which step; by default the file's own.")] = None,
    take_over: Annotated[bool, typer.Option("--take-over", help="Train although another runtime says it does.")] = False,
    when_done: Annotated[str, typer.Option(help="nothing, release (Colab) or stop-pod (Runpod).")] = "nothing",
    wandb_project: str | None = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Any other knob: key=value.")] = None,
):
    """Train a stage, or go on training it; Ctrl-C saves, the same command goes on (until-done: by itself)."""
    named = {"epochs": epochs, "steps": steps, "batch_size": batch_size, "lr": lr, "device": device,
             "mixed_precision": mixed_precision, "gradient_accumulation": gradient_accumulation,
             "pianist": pianist}  # fmt: skip
    from lib.checkpoints.config_migration import renamed_settings

    overrides = {**named, **renamed_settings(stage, configs.parse_settings(settings or []))}
    if folder is not None:
        overrides |= _own_corpus(stage, folder, data_dir, pianist)
    config = configs.preset(stage, preset, **overrides)
    from lib.apps.headless import when_done as endings
    from lib.training import loop

    configs.choose("ending", when_done, endings.ACTIONS)
    result = loop.train(config, data_dir, runs_dir, run, vqvae_run, style_encoder_run, diffusion_run, mirror=mirror,
                        resume=resume, take_over=take_over, time_budget_s=parse_budget(time_budget) if time_budget else None,
                        epochs_this_runtime=epochs_this_runtime, wandb_project=wandb_project,
                        from_weights=from_weights, first_step=first_step)  # fmt: skip
    print(result.message)
    if result.finished:
        endings.when_done(when_done)
    raise typer.Exit(0 if result.finished else STOPPED_EARLY)


def parse_budget(text: str) -> int:
    """'11h30m', '20m', '90s' -> seconds; ConfigError for anything else."""
    match = BUDGET.fullmatch(text.strip())
    units = zip(match.groups(), (3600, 60, 1), strict=True) if match else ()
    seconds = sum(int(part or 0) * unit for part, unit in units)
    if not seconds:
        raise configs.ConfigError(f"--time-budget wants something like 11h30m, 20m or 90s, got {text!r}.")
    return seconds


def _own_corpus(stage, folder, data_dir, pianist):
    """Settings for fine-tuning on a folder, which is ingested."""
    from lib.data.ingest import MidiFolder, ingest_source

    if stage != "fine_tune":
        way = f"python -m lib data ingest mine --folder {folder}"
        raise configs.ConfigError(f"--folder is for fine_tune; for {stage} ingest it: {way}")
    folder = folder.expanduser().resolve()
    player = pianist or folder.name
    report = ingest_source(f"own-{folder.name}", data_dir, MidiFolder(folder), pianist=player)
    print(f"{report.name}: {report.pieces:,} pieces, {report.hours:.2f} h, {len(report.skipped)} skipped")
    return {"corpora": (report.name,), "pianist": player}


@app.command("until-done", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def until_done(context: typer.Context):
    """Run a command again and again until it is done: python -m lib until-done train vqvae ..."""
    from lib.apps.headless.until_done import run_until_done

    raise typer.Exit(run_until_done(context.args))


@app.command("runs")
def list_runs(runs_dir: RunsDir = RUNS_DIR):
    """List runs: stage, step, loss, last save, mirror, size."""
    from lib.apps.cli.runs_table import overview, table

    print(table(overview(runs_dir)))


@app.command()
def reconstruct(
    midi: Path,
    run: Annotated[Path | None, typer.Option(help="A vqvae run, or an improviser's folder.")] = None,
    released: Annotated[bool, typer.Option("--released")] = False,
    out: Annotated[Path, typer.Option(help="MIDI file to write.")] = Path("reconstruction.mid"),
    wav: Annotated[Path | None, typer.Option(help="Sound file to write.")] = None,
    device: str = "auto",
):
    """Send a MIDI file through the codec and back, and say how much of it survived."""
    if (run is None) != released:
        raise configs.ConfigError("Give either --run RUN or --released.")
    from lib.generation.reconstruct import reconstruct as through_codec
    from lib.music.notes import read_midi, write_midi

    original = read_midi(midi)
    notes, score = through_codec(configs.RELEASED if released else run, original, device)
    write_midi(notes, out)
    print(f"{out}: {len(notes)} notes for {len(original)}; onset F1 {score.onset:.3f}, with offset "
          f"{score.onset_offset:.3f}, with velocity {score.onset_velocity:.3f}")  # fmt: skip
    if wav is not None:
        write_sound(notes, wav)


def main():
    """Run a command; what the user can mend is said in one line, with exit code 2."""
    try:
        app()
    except (ValueError, FileNotFoundError) as error:
        if not _meant_for_people(error):
            raise
        _say(error, 2)
    except (RuntimeError, OSError) as error:
        from lib.apps.headless.headless import NotebookError
        from lib.apps.live.process import ProcessError
        from lib.training.run import SaveError

        if not isinstance(error, NotebookError | SaveError | ProcessError):
            raise
        _say(error, 1)


def _say(error, code):
    typer.echo(f"Error: {error}", err=True)
    raise SystemExit(code) from None


def _meant_for_people(error):
    from lib.data.note_store import CorpusError
    from lib.music.audio import SoundFontError
    from lib.music.chords import ChordError
    from lib.music.notes import MidiError

    expected = (configs.ConfigError, CorpusError, MidiError, ChordError, SoundFontError, FileNotFoundError)
    return isinstance(error, expected)

