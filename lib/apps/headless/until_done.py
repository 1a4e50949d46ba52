"""The restart loop: python -m lib until-done train vqvae ... runs the command until it is done or hopeless; and what
happens to the machine when a training is done, for machines that wait cost money."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib import google_colab_shim
from lib.config import EXIT_STOPPED_EARLY, ConfigError, choose

COMMAND = (sys.executable, "-m", "lib")
FIRST_WAIT_S, LONGEST_WAIT_S, GROWTH = 10.0, 300.0, 1.5
LONG_S = 600.0  # a run that lasted so long was not hopeless
MEND_IT = 2  # exit code of a command that the user must mend
MOST_ALIKE = 3
ACTIONS = ("nothing", "release", "stop-pod")


@dataclass(frozen=True)
class Ending:
    """How one run of the command ended: exit code (negative: by a signal), last line of stderr, step it had reached."""

    code: int
    line: str
    step: int | None

    def __str__(self):
        step = "" if self.step is None else f" at step {self.step}"
        if self.code == EXIT_STOPPED_EARLY:
            return f"stopped early{step}"
        if self.code == -signal.SIGKILL:
            return f"killed{step} (for want of memory, or by the runtime)"
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}{step}"
        return f"failed with exit code {self.code}{step} ({self.line})"


def run_until_done(
    words: Sequence[str], first_wait_s: float = FIRST_WAIT_S, longest_wait_s: float = LONGEST_WAIT_S
) -> int:
    """Repeat `python -m lib WORDS`; ConfigError without words.

    The pause before a restart grows by half each time nothing was gained.

    Returns
    -------
    int : exit code: 0 where it is done, 2 if the user must fix something, that of the command where it has ended
        alike at the same step three times, or where a signal asked to stop
    """
    if not words:
        raise ConfigError("until-done wants a command, such as: python -m lib until-done train vqvae --preset laptop")
    wait_s, endings, asked, step = first_wait_s, deque(maxlen=MOST_ALIKE), threading.Event(), -1
    with tempfile.TemporaryDirectory() as folder:
        while True:
            began_s = time.monotonic()
            ending = _run(words, Path(folder) / "step", asked)
            endings.append(ending)
            is_hopeless = len(endings) == MOST_ALIKE and len(set(endings)) == 1
            if is_hopeless:
                print(f"== {ending} {MOST_ALIKE} times; that will not get better by itself", flush=True)
            if is_hopeless or ending.code in (0, MEND_IT) or asked.is_set():
                return exit_code(ending.code)
            reached = -1 if ending.step is None else ending.step
            if reached > step or time.monotonic() - began_s > LONG_S:
                wait_s = first_wait_s
            step = reached if ending.step is not None else step
            print(f"== {ending}; again in {wait_s:.0f} s", flush=True)
            if asked.wait(wait_s):
                return exit_code(ending.code)
            wait_s = min(longest_wait_s, wait_s * GROWTH)


def _run(words, step_file, asked):
    """One run; what asks this process to stop is handed on. stderr passes through, its last line is kept."""
    step_file.write_text("")
    environment = {**os.environ, "LIB_STEP_FILE": str(step_file)}
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, env=environment, start_new_session=True)
    tail = deque(maxlen=4096)
    reader = threading.Thread(target=_copy, args=(process.stderr, tail), daemon=True)

    def hand_on(number, frame):
        asked.set()
        process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        reader.start()
        code = process.wait()
        reader.join(5.0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    lines = bytes(tail).decode(errors="replace").replace("\r", "\n").split("\n")
    step = step_file.read_text().strip()
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return Ending(code, last, int(step) if step else None)


def _copy(stream, tail):
    """Bytes as they come, so that progress bars move."""
    with stream:
        while block := stream.read1(4096):
            tail.extend(block)
            sys.stderr.write(block.decode(errors="replace"))
            sys.stderr.flush()


def exit_code(code: int) -> int:
    """A process's return code as shells give it."""
    return 128 - code if code < 0 else code


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
