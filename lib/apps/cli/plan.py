"""What a training will cost, and where."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lib import config as configs
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
    made = Plan(budget_usd, preset, machines, _by_stage(settings or []), data_dir, measured)
    if calibrate is not False and "here" in machines:
        made.measure(seconds, again=calibrate is True)
    print(json.dumps(made.as_values()) if as_json else made.text())


def _by_stage(settings):
    """['vqvae.epochs=5'] -> {'vqvae': {'epochs': '5'}}."""
    from lib.checkpoints.config_migration import renamed_settings

    by_stage = {}
    for key, value in configs.parse_settings(settings).items():
        stage, dot, name = key.partition(".")
        if not dot:
            raise configs.ConfigError(f"--set wants STAGE.key=value, such as vqvae.epochs=5, got {key!r}.")
        by_stage.setdefault(configs.choose("stage", stage, configs.STAGES), {})[name] = value
    return {stage: renamed_settings(stage, values, f"--set {stage}.") for stage, values in by_stage.items()}
