"""A listening test: make the page, and evaluate what listeners answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli import OUTPUT_DIR


def listening_test(
    answers: Annotated[
        list[Path] | None, typer.Argument(help="With --collect: the files that listeners saved.")
    ] = None,
    takes: Annotated[
        list[str] | None, typer.Option(help="SYSTEM=FILES (.mid, .wav), several: 'ours=outputs/a/*.mid'.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The page; its key is written beside it.")] = OUTPUT_DIR
    / "listening_test.html",
    kinds: Annotated[str, typer.Option(help="ab (which of two), rate (each from 0 to 100), or both.")] = "both",
    reference: Annotated[
        str | None, typer.Option(help="The system to rate by: played openly, and once more hidden.")
    ] = None,
    anchor: Annotated[str | None, typer.Option(help="The system that must score badly.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Takes of each system; all by default.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Of each take, at most.")] = 15.0,
    must_hear: Annotated[float, typer.Option(min=0, help="Seconds of each take before an answer counts.")] = 5.0,
    title: Annotated[
        str, typer.Option(help="What listeners read: it should not say what is compared.")
    ] = "Listening test",
    question: Annotated[str, typer.Option(help="What takes are judged as.")] = "jazz piano",
    soundfont: Annotated[Path | None, typer.Option(help="Another .sf2 than the built-in grand.")] = None,
    collect: Annotated[bool, typer.Option("--collect", help="Evaluate ANSWERS instead of making a page.")] = False,
    key: Annotated[Path | None, typer.Option(help="With --collect: the page's key; by default beside --out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --collect: all figures as JSON.")] = False,
):
    """Make a blind test as one offline page, or with --collect evaluate its answers."""
    key = key or out.with_suffix(".key.json")
    if collect == bool(takes) or collect != bool(answers):
        way = "Make a test with --takes SYSTEM=FILES, twice or more, or evaluate one: --collect answers-*.json."
        raise configs.ConfigError(way)
    if collect:
        from lib.apps.listening_test import ratings

        opened = ratings.read_key(key)
        figures = ratings.evaluate(opened, ratings.read_answers(answers, opened))
        print(json.dumps(figures, indent=1, ensure_ascii=False) if as_json else ratings.format_figures(figures))
        return
    from lib.apps.listening_test import listening_test as tests
    from lib.storage.atomic_write import write_text
    from lib.storage.manifest import sealed

    plan = tests.make_plan(tests.parse_takes(takes), items, kinds, reference, anchor, seconds)
    page, secret = tests.listening_test(plan, title, question, soundfont, must_hear)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)
    write_text(key, sealed(secret))
    print(f"{out}: {len(secret['items'])} items, {out.stat().st_size / 2**20:.1f} MiB. Send it to listeners.")
    print(f"{key}: whose takes they are. Keep it to yourself.")
