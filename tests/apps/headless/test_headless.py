"""The papermill runner, on small notebooks written for the test; the real ones: test_notebooks_run.py."""

import json
import os

import nbformat
import pytest

from lib.apps.headless import headless
from lib.checkpoints.history import append_event
from lib.config import ConfigError

PARAMETERS = """preset = "demo"  #@param ["tiny", "demo"]
output_dir = ""  #@param {type:"string"}
batch_size = 0  #@param {type:"integer"}
lr = 0.0  #@param {type:"number"}
loud = False  #@param {type:"boolean"}
word = "text"  #@param {type:"string"}"""
WRITE = """from pathlib import Path
(Path(output_dir) / "{name}.txt").write_text(f"{{preset}} {{batch_size}} {{lr}}")"""


def write_notebook(folder, name, *cells):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, *cells)]
    notebook.cells[0].metadata.tags = ["parameters"]
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / f"{name}.ipynb")


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("00_setup", "02_vqvae", "06_listen"):
        write_notebook(folder, name, WRITE.format(name=name))
    monkeypatch.setattr(headless, "NOTEBOOKS", folder)
    return folder


@pytest.fixture
def run(notebooks, tmp_path):
    """headless.run with folders of this test; `executed` notes what papermill would have run."""

    def run(selection="00-06", **arguments):
        folders = {name: tmp_path / name for name in ("output_dir", "data_dir", "runs_dir")}
        return headless.run(selection, **{"preset": "demo", **folders, **arguments})

    return run


@pytest.fixture
def executed(monkeypatch):
    """Stand in for papermill: the names of the notebooks it was asked to run; each copy is made."""
    names = []

    def execute(path, copy, values, mirror):
        names.append(path.stem)
        copy.write_text("{}", encoding="utf-8")
        return ""

    monkeypatch.setattr(headless, "_execute", execute)
    return names


@pytest.mark.parametrize(
    ("words", "stems"),
    [
        ("00-06", ["00_setup", "02_vqvae", "06_listen"]),
        ("02", ["02_vqvae"]),
        ("06_listen,00", ["00_setup", "06_listen"]),
        ("01-03", ["02_vqvae"]),
    ],
)
def test_selection(notebooks, words, stems):
    assert [path.stem for path in headless.select(words)] == stems


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"selection": "02_vqva"}, "'02_vqvae'"),
        ({"selection": "07-09"}, "'07-09'"),
        ({"preset": "demmo"}, "'demo'"),
        ({"overrides": {"02_vqvae.batchsize": 8}}, "'batch_size'"),
        ({"overrides": {"02_vqvea.batch_size": 8}}, "'02_vqvae'"),
        ({"overrides": {"batch_size": 8}}, "NOTEBOOK.NAME=VALUE"),
        ({"overrides": {"02_vqvae.batch_size": "eight"}}, "whole number"),
        ({"overrides": {"02_vqvae.batch_size": 1.5}}, "whole number"),
        ({"overrides": {"02_vqvae.batch_size": True}}, "whole number"),
        ({"overrides": {"02_vqvae.lr": "fast"}}, "a number"),
        ({"overrides": {"02_vqvae.loud": "perhaps"}}, "true or false"),
        ({"overrides": {"02_vqvae.word": ("a", "b")}}, "text"),
        ({"overrides": {"02_vqvae.batch_size": -1}}, "batch_size"),
        ({"selection": "00", "overrides": {"02_vqvae.batch_size": 8}}, "02_vqvae"),
    ],
)
def test_bad_input_is_named_and_nothing_runs(run, executed, tmp_path, arguments, named):
    with pytest.raises(ConfigError, match=named):
        run(arguments.pop("selection", "00-06"), **arguments)
    assert not executed and not (tmp_path / "output_dir").exists()


@pytest.mark.parametrize(
    ("name", "given", "typed"),
    [("batch_size", "8", 8), ("lr", "3e-4", 3e-4), ("lr", 1, 1.0), ("loud", "true", True), ("word", 5, "5")],
)
def test_text_becomes_the_parameters_type(notebooks, name, given, typed):
    paths = headless.select("02")
    value = headless.assign(paths, {f"02.{name}": given}, "demo")["02_vqvae"][name]
    assert value == typed and type(value) is type(typed)


def test_a_second_run_does_nothing_again(run, executed, tmp_path):
    assert [result.status for result in run()] == ["done"] * 3
    again = run()
    assert [result.status for result in again] == ["done before"] * 3
    assert len(executed) == 3
    run(again=True)
    assert len(executed) == 6


def test_a_damaged_summary_is_said_and_everything_is_run(run, executed, tmp_path, capsys):
    run()
    (tmp_path / "output_dir" / "summary.json").write_text("{", encoding="utf-8")
    run()
    assert len(executed) == 6 and "summary.json can't be read" in capsys.readouterr().out


def test_a_changed_parameter_runs_that_notebook_and_those_after_it(run, executed):
    run()
    run(overrides={"02_vqvae.batch_size": 4})
    assert executed[3:] == ["02_vqvae", "06_listen"]


def test_what_builds_on_a_notebook_run_alone_is_stale(run, executed):
    run()
    run("02", again=True)
    run()
    assert executed[3:] == ["02_vqvae", "06_listen"]


def test_a_changed_notebook_is_run_again(run, executed, notebooks):
    run()
    write_notebook(notebooks, "06_listen", "print('changed')")
    run()
    assert executed[3:] == ["06_listen"]


def test_a_missing_file_is_made_again(run, monkeypatch, tmp_path):
    names = []

    def execute(path, copy, values, mirror):
        names.append(path.stem)
        copy.write_text("{}", encoding="utf-8")
        (tmp_path / "output_dir" / f"{path.stem}.mid").write_bytes(b"MThd")
        return ""

    monkeypatch.setattr(headless, "_execute", execute)
    run()
    (tmp_path / "output_dir" / "06_listen.mid").unlink()
    run()
    assert names[3:] == ["06_listen"]


def training_with(runs, *events):
    """An `_execute` whose 02_vqvae reports (event, step) of the stage's run, as lib.training.loop does."""

    def execute(path, copy, values, mirror):
        copy.touch()
        if path.stem == "02_vqvae":
            (runs / "vqvae").mkdir(exist_ok=True)
            for event, step in events:
                append_event(runs / "vqvae", event, step)

    return execute


def test_a_stage_that_was_resumed_is_called_so(run, monkeypatch, tmp_path):
    execute = training_with(tmp_path / "runs_dir", ("start", 100), ("saved", 300), ("finished", 300), ("mirrored", 300))
    monkeypatch.setattr(headless, "_execute", execute)
    assert [result.status for result in run()] == ["done", "resumed", "done"]


def test_a_training_that_stopped_early_is_resumed_first(run, monkeypatch, tmp_path):
    first = training_with(tmp_path / "runs_dir", ("start", 0), ("stopped", 100), ("mirrored", 100))
    monkeypatch.setattr(headless, "_execute", first)
    assert [result.status for result in run()] == ["done", "stopped early", "not run"]
    monkeypatch.setattr(headless, "_execute", training_with(tmp_path / "runs_dir", ("start", 100), ("finished", 300)))
    assert [result.status for result in run()] == ["done before", "resumed", "done"]


def test_real_notebooks_run_stream_and_are_summed_up(run, tmp_path, capsys):
    results = run("00,02", overrides={"02_vqvae.batch_size": "4", "02_vqvae.lr": 3e-4})
    output = tmp_path / "output_dir"
    assert (output / "02_vqvae.txt").read_text() == "demo 4 0.0003"
    copy = nbformat.read(output / "notebooks" / "02_vqvae.ipynb", as_version=4)
    assert copy.cells[-1].execution_count
    summary = json.loads((output / "summary.json").read_text())
    assert [entry["notebook"] for entry in summary["notebooks"]] == ["00_setup", "02_vqvae"]
    assert all(entry["seconds"] > 0 for entry in summary["notebooks"])
    printed = capsys.readouterr().out
    assert "== 02_vqvae" in printed and str(output) in printed and "02_vqvae.txt" in printed
    assert results[0].seconds > 0


def test_a_failing_notebook_stops_the_chain_and_keeps_its_copy(run, notebooks, tmp_path, capsys):
    write_notebook(notebooks, "02_vqvae", "print('so far so good')", "raise ValueError('no such chord')")
    with pytest.raises(headless.NotebookError, match="(?s)02_vqvae failed.*no such chord.*02_vqvae.ipynb"):
        run("02-06")
    copy = nbformat.read(tmp_path / "output_dir" / "notebooks" / "02_vqvae.ipynb", as_version=4)
    assert any("no such chord" in str(cell.get("outputs")) for cell in copy.cells)
    summary = json.loads((tmp_path / "output_dir" / "summary.json").read_text())
    assert [entry["status"] for entry in summary["notebooks"]] == ["failed", "not run"]
    assert "so far so good" in capsys.readouterr().out


def test_a_changed_page_script_or_template_is_new_code(notebooks, tmp_path, monkeypatch):
    for name in ("player.js", "player.css", "solo.pyscript.txt", "code.py"):
        (tmp_path / "lib").mkdir(exist_ok=True)
        (tmp_path / "lib" / name).write_text("1", encoding="utf-8")
    monkeypatch.setattr(headless, "ROOT", tmp_path)
    path, digests = notebooks / "06_listen.ipynb", set()
    digests.add(headless.fingerprint(path, {}))
    for file in (tmp_path / "lib").iterdir():
        file.write_text("2", encoding="utf-8")
        digests.add(headless.fingerprint(path, {}))
    assert len(digests) == 5


def test_a_kernel_gets_the_mirror_and_nothing_is_left_of_it(run, notebooks, tmp_path, monkeypatch):
    monkeypatch.setenv("MIRROR", "mine")
    write_notebook(notebooks, "02_vqvae", "import os; print('mirror:', os.environ['MIRROR'], os.environ['LIB_PROGRESS'])")
    run("02", mirror="gdrive:cell")
    copy = nbformat.read(tmp_path / "output_dir" / "notebooks" / "02_vqvae.ipynb", as_version=4)
    assert "mirror: gdrive:cell lines" in str(copy.cells[-1].outputs)
    assert os.environ["MIRROR"] == "mine" and "LIB_PROGRESS" not in os.environ


def test_lines_are_indented_and_colours_left_out(capsys):
    headless._Stream().write("\x1b[31mred\x1b[0m\rtrain: 50%|###   | 1/2\n\nfinished\n")
    assert capsys.readouterr().out.splitlines() == ["   red", "   train: 50%|###   | 1/2", "   finished"]


def test_quarters_a_bar_of_an_earlier_sweep_are_a_metre():
    paths = headless.select("06")
    assert headless.assign(paths, {"06_listen.beats_per_bar": 3}, "demo") == {"06_listen": {"metre": "3"}}
    with pytest.raises(ConfigError, match="for example 4/4, 3/4, 7/8 or 12/8"):
        headless.assign(paths, {"06_listen.metre": "3/5"}, "demo")
