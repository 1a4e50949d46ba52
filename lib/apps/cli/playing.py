"""Play: solos, duets, scripts for FL Studio, and the user's own styles."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli.options import (
    DATA_DIR,
    DataDir,
    HelpAll,
    Released,
    Run,
    check_source,
    hidden,
    option,
    with_chart,
    with_request,
)
from lib.apps.live.duet_request import DuetRequest
from lib.config import ConfigError
from lib.generation.request import GenerateRequest

HiddenDataDir = Annotated[Path, hidden("Folder of archives and note stores.")]
HiddenDevice = Annotated[str, hidden("cuda, mps, cpu or auto.")]
ChartFile = Annotated[Path | None, option("A chart: iReal Pro (irealb:// or its HTML), MusicXML, a text file.")]
Transpose = Annotated[int, hidden("Semitones up, of the chart.", min=-11, max=11)]
Tune = Annotated[str | None, hidden("Which of the chart's tunes, by its title.")]
OF_SOLOS = ("chords", "choruses", "bars", "seconds", "seed", "tempo_bpm", "metre", "feel", "style", "density")
OF_DUETS = ("mode", "tempo_bpm", "metre", "feel", "clock", "chords", "bars", "ends_by", "style")


@with_request(GenerateRequest, OF_SOLOS, skipped=("own_changes", "condition_model"))
def generate(
    run: Run = None,
    released: Released = False,
    out: Annotated[Path, option("MIDI file to write.")] = Path("solo.mid"),
    wav: Annotated[Path | None, option("Sound file to write.")] = None,
    soundfont: Annotated[Path | None, hidden("Another piano sound (.sf2).")] = None,
    chart: ChartFile = None,
    tune: Tune = None,
    transpose: Transpose = 0,
    melody: Annotated[Path | None, hidden("A MIDI file whose top notes are the melody to improvise around.")] = None,
    theme: Annotated[Path | None, hidden("A MIDI file that each chorus returns to.")] = None,
    prompt: Annotated[Path | None, option("A MIDI file to continue.", "--continue")] = None,
    infill: Annotated[Path | None, option("A MIDI file with a passage to infill.")] = None,
    from_s: Annotated[float | None, option("Where that passage begins, in seconds.", "--from")] = None,
    to_s: Annotated[float | None, option("Where it ends.", "--to")] = None,
    variations: Annotated[int, option("Number of solos, with successive seeds: solo-1.mid, ...", min=1)] = 1,
    count: Annotated[
        int | None, hidden("Number of solos, shared among accelerate's processes: solo-000001.mid, ...", min=1)
    ] = None,
    batch: Annotated[int | None, hidden("With --count: solos in one batch.", min=1)] = None,
    data_dir: HiddenDataDir = DATA_DIR,
    device: HiddenDevice = "auto",
    help_all: HelpAll = False,
    **request,
):
    """Improvise over chords, continue a file, or infill a passage."""
    from lib.generation import generate as generation
    from lib.generation.performance import as_theme, order_of, read_performance
    from lib.music import audio
    from lib.music.notes import read_midi
    from lib.music.style_features import top_line

    if (infill is None) != (from_s is None or to_s is None) or (infill and prompt):
        raise ConfigError("--infill FILE needs --from SECONDS and --to SECONDS, and can't be combined with --continue.")
    if count is None and batch is not None or count is not None and (infill or wav or variations > 1):
        raise ConfigError("--count can't be combined with --infill, --wav or --variations; --batch needs --count.")
    request = with_chart(request, chart, tune, transpose)
    performance = read_performance(prompt or infill) if prompt or infill else ()
    if melody:
        request["melody"] = top_line(read_midi(melody))
    theme = as_theme(*read_performance(theme)) if theme else None
    order = order_of(request, *performance, from_s=from_s, to_s=to_s, theme=theme)
    if not order.request.own_changes:
        order.request.parsed_chart()  # what is misspelt is said before anything is loaded or written
    audio.find_soundfont(soundfont)
    loading = run, released, device, data_dir / configs.STYLES
    if count is not None:
        return _make_many(order, out, count, batch, loading)
    improviser = generation.load_improviser(*loading)
    for number in range(variations):
        mark = f"-{number + 1}" if variations > 1 else ""
        path, sound = out.with_stem(out.stem + mark), wav and wav.with_stem(wav.stem + mark)
        _play(improviser, order, order.request.seed + number, path, sound, soundfont)


def _play(improviser, order, seed, path, wav, soundfont):
    """A solo's files, and what it is like as a line of JSON."""
    from lib.generation.bulk import facts_of
    from lib.generation.generate import generate_many
    from lib.progress import progress_bar

    def show(state):  # windows, denoising steps and revisions
        bar.total = state["num_steps"] * state["num_windows"]
        bar.update(state["window"] * state["num_steps"] + state["step"] - bar.n)

    with progress_bar(unit="step", desc="solo") as bar:
        request = dataclasses.replace(order.request, seed=seed)
        (solo,) = generate_many(improviser, [dataclasses.replace(order, request=request, callback=show)])
    facts = facts_of(solo)
    solo.write(path)
    print(f"{path}: {facts['measures']['notes']} notes, {solo.length_s:g} s of music in {solo.seconds:.1f} s")
    if wav is not None:
        write_sound(solo.notes, wav, soundfont)
    print(json.dumps({**facts["measures"], "rule_losses": facts["rule_losses"]}))


def _make_many(order, out, count, batch, loading):
    """This process's share of the solos; see lib/generation/bulk.py."""
    from lib.devices import choose_device
    from lib.generation import generate as generation
    from lib.generation.bulk import Process, make_solos, set_device

    run, released, device, styles_dir = loading
    share, device = Process.of_environment(), choose_device(device)
    set_device(device, share)
    improviser = generation.load_improviser(run, released, device, styles_dir)
    done = make_solos(improviser, order, out, count, batch, share)
    counts = f"{done.made} solos made, {done.kept} were there; {out.parent}"
    print(f"process {share.rank + 1} of {share.world}: {counts}", flush=True)


def write_sound(notes, wav, soundfont=None):
    """Render a WAV file and say how."""
    from lib.music import audio

    sound = audio.render_audio(notes, soundfont)
    audio.write_wav(sound, wav)
    print(f"{wav}: {sound.synth}. {sound.note}".strip())


def reconstruct(
    midi: Path,
    run: Annotated[Path | None, option("A vqvae run, or an improviser's folder.")] = None,
    released: Released = False,
    out: Annotated[Path, option("MIDI file to write.")] = Path("reconstruction.mid"),
    wav: Annotated[Path | None, option("Sound file to write.")] = None,
    device: str = "auto",
):
    """Send a MIDI file through the codec and back: what survives."""
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


@with_request(DuetRequest, OF_DUETS)
def duet(
    list_ports: Annotated[bool, option("Show the MIDI ports of this machine.", "--list")] = False,
    input_name: Annotated[str | None, option("Your keyboard: a name, or virtual:NAME.", "--input")] = None,
    output_name: Annotated[str | None, option("The port that plays: a name, or virtual:NAME.", "--output")] = None,
    run: Run = None,
    released: Released = False,
    chart: ChartFile = None,
    tune: Tune = None,
    transpose: Transpose = 0,
    journal: Annotated[Path | None, hidden("Record all events in a file, as lines of JSON.")] = None,
    data_dir: HiddenDataDir = DATA_DIR,
    device: HiddenDevice = "auto",
    help_all: HelpAll = False,
    **request,
):
    """Play together over live MIDI (docs/LIVE.md)."""
    from lib.apps.live import ports

    if list_ports:
        return print(ports.describe_ports())
    request = configs.build(DuetRequest, with_chart(request, chart, tune, transpose))
    if input_name is None or output_name is None:
        raise ConfigError("Which ports? --input NAME --output NAME; python -m lib duet --list shows them.")
    check_source(run, released)
    from lib.apps.live.duet import play_duet

    loading = {"run": run, "released": released, "device": device, "styles_dir": data_dir / configs.STYLES}
    play_duet(request, input_name, output_name, loading, journal)


NAME = "Mehldau Solo"
fl_studio_app = typer.Typer(no_args_is_help=True, help="FL Studio: solos as a piano-roll script.")
Takes = Annotated[list[Path], typer.Argument(help="MIDI files, 1 to 4: the takes to choose from.")]
Tempo = Annotated[float | None, option("Quarters a minute; else what each file says.", min=20, max=400)]
UserData = Annotated[Path | None, option("FL Studio's user data folder, if you have moved it.")]


@fl_studio_app.command()
def write(
    midi: Takes, out: Annotated[Path, option("Script to write.")] = Path(f"{NAME}.pyscript"), tempo: Tempo = None
):
    """Write a script; put it into FL Studio's folder `Settings/Piano roll scripts` yourself."""
    _write_script(midi, out, tempo)


@fl_studio_app.command()
def install(
    midi: Takes,
    name: Annotated[str, option("Its name in FL Studio's menu.")] = NAME,
    tempo: Tempo = None,
    user_data: UserData = None,
):
    """Write a script where FL Studio finds it, on Windows and macOS."""
    from lib.apps.fl_studio import folders

    path = folders.script_path(folders.user_data(user_data), name)
    _write_script(midi, path, tempo)
    print(f"In FL Studio: piano roll > menu > Tools > Scripting > {path.stem}")


@fl_studio_app.command()
def uninstall(user_data: UserData = None):
    """Remove our scripts from FL Studio's folder, and nothing else."""
    from lib.apps.fl_studio import folders

    removed = folders.uninstall(folders.user_data(user_data))
    print("\n".join(f"removed {path}" for path in removed) or "there is none of our scripts")


def _write_script(midi, path, tempo):
    from lib.apps.fl_studio import folders, script

    if path.suffix != folders.SUFFIX:
        raise ConfigError(f"--out {path}: FL Studio takes files that end in {folders.SUFFIX}.")
    folders.install(script.script_text([script.read_take(file, tempo) for file in midi], path.stem), path)
    print(f"{path}: {len(midi)} take{'s' if len(midi) > 1 else ''}, {path.stat().st_size / 1000:.0f} kB")


style_app = typer.Typer(no_args_is_help=True, help="Styles of your own.")


@style_app.command("add")
def add_style(
    name: str,
    folder: Annotated[Path, option("Folder of MIDI files, or one file.")],
    run: Annotated[Path | None, option("The improviser it is for; by default the released one.")] = None,
    data_dir: DataDir = DATA_DIR,
    device: str = "auto",
):
    """Make a style from your own MIDI; use its name like a pianist's."""
    from lib.generation.generate import load_improviser
    from lib.style.classifier import StyleClassifier
    from lib.style.embeddings import add_style as add

    improviser = load_improviser(run, run is None, device)
    path, left_out = add(StyleClassifier.of_improviser(improviser), name, folder, data_dir / configs.STYLES)
    for line in left_out:
        typer.echo(f"left out {line}", err=True)
    source = "--released" if run is None else f"--run {run}"
    print(
        f"{path}\npython -m lib generate {source} --data-dir {data_dir}"
        f" --style {json.dumps(name.strip(), ensure_ascii=False)}"
    )
