"""What this machine has, and the fix for what it lacks."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lib.apps.cli import DATA_DIR, RUNS_DIR, DataDir, RunsDir


def doctor(
    data_dir: DataDir = DATA_DIR,
    runs_dir: RunsDir = RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
):
    """Say what is there and how to mend what is not; the end of every bug report. Exit code 1: something needed is missing."""
    from lib.apps.doctor import as_text, as_values, examine

    findings = examine(data_dir, runs_dir)
    print(json.dumps(as_values(findings), indent=1) if as_json else as_text(findings))
    raise typer.Exit(any(finding.state == "missing" for finding in findings))
