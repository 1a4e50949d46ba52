"""Fault injection for tests and benchmarks: the process kills itself with SIGKILL at a named point.

    LIB_KILL_AT="save.manifest 2"    the second time that this point is passed
    LIB_KILL_LOG=FILE                where the point's name is written first

Points: save.begin, save.files, save.manifest, save.rename, save.prune, mirror.begin, mirror.file, mirror.manifest,
mirror.verify, mirror.prune, solo.facts. Without the variables nothing happens.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

_passed = Counter()


def kill_point(name: str) -> None:
    """Write the name to LIB_KILL_LOG and die at once, as a runtime does, if LIB_KILL_AT names this point."""
    wanted = os.environ.get("LIB_KILL_AT")
    if not wanted:
        return
    where, _, times = wanted.partition(" ")
    _passed[name] += 1
    if where == name and _passed[name] == int(times or 1):
        with open(os.environ.get("LIB_KILL_LOG", os.devnull), "a", encoding="utf-8") as file:
            file.write(name + "\n")
        os.kill(os.getpid(), signal.SIGKILL)
