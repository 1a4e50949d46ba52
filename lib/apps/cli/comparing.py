"""Look and compare: identify players, check charts, evaluate and compare models, check this machine."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli.options import DATA_DIR, OUTPUT_DIR, RUNS_DIR, DataDir, HelpAll, RunsDir, hidden, option
from lib.config import ConfigError


def identify(
    midi: Annotated[Path | None, typer.Argument(help="The performance.")] = None,
    top: Annotated[int, option("How many pianists to name.", min=1)] = 5,
    as_json: Annotated[bool, option("All of it as JSON, evidence by time included.", "--json")] = False,
    run: Annotated[Path | None, option("A run of style_encoder; by default the released weights.")] = None,
    make_library: Annotated[bool, option("First make the gallery of the run: its corpora.", "--make-library")] = False,
    data_dir: DataDir = DATA_DIR,
    device: str = "auto",
):
    """Say who may be playing in a MIDI file, with the evidence."""
    from lib.devices import choose_device
    from lib.music.notes import read_piano, read_tempo
    from lib.style import gallery, identification

    device = choose_device(device)
    if make_library:
        if run is None:
            raise ConfigError("--make-library needs --run RUN: the released weights already have a gallery.")
        print(f"{run}: a gallery of {len(gallery.make_gallery(run, data_dir, device)[1].pianists)} recordings")
    if midi is not None:
        performance, left_out = read_piano(midi)
        classifier, beat_s = gallery.load_classifier(run or configs.RELEASED, device), 60 / (read_tempo(midi) or 120)
        answer = identification.identify(*classifier, performance, top, beat_s, left_out)
        print(json.dumps(answer.as_values(), ensure_ascii=False) if as_json else answer.describe())
    elif not make_library:
        raise ConfigError("Which file? python -m lib identify FILE.mid")


def doctor(
    data_dir: DataDir = DATA_DIR,
    runs_dir: RunsDir = RUNS_DIR,
    as_json: Annotated[bool, option("As JSON.", "--json")] = False,
):
    """Check this machine; exit code 1: something is missing."""
    from lib.apps.doctor import as_text, as_values, examine

    findings = examine(data_dir, runs_dir)
    print(json.dumps(as_values(findings), indent=1) if as_json else as_text(findings))
    raise typer.Exit(any(finding.state == "missing" for finding in findings))


BARS_A_LINE = 4
charts_app = typer.Typer(no_args_is_help=True, help="Charts of chords: see how they are read.")


@charts_app.callback()
def charts():
    """A group, though it has one command."""


@charts_app.command()
def check(
    sources: Annotated[list[str], typer.Argument(help="Files, or chords as typed.")],
    tune: Annotated[str | None, option("Only this tune of a playlist, by its title.")] = None,
    as_json: Annotated[bool, option("All of it as JSON.", "--json")] = False,
):
    """Show how charts are read, bar by bar, as played once. Exit code 2: none could be read."""
    report = check_charts(sources, tune)
    print(json.dumps(report, ensure_ascii=False) if as_json else format_report(report))
    if not report["tunes"]:
        raise typer.Exit(2)


def check_charts(sources: list[str], tune: str | None = None) -> dict:
    """What is read of files or typed chords, as plain values for JSON: tunes (all, or those of a title), each with its
    bars once through; refused, with the reason; inferred: bars where the chart does not say when chords begin."""
    from lib.music.chart_files import find_tune, find_tunes
    from lib.music.chords import ChordError

    report = {"tunes": [], "refused": [], "inferred": []}
    for source in sources:
        try:
            tunes = [find_tune(source, tune)] if tune else find_tunes(source)
        except (ChordError, FileNotFoundError) as error:
            report["refused"].append({"title": source, "bar": getattr(error, "bar", None), "reason": str(error)})
            continue
        for each in tunes:
            title, moved = each.title or source, {"transposed": each.transposition} if each.transposition else {}
            try:
                chart = each.read()
                bars = _bars_of(chart)
            except ChordError as error:
                report["refused"].append({"title": title, "bar": error.bar, "reason": error.reason})
                continue
            text = chart.text(chart.once_through[0].metre)
            report["tunes"].append({"title": title, "tempo_bpm": chart.tempo_bpm, "text": text, "bars": bars, **moved})
            inferred = [number for number, bar in enumerate(chart.once_through, 1) if bar.inferred]
            report["inferred"] += [{"title": title, "bar": number} for number in inferred]
    return report


def _bars_of(chart):
    rows, section = [], ""
    for bar in chart.once_through:
        section, chords = bar.section or section, []
        for (_, chord), length in zip(bar.chords, bar.lengths(), strict=True):
            row = {"symbol": "N.C.", "beats": float(length), "root": None, "bass": None, "pitch_classes": []}
            if chord is not None:
                tones = sorted({(chord.root + interval) % 12 for interval in chord.intervals} | {chord.bass})
                row |= {"symbol": chord.symbol, "root": chord.root, "bass": chord.bass, "pitch_classes": tones}
            chords.append(row)
        metre = "{}/{}".format(*bar.metre)
        rows.append({"metre": metre, "beats": float(bar.quarters), "section": section, "chords": chords})
    return rows


def format_report(report: dict) -> str:
    """A report for people: BARS_A_LINE bars a line, as they can be typed."""
    lines = []
    for tune in report["tunes"]:
        tempo = f", {tune['tempo_bpm']:g} quarters a minute" if tune["tempo_bpm"] else ""
        moved = f", transposed by {tune['transposed']:+d} as saved" if "transposed" in tune else ""
        lines.append(f"{tune['title']}: {len(tune['bars'])} bars, {tune['bars'][0]['metre']}{tempo}{moved}")
        cells = tune["text"].split(" | ")
        width = min(24, max(map(len, cells)))
        for first in range(0, len(cells), BARS_A_LINE):
            row = " | ".join(cell.ljust(width) for cell in cells[first : first + BARS_A_LINE])
            lines.append(f"{first + 1:4}  {row}".rstrip())
    for name, text in (("inferred", "where the chords begin is worked out"), ("refused", "")):
        for row in report[name]:
            bar = f", bar {row['bar']}" if row["bar"] else ""
            lines.append(f"{name}: {row['title']}{bar}: {row.get('reason', text)}")
    return "\n".join(lines)


SPLITS = ("validation", "test")
EVALUATIONS = OUTPUT_DIR / "evaluations"
Quick = Annotated[bool, option("Fewer clips: minutes on a laptop, but wide intervals.", "--quick")]
Clips = Annotated[int | None, option("Clips of each set; 64 by default (--quick: 16).", min=2)]
Guided = Annotated[int | None, option("Clips played with rules, half a minute each; 0: none.", min=0)]
Split = Annotated[str, option("validation or test; look at the test once, at the end.")]


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="brad_final, or a run of diffusion or fine_tune.")] = None,
    released: Annotated[bool, option("The weights of data/released.", "--released")] = False,
    data_dir: DataDir = DATA_DIR,
    out: Annotated[Path | None, option("Folder; by default outputs/evaluations/NAME-SPLIT.")] = None,
    quick: Quick = False,
    clips: Clips = None,
    guided: Guided = None,
    each: Annotated[int | None, option("Clips in the style of each of twelve pianists.", min=0)] = None,
    solos: Annotated[int | None, option("Solos of a minute, for form.", min=0)] = None,
    split: Split = "validation",
    base: Annotated[Path | None, hidden("The model before it was adapted; found by default.")] = None,
    pianist: Annotated[str | None, hidden("Compare with another pianist's recordings.")] = None,
    corpus: Annotated[str | None, hidden("Corpus of the recordings; the run's own by default.")] = None,
    help_all: HelpAll = False,
):
    """Evaluate a model against recordings and baselines: a page."""
    if (run is None) != released:
        raise ConfigError("Which model? Give either --released (the project's weights) or RUN (your own).")
    configs.choose("split", split, SPLITS)
    from lib.apps.evaluate import evaluation
    from lib.apps.evaluate.report import format_card

    folder = out or EVALUATIONS / evaluation.name_of(run or configs.RELEASED, split)
    size = size_of(quick, clips=clips, guided=guided, each=each, solos=solos)
    sources = {"base": base, "pianist": pianist, "corpus": corpus}
    say = partial(typer.echo, err=True)
    print(format_card(evaluation.evaluate(run, data_dir, folder, size, split, say=say, **sources)))
    print(folder / evaluation.PAGE_NAME)


def compare(
    a: Annotated[Path, typer.Argument(help="A run (data/released for ours), or an evaluation: its folder or JSON.")],
    b: Annotated[Path, typer.Argument(help="What to compare it with.")],
    data_dir: DataDir = DATA_DIR,
    out: Annotated[Path | None, option("Write the differences as JSON.")] = None,
    quick: Quick = False,
    clips: Clips = None,
    guided: Guided = None,
    split: Split = "validation",
):
    """Compare two models: paired differences, with intervals."""
    configs.choose("split", split, SPLITS)
    from lib.apps.evaluate import evaluation
    from lib.storage.atomic_write import write_text

    size = size_of(quick, clips=clips, guided=guided)
    differences = evaluation.compare(a, b, data_dir, EVALUATIONS, size, split)
    print(evaluation.format_differences(differences))
    if out is not None:
        rows = [{**dataclasses.asdict(row), "verdict": row.verdict} for row in differences]
        write_text(out, json.dumps(evaluation.plain(rows), indent=1))


def size_of(quick=False, **given):
    """clip_sets.Size of these options."""
    from lib.apps.evaluate.clip_sets import QUICK, Size

    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(QUICK if quick else Size(), **given)


PAGE = OUTPUT_DIR / "listening_test.html"
COLLECTED = "With --collect: "


def listening_test(
    answers: Annotated[list[Path] | None, typer.Argument(help=COLLECTED + "the files that listeners saved.")] = None,
    takes: Annotated[list[str] | None, option("SYSTEM=FILES (.mid, .wav), several: 'ours=outputs/a/*.mid'.")] = None,
    out: Annotated[Path, option("The page; its key is written beside it.")] = PAGE,
    kinds: Annotated[str, option("ab (which of two), rate (each from 0 to 100), or both.")] = "both",
    reference: Annotated[str | None, option("The system to rate by: played openly, and once more hidden.")] = None,
    anchor: Annotated[str | None, option("The system that must score badly.")] = None,
    items: Annotated[int | None, option("Takes of each system; all by default.", min=1)] = None,
    seconds: Annotated[float, option("Maximum seconds of each take.", min=1)] = 15.0,
    must_hear: Annotated[float, hidden("Seconds of each take before an answer counts.", min=0)] = 5.0,
    title: Annotated[str, option("Text for listeners; it should not say what is compared.")] = "Listening test",
    question: Annotated[str, hidden("Title of the takes.")] = "jazz piano",
    soundfont: Annotated[Path | None, hidden("Another piano sound (.sf2).")] = None,
    help_all: HelpAll = False,
    collect: Annotated[bool, option("Evaluate ANSWERS instead of making a page.", "--collect")] = False,
    key: Annotated[Path | None, option(COLLECTED + "the page's key; by default beside --out.")] = None,
    as_json: Annotated[bool, option(COLLECTED + "all figures as JSON.", "--json")] = False,
):
    """Make a blind test as one page, or --collect its answers."""
    key = key or out.with_suffix(".key.json")
    if collect == bool(takes) or collect != bool(answers):
        way = "Make a test with --takes SYSTEM=FILES, twice or more, or evaluate one: --collect answers-*.json."
        raise ConfigError(way)
    from lib.apps.listening_test import listening_test as tests
    from lib.apps.listening_test import ratings
    from lib.storage.atomic_write import write_text
    from lib.storage.manifest import sealed

    if collect:
        secret = ratings.read_key(key)
        figures = ratings.evaluate(secret, ratings.read_answers(answers, secret))
        print(json.dumps(figures, indent=1, ensure_ascii=False) if as_json else ratings.format_figures(figures))
        return
    chosen = tests.choose_takes(tests.parse_takes(takes), items)
    page, secret = tests.make_test(chosen, kinds, reference, anchor, seconds, must_hear, title, question, soundfont)
    write_text(out, page)
    write_text(key, sealed(secret))
    print(f"{out}: {len(secret['items'])} items, {out.stat().st_size / 2**20:.1f} MiB. Send it to listeners.")
    print(f"{key}: whose takes they are. Keep it to yourself.")
