"""What happens to the machine when a training is done: machines that wait cost money."""

from __future__ import annotations

import os
import shutil
import subprocess

from lib import google_colab_shim
from lib.config import choose

ACTIONS = ("nothing", "release", "stop-pod")


def when_done(action):
    """Do it, and say what was done or what was missing.

    Parameters
    ----------
    action : "nothing"; "release": give Colab's runtime back; "stop-pod": stop this Runpod pod with runpodctl
    """
    if choose("ending", action, ACTIONS) == "release":
        google_colab_shim.release()
    elif action == "stop-pod":
        print(_stop_pod(), flush=True)


def _stop_pod():
    pod, binary = os.environ.get("RUNPOD_POD_ID"), shutil.which("runpodctl")
    by_hand = "Stop it by hand on Runpod's page, under Pods: it costs money until then."
    if not pod:
        return f"No pod was stopped: RUNPOD_POD_ID is not set, so this does not look like Runpod. {by_hand}"
    if not binary:
        return f"Pod {pod} was not stopped: runpodctl is not installed. {by_hand}"
    done = subprocess.run([binary, "stop", "pod", pod], capture_output=True, text=True)
    said = (done.stdout + done.stderr).strip()
    return (
        said if done.returncode == 0 else f"Pod {pod} was not stopped (runpodctl: {said or done.returncode}). {by_hand}"
    )
