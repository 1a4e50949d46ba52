"""What happens to the machine when a training is done: machines that wait cost money."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lib import google_colab_shim
from lib.config import choose

ACTIONS = ("nothing", "release", "stop-pod")


def when_done(action: str, runs_dir: Path | str | None = None, mirror: str | None = None) -> None:
    """Do it, and say what was done or what was missing.

    Parameters
    ----------
    action : "nothing"; "release": give Colab's runtime back; "stop-pod": stop this Runpod pod with runpodctl
    runs_dir, mirror : where the runs are that must be safe before a runtime is given back
    """
    if choose("ending", action, ACTIONS) == "release":
        google_colab_shim.release(runs_dir, mirror)
    if action != "stop-pod":
        return
    pod, binary, reason = os.environ.get("RUNPOD_POD_ID"), shutil.which("runpodctl"), ""
    if not pod:
        reason = "RUNPOD_POD_ID is not set, so this does not look like Runpod"
    elif not binary:
        reason = "runpodctl is not installed"
    else:
        done = subprocess.run([binary, "stop", "pod", pod], capture_output=True, text=True)
        print((done.stdout + done.stderr).strip(), flush=True)
        reason = f"runpodctl failed with exit code {done.returncode}" if done.returncode else ""
    if reason:
        print(f"No pod was stopped: {reason}. Stop it by hand on Runpod's page, under Pods: it costs money until then.")
