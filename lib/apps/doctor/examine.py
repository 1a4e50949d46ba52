"""Look at everything, in an order that reads well."""

from __future__ import annotations

import subprocess

from lib import google_colab_shim as shim
from lib.apps.doctor.findings import Finding
from lib.apps.doctor.machine import look_at_machine
from lib.apps.doctor.music import look_at_music
from lib.apps.doctor.packages import look_at_packages
from lib.config import ROOT


def examine(data_dir, runs_dir):
    """All Findings of this machine."""
    return [project(), *look_at_packages(), *look_at_machine(runs_dir), *look_at_music(data_dir)]


def project():
    """Which state of the project this is, and where it runs."""
    try:
        words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--tags"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
        state = done.stdout.strip() if done.returncode == 0 else ""
    except (OSError, subprocess.TimeoutExpired):
        state = ""
    return Finding("project", "ok", f"{state or 'without git'}, on {'Colab' if shim.on_colab() else 'a machine of your own'}")
