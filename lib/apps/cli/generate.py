"""Play: over chords, on from a performance, or a passage of it anew."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

from lib import config as configs
from lib.apps.cli import DATA_DIR, DataDir
from lib.apps.cli.charts import read_chart_options
from lib.generation.request import RULE_OPTIONS, GenerateRequest


def with_rule_options(command):
    """The command with an option for each rule that a request can ask for, but those it has of its own, as `**rules`."""
    hints = get_type_hints(command, include_extras=True)
    parameters = list(inspect.signature(command).parameters.values())[:-1]
    parameters = [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters]
    for name, help_ in RULE_OPTIONS.items():
        if name not in hints:
            option = Annotated[str | None, typer.Option(help=help_)]
            parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option))

    @functools.wraps(command)
    def wrapper(**values):
        return command(**values)

    wrapper.__signature__ = inspect.Signature(parameters)
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


@with_rule_options
def generate(
    run: Annotated[Path | None, typer.Option(help="brad_final, or a run of diffusion or fine_tune.")] = None,
    released: Annotated[bool, typer.Option("--released", help="Play with the weights of data/released.")] = False,
    out: Annotated[Path, typer.Option(help="MIDI file to write.")] = Path("solo.mid"),
    wav: Annotated[Path | None, typer.Option(help="Sound file to write.")] = None,
    soundfont: Annotated[Path | None, typer.Option(help="Another .sf2 than the built-in grand.")] = None,
    chords: Annotated[str | None, typer.Option(help="As on a lead sheet, a form, 'blues in F', or 'own': the pianist's.")] = None,
    chart: Annotated[Path | None, typer.Option(help="A chart of iReal Pro (irealb:// or its HTML) or MusicXML.")] = None,
    tune: Annotated[str | None, typer.Option(help="Which of the chart's tunes, by its title.")] = None,
    seconds: float | None = None,
    seed: int | None = None,
    recall: Annotated[float | None, typer.Option(help="How much of a section in capitals comes again, 0 to 1.")] = None,
    tempo: Annotated[float | None, typer.Option(help="Quarters a minute; else the chart's or the given performance's.")] = None,
    beats_per_bar: Annotated[int | None, typer.Option(help="3 for a waltz.")] = None,
    style: Annotated[str | None, typer.Option(help="A name, or a mix: 'Brad Mehldau:0.7,Bill Evans:0.3'.")] = None,
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
    count: Annotated[int | None, typer.Option(min=1, help="So many: solo-000001.mid ..., shared out by accelerate.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="With --count: solos that are played together.")] = None,
    data_dir: DataDir = DATA_DIR,
    device: str = "auto",
    **rules,
):
    """Improvise over chords; the same seed plays the same solo."""
    from lib.music.notes import read_midi
    from lib.music.style_features import top_line

    if (infill is None) != (from_s is None or to_s is None) or (infill and going_on):
        raise configs.ConfigError("--infill FILE wants --from SECONDS and --to SECONDS, and no --continue.")
    if count is None and batch is not None or count is not None and (infill or wav or variations > 1):
        raise configs.ConfigError("--count goes without --infill, --wav and --variations, and --batch only with --count.")
    rules["melody"] = top_line(read_midi(melody)) if melody else None
    options, read = _options(chords, chart, tune, tempo, beats_per_bar, going_on or infill, from_s)
    wished = {"seconds": seconds, "seed": seed, "recall": recall, "style": style, **rules, "num_candidates": num_candidates,
              "guidance_scale": guidance_scale, "num_steps": num_steps, "temperature": temperature, **options}  # fmt: skip
    request = configs.build(GenerateRequest, {k: v for k, v in wished.items() if v is not None})
    if num_candidates is None and request.asks_for_rules:
        request = dataclasses.replace(request, num_candidates=configs.GUIDED_CANDIDATES)
    from lib.generation import generate as generation
    from lib.music import audio
    from lib.music.chart import Chart

    if read is None and not request.own_changes:  # what is misspelt is said before anything is loaded or written
        read = Chart.parse(request.chords, request.beats_per_bar)
    audio.find_soundfont(soundfont)
    heard = read_midi(going_on or infill) if going_on or infill else None
    if count is not None:
        return _make_many(request, heard, out, count, batch, (run, released, device, data_dir / configs.STYLES))
    improviser = generation.load_improviser(run, released, device, data_dir / configs.STYLES)
    for number in range(variations):
        asked = dataclasses.replace(request, seed=request.seed + number)
        if infill:
            solo = generation.infill(improviser, asked, heard, from_s, to_s, _Progress(), chart=read)
        else:
            solo = generation.generate(improviser, asked, _Progress(), heard, chart=read)
        mark = "" if variations == 1 else f"-{number + 1}"
        _write(solo, out.with_stem(out.stem + mark), wav and wav.with_stem(wav.stem + mark), soundfont)


def _write(solo, path, wav, soundfont):
    """The solo's files, and what it is like as a line of JSON."""
    from lib.music.metrics import describe

    new, length_s = solo.new_notes, solo.ends_s - solo.begins_s
    solo.write(path)
    print(f"{path}: {len(new)} notes, {length_s:g} s of music in {solo.seconds:.1f} s")
    if wav is not None:
        write_sound(solo.notes, wav, soundfont)
    print(json.dumps({**describe(new, length_s), "rule_losses": solo.rule_losses}))


def _make_many(request, heard, out, count, batch, loading):
    """This process's share of the solos; see lib/generation/bulk.py."""
    from lib.devices import choose_device
    from lib.generation import generate as generation
    from lib.generation.bulk import Share, make_solos, set_device

    run, released, device, styles_dir = loading
    share, device = Share.of_environment(), choose_device(device)
    set_device(device, share)
    improviser = generation.load_improviser(run, released, device, styles_dir)
    done = make_solos(improviser, request, out, count, batch, heard, share)
    print(f"process {share.rank + 1} of {share.world}: {done.made} solos made, {done.kept} were there; {out.parent}", flush=True)


def _options(chords, chart, tune, tempo, beats_per_bar, performance, at_s):
    """(chords, tempo_bpm and beats_per_bar: what is said, else what the chart says, else what the performance says; Chart read)."""
    options, read = read_chart_options(chords, chart, tune, tempo, beats_per_bar)
    if performance is not None and options["tempo_bpm"] is None:
        from lib.music.notes import read_tempo

        options["tempo_bpm"] = read_tempo(performance, at_s)
    return options, read


class _Progress:
    """A progress bar over windows, denoising steps and revisions, as a callback."""

    bar = None

    def __call__(self, state):
        from lib.progress import progress_bar

        if self.bar is None:
            total = state["num_steps"] * state["num_windows"]
            self.bar = progress_bar(total=total, unit="step", desc="solo")
        self.bar.update(state["window"] * state["num_steps"] + state["step"] - self.bar.n)
        if self.bar.n == self.bar.total:
            self.bar.close()


def write_sound(notes, wav, soundfont=None):
    """Render a WAV file and say how."""
    from lib.music import audio

    sound = audio.render_audio(notes, soundfont)
    audio.write_wav(sound, wav)
    print(f"{wav}: {sound.synth}. {sound.note}".strip())
