"""The command line: python -m lib COMMAND."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.commands import DATA_DIR, OUTPUT_DIR, RUNS_DIR, DataDir, RunsDir
from lib.commands.data import data_app
from lib.commands.style import identify, style_app

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Brad Mehldau AI: data, training and solos.")  # fmt: skip
app.add_typer(data_app, name="data")
app.add_typer(style_app, name="style")
app.command()(identify)

STOPPED_EARLY = 75  # run the same command again


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
    vqvae_run: Path | None = None,
    style_encoder_run: Path | None = None,
    diffusion_run: Path | None = None,
    time_budget: Annotated[str | None, typer.Option(help="Stop and save in time for, e.g., 11h30m; exit code 75.")] = None,
    epochs_this_runtime: Annotated[int | None, typer.Option(min=1, help="Stop and save after so many epochs.")] = None,
    mirror: Annotated[str | None, typer.Option(envvar="MIRROR", help="Copy checkpoints: a folder, or rclone's REMOTE:")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on from a run or checkpoint: RUN, RUN/best, RUN/step-00000250.")] = None,
    take_over: Annotated[bool, typer.Option("--take-over", help="Train although another runtime says it does.")] = False,
    when_done: Annotated[str, typer.Option(help="nothing, release (Colab) or stop-pod (Runpod).")] = "nothing",
    wandb_project: str | None = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Any other knob: key=value.")] = None,
):
    """Train a stage, or go on training it; Ctrl-C saves, the same command goes on (until-done: by itself)."""
    named = {"epochs": epochs, "steps": steps, "batch_size": batch_size, "lr": lr, "device": device,
             "mixed_precision": mixed_precision, "gradient_accumulation": gradient_accumulation,
             "pianist": pianist}  # fmt: skip
    overrides = {**named, **configs.parse_settings(settings or [])}
    config = configs.preset(stage, preset, **overrides)
    from lib import when_done as endings
    from lib.training import loop
    from lib.training.budget import parse_budget

    configs.choose("ending", when_done, endings.ACTIONS)
    result = loop.train(config, data_dir, runs_dir, run, vqvae_run, style_encoder_run, diffusion_run, mirror=mirror,
                        resume=resume, take_over=take_over, time_budget_s=parse_budget(time_budget) if time_budget else None,
                        epochs_this_runtime=epochs_this_runtime, wandb_project=wandb_project)  # fmt: skip
    print(result.message)
    if result.finished:
        endings.when_done(when_done)
    raise typer.Exit(0 if result.finished else STOPPED_EARLY)


@app.command("until-done", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def until_done(context: typer.Context):
    """Run a command again and again until it is done: python -m lib until-done train vqvae ..."""
    from lib.until_done import run_until_done

    raise typer.Exit(run_until_done(context.args))


@app.command("runs")
def list_runs(runs_dir: RunsDir = RUNS_DIR):
    """List runs: stage, step, loss, last save, mirror, size."""
    from lib.training.overview import overview, table

    print(table(overview(runs_dir)))


@app.command()
def generate(
    run: Annotated[Path | None, typer.Option(help="brad_final, or a run of diffusion or fine_tune.")] = None,
    released: Annotated[bool, typer.Option("--released", help="Play with the weights of data/released.")] = False,
    out: Annotated[Path, typer.Option(help="MIDI file to write.")] = Path("solo.mid"),
    wav: Annotated[Path | None, typer.Option(help="Sound file to write.")] = None,
    soundfont: Annotated[Path | None, typer.Option(help="Another .sf2 than the built-in grand.")] = None,
    chords: str | None = None,
    seconds: float | None = None,
    seed: int | None = None,
    recall: Annotated[float | None, typer.Option(help="How much of a section in capitals comes again, 0 to 1.")] = None,
    tempo: Annotated[float | None, typer.Option(help="Beats a minute.")] = None,
    style: Annotated[str | None, typer.Option(help="A name, or a mix: 'Brad Mehldau:0.7,Bill Evans:0.3'.")] = None,
    density: Annotated[str | None, typer.Option(help="Notes a second: 6, or an arc over the solo: 3,9,4.")] = None,
    left_density: Annotated[float | None, typer.Option(help="Of the keys below middle C.")] = None,
    right_density: Annotated[float | None, typer.Option(help="Of those from middle C on.")] = None,
    register: Annotated[str | None, typer.Option(help="Mean pitch (MIDI): 60, or an arc: 50,70,55.")] = None,
    loudness: Annotated[str | None, typer.Option(help="Mean velocity: 64, or an arc: 40,90.")] = None,
    swing: Annotated[float | None, typer.Option(help="Notes on eighths: 0.5 straight, 0.67 triplets.")] = None,
    melody: Annotated[Path | None, typer.Option(help="A MIDI file whose top notes are to sound: improvise around them.")] = None,
    num_candidates: int | None = None,
    guidance_scale: float | None = None,
    num_steps: int | None = None,
    temperature: float | None = None,
    going_on: Annotated[Path | None, typer.Option("--continue", help="A MIDI file to go on from.")] = None,
    infill: Annotated[Path | None, typer.Option(help="A MIDI file of which to play a passage anew.")] = None,
    from_s: Annotated[float | None, typer.Option("--from", help="Where that passage begins, in seconds.")] = None,
    to_s: Annotated[float | None, typer.Option("--to", help="Where it ends.")] = None,
    variations: Annotated[int, typer.Option(min=1, help="So many, by the seeds that follow: solo-1.mid, solo-2.mid ...")] = 1,
    data_dir: DataDir = DATA_DIR,
    device: str = "auto",
):
    """Improvise over chords; the same seed plays the same solo."""
    from lib.data.notes import read_midi, write_midi
    from lib.music.habits import top_line

    rules = {"density": density, "left_density": left_density, "right_density": right_density, "register": register,
             "loudness": loudness, "swing": swing, "melody": top_line(read_midi(melody)) if melody else None}  # fmt: skip
    wished = {"chords": chords, "seconds": seconds, "seed": seed, "tempo_bpm": tempo, "recall": recall, "style": style,
              **rules, "num_candidates": num_candidates, "guidance_scale": guidance_scale,
              "num_steps": num_steps, "temperature": temperature}  # fmt: skip
    if (infill is None) != (from_s is None or to_s is None) or (infill and going_on):
        raise configs.ConfigError("--infill FILE wants --from SECONDS and --to SECONDS, and no --continue.")
    if num_candidates is None and any(target is not None for target in rules.values()):
        wished["num_candidates"] = configs.GUIDED_CANDIDATES
    request = configs.build(configs.GenerateRequest, {k: v for k, v in wished.items() if v is not None})
    from lib import generate as generation
    from lib.music import audio
    from lib.music.forms import parse_chart
    from lib.music.hands import left_hand
    from lib.music.metrics import describe

    parse_chart(request.chords)  # what is misspelt is said before anything is loaded or written
    audio.find_soundfont(soundfont)
    heard = read_midi(going_on or infill) if going_on or infill else None
    improviser = generation.load_improviser(run, released, device, data_dir / configs.STYLES)
    for number in range(variations):
        asked = dataclasses.replace(request, seed=request.seed + number)
        if infill:
            solo = generation.infill(improviser, asked, heard, from_s, to_s, _Progress())
        else:
            solo = generation.generate(improviser, asked, _Progress(), heard)
        mark = "" if variations == 1 else f"-{number + 1}"
        path = out.with_stem(out.stem + mark)
        write_midi(solo.notes, path, request.tempo_bpm, solo.chords, left_hand(solo.notes))
        new = solo.notes.between(solo.begins_s, solo.ends_s)
        length_s = solo.ends_s - solo.begins_s
        print(f"{path}: {len(new)} notes, {length_s:g} s of music in {solo.seconds:.1f} s")
        if wav is not None:
            _write_sound(solo.notes, wav.with_stem(wav.stem + mark), soundfont)
        print(json.dumps({**describe(new, length_s), "rule_losses": solo.rule_losses}))


class _Progress:
    """A progress bar over windows and denoising steps, as a callback."""

    bar = None

    def __call__(self, state):
        from lib.progress import progress_bar

        if self.bar is None:
            total = state["num_steps"] * state["num_windows"]
            self.bar = progress_bar(total=total, unit="step", desc="solo")
        self.bar.update(state["window"] * state["num_steps"] + state["step"] - self.bar.n)
        if self.bar.n == self.bar.total:
            self.bar.close()


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
    from lib import generate as generation
    from lib.data.notes import read_midi, write_midi

    original = read_midi(midi)
    notes, score = generation.reconstruct(configs.RELEASED if released else run, original, device)
    write_midi(notes, out)
    print(f"{out}: {len(notes)} notes for {len(original)}; onset F1 {score.onset:.3f}, with offset "
          f"{score.onset_offset:.3f}, with velocity {score.onset_velocity:.3f}")  # fmt: skip
    if wav is not None:
        _write_sound(notes, wav)


def _write_sound(notes, wav, soundfont=None):
    from lib.music import audio

    sound = audio.render_audio(notes, soundfont)
    audio.write_wav(sound, wav)
    print(f"{wav}: {sound.synth}. {sound.note}".strip())


@app.command()
def headless(
    preset: str = "demo",
    notebooks: Annotated[str, typer.Option(help="Numbers: 00-06, or 02,06.")] = "00-06",
    settings: Annotated[list[str] | None, typer.Option("--set", help="NOTEBOOK.parameter=value.")] = None,
    data_dir: DataDir = DATA_DIR,
    runs_dir: RunsDir = RUNS_DIR,
    output_dir: Path = OUTPUT_DIR,
    again: Annotated[bool, typer.Option("--again", help="Run also what is done already.")] = False,
):
    """Run notebooks without a screen, one after the other; exit code 75: a training stopped early, run it again."""
    from lib import headless as runner

    results = runner.run(notebooks, preset, configs.parse_settings(settings or []), output_dir, data_dir, runs_dir, again=again)
    raise typer.Exit(STOPPED_EARLY if any(result.status == "to go on" for result in results) else 0)


def main():
    """Run a command; what the user can mend is said in one line, with exit code 2."""
    try:
        app()
    except (ValueError, FileNotFoundError) as error:
        if not _meant_for_people(error):
            raise
        _say(error, 2)
    except (RuntimeError, OSError) as error:
        from lib.headless import NotebookError
        from lib.training.session import SaveError

        if not isinstance(error, NotebookError | SaveError):
            raise
        _say(error, 1)


def _say(error, code):
    typer.echo(f"Error: {error}", err=True)
    raise SystemExit(code) from None


def _meant_for_people(error):
    from lib.data.corpora import CorpusError
    from lib.data.notes import MidiError
    from lib.music.audio import SoundFontError
    from lib.music.chords import ChordError

    expected = (configs.ConfigError, CorpusError, MidiError, ChordError, SoundFontError, FileNotFoundError)
    return isinstance(error, expected)


if __name__ == "__main__":
    main()
