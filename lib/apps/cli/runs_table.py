"""All runs of a folder at a glance: stage, step, loss, last save, mirror, size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lib.checkpoints.checkpoint import step_folders
from lib.checkpoints.history import read_events
from lib.checkpoints.load import is_finished
from lib.config import ConfigError
from lib.storage.manifest import DamageError, read_manifest

COLUMNS = ("run", "stage", "step", "loss", "last save", "mirror", "size", "")


class RunSummary(NamedTuple):
    """One run, as its newest readable manifest and its events tell it; files are not hashed, that takes long."""

    name: str  # path below the folder of runs
    stage: str  # "" where no manifest can be read
    step: int
    total_steps: int
    loss: float | None  # the newest of validation, else of training
    saved_at: float | None  # Unix seconds
    mirror: str
    size_bytes: int  # of all its files
    note: str


def overview(runs_dir: Path | str) -> list[RunSummary]:
    """The runs in a folder, and in the folders of presets below it, by name; ConfigError: there is no such folder."""
    runs_dir = Path(runs_dir)
    if not runs_dir.is_dir():
        raise ConfigError(f"There is no folder of runs {runs_dir}: give --runs-dir.")
    folders = sorted([*runs_dir.glob("*"), *runs_dir.glob("*/*")])
    runs = [folder for folder in folders if (folder / "checkpoints").is_dir() or is_finished(folder)]
    return [_summary(run, run.relative_to(runs_dir).as_posix()) for run in runs]


def _summary(folder, name):
    manifest = _newest_manifest(folder)
    losses, step = manifest.get("losses") or {}, manifest.get("step", 0)
    total, stage = (
        (manifest.get("schedule") or {}).get("total_steps", 0),
        manifest.get("stage") or manifest.get("kind", ""),
    )
    note = "finished" if total and step >= total or stage == "improviser" else "" if manifest else "no valid checkpoint"
    return RunSummary(
        name,
        stage,
        step,
        total,
        losses.get("validation/loss", losses.get("train/loss")),
        manifest.get("saved_at"),
        _mirror_state(folder, step),
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        note,
    )


def _newest_manifest(folder):
    for path in [folder, *step_folders(folder)]:
        try:
            return read_manifest(path)
        except DamageError:
            continue
    return {}


def _mirror_state(folder, step):
    """What the newest event says of the copy."""
    copies = [event for event in read_events(folder) if event.get("event") in ("mirrored", "mirror_failed")]
    if not copies:
        return "none"
    if copies[-1]["event"] == "mirror_failed":
        return f"failing: {copies[-1].get('reason', '')}"
    newest = max(event["step"] for event in copies if event["event"] == "mirrored")
    return f"step {newest}" if newest >= step else f"behind: step {newest}"


def table(runs: Sequence[RunSummary], now_s: float | None = None) -> str:
    """Text for a terminal, a line a run."""
    if not runs:
        return "There is no run yet: python -m lib train vqvae --preset demo"
    lines = [COLUMNS, *(_line(run, time.time() if now_s is None else now_s) for run in runs)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _line(run, now_s):
    step = (
        f"{run.step:,}" + (f"/{run.total_steps:,}" if run.total_steps else "") if run.step or run.total_steps else "-"
    )
    loss = "-" if run.loss is None else f"{run.loss:.4g}"
    saved = "-" if run.saved_at is None else _ago(now_s - run.saved_at)
    return run.name, run.stage or "?", step, loss, saved, run.mirror, f"{run.size_bytes / 2**20:.1f} MB", run.note


def _ago(seconds):
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"
