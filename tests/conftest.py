"""Fixtures: the demo corpus, ingested once, and the real data where a machine has it."""

import os
import sys
import zipfile
from pathlib import Path

import pytest
import torch

os.environ.setdefault("LIB_QUIET", "1")
# kernels and commands in processes of their own: beside a browser, or whatever else is busy, OpenMP's threads would spin while they
# wait for each other, and take the cores from it
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.modules["rfc3987_syntax"] = None  # with it nbformat's jsonschema builds 39 grammars (1.4 s) for addresses that no notebook has
torch.set_num_threads(1)  # the models of tests are so small that a second thread costs more than it brings

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data():
    """The folder of the real archives; tests that need it skip, saying so, where it is not."""
    folder = Path(os.environ.get("REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "maestro-v3.0.0-midi.zip").exists():
        pytest.skip(f"the real corpora are not in {folder} (set REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory):
    """A data folder with the demo corpus, ingested."""
    from lib.data.prepare import prepare

    folder = tmp_path_factory.mktemp("data")
    prepare(["demo"], folder)
    return folder


@pytest.fixture(scope="session")
def demo_midi(tmp_path_factory):
    """A folder of the demo corpus's MIDI files: PLAYER/ALBUM/TITLE.mid."""
    folder = tmp_path_factory.mktemp("midi")
    with zipfile.ZipFile(ROOT / "data" / "demo_corpus.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_runs(demo_data, tmp_path_factory):
    """A runs folder in which all four stages were trained with preset tiny."""
    from lib.config import STAGES, preset
    from lib.training.loop import train

    runs = tmp_path_factory.mktemp("runs")
    for stage in STAGES:
        train(preset(stage, "tiny"), demo_data, runs)
    return runs


@pytest.fixture(scope="module")  # Playwright's event loop runs until it closes: other modules may want their own
def browser():
    """A headless Chromium; tests that need it skip, saying so, where there is none."""
    from browser import open_browser, why_no_browser

    if why_no_browser():
        pytest.skip(why_no_browser())
    with open_browser() as opened:
        yield opened
