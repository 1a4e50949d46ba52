"""All runs of a folder at a glance: stage, step, loss, last save, mirror, size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.checkpoints.checkpoint import step_folders
from lib.checkpoints.history import read_events
from lib.checkpoints.load import is_finished
from lib.config import ConfigError
from lib.storage.manifest import DamageError, read_manifest

COLUMNS = ("run", "stage", "step", "loss", "last save", "mirror", "size", "")


def overview(runs_dir: Path | str) -> list[dict[str, Any]]:
    """The runs in a folder, and in the folders of presets below it, by name; ConfigError: there is no such folder.

    Returns
    -------
    list of dict, by the newest readable manifest and the events (files are not hashed, that takes long): name (path
        below the folder), stage, step, total_steps, loss (the newest of validation, else of training, else None),
        saved_at (Unix seconds, or None), mirror, size_bytes (of all its files), note
    """
    runs_dir = Path(runs_dir)
    if not runs_dir.is_dir():
        raise ConfigError(f"There is no folder of runs {runs_dir}: give --runs-dir.")
    folders = sorted([*runs_dir.glob("*"), *runs_dir.glob("*/*")])
    runs = [folder for folder in folders if (folder / "checkpoints").is_dir() or is_finished(folder)]
    return [{"name": run.relative_to(runs_dir).as_posix(), **_summary(run)} for run in runs]


def _summary(run):
    manifest = _newest_manifest(run)
    losses, step = manifest.get("losses") or {}, manifest.get("step", 0)
    stage = manifest.get("stage") or manifest.get("kind", "")
    total = (manifest.get("schedule") or {}).get("total_steps", 0)
    is_done = total and step >= total or stage == "improviser"
    return {
        "stage": stage,
        "step": step,
        "total_steps": total,
        "loss": losses.get("validation/loss", losses.get("train/loss")),
        "saved_at": manifest.get("saved_at"),
        "mirror": _mirror_state(run, step),
        "size_bytes": sum(path.stat().st_size for path in run.rglob("*") if path.is_file()),
        "note": "finished" if is_done else "" if manifest else "no valid checkpoint",
    }


def _newest_manifest(run):
    for path in [run, *step_folders(run)]:
        try:
            return read_manifest(path)
        except DamageError:
            continue
    return {}


def _mirror_state(run, step):
    """What the newest event says of the copy."""
    copies = [event for event in read_events(run) if event.get("event") in ("mirrored", "mirror_failed")]
    if not copies:
        return "none"
    if copies[-1]["event"] == "mirror_failed":
        return f"failing: {copies[-1].get('reason', '')}"
    newest = max(event["step"] for event in copies if event["event"] == "mirrored")
    return f"step {newest}" if newest >= step else f"behind: step {newest}"


def table(runs: Sequence[dict[str, Any]], now_s: float | None = None) -> str:
    """Text for a terminal, a line a run."""
    if not runs:
        return "There is no run yet: python -m lib train vqvae --preset demo"
    lines = [COLUMNS]
    for run in runs:
        step, total, loss, saved_at = (run[key] for key in ("step", "total_steps", "loss", "saved_at"))
        steps = f"{step:,}/{total:,}" if total else f"{step:,}" if step else "-"
        saved = "-" if saved_at is None else _ago((now_s or time.time()) - saved_at)
        figures = steps, "-" if loss is None else f"{loss:.4g}", saved, run["mirror"]
        lines.append((run["name"], run["stage"] or "?", *figures, f"{run['size_bytes'] / 2**20:.1f} MB", run["note"]))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _ago(seconds):
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"
