"""The command line in the test's own process: starting another and importing torch takes seconds."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from lib.apps.cli.main import main

ROOT = Path(__file__).resolve().parent.parent


def lib(*words, check=None):
    """python -m lib WORDS, in this process -> CompletedProcess; `check` is the exit code it must have."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["python -m lib", *map(str, words)])
        patch.chdir(ROOT)
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    done = subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
    assert check is None or done.returncode == check, done.stderr
    return done
