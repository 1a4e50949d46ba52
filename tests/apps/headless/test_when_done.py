"""What happens to the machine at the end: a real runpodctl is called, and what is missing is said."""

import os

import pytest

from lib.apps.headless.until_done import when_done
from lib.config import ConfigError


@pytest.fixture
def runpodctl(tmp_path, monkeypatch):
    """A program of that name that notes its arguments."""
    binary = tmp_path / "runpodctl"
    binary.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\necho "pod \\"$3\\" stopped"\n')
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path / "calls"


def test_the_pod_is_stopped(runpodctl, monkeypatch, capsys):
    monkeypatch.setenv("RUNPOD_POD_ID", "abc123")
    when_done("stop-pod")
    assert runpodctl.read_text() == "stop pod abc123\n" and 'pod "abc123" stopped' in capsys.readouterr().out


def test_a_failure_is_said_and_how_to_do_it_by_hand(runpodctl, monkeypatch, capsys):
    monkeypatch.setenv("RUNPOD_POD_ID", "abc123")
    (runpodctl.parent / "runpodctl").write_text("#!/bin/sh\necho no key >&2\nexit 1\n")
    when_done("stop-pod")
    said = capsys.readouterr().out
    assert "no key\nNo pod was stopped: runpodctl failed with exit code 1. Stop it by hand" in said


def test_what_is_missing_is_said(monkeypatch, capsys):
    monkeypatch.delenv("RUNPOD_POD_ID", raising=False)
    when_done("stop-pod")
    assert "RUNPOD_POD_ID is not set" in capsys.readouterr().out
    monkeypatch.setenv("RUNPOD_POD_ID", "abc123")
    monkeypatch.setenv("PATH", "")
    when_done("stop-pod")
    assert "runpodctl is not installed" in capsys.readouterr().out


def test_release_off_colab_and_nothing(capsys):
    when_done("release"), when_done("nothing")
    assert capsys.readouterr().out == "Nothing to release: this is not a Colab runtime.\n"


def test_an_unknown_ending_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'stop-pod'"):
        when_done("stop_pod")
