"""Evaluate a model, and compare two."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli import DATA_DIR, OUTPUT_DIR, DataDir, hidden, option

SPLITS = ("validation", "test")
EVALUATIONS = OUTPUT_DIR / "evaluations"
Quick = Annotated[bool, option("Few clips: some minutes on a laptop, wide intervals.", "--quick")]
Clips = Annotated[int | None, option("Clips of each set; 64 by default (--quick: 16).", min=2)]
Guided = Annotated[int | None, option("Clips where rules choose, half a minute each; 0: none.", min=0)]
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
):
    """Evaluate a model against real recordings and baselines: a page and a JSON; clips are kept for next time."""
    if (run is None) != released:
        raise configs.ConfigError("Give either RUN or --released.")
    configs.choose("split", split, SPLITS)
    from lib.apps.evaluate import evaluation
    from lib.apps.evaluate.report import format_card

    folder = out or EVALUATIONS / evaluation.name_of(run or configs.RELEASED, split)
    size = size_of(quick, clips=clips, guided=guided, each=each, solos=solos)
    sources = {"base": base, "pianist": pianist, "corpus": corpus}
    print(format_card(evaluation.evaluate(run, data_dir, folder, size, split, say=_log, **sources)))
    print(folder / evaluation.PAGE_NAME)


def _log(text):
    typer.echo(text, err=True)


def compare(
    a: Annotated[Path, typer.Argument(help="A run (data/released for ours), or an evaluation: its folder or JSON.")],
    b: Annotated[Path, typer.Argument(help="What is compared with it.")],
    data_dir: DataDir = DATA_DIR,
    out: Annotated[Path | None, option("Write the differences as JSON.")] = None,
    quick: Quick = False,
    clips: Clips = None,
    guided: Guided = None,
    split: Split = "validation",
):
    """Compare two models by the same prompts and seeds: paired differences, with intervals."""
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
