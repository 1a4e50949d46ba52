"""Who may import whom: the layers of the house, read from the sources."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "lib").rglob("*.py"))
NOTEBOOK_PACKAGES = {"IPython", "ipywidgets", "papermill", "nbformat", "nbclient"}
NETWORK_PACKAGES = {"urllib", "http", "requests", "httpx", "socket", "ftplib", "aiohttp"}
LAYER_1 = ("lib.config", "lib.progress", "lib.music", "lib.data.notes", "lib.data.note_store")
ABOVE_ALL = ("lib.serve", "lib.evaluate", "lib.plan", "lib.doctor", "lib.headless", "lib.sweep", "lib.commands", "lib.__main__")
# module (or package) -> the project's modules that it may import
ALLOWED = {
    "lib.config": ("lib.config",),
    "lib.progress": (),
    "lib.faults": (),
    "lib.music": LAYER_1,
    "lib.data.notes": LAYER_1,
    "lib.data.note_store": LAYER_1,
    "lib.data": ("lib.config", "lib.progress", "lib.faults", "lib.music", "lib.data"),
    "lib.models": (*LAYER_1, "lib.models"),
    "lib.diffusion": ("lib.diffusion",),
    "lib.training": (*LAYER_1, "lib.faults", "lib.data", "lib.models", "lib.diffusion", "lib.training"),
    "lib.styles": (*LAYER_1, "lib.data", "lib.ear", "lib.training", "lib.styles"),
    "lib.windows": (*LAYER_1, "lib.styles", "lib.models", "lib.diffusion", "lib.training", "lib.windows"),
    "lib.generate": (*LAYER_1, "lib.styles", "lib.models", "lib.windows", "lib.training", "lib.generate"),
    "lib.reconstruct": (*LAYER_1, "lib.training", "lib.reconstruct"),
    "lib.ear": (*LAYER_1, "lib.models", "lib.training", "lib.ear"),
    "lib.verification": LAYER_1,
    "lib.library": (*LAYER_1, "lib.data", "lib.ear", "lib.styles", "lib.training", "lib.verification", "lib.library"),
    "lib.identify": (*LAYER_1, "lib.ear", "lib.verification"),
    "lib.judge": (*LAYER_1, "lib.data", "lib.models", "lib.ear", "lib.library", "lib.styles", "lib.training", "lib.judge"),
    "lib.display": (*LAYER_1, "lib.display"),
    "lib.export": (*LAYER_1, "lib.data", "lib.model_card", "lib.training"),
    "lib.model_card": ("lib.config",),
    "lib.solos": (*LAYER_1, "lib.faults", "lib.data", "lib.generate", "lib.training"),
    "lib.ratings": ("lib.config", "lib.data.manifest"),
    "lib.google_colab_shim": ("lib.config",),
    "lib.notebook_parameters": ("lib.config",),
    "lib.sweep_grid": ("lib.config", "lib.notebook_parameters"),
    "lib.until_done": ("lib.config",),
    "lib.when_done": ("lib.config", "lib.google_colab_shim"),
}


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
    """The longest key of ALLOWED that the module lies in, or None: it may import anything."""
    keys = [key for key in ALLOWED if is_within(module, [key])]
    return max(keys, key=len, default=None)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_each_module_stays_in_its_layer(path):
    module, ours = module_of(path), {name for name in imports_of(path) if is_within(name, ["lib"])}
    rule = rule_of(module)
    if rule is not None:
        strangers = sorted(name for name in ours if name != "lib" and not is_within(name, ALLOWED[rule]))
        assert not strangers, f"{module} imports {strangers}; it may import {ALLOWED[rule]}"
    if not is_within(module, ABOVE_ALL):
        above = sorted(name for name in ours if is_within(name, ABOVE_ALL))
        assert not above, f"{module} imports {above}, which only __main__, notebooks and their like may"


def test_every_module_has_a_rule():
    """A folder that nobody has given a layer could import anything."""
    without = [module for path in SOURCES if (module := module_of(path)) != "lib" and not has_rule(module)]
    assert not without, f"{without}: a line in ALLOWED, or a place in ABOVE_ALL"
    assert not has_rule("lib.utilities") and not has_rule("lib.utilities.text")


def has_rule(module):
    """Whether a module lies in a layer, or above all of them."""
    return rule_of(module) is not None or is_within(module, ABOVE_ALL)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_star_imports(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in froms if any(alias.name == "*" for alias in node.names)]


@pytest.mark.parametrize("path", [p for p in SOURCES if is_within(module_of(p), LAYER_1)], ids=module_of)
def test_layer_1_knows_no_notebook_and_no_network(path):
    roots = {name.split(".")[0] for name in imports_of(path)}
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
    assert rule_of("lib.data.note_store") == "lib.data.note_store"
    assert rule_of("lib.data.corpora") == "lib.data" and rule_of("lib.headless") is None
    source = tmp_path / "source.py"
    source.write_text("def f():\n    from lib import config\n    import google.colab.drive\n")
    assert imports_of(source) == {"lib.config", "google.colab.drive"}
