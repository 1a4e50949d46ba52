"""What a run has logged: history.jsonl for pictures, train.log for people."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from pathlib import Path

NAME = "history.jsonl"


def append_history(run, line):
    """Add a dict: step, epoch, time, split ("train" or "validation") and the figures by name."""
    with open(Path(run) / NAME, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_history(run):
    """What a run has logged: a list of dicts, see append_history; steps logged twice (after a restart) once."""
    path = Path(run) / NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = {}
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the line a dying runtime was writing
        rows[row["step"], row["split"]] = row
    return [rows[key] for key in sorted(rows)]


@contextmanager
def logging_to(folder):
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
