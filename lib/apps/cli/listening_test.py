"""A listening test: make the page, and evaluate what listeners answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli import OUTPUT_DIR, hidden, option

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
    seconds: Annotated[float, option("Of each take, at most.", min=1)] = 15.0,
    must_hear: Annotated[float, hidden("Seconds of each take before an answer counts.", min=0)] = 5.0,
    title: Annotated[str, option("What listeners read; it should not say what is compared.")] = "Listening test",
    question: Annotated[str, hidden("What takes are judged as.")] = "jazz piano",
    soundfont: Annotated[Path | None, hidden("Another .sf2 than the built-in grand.")] = None,
    collect: Annotated[bool, option("Evaluate ANSWERS instead of making a page.", "--collect")] = False,
    key: Annotated[Path | None, option(COLLECTED + "the page's key; by default beside --out.")] = None,
    as_json: Annotated[bool, option(COLLECTED + "all figures as JSON.", "--json")] = False,
):
    """Make a blind test as one offline page, or with --collect evaluate its answers."""
    key = key or out.with_suffix(".key.json")
    if collect == bool(takes) or collect != bool(answers):
        way = "Make a test with --takes SYSTEM=FILES, twice or more, or evaluate one: --collect answers-*.json."
        raise configs.ConfigError(way)
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
