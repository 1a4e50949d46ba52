"""File systems of one's own, which can be full, read-only or gone."""

import os
import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def mounted(folder, *words):
    """A file system of its own; skips, saying so, where mounting is not allowed."""
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", *words, folder], capture_output=True).returncode:
        pytest.skip("this user can't mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], capture_output=True)
