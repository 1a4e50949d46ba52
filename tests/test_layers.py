"""Who may import whom: the layers of the house, read from the sources."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "lib").rglob("*.py"))
NOTEBOOK_PACKAGES = {"IPython", "ipywidgets", "papermill", "nbformat", "nbclient"}
NETWORK_PACKAGES = {"urllib", "http", "requests", "httpx", "socket", "ftplib", "aiohttp"}
APPS = ("evaluate", "export", "fl_studio", "headless", "listening_test", "live", "plan", "server")
ROOT_MODULES = ("lib.config", "lib.devices", "lib.keyed_random", "lib.progress", "lib.google_colab_shim")
FOUNDATION = (*ROOT_MODULES, "lib.storage")
MUSIC = (*FOUNDATION, "lib.music")
DATA = (*MUSIC, "lib.data")
MODELS = (*DATA, "lib.models", "lib.diffusion")
CHECKPOINTS = (*MODELS, "lib.checkpoints")
STYLE = (*CHECKPOINTS, "lib.style")
GENERATION = (*STYLE, "lib.generation")
CORE = (*GENERATION, "lib.training", "lib.display")
# package (or module) -> the project's modules that it may import; every module lies in one of them
ALLOWED = {
    "lib.config": (),
    "lib.devices": ROOT_MODULES,
    "lib.keyed_random": ROOT_MODULES,
    "lib.progress": ROOT_MODULES,
    "lib.google_colab_shim": FOUNDATION,  # what it releases must lie in the mirror
    "lib.storage": FOUNDATION,
    "lib.music": MUSIC,
    "lib.data": DATA,
    "lib.models": (*DATA, "lib.models"),
    "lib.diffusion": ("lib.diffusion",),
    "lib.checkpoints": CHECKPOINTS,
    "lib.training": (*CHECKPOINTS, "lib.training"),
    "lib.style": STYLE,
    "lib.generation": GENERATION,
    "lib.display": (*ROOT_MODULES, "lib.music", "lib.display"),
    "lib.apps.cli": (*CORE, "lib.apps"),
    "lib.apps.doctor": (*CORE, "lib.apps"),
    **{f"lib.apps.{app}": (*CORE, f"lib.apps.{app}") for app in APPS},
    "lib.__main__": ("lib.apps.cli",),
}
# arrows against the layers that are still there: each goes in a change of its own
REMAINING = {}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """Every module a file imports, lazily or not; `from lib import config` counts as lib.config."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if is_module(name) else node.module for name in names}
    return found


def is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir() or name.startswith("google.")


def is_within(module, names):
    return any(module == name or module.startswith(f"{name}.") for name in names)


def rule_of(module):
    """The longest key of ALLOWED that the module lies in, or None."""
    keys = [key for key in ALLOWED if is_within(module, [key])]
    return max(keys, key=len, default=None)


def strangers_of(path):
    """The project's modules that a file imports against its layer's rule."""
    ours = {name for name in imports_of(path) if is_within(name, ["lib"]) and name != "lib"}
    return sorted(name for name in ours if not is_within(name, ALLOWED[rule_of(module_of(path))]))


LOW = ("lib.config", "lib.devices", "lib.keyed_random", "lib.progress", "lib.storage", "lib.music", "lib.diffusion")
PACKAGES = ("lib", "lib.apps")  # hold nothing of their own


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_each_module_stays_in_its_layer(path):
    module = module_of(path)
    if module in PACKAGES:
        assert not path.read_text(encoding="utf-8").strip()
        return
    assert rule_of(module) is not None, f"{module} lies in no layer: give its folder a rule in ALLOWED"
    assert strangers_of(path) == sorted(REMAINING.get(module, ())), f"{module} may import {ALLOWED[rule_of(module)]}"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_star_imports(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in froms if any(alias.name == "*" for alias in node.names)]


@pytest.mark.parametrize("path", [p for p in SOURCES if is_within(module_of(p), LOW)], ids=module_of)
def test_the_lowest_layers_know_no_notebook_and_no_network(path):
    roots = {name.split(".")[0] for name in imports_of(path) if name != "urllib.parse"}
    assert not roots & (NOTEBOOK_PACKAGES | NETWORK_PACKAGES | {"google"})


def test_colab_is_imported_by_the_shim_alone_and_lazily():
    importers = {module_of(p) for p in SOURCES if any(is_within(n, ["google.colab"]) for n in imports_of(p))}
    assert importers == {"lib.google_colab_shim"}
    shim = ast.parse((ROOT / "lib" / "google_colab_shim.py").read_text(encoding="utf-8"))
    at_top = [node for node in shim.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [ast.unparse(node) for node in at_top if "google" in ast.unparse(node)]


def test_nothing_pretends_to_be_colab():
    for path in [*SOURCES, *(ROOT / "notebooks").glob("*.ipynb")]:
        assert 'sys.modules["google' not in path.read_text(encoding="utf-8")


def test_the_rules_catch_what_they_are_for(tmp_path):
    assert is_within("lib.display.plots", ["lib.display"]) and not is_within("lib.displays", ["lib.display"])
    assert rule_of("lib.data.corpora") == "lib.data" and rule_of("lib.apps.plan.report") == "lib.apps.plan"
    assert rule_of("lib.stray") is None
    source = tmp_path / "source.py"
    source.write_text("def f():\n    from lib import config\n    import google.colab.drive\n")
    assert imports_of(source) == {"lib.config", "google.colab.drive"}


@pytest.mark.parametrize("path", [p for p in SOURCES if not is_within(module_of(p), ["lib.apps"])], ids=module_of)
def test_lines_of_core_and_display_are_of_120_at_most(path):
    text = path.read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if len(line) > 120] and "fmt: skip" not in text
