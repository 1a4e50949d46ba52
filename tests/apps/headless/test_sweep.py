"""Sweeps: every combination once, a table of what came of each, and only what failed or is missing again."""

import csv

import pytest
import yaml
from test_headless import write_notebook

from lib.apps.headless import headless
from lib.apps.headless.sweep import read_sweep, run_sweep
from lib.checkpoints.history import append_event, append_history
from lib.config import ConfigError

GRID = {"02_vqvae.batch_size": [4, 8], "02_vqvae.lr": ["1e-3", 3e-4]}


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("00_setup", "02_vqvae", "06_listen"):
        write_notebook(folder, name, "print(1)")
    monkeypatch.setattr(headless, "NOTEBOOKS", folder)
    return folder


@pytest.fixture
def sweep(notebooks, tmp_path):
    """A function that writes sweep.yaml and runs it."""

    def run(grid=GRID, again=False, **fields):
        path = tmp_path / "lr.yaml"
        path.write_text(yaml.safe_dump({"grid": grid, "notebooks": "00-06", **fields}, sort_keys=False), encoding="utf-8")
        return run_sweep(read_sweep(path), tmp_path / "out", tmp_path / "data", tmp_path / "runs", again)

    return run


class Papermill:
    """Stands in for papermill: each vqvae "trains", to a loss that its parameters say; what is in `broken` fails."""

    def __init__(self):
        self.ran, self.broken = [], set()

    def __call__(self, path, copy, values, mirror):
        self.ran.append((path.stem, values.get("batch_size"), values.get("lr")))
        copy.write_text("{}", encoding="utf-8")
        if (values.get("batch_size"), values.get("lr")) in self.broken:
            raise headless.NotebookError(path.stem, copy, "ValueError: out of luck")
        if path.stem == "02_vqvae":
            run = copy.parents[4] / "runs" / copy.parents[2].name / copy.parents[1].name / "vqvae"
            run.mkdir(parents=True, exist_ok=True)
            append_history(run, {"step": 5, "split": "train", "loss": 9.0, "lr": 0.1, "time": 1.0, "epoch": 1})
            loss = values["batch_size"] * values["lr"]
            append_history(run, {"step": 5, "split": "validation", "loss": loss, "time": 2.0, "epoch": 1})
        return ""


@pytest.fixture
def papermill(monkeypatch):
    monkeypatch.setattr(headless, "_execute", fake := Papermill())
    return fake


def table(tmp_path, name="lr"):
    with open(tmp_path / "out" / f"sweep-{name}" / "results.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def trained(papermill):
    return [(size, lr) for stem, size, lr in papermill.ran if stem == "02_vqvae"]


def test_every_combination_and_what_is_before_them_once(sweep, papermill, tmp_path):
    cells = sweep()
    assert [stem for stem, _, _ in papermill.ran].count("00_setup") == 1
    assert trained(papermill) == [(4, 1e-3), (4, 3e-4), (8, 1e-3), (8, 3e-4)]
    assert [cell.status for cell in cells] == ["done"] * 4 and len({cell.folder for cell in cells}) == 4
    rows = table(tmp_path)
    assert [float(row["vqvae.loss"]) for row in rows] == pytest.approx([0.004, 0.0012, 0.008, 0.0024])
    assert {row["vqvae.step"] for row in rows} == {"5"} and rows[1]["02_vqvae.lr"] == "0.0003" and "vqvae.lr" not in rows[0]
    text = (tmp_path / "out" / "sweep-lr" / "results.md").read_text(encoding="utf-8").splitlines()
    assert len(text) == 6 and text[0].startswith("| 02_vqvae.batch_size | 02_vqvae.lr | status |") and "| 0.0012 |" in text[3]


def test_failed_cells_are_kept_and_only_they_run_again(sweep, papermill, tmp_path):
    papermill.broken = {(4, 3e-4), (8, 1e-3)}
    assert [cell.status for cell in sweep()] == ["done", "failed", "failed", "done"]
    assert len([stem for stem, _, _ in papermill.ran if stem == "06_listen"]) == 2
    rows = table(tmp_path)
    assert rows[1]["why"] == "ValueError: out of luck" and rows[1]["vqvae.loss"] == "" and float(rows[3]["vqvae.loss"]) > 0
    assert (tmp_path / "out" / "sweep-lr" / rows[1]["folder"] / "notebooks" / "02_vqvae.ipynb").exists()
    papermill.ran, papermill.broken = [], {(8, 1e-3)}
    assert [cell.status for cell in sweep()] == ["done", "done", "failed", "done"]
    assert trained(papermill) == [(4, 3e-4), (8, 1e-3)] and len(papermill.ran) == 3
    assert all(float(row["seconds"]) >= 0 for row in table(tmp_path)) and table(tmp_path)[1]["why"] == ""


def test_cells_that_come_in_later_run_alone(sweep, papermill):
    sweep()
    papermill.ran = []
    sweep({**GRID, "02_vqvae.batch_size": [4, 8, 16]})
    assert trained(papermill) == [(16, 1e-3), (16, 3e-4)]
    papermill.ran = []
    sweep(again=True)
    assert len(trained(papermill)) == 4


def test_stopping_keeps_what_is_done(sweep, papermill, tmp_path, monkeypatch):
    def stopped(path, copy, values, mirror):
        if len(trained(papermill)) == 2:
            raise KeyboardInterrupt
        return papermill(path, copy, values, mirror)

    monkeypatch.setattr(headless, "_execute", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep()
    assert [row["status"] for row in table(tmp_path)] == ["done", "missing", "missing", "missing"]
    monkeypatch.setattr(headless, "_execute", papermill)
    papermill.ran = []
    sweep()
    assert trained(papermill)[-2:] == [(8, 1e-3), (8, 3e-4)] and (4, 1e-3) not in trained(papermill)


def test_a_training_that_stopped_early_is_said(sweep, monkeypatch, tmp_path):
    def execute(path, copy, values, mirror):
        copy.touch()
        if path.stem == "02_vqvae":
            run = copy.parents[4] / "runs" / copy.parents[2].name / copy.parents[1].name / "vqvae"
            run.mkdir(parents=True, exist_ok=True)
            append_event(run, "stopped", 1)

    monkeypatch.setattr(headless, "_execute", execute)
    assert {cell.status for cell in sweep()} == {"stopped early"}
    assert {cell.status for cell in sweep({"06_listen.batch_size": [1, 2]})} == {"stopped early"}, "what all cells build on"


def test_cells_find_the_runs_that_they_build_on(sweep, papermill, tmp_path):
    sweep({"06_listen.batch_size": [1, 2]}, set={"02_vqvae.batch_size": 4, "02_vqvae.lr": 0.1})
    assert trained(papermill) == [(4, 0.1)]
    runs = [path for path in (tmp_path / "runs" / "sweep-lr").iterdir() if not path.name.startswith("shared")]
    assert len(runs) == 2 and all((run / "vqvae" / "history.jsonl").is_file() for run in runs)


def test_each_cell_has_its_own_place_in_the_mirror(sweep, papermill, tmp_path, monkeypatch):
    (tmp_path / "drive").mkdir()
    monkeypatch.setenv("MIRROR", str(tmp_path / "drive"))
    places = []
    monkeypatch.setattr(headless, "_execute", lambda *words: places.append(words[-1]) or papermill(*words))
    cells = sweep(notebooks="02")
    assert places == [str(tmp_path / "drive" / "sweeps" / "lr" / cell.folder) for cell in cells]
    assert (tmp_path / "drive" / "sweeps" / "lr").is_dir()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("grid: [", "no YAML"),
        ("set: {}", "wants a grid"),
        ("grid: {02_vqvae.lr: 1}", "02_vqvae.lr wants a list"),
        ("grid: {02_vqvae.lr: []}", "02_vqvae.lr wants a list"),
        ("grid: {02_vqvae.lrr: [1]}", "'lr'"),
        ("grid: {02_vqvae.batch_size: [4, eight]}", "whole number.*'eight'"),
        ("grid: {02_vqvae.batch_size: [4, -1]}", "batch_size"),
        ("grid: {02.lr: [1]}\ngird: {}", "'grid'"),
        ("grid: {02.lr: [1]}\nset: {02_vqvae.lr: 1}", "set and in grid"),
        ("grid: {02.lr: [1]}\npreset: tny", "'tiny'"),
        ("grid: {02.lr: [1]}\nnotebooks: 00", "02"),
        (f"grid: {{02.lr: {[n / 1e4 for n in range(1, 52)]}, 02.batch_size: {list(range(1, 21))}}}", "1,020 cells"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_runs(notebooks, tmp_path, text, named):
    path = tmp_path / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"(?s){named}"):
        read_sweep(path)


def test_selections_as_yaml_reads_them(notebooks, tmp_path):
    path = tmp_path / "sweep.yaml"
    for text, stems in (("02", ["02_vqvae"]), ("[00, 02-06]", ["00_setup", "02_vqvae", "06_listen"])):
        path.write_text(f"grid: {{02.lr: [1e-3, 0.001, 3e-4]}}\nnotebooks: {text}", encoding="utf-8")
        found = read_sweep(path)
        assert [notebook.stem for notebook in found.notebooks] == stems and found.grid == {"02_vqvae.lr": [0.001, 0.0003]}


@pytest.mark.slow  # two kernels
def test_real_notebooks_in_a_sweep_by_the_command(notebooks, tmp_path):
    """A cell that fails, by papermill itself; the exit code says so."""
    from typer.testing import CliRunner

    from lib.apps.cli.main import app

    write_notebook(notebooks, "02_vqvae", "assert batch_size < 8, 'too large a batch'")
    path = tmp_path / "sizes.yaml"
    path.write_text("notebooks: 02\ngrid: {02.batch_size: [4, 8]}", encoding="utf-8")
    words = ["headless", "--sweep", path, "--output-dir", tmp_path / "out", "--data-dir", tmp_path / "data"]
    words += ["--runs-dir", tmp_path / "runs"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 1 and "AssertionError: too large a batch" in done.output
    rows = table(tmp_path, "sizes")
    assert [row["status"] for row in rows] == ["done", "failed"] and rows[1]["why"] == "AssertionError: too large a batch"
    with pytest.raises(ConfigError, match="under set"):
        CliRunner().invoke(app, [*map(str, words), "--set", "02.lr=1"], catch_exceptions=False)
