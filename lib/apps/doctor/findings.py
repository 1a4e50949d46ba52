"""Findings: what was looked at, how it is, what to do; as text and as JSON, without names or folders of the user's."""

from __future__ import annotations

import dataclasses
import getpass
import re
from dataclasses import dataclass
from pathlib import Path

from lib.config import ROOT

STATES = ("ok", "note", "missing")  # fine; works without it; something needed is not there


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name : what; state : of STATES; says : how it is
    fix : what to type or click, "" where nothing has to be done
    """

    name: str
    state: str
    says: str
    fix: str = ""


def as_text(findings):
    """A line a finding, its fix below."""
    wide = max(len(found.name) for found in findings)
    lines = []
    for found in findings:
        lines.append(f"{found.state:<8}{found.name:<{wide}}  {found.says}")
        lines += [f"{'':<8}{'':<{wide}}  fix: {found.fix}"] if found.fix else []
    return without_names("\n".join([*lines, "", verdict(findings)]))


def verdict(findings):
    """One line: whether anything needed is missing."""
    missing = [found.name for found in findings if found.state == "missing"]
    if missing:
        return f"Missing: {', '.join(missing)}. Please put all of this under your bug report."
    return "Nothing that is needed is missing. Please put all of this under your bug report."


def as_values(findings):
    """For JSON."""
    rows = [{name: without_names(value) for name, value in dataclasses.asdict(found).items()} for found in findings]
    return {"findings": rows, "missing": [found.name for found in findings if found.state == "missing"]}


def without_names(text):
    """The text without the project's folder, the user's home and the user's name."""
    for folder, short in ((str(ROOT), "."), (str(Path.home()), "~")):
        text = text.replace(folder, short) if len(folder) > 1 else text
    name = _user()
    return re.sub(rf"(?<=[\\/]){re.escape(name)}(?=[\\/]|\b)", "USER", text) if name else text


def _user():
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have no name for who runs it
        return ""
