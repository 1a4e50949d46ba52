"""The notebooks' form: short cells that read well, one bootstrap, parameters that equal the config's."""

import ast
import dataclasses
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lib import config
from lib.apps.headless.headless import parameters_of
from lib.generation.request import GenerateRequest

ROOT = Path(__file__).resolve().parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ADDRESS = re.compile(r"(?:github\.com|colab\.research\.google\.com/github)/([\w.-]+/[\w.-]+)")


TRAINING = ("wandb_project", "own_midi", "take_over", "release_runtime")


def stem(path):
    return path.stem


each_notebook = pytest.mark.parametrize("path", PATHS, ids=stem)


def cells(path, kind=None):
    found = nbformat.read(path, as_version=4).cells
    return [cell for cell in found if kind in (None, cell.cell_type)]


def code(path):
    return [cell.source for cell in cells(path, "code")]


def test_all_seven_are_there():
    assert [path.stem for path in PATHS[:7]] == [
        "00_setup", "01_data", "02_vqvae", "03_style_encoder", "04_diffusion", "05_fine_tune", "06_listen",
    ]  # fmt: skip


@each_notebook
def test_valid_stripped_and_with_unique_ids(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert all(cell.execution_count is None and not cell.outputs for cell in cells(path, "code"))


def test_nbstripout_finds_nothing():
    words = [sys.executable, "-m", "nbstripout", "--verify", "--drop-empty-cells", *PATHS]
    assert subprocess.run(words, capture_output=True).returncode == 0


@each_notebook
def test_many_small_cells_and_enough_words(path):
    lengths = [len(source.splitlines()) for source in code(path)]
    assert 8 <= len(lengths) <= 20
    assert max(lengths) <= 15 and statistics.median(lengths) <= 6
    assert len(cells(path, "markdown")) >= len(lengths)
    words = sum(len(cell.source.split()) for cell in cells(path, "markdown"))
    assert 300 <= words <= 900, words


@each_notebook
def test_each_code_cell_is_introduced(path):
    kinds = [cell.cell_type for cell in cells(path)]
    assert all(kinds[i - 1] == "markdown" for i, kind in enumerate(kinds) if kind == "code")


@each_notebook
def test_cells_are_plain_python(path):
    for number, source in enumerate(code(path)):
        assert not re.search(r"^\s*[!%]", source, re.MULTILINE), "no shell and no magics"
        tree = ast.parse(source)
        kinds = {type(node).__name__ for node in ast.walk(tree)}
        assert not kinds & {"ClassDef", "Try", "TryStar", "AsyncFunctionDef"}, source
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        assert all(node.end_lineno - node.lineno < 5 for node in functions), source
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and number > 0]
        paths = [text for text in texts if isinstance(text, str) and re.match(r"(~|\.{0,2})/|[A-Z]:\\", text)]
        assert not paths, paths
        assert "<script" not in source and "Javascript" not in source


@each_notebook
def test_order_of_the_beginning_and_the_end(path):
    first, badge = cells(path)[:2]
    assert first.source.startswith(f"# {path.stem[:2]} ") and "You will hear" in first.source
    assert re.search(r"second|minute|hour", first.source), "says how long it takes"
    assert f"/blob/{config.VERSION}/notebooks/{path.name})" in badge.source and "colab-badge.svg" in badge.source
    sources = code(path)
    tagged = [cell for cell in cells(path, "code") if "parameters" in cell.metadata.get("tags", [])]
    assert [cell.source for cell in tagged] == [sources[1]]
    mount = 6 if path.stem == "06_listen" else 2  # the released pianist is heard before anything is asked for
    assert ["shim.folders(shim.mount()" in source for source in sources].index(True) == mount
    assert cells(path)[-1].source.startswith("## What to try next")


def test_bootstrap_is_the_same_everywhere():
    (bootstrap,) = {code(path)[0] for path in PATHS}
    assert len(bootstrap.splitlines()) <= 10 and "colab_setup.sh" in bootstrap
    assert f'VERSION = "{config.VERSION}"  #@param' in bootstrap
    assert not [source for path in PATHS for source in code(path)[1:] if "subprocess" in source]


def test_the_notebooks_that_train_ask_for_a_gpu():
    for path in PATHS:
        metadata, trains = nbformat.read(path, as_version=4).metadata, path.stem[3:] in config.STAGES
        asked = {"accelerator": metadata.get("accelerator"), "gpuType": metadata.get("colab", {}).get("gpuType")}
        assert asked == ({"accelerator": "GPU", "gpuType": "T4"} if trains else {"accelerator": None, "gpuType": None})


@each_notebook
def test_what_a_training_is_told_is_in_the_form(path):
    wanted = set(TRAINING) if path.stem[3:] in config.STAGES else set()
    assert wanted <= set(parameters_of(path))
    assert not [source for number, source in enumerate(code(path)) if "#@param" in source and number > 1]


@each_notebook
def test_one_repository_address(path):
    found = set(ADDRESS.findall(path.read_text(encoding="utf-8")))
    assert {f"https://github.com/{name}" for name in found} == {config.REPOSITORY}
    assert f'REPOSITORY = "{config.REPOSITORY}"' in code(path)[0]


@pytest.mark.parametrize("name", ["README.md", "docs/README.ko.md"])
def test_the_readme_has_the_same_address_and_version(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    address = config.REPOSITORY.removeprefix("https://github.com/")
    badges = re.findall(r"colab\.research\.google\.com/github/(.+?)/notebooks/(\w+)\.ipynb", text)
    assert {place for place, _ in badges} == {f"{address}/blob/{config.VERSION}"}
    assert {stem for _, stem in badges} == {path.stem for path in PATHS}


@each_notebook
def test_parameters_are_few_and_have_forms(path):
    names = parameters_of(path)
    assert 5 <= len(names) <= 12
    source = code(path)[1]
    assert source.count("#@param") == len(names) == len(source.splitlines())
    assert set(names) >= {"preset", "output_dir", "runs_dir"}


@each_notebook
def test_parameters_equal_the_config(path):
    """A parameter that the config knows has the config's value, or an empty one that stands for it."""
    stage = path.stem[3:]
    defaults = parameters_of(path)
    if stage in config.STAGES:
        settings = config.preset(stage, defaults["preset"])
    elif stage == "listen":
        settings = GenerateRequest()
    else:
        assert defaults["preset"] in config.PRESETS
        return
    fields = {field.name for field in dataclasses.fields(settings)}
    others = {"preset", "data_dir", "runs_dir", "output_dir", "soundfont", "midi_file", *TRAINING}
    assert set(defaults) - fields <= others
    for name in set(defaults) & fields:
        assert defaults[name] == getattr(settings, name) or not defaults[name], name


@each_notebook
def test_the_presets_of_the_form_are_the_configs(path):
    (choices,) = re.findall(r"preset = .*#@param (\[.*\])", code(path)[1])
    assert tuple(json.loads(choices)) == config.PRESETS


@each_notebook
def test_every_import_of_ours_exists(path):
    for source in code(path):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "lib":
                module = __import__(node.module, fromlist=[alias.name for alias in node.names])
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def run_bootstrap(folder, **modules):
    """Run the bootstrap cell twice in `folder`, as a kernel would: the commands it ran, where it ended."""
    program = f"""
import json, os, subprocess, sys
ran = []
def run(words, **named):
    ran.append(words)
    if words[0] == "git":
        os.makedirs(words[-1] + "/lib")
        open(words[-1] + "/lib/config.py", "w").close()
    return ""
subprocess.run = subprocess.check_output = run
sys.modules.update({{name: object() for name in {list(modules.values())!r}}})
cell = {code(PATHS[0])[0]!r}
exec(cell); exec(cell)
print(json.dumps([ran, os.getcwd()]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


SETUP = ["bash", "colab_setup.sh", "colab", config.VERSION]


def test_bootstrap_on_a_bare_colab_machine(tmp_path):
    ran, ended = run_bootstrap(tmp_path, colab="google.colab")
    clone = ["git", "clone", "--depth", "1", config.REPOSITORY, "brad-mehldau-ai"]
    assert ran == [clone, SETUP], "once, though the cell ran twice"
    assert Path(ended) == tmp_path.resolve() / "brad-mehldau-ai"


def test_bootstrap_after_a_restart_or_with_an_unpacked_zip(tmp_path):
    (tmp_path / "brad-mehldau-ai" / "lib").mkdir(parents=True)
    (tmp_path / "brad-mehldau-ai" / "lib" / "config.py").touch()
    ran, ended = run_bootstrap(tmp_path, colab="google.colab")
    assert ran == [SETUP] and Path(ended).name == "brad-mehldau-ai"


def test_bootstrap_off_colab_runs_nothing():
    assert run_bootstrap(ROOT) == [[], str(ROOT)]
    assert run_bootstrap(ROOT / "notebooks") == [[], str(ROOT)]
