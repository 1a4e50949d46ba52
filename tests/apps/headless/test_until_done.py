"""The restart loop, with real processes that die in all the ways that a training does."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib.apps.headless import until_done
from lib.apps.headless.until_done import run_until_done
from lib.config import ConfigError

ROOT = Path(__file__).resolve().parents[3]
# a "training" that notes each of its starts, then does what its script says of that start
SCRIPT = """
import os, pathlib, signal, sys
note = pathlib.Path(sys.argv[1])
note.write_text(note.read_text() + "x" if note.exists() else "x")
turn = len(note.read_text())
def step(number):
    pathlib.Path(os.environ["LIB_STEP_FILE"]).write_text(f"{number:12d}")
"""


@pytest.fixture
def loop(tmp_path, monkeypatch, capfd):
    """Runs a script under the loop with short pauses: (exit code, number of starts, what was printed)."""

    def run(body):
        script, note = tmp_path / "script.py", tmp_path / "note"
        script.write_text(SCRIPT + body)
        monkeypatch.setattr(until_done, "COMMAND", (sys.executable, str(script)))
        code = run_until_done([str(note)], first_wait_s=0.01, longest_wait_s=0.03)
        return code, len(note.read_text()), capfd.readouterr()

    return run


def test_deaths_are_survived_until_it_is_done(loop):
    code, starts, said = loop("step(turn * 5)\nif turn < 4: os.kill(os.getpid(), signal.SIGKILL)")
    assert (code, starts) == (0, 4)
    assert said.out.count("killed at step") == 3 and "again in 0 s" in said.out


def test_stopping_early_is_no_failure(loop):
    code, starts, said = loop("step(turn)\nsys.exit(75 if turn < 6 else 0)")
    assert (code, starts) == (0, 6) and said.out.count("stopped early") == 5


def test_what_the_user_must_mend_is_not_repeated(loop):
    code, starts, said = loop("sys.exit('Error: no such preset') if False else sys.exit(2)")
    assert (code, starts) == (2, 1)


def test_the_same_error_at_the_same_step_three_times_is_the_end(loop):
    code, starts, said = loop("step(7)\nprint('so far\\rBoom!', file=sys.stderr)\nsys.exit(1)")
    assert (code, starts) == (1, 3) and "Boom!" in said.err
    assert "failed with exit code 1 at step 7 (Boom!) 3 times; that will not get better by itself" in said.out


def test_another_error_or_another_step_goes_on(loop):
    code, starts, _ = loop("step(7 if turn < 3 else 8)\nprint('Boom', turn // 4, file=sys.stderr)\nsys.exit(turn < 6)")
    assert (code, starts) == (0, 6)


def test_stopping_early_without_a_step_does_not_go_on_for_ever(loop):
    assert loop("step(3)\nsys.exit(75)")[:2] == (75, 3)


def test_a_signal_code_is_given_as_shells_do(loop):
    assert loop("os.kill(os.getpid(), signal.SIGKILL)")[:2] == (137, 3)


def test_pauses_grow_while_nothing_is_gained(loop, monkeypatch):
    waits = []

    class Asked:
        is_set = staticmethod(lambda: False)
        wait = staticmethod(lambda seconds: waits.append(round(seconds, 4)))

    monkeypatch.setattr(until_done, "threading", SimpleNamespace(Event=Asked, Thread=threading.Thread))
    loop("step({1: 5, 2: 5, 3: 5, 4: 9}.get(turn, 9))\nprint(turn, file=sys.stderr)\nsys.exit(turn < 6)")
    assert waits == [0.01, 0.015, 0.0225, 0.01, 0.015]


def test_no_command_is_a_clear_error():
    with pytest.raises(ConfigError, match="until-done train vqvae"):
        run_until_done([])


@pytest.mark.slow
def test_a_stop_is_handed_on_and_ends_the_loop(demo_data, tmp_path):
    command = [sys.executable, "-m", "lib", "until-done", "train", "vqvae", "--preset", "tiny", "--data-dir", demo_data,
               "--runs-dir", tmp_path, "--set", "steps=100000", "--set", "validate_every=100000"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)  # fmt: skip
    try:
        history, end = tmp_path / "vqvae" / "history.jsonl", time.monotonic() + 60
        while not history.exists() and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 75 and "stopped by SIGTERM and saved" in output and "again in" not in output
