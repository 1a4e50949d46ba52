"""Play: over chords, continue a performance, or infill a passage of it."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Annotated

from lib import config as configs
from lib.apps.cli import DATA_DIR, ChartFile, HiddenDataDir, HiddenDevice, Released, Run, Transpose, Tune, hidden, option
from lib.apps.cli.options import with_chart, with_request
from lib.generation.request import GenerateRequest

COMMON = ("chords", "choruses", "bars", "seconds", "seed", "tempo_bpm", "metre", "feel", "style", "density")


@with_request(GenerateRequest, COMMON, skipped=("own_changes", "condition_model"))
def generate(
    run: Run = None,
    released: Released = False,
    out: Annotated[Path, option("MIDI file to write.")] = Path("solo.mid"),
    wav: Annotated[Path | None, option("Sound file to write.")] = None,
    soundfont: Annotated[Path | None, hidden("Another .sf2 than the built-in grand.")] = None,
    chart: ChartFile = None,
    tune: Tune = None,
    transpose: Transpose = 0,
    melody: Annotated[Path | None, hidden("A MIDI file whose top notes are to sound: improvise around them.")] = None,
    theme: Annotated[Path | None, hidden("A MIDI file that the music comes back to with each chorus.")] = None,
    prompt: Annotated[Path | None, option("A MIDI file to continue.", "--continue")] = None,
    infill: Annotated[Path | None, option("A MIDI file with a passage to infill.")] = None,
    from_s: Annotated[float | None, option("Where that passage begins, in seconds.", "--from")] = None,
    to_s: Annotated[float | None, option("Where it ends.", "--to")] = None,
    variations: Annotated[int, option("So many, by the seeds that follow: solo-1.mid, solo-2.mid ...", min=1)] = 1,
    count: Annotated[
        int | None, hidden("So many: solo-000001.mid ..., shared among accelerate's processes.", min=1)
    ] = None,
    batch: Annotated[int | None, hidden("With --count: solos that are played together.", min=1)] = None,
    data_dir: HiddenDataDir = DATA_DIR,
    device: HiddenDevice = "auto",
    **request,
):
    """Improvise over chords; the same seed plays the same solo."""
    from lib.generation import generate as generation
    from lib.generation.performance import as_theme, order_of, read_performance
    from lib.music import audio
    from lib.music.notes import read_midi
    from lib.music.style_features import top_line

    if (infill is None) != (from_s is None or to_s is None) or (infill and prompt):
        raise configs.ConfigError("--infill FILE wants --from SECONDS and --to SECONDS, and no --continue.")
    if count is None and batch is not None or count is not None and (infill or wav or variations > 1):
        raise configs.ConfigError(
            "--count goes without --infill, --wav and --variations, and --batch only with --count."
        )
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

    with progress_bar(unit="step", desc="solo") as bar:
        callback, request = partial(_show_progress, bar), dataclasses.replace(order.request, seed=seed)
        (solo,) = generate_many(improviser, [dataclasses.replace(order, request=request, callback=callback)])
    facts = facts_of(solo)
    solo.write(path)
    print(f"{path}: {facts['measures']['notes']} notes, {solo.length_s:g} s of music in {solo.seconds:.1f} s")
    if wav is not None:
        write_sound(solo.notes, wav, soundfont)
    print(json.dumps({**facts["measures"], "rule_losses": facts["rule_losses"]}))


def _show_progress(bar, state):
    """Windows, denoising steps and revisions."""
    bar.total = state["num_steps"] * state["num_windows"]
    bar.update(state["window"] * state["num_steps"] + state["step"] - bar.n)


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
