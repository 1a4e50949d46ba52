"""The notebooks, executed headless with preset tiny: what a user gets who runs them from top to bottom."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

from lib.apps.headless import headless
from lib.checkpoints import checkpoint as checkpoints
from lib.music.notes import read_midi

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))

import notebooks_alone  # noqa: E402

NAMES = ("00_setup", "01_data", "02_vqvae", "03_style_encoder", "04_diffusion", "05_fine_tune", "06_listen",
         "07_evaluate", "08_serve")  # fmt: skip
pytestmark = pytest.mark.slow
ENOUGH = {**notebooks_alone.TRAINED, **notebooks_alone.SHORT, "06_listen.metre": "3/4", "06_listen.feel": "swing"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("headless")
    return {"data_dir": root / "data", "runs_dir": root / "runs", "output_dir": root / "out"}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return tmp_path_factory.mktemp("mirror") / "drive"


@pytest.fixture(scope="module")
def results(folders, mirror):
    return headless.run("00-08", "tiny", ENOUGH, mirror=str(mirror), **folders)


def test_each_notebook_succeeds_and_leaves_its_copy(results, folders):
    assert [(result.notebook, result.status) for result in results] == [(name, "done") for name in NAMES]
    for name in NAMES:
        copy = nbformat.read(folders["output_dir"] / "notebooks" / f"{name}.ipynb", as_version=4)
        assert all(cell.execution_count for cell in copy.cells if cell.cell_type == "code")
    summary = json.loads((folders["output_dir"] / "summary.json").read_text())
    assert [entry["notebook"] for entry in summary["notebooks"]] == list(NAMES)


def test_the_solo_is_there_in_four_forms_with_a_form_and_the_trained_models(results, folders):
    output = folders["output_dir"]
    solo, form, trained = (read_midi(output / f"{name}.mid") for name in ("solo", "solo_form", "tiny_trained"))
    assert len(solo) and len(form) and list(solo.pitch) != list(form.pitch)
    assert list(solo.pitch) != list(trained.pitch), "by the run that was trained, not by the released weights"
    assert {"solo_form.wav", "solo_form.html", "tiny_trained.wav"} <= {path.name for path in output.iterdir()}
    wav, png = (output / "solo.wav").read_bytes(), (output / "piano_roll.png").read_bytes()
    assert wav[:4] == b"RIFF" and len(wav) > 5 * 44100 * 2
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and len(png) > 5000
    assert "<canvas" in (output / "player.html").read_text(encoding="utf-8")


def test_the_evaluation_is_a_page_and_figures(results, folders):
    output = folders["output_dir"] / "evaluation"
    found = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    assert found["subject"]["pianist"] == "Cora Canonby" and {"likeness", "transfer", "selfcheck"} <= set(found)
    assert "What it can't tell" in (output / "evaluation.html").read_text(encoding="utf-8")


def test_the_executed_copies_show_pictures_players_and_no_warnings(results, folders):
    for name in NAMES:
        text = (folders["output_dir"] / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        assert '"image/png"' in text and '"text/html"' in text, name
        assert "Warning:" not in text, name


def test_runs_are_where_the_notebooks_say(results, folders):
    for stage in ("vqvae", "style_encoder", "diffusion", "fine_tune"):
        run = folders["runs_dir"] / stage
        assert (run / "train.log").exists() and checkpoints.find(run).step == checkpoints.step_of(checkpoints.step_folders(run)[0])
    assert (folders["runs_dir"] / "brad_final" / "manifest.json").exists()


def test_a_second_run_does_nothing_and_a_forced_one_trains_nothing_anew(results, folders):
    assert {result.status for result in headless.run("00-08", "tiny", ENOUGH, **folders)} == {"done before"}
    (again,) = headless.run("02", "tiny", {k: v for k, v in ENOUGH.items() if k[:2] == "02"}, again=True, **folders)
    assert again.status == "resumed"


def test_each_alone_brings_the_users_model_from_the_mirror(results, mirror, tmp_path):
    """All nine: tests/benchmarks/notebooks_alone.py."""
    with notebooks_alone.no_network(tmp_path):
        rows = [notebooks_alone.run_alone(name, "tiny", mirror, tmp_path / name) for name in (NAMES[0], *NAMES[6:])]
    figures = notebooks_alone.figures_of(rows)
    assert (figures["notebooks_alone"], figures["own_model"]) == (4, 3), rows


def test_what_is_not_in_the_mirror_is_counted(results, folders, tmp_path):
    row = notebooks_alone.run_alone("00_setup", "tiny", tmp_path / "empty", tmp_path / "alone")
    assert row["ingested"] == 1 and notebooks_alone.figures_of([row])["notebooks_alone"] == 0
    runs = [folders["runs_dir"] / stage for stage in ("vqvae", "style_encoder", "diffusion", "fine_tune")]
    assert [notebooks_alone.steps_of(run) for run in runs] == [250, 4, 150, 4]
