"""All runs of a folder at a glance: stage, step, loss, last save, mirror, size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from lib.checkpoints.checkpoint import step_folders
from lib.checkpoints.history import read_events
from lib.checkpoints.load import is_finished
from lib.config import ConfigError
from lib.storage.manifest import DamageError, read_manifest

COLUMNS = ("run", "stage", "step", "loss", "last save", "mirror", "size", "")


@dataclass(frozen=True)
class RunSummary:
    """One run, as its newest readable manifest and its events tell it; files are not hashed, that takes long.

    Attributes
    ----------
    name : path below the folder of runs; stage : "" where no manifest can be read
    step, total_steps : optimizer steps; loss : the newest validation loss, else training loss, else None
    saved_at : Unix seconds, None where nothing is saved; mirror : text; size_bytes : of all its files; note : text
    """

    name: str
    stage: str
    step: int
    total_steps: int
    loss: float | None
    saved_at: float | None
    mirror: str
    size_bytes: int
    note: str


def overview(runs_dir):
    """The runs in a folder, and in the folders of presets below it.

    Returns
    -------
    list of RunSummary, by name

    Raises
    ------
    ConfigError : there is no such folder
    """
    runs_dir = Path(runs_dir)
    if not runs_dir.is_dir():
        raise ConfigError(f"There is no folder of runs {runs_dir}: give --runs-dir.")
    folders = sorted(path for path in [*runs_dir.glob("*"), *runs_dir.glob("*/*")] if _is_run(path))
    return [_summary(folder, str(folder.relative_to(runs_dir))) for folder in folders]


def _is_run(path):
    return (path / "checkpoints").is_dir() or is_finished(path)


def _summary(folder, name):
    manifest = _newest_manifest(folder)
    events = read_events(folder)
    losses = manifest.get("losses") or {}
    loss = losses.get("validation/loss", losses.get("train/loss"))
    step, total = manifest.get("step", 0), (manifest.get("schedule") or {}).get("total_steps", 0)
    stage = manifest.get("stage") or manifest.get("kind", "")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    note = "" if manifest else "no valid checkpoint"
    note = "finished" if total and step >= total or stage == "improviser" else note
    return RunSummary(name, stage, step, total, loss, manifest.get("saved_at"), _mirror_state(events, step), size, note)


def _newest_manifest(folder):
    for path in [folder, *step_folders(folder)]:
        try:
            return read_manifest(path)
        except DamageError:
            continue
    return {}


def _mirror_state(events, step):
    """What the newest event says of the copy."""
    copies = [event for event in events if event.get("event") in ("mirrored", "mirror_failed")]
    if not copies:
        return "none"
    if copies[-1]["event"] == "mirror_failed":
        return f"failing: {copies[-1].get('reason', '')}"
    newest = max(event["step"] for event in copies if event["event"] == "mirrored")
    return f"step {newest}" if newest >= step else f"behind: step {newest}"


def table(summaries, now_s=None):
    """Text for a terminal, a line a run."""
    if not summaries:
        return "There is no run yet: python -m lib train vqvae --preset demo"
    now_s = time.time() if now_s is None else now_s
    lines = [COLUMNS, *(_line(summary, now_s) for summary in summaries)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _line(summary, now_s):
    step = (
        f"{summary.step:,}/{summary.total_steps:,}"
        if summary.total_steps
        else f"{summary.step:,}"
        if summary.step
        else "-"
    )
    loss = "-" if summary.loss is None else f"{summary.loss:.4g}"
    saved = "-" if summary.saved_at is None else _ago(now_s - summary.saved_at)
    size = f"{summary.size_bytes / 2**20:.1f} MB"
    return summary.name, summary.stage or "?", step, loss, saved, summary.mirror, size, summary.note


def _ago(seconds):
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''} ago"
    return "just now"
