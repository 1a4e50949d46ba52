"""Progress bars: shown where somebody looks."""

import sys

import pytest

from lib.progress import progress_bar


@pytest.fixture(autouse=True)
def nobody_asks(monkeypatch):
    monkeypatch.delenv("LIB_QUIET", raising=False)
    monkeypatch.delenv("LIB_PROGRESS", raising=False)


def test_quiet(monkeypatch, capsys):
    monkeypatch.setenv("LIB_QUIET", "1")
    assert list(progress_bar(range(3))) == [0, 1, 2] and capsys.readouterr().err == ""


def test_lines_for_the_headless_runner(monkeypatch, capsys):
    monkeypatch.setenv("LIB_PROGRESS", "lines")
    with progress_bar(total=3, desc="vqvae", unit="step") as bar:
        bar.update(3)
    assert "vqvae: 100%" in capsys.readouterr().err


def test_not_in_a_pipe(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    with progress_bar(total=3) as bar:
        bar.update(3)
    assert bar.disable and capsys.readouterr().err == ""
