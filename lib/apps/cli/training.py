"""Train: corpora, cost estimates, the training itself, and the list of runs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli.options import DATA_DIR, RUNS_DIR, DataDir, HelpAll, RunsDir, hidden, option
from lib.config import RELEASED, ConfigError

BUDGET = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")

data_app = typer.Typer(no_args_is_help=True, help="Corpora: download, ingest, find beats, inspect.")


@data_app.command()
def download(
    name: str,
    data_dir: DataDir = DATA_DIR,
    url: Annotated[str | None, option("Another address of the archive.")] = None,
    sha256: Annotated[str | None, option("Its checksum.")] = None,
    metadata_url: Annotated[str | None, option("Another folder of PiJAMA's csv files.")] = None,
):
    """Download a corpus, such as maestro or pijama, from its official source. A second call continues."""
    from lib.data import download as downloads

    print(downloads.download(name, data_dir, url, sha256, metadata_url))


@data_app.command()
def ingest(
    name: Annotated[str, typer.Argument(help="maestro, pijama or a name of your own.")],
    data_dir: DataDir = DATA_DIR,
    archive: Annotated[Path | None, option("The corpus as a zip.")] = None,
    folder: Annotated[Path | None, option("Your MIDI: FOLDER/PIANIST/ALBUM/TITLE.mid.")] = None,
    metadata: Annotated[Path | None, option("Folder of the corpus's csv files.")] = None,
):
    """Turn MIDI files into one memory-mapped note store."""
    from lib.data import ingest as ingests

    report = ingests.ingest(name, data_dir, archive, folder, metadata)
    size = f"{report.pieces:,} pieces, {report.notes:,} notes, {report.hours:.1f} h"
    size = f"{size}, times in steps of {report.time_resolution_ms:g} ms"
    print(f"{report.name}: {size}, {len(report.skipped)} skipped, in {report.seconds:.1f} s")


@data_app.command()
def beats(
    name: str,
    data_dir: DataDir = DATA_DIR,
    processes: Annotated[int, option("Number of parallel processes.", min=1)] = os.cpu_count() or 1,
    tracker: Annotated[Path, option("Weights of the beat tracker.")] = RELEASED / "beat_tracker.safetensors",
):
    """Find beats and bars: write a corpus's tempo maps beside its note store. A second run continues."""
    from lib.data.corpora import CORPORA, open_corpus
    from lib.data.tempo_maps import find_tempo_maps, open_tempo_maps
    from lib.models.beat_tracker import load_track
    from lib.music.tempo_map import BEATS_ONLY, IN_BARS

    store, steady = open_corpus(name, data_dir), name not in CORPORA or CORPORA[name].steady
    source = find_tempo_maps(store, partial(load_track, tracker, steady), processes)
    maps = open_tempo_maps(store)
    in_time_h, in_bars_h = (
        sum(tempo_map.seconds_of(*kinds) for tempo_map in maps) / 3600 for kinds in ((BEATS_ONLY, IN_BARS), (IN_BARS,))
    )
    print(f"{name}: {len(maps):,} tempo maps ({source}), {in_time_h:.1f} h in time, {in_bars_h:.1f} h in bars")


@data_app.command()
def look(
    midi: Annotated[Path, typer.Argument(help="A MIDI file.")],
    as_json: Annotated[bool, option("All of it as JSON.", "--json")] = False,
):
    """Show how a MIDI file is read: notes, pedal, tempo, metre, and what is left out."""
    from lib.music import notes as midis

    notes, left_out = midis.look(midi)
    tempo, metres = midis.read_tempo(midi, at_s=0.0), midis.read_metres(midi)
    metre, pedal_s = "{}/{}".format(*metres[0][1:]), notes.pedal_s.round(4).tolist()
    if as_json:
        columns = (notes.pitch, notes.onset_s.round(4), notes.duration_s.round(4), notes.velocity)
        names = ("pitch", "onset_s", "duration_s", "velocity")
        columns = (column.tolist() for column in columns)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        facts = {"notes": rows, "pedal_s": pedal_s, "tempo": tempo, "metre": metre}
        print(json.dumps({**facts, "left_out": [dataclasses.asdict(row) for row in left_out]}))
        return
    print(f"{midi}: {len(notes):,} notes in {notes.end_s:.1f} s, {len(pedal_s)} times the pedal")
    changes = f", {len(metres) - 1} changes" * (len(metres) > 1)
    print(f"tempo {f'{tempo:g} quarters a minute' if tempo else 'not given (120)'}, metre {metre}{changes}")
    for row in left_out:
        print(f"{row.what}: {row.count} ({row.reason})")


@data_app.command()
def summary(
    name: str,
    data_dir: DataDir = DATA_DIR,
    pianist: Annotated[str | None, option("Only this pianist's solo pieces.")] = None,
):
    """Pieces, hours, notes, pianists and splits of a corpus, as JSON."""
    from lib.data import corpora

    print(json.dumps(corpora.summary(name, data_dir, pianist), indent=1, ensure_ascii=False))


@data_app.command()
def demo(data_dir: DataDir = DATA_DIR):
    """Ingest the demo corpus that comes with the suite: jazz piano by a seeded program."""
    from lib.data.prepare import prepare

    print(f"demo: {len(prepare(['demo'], data_dir)['demo'].pieces)} pieces")


def plan(
    budget_usd: Annotated[float, option("Budget for all stages.", min=0)] = 20.0,
    preset: Annotated[str | None, option("Preset to show by stage; by default what the budget buys.")] = None,
    environment: Annotated[str | None, option("Only this one: here, colab-t4, runpod-3090-spot, ...")] = None,
    prices: Annotated[list[str] | None, option("A price of your own: NAME=USD an hour.", "--price")] = None,
    settings: Annotated[list[str] | None, option("Another setting: STAGE.key=value.", "--set")] = None,
    calibrate: Annotated[bool | None, option("Measure this machine again, or not at all (default: once).")] = None,
    seconds: Annotated[float, option("How long to measure each of three stages.", min=5)] = 20.0,
    data_dir: DataDir = DATA_DIR,
    runs_dir: RunsDir = RUNS_DIR,
    devices: Annotated[bool, option("Only the table of devices: peak, reached rate, source.", "--devices")] = False,
    as_json: Annotated[bool, option("All of it as JSON.", "--json")] = False,
):
    """Estimate hours, dollars and memory of a training, and what a budget buys."""
    from lib.apps.plan.machines import at_hand, environments, measurements
    from lib.apps.plan.report import Plan, devices_text

    if devices:
        print(devices_text())
        return
    machines = {"here": at_hand(), **environments(prices or [])}
    measured = measurements(machines["here"], runs_dir)
    if preset is not None:
        configs.choose("preset", preset, configs.PRESETS)
    if environment is not None:
        machines = {configs.choose("environment", environment, machines): machines[environment]}
    report = Plan(budget_usd, preset, machines, _by_stage(settings or []), data_dir, measured)
    if calibrate is not False and "here" in machines:
        report.measure(seconds, again=calibrate is True)
    print(json.dumps(report.as_values()) if as_json else report.text())


def _by_stage(settings):
    """['vqvae.epochs=5'] -> {'vqvae': {'epochs': '5'}}."""
    from lib.checkpoints.config_migration import renamed_settings

    by_stage = {}
    for key, value in configs.parse_settings(settings).items():
        stage, dot, name = key.partition(".")
        if not dot:
            raise ConfigError(f"--set needs STAGE.key=value, for example vqvae.epochs=5; got {key!r}.")
        by_stage.setdefault(configs.choose("stage", stage, configs.STAGES), {})[name] = value
    return {stage: renamed_settings(stage, values, f"--set {stage}.") for stage, values in by_stage.items()}


def train(
    stage: Annotated[str, typer.Argument(metavar="|".join(configs.STAGES), help="What to train, in this order.")],
    preset: Annotated[str, option("tiny, demo, laptop, colab or large.")] = "laptop",
    data_dir: DataDir = DATA_DIR,
    runs_dir: RunsDir = RUNS_DIR,
    steps: Annotated[int | None, option("Maximum number of optimizer steps.")] = None,
    batch_size: Annotated[int | None, option("Examples per forward pass.")] = None,
    device: Annotated[str | None, option("cuda, mps, cpu or auto.")] = None,
    pianist: Annotated[str | None, option("Pianist to fine-tune on.")] = None,
    time_budget: Annotated[str | None, option("Stop and save within this time, e.g. 11h30m; exit code 75.")] = None,
    mirror: Annotated[str | None, option("Copy checkpoints: a folder, or rclone's REMOTE:", envvar="MIRROR")] = None,
    resume: Annotated[str | None, option("Continue a run or checkpoint: RUN, RUN/best, RUN/step-00000250.")] = None,
    when_done: Annotated[str, option("nothing, release (Colab) or stop-pod (Runpod).")] = "nothing",
    settings: Annotated[list[str] | None, option("Any other field of the config: key=value.", "--set")] = None,
    run: Annotated[str | None, hidden("Name of the run's folder; the stage's name by default.")] = None,
    epochs: Annotated[int | None, hidden("Maximum number of passes over the music.")] = None,
    lr: Annotated[float | None, hidden("Peak learning rate.")] = None,
    mixed_precision: Annotated[str | None, hidden("no, fp16, bf16 or auto.")] = None,
    gradient_accumulation: Annotated[int | None, hidden("Forward passes per optimizer step.")] = None,
    save_dir: Annotated[Path | None, hidden("--runs-dir and --run in one: runs/vqvae.")] = None,
    folder: Annotated[Path | None, hidden("Fine-tune on MIDI files, by --pianist.", "--folder", "--brad-data")] = None,
    vqvae_run: Annotated[Path | None, hidden("Codec: a run, or an improviser.", "--vqvae-run", "--vqvae-ckpt")] = None,
    style_encoder_run: Annotated[
        Path | None, hidden("Style encoder: a run, or an improviser.", "--style-encoder-run", "--style-encoder-ckpt")
    ] = None,
    diffusion_run: Annotated[Path | None, hidden("Diffusion model to start from: a run, or data/released.")] = None,
    from_weights: Annotated[Path | None, hidden("Begin a new run with a file of export --interim.")] = None,
    first_step: Annotated[int | None, hidden("At which step; by default the file's own.", min=0)] = None,
    epochs_this_runtime: Annotated[int | None, hidden("Stop and save after so many epochs.", min=1)] = None,
    take_over: Annotated[bool, hidden("Train although another runtime holds the run.", "--take-over")] = False,
    wandb_project: Annotated[str | None, hidden("Log to Weights & Biases as well.")] = None,
    help_all: HelpAll = False,
):
    """Train a stage, or continue training it; Ctrl-C saves."""
    from lib.apps.headless import until_done as endings
    from lib.checkpoints.config_migration import renamed_settings
    from lib.data.note_store import STORE_NAME
    from lib.data.prepare import prepare
    from lib.training import loop
    from lib.training.own_music import with_own_music

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
    }
    config = configs.preset(stage, preset, **overrides)
    if folder is not None and stage != "fine_tune":
        way = f"python -m lib data ingest mine --folder {folder}"
        raise ConfigError(f"--folder is for fine_tune; for {stage} ingest it: {way}")
    if folder is not None:
        config = with_own_music(config, folder, data_dir, pianist or "")
    configs.choose("ending", when_done, endings.ACTIONS)
    if save_dir is not None and run is not None:
        raise ConfigError("--save-dir names the run already: leave --run out.")
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
    raise typer.Exit(0 if result.finished else configs.EXIT_STOPPED_EARLY)


def parse_budget(text: str) -> int:
    """'11h30m', '20m', '90s' -> seconds; ConfigError for anything else."""
    match = BUDGET.fullmatch(text.strip())
    seconds = sum(int(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1))) if match else 0
    if not seconds:
        raise ConfigError(f"--time-budget needs a duration such as 11h30m, 20m or 90s; got {text!r}.")
    return seconds


def until_done(context: typer.Context):
    """Run a command until it is done: until-done train vqvae ..."""
    from lib.apps.headless.until_done import run_until_done

    raise typer.Exit(run_until_done(context.args))


def list_runs(runs_dir: RunsDir = RUNS_DIR):
    """List runs: stage, step, loss, last save, mirror, size."""
    from lib.apps.cli.runs_table import overview, table

    print(table(overview(runs_dir)))
