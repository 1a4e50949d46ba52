"""The logs of a run: history.jsonl (figures) and events.jsonl for plots, train.log for people."""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAME, EVENTS = "history.jsonl", "events.jsonl"
SPEEDS = ("ms_per_step", "tokens_per_s", "seconds_left")  # of a line of the history: see training.run_log.Speed
NO_FIGURES = ("step", "epoch", "time", "split", "runtime", *SPEEDS)
RUNTIME = uuid.uuid4().hex[:8]  # this process: rows of one runtime have one colour in a picture
log = logging.getLogger("lib.training")


def append_history(run: Path | str, line: dict) -> None:
    """Add a dict: step, epoch, time, split ("train" or "validation") and the figures by name."""
    _append(Path(run) / NAME, {**line, "runtime": RUNTIME})


def append_event(run: Path | str, event: str, step: int, text: str = "", **fields: Any) -> None:
    """Add {"time" (Unix seconds), "runtime", "event", "step", "text", and `fields`}; logged in train.log too.

    Events: start, restored, saved, save_failed, mirrored, mirror_failed, out_of_memory, skipped, went_back, stopped,
    finished. Programs read fields, never the text: `total`, the steps of the whole training, of start, stopped and
    finished; `device` of start, "" for several; `commit` of start, of the code, or None; `peak_bytes` of memory, of
    stopped and finished; `reason` of stopped (a training.budget.StopReason), save_failed and mirror_failed (as the
    system reports).
    """
    line = {"time": round(time.time(), 3), "runtime": RUNTIME, "event": event, "step": step, "text": text, **fields}
    _append(Path(run) / EVENTS, line)
    log.info("step %d %s%s", step, event.replace("_", " "), f": {text}" if text else "")


def _append(path, line):
    with open(path, "a+b") as file:
        torn = False
        if file.tell():
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write(b"\n" * torn + json.dumps(line).encode() + b"\n")


def read_history(run: Path | str) -> list[dict]:
    """What a run has logged: a list of dicts, see append_history; steps logged twice (after a restart) once."""
    rows = {(row["step"], row["split"]): row for row in read_rows(run) if "step" in row and "split" in row}
    return [rows[key] for key in sorted(rows)]


def validation_figures(run: Path | str, step: int) -> dict[str, float]:
    """dict name -> number, of the validation at a step; {} where there was none."""
    rows = [row for row in read_history(run) if row["split"] == "validation" and row["step"] == step]
    return {name: value for name, value in rows[-1].items() if name not in NO_FIGURES} if rows else {}


def read_rows(run: Path | str) -> list[dict]:
    """Every line of the history in the order it was written, steps that were repeated included."""
    return _read(Path(run) / NAME)


def read_events(run: Path | str) -> list[dict]:
    """What happened to a run, in order: see append_event; events of older versions get their fields from their text."""
    return [_with_fields(event) for event in _read(Path(run) / EVENTS)]


def _with_fields(event):
    text = event.get("text", "")
    if event.get("event") == "start" and "total" not in event and text.startswith("of ") and text[3:].isdigit():
        return {**event, "total": int(text[3:])}
    if event.get("event") in ("save_failed", "mirror_failed") and "reason" not in event:
        return {**event, "reason": text.partition("; training goes on")[0]}
    return event


def _read(path):
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the line a dying runtime was writing
        if isinstance(row, dict):
            rows.append(row)
    return rows


@contextmanager
def logging_to(folder: Path) -> Iterator[None]:
    """train.log of the run, line by line."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / "train.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("lib")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
