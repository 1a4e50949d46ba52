"""What a stage really took, as its run remembers it, beside what was foreseen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib import config as configs
from lib.apps.plan.forecast import forecast, seconds_of
from lib.apps.plan.music import music_of
from lib.apps.plan.work import step_work
from lib.checkpoints.checkpoint import CheckpointError
from lib.checkpoints.config_migration import config_of_run
from lib.checkpoints.history import read_events, read_rows


@dataclass(frozen=True)
class Took:
    """A run so far.

    Attributes
    ----------
    hours : with a runtime at work on it, from its first step on; runtimes : how many there were
    steps : the last one; total : of the whole training, 0 where unknown
    step_s : seconds a step, median over the logged ones; None where too few were logged
    """

    stage: str
    preset: str
    hours: float
    runtimes: int
    steps: int
    total: int
    step_s: float | None


def took(run):
    """Took of a run's folder; None where nothing was logged there; CheckpointError where its config is of an unknown version."""
    run = Path(run)
    lines = [line for line in [*read_events(run), *read_rows(run)] if {"time", "runtime", "step"} <= line.keys()]
    config = config_of_run(run)
    if not lines or config is None:
        return None
    times = {}
    for line in lines:
        times.setdefault(line["runtime"], []).append(line["time"])
    hours = sum(max(found) - min(found) for found in times.values()) / 3600
    totals = [line["total"] for line in lines if line.get("event") == "start" and "total" in line]
    total = totals[-1] if totals else 0
    last = max(line["step"] for line in lines)
    return Took(configs.stage_of(config), config.preset, hours, len(times), last, total, _step_s(run))


def _step_s(run):
    """Median seconds a step, as logged; of older runs, between logged steps that follow one another in one runtime."""
    rows = [row for row in read_rows(run) if row.get("split") == "train" and {"time", "step", "runtime"} <= row.keys()]
    logged = [row["ms_per_step"] / 1000 for row in rows if "ms_per_step" in row]
    if logged:
        return sorted(logged)[len(logged) // 2]
    paces = [(after["time"] - before["time"]) / (after["step"] - before["step"])
             for before, after in zip(rows, rows[1:])
             if after["runtime"] == before["runtime"] and after["step"] > before["step"]]  # fmt: skip
    return sorted(paces)[len(paces) // 2] if paces else None


def beside(run, environment, data_dir=None, measured=None):
    """One line: what a run took, and what was foreseen for as many steps."""
    try:
        found = took(run)
    except CheckpointError as error:
        return f"{Path(run).name}: {error}"
    if found is None:
        return f"{Path(run).name}: nothing was trained there yet."
    config = config_of_run(run)
    foreseen = forecast(config, environment, data_dir, measured)
    parts = seconds_of(config, step_work(config), music_of(config, data_dir), found.steps, environment.device, measured)
    hours = (parts["steps"] + parts["validate"] + parts["save"]) / 3600  # events begin where the steps do
    low, high = foreseen.low_hours / foreseen.hours, foreseen.high_hours / foreseen.hours
    each = f", {found.step_s:.3g} s a step" if found.step_s else ""
    done = f"{length(found.hours)} for {found.steps:,} of {foreseen.steps:,} steps{each}"
    bar = f"{length(hours * low)} to {length(hours * high)}"
    return f"{found.stage}, preset {found.preset}: took {done}; foreseen, without starting and encoding, {bar}"


def length(hours):
    """Text: '45 s', '12 min', '3.4 h', '120 h'."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"
