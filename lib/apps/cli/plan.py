"""What a training will cost, and where."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lib.apps.cli import DATA_DIR, RUNS_DIR, DataDir, RunsDir


def plan(
    budget_usd: Annotated[float, typer.Option(min=0, help="What it may cost in all.")] = 20.0,
    preset: Annotated[
        str | None, typer.Option(help="Which preset to show stage by stage; else what the budget buys.")
    ] = None,
    environment: Annotated[str | None, typer.Option(help="Only there: here, colab-t4, runpod-3090-spot, ...")] = None,
    prices: Annotated[list[str] | None, typer.Option("--price", help="Your own: NAME=USD an hour.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Another setting: STAGE.key=value.")] = None,
    calibrate: Annotated[
        bool | None, typer.Option(help="Measure this machine again, or not at all; by default once.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=5, help="How long to measure each of three stages.")] = 20.0,
    data_dir: DataDir = DATA_DIR,
    runs_dir: RunsDir = RUNS_DIR,
    devices: Annotated[
        bool, typer.Option("--devices", help="Only the table of devices: peaks, what is reached, sources.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
):
    """Hours, dollars, memory and disk of each stage, preset and environment; what a budget buys."""
    from lib.apps.plan.report import Plan, devices_text

    if devices:
        print(devices_text())
        return
    made = Plan.make(budget_usd, preset, environment, prices or [], settings or [], data_dir, runs_dir)
    if made.wants_measuring(calibrate):
        typer.echo(f"Measuring this machine, {seconds:g} s a stage (once; --no-calibrate skips it) ...", err=True)
        made.measure(seconds)
    print(json.dumps(made.as_values()) if as_json else made.text())
