"""Every name of `lib` that sources, tests, benchmarks, notebooks, documents and scripts import or mention is there.

Nothing is imported, sources are read: so imports inside functions, in slow tests and of what wants optional packages
are seen too.
"""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest
from documents import DOCUMENTS, blocks_of

ROOT = Path(__file__).resolve().parent.parent
PYTHON = [path for folder in ("lib", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
SCRIPTS = [
    path
    for pattern in (".ci/*", "*.sh", "*.toml", "*.yaml", ".*.yaml", "Dockerfile", "requirements*.txt", "docs/*.yaml")
    for path in sorted(ROOT.glob(pattern))
]
# named where it is said which commit goes with notebooks that import them: CHANGELOG.md, docs/FAQ.md
OF_OLD_NOTEBOOKS = {"lib.generate", "lib.training.loop", "lib.plan.outlook"}

# names that tests make up
MADE_UP = {"lib.displays", "lib.stray", "lib.utilities", "lib.utilities.text", "tests/benchmarks/picture.py"}
MADE_UP.add("lib.music.notes.write_midi")  # of the release before this one, which tests/benchmarks/generate.py lets play

DOTTED = r"lib(?:\.[A-Za-z_]\w*)+"
IN_TEXT = (
    re.compile(r"\bfrom (lib(?:\.\w+)*) import \(?([\w, ]+)"),
    re.compile(rf"\bimport ({DOTTED})()"),
    re.compile(rf"-m ({DOTTED})()"),
)
MENTION = re.compile(rf"(?<![\w./-]){DOTTED}")
PATH = re.compile(r"(?<![\w./-])(?:lib|tests)/[\w./-]*\w")
MAGIC = re.compile(r"^(\s*)[!%].*$", re.MULTILINE)


# --- What there is ---------------------------------------------------------------------------------------------


def file_of(module):
    """The file of a module or package; the folder of a package without __init__; None where there is neither."""
    path = ROOT.joinpath(*module.split("."))
    places = (path.with_suffix(".py"), path / "__init__.py", path)
    return next((place for place in places if place.is_file() or place.is_dir() and any(place.glob("*.py"))), None)


@cache
def names_in(module):
    """Names bound at the top level of a module, and its submodules."""
    file = file_of(module)
    names = (
        {path.stem for path in file.parent.glob("*") if path.suffix == ".py" or path.is_dir()}
        if file.name == "__init__.py"
        else {path.stem for path in file.glob("*")}
    )
    return names | (bound_in(ast.parse(file.read_text(encoding="utf-8")).body) if file.is_file() else set())


def bound_in(body):
    """Names that statements bind, also under `if`, `try`, `with` and `for`."""
    names = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        else:
            names |= {
                part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            }
            names |= bound_in([part for part in ast.iter_child_nodes(node) if isinstance(part, ast.stmt)])
            for handler in getattr(node, "handlers", []):
                names |= bound_in(handler.body)
    return names


def problem(dotted):
    """What is wrong with `lib.module.name`, or ""; what comes after the name of a class or function may be anything."""
    parts = dotted.split(".")
    known = next(count for count in range(len(parts), 0, -1) if file_of(".".join(parts[:count])))
    module = ".".join(parts[:known])
    if known == len(parts) or parts[known] in names_in(module):
        return ""
    return f"{dotted}: {module} has no {parts[known]}"


# --- What is asked for -----------------------------------------------------------------------------------------


def unresolved(source):
    """Names of lib in Python source that are not there: list of str.

    Imports wherever they stand; attributes of imported modules; names and imports in strings, as monkeypatch and
    subprocess take them.
    """
    tree, wanted, modules = ast.parse(source), set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            ours = [alias for alias in node.names if alias.name.split(".")[0] == "lib"]
            wanted |= {alias.name for alias in ours}
            modules |= {alias.asname or "lib": alias.name if alias.asname else "lib" for alias in ours}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lib":
            wanted |= {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.JoinedStr) and re.match(rf"f['\"]{DOTTED}\.{{", text := ast.unparse(node)):
            wanted.add(text[2 : text.index(".{")])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            wanted |= in_text(node.value) | ({node.value} if re.fullmatch(DOTTED, node.value) else set())
    modules = {name: module for name, module in modules.items() if file_of(module) and name not in bound_besides(tree)}
    return sorted(filter(None, map(problem, (wanted | attributes(tree, modules)) - MADE_UP)))


def bound_besides(tree):
    """Names that a file binds by anything but an import: they may not be the imported modules."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return names | {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def attributes(tree, modules):
    """What is asked of imported modules, as lib.module.name: `module.name`, and `setattr(module, "name", ...)`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            found.add(f"{modules[node.value.id]}.{node.attr}")
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", "") in ("setattr", "delattr")
            and len(node.args) > 1
        ):
            target, name = node.args[:2]
            if isinstance(target, ast.Name) and target.id in modules and isinstance(name, ast.Constant):
                found.add(f"{modules[target.id]}.{name.value}")
    return {name for name in found if not name.rpartition(".")[2].startswith("__")}


def in_text(text):
    """Names of lib that text imports or runs with -m."""
    found = set()
    for pattern in IN_TEXT:
        for module, names in pattern.findall(text):
            given = [name.split()[0] for name in names.split(",") if name.strip()]
            found |= {f"{module}.{name}" for name in given} or {module}
    return found


def cells_of(notebook, kind):
    """The cells of a notebook of one kind, as one text."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == kind)


def missing_paths(text):
    """Paths below lib/ and tests/ that text mentions and that are not there."""
    return sorted({path for path in PATH.findall(text) if not (ROOT / path).exists()} - MADE_UP)


def named(path):
    return path.relative_to(ROOT).as_posix()


# --- Tests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["lib", "tests"])
def test_every_import_of_ours_resolves(folder):
    wrong = {
        named(path): found
        for path in PYTHON
        if named(path).startswith(folder)
        and path != Path(__file__)
        and (found := unresolved(path.read_text(encoding="utf-8")))
    }
    assert not wrong


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_notebooks_import_what_is_there(path):
    code = cells_of(path, "code")
    assert not unresolved(MAGIC.sub(r"\1pass", code))
    assert not list(filter(None, map(problem, in_text(code))))
    assert not missing_paths(code + cells_of(path, "markdown"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_documents_name_what_is_there(path):
    text = path.read_text(encoding="utf-8")
    mentioned = in_text(text) | {
        name for name in MENTION.findall(text) if not (ROOT / name.replace(".", "/", 1)).exists()
    }
    gone = OF_OLD_NOTEBOOKS if path.name in ("CHANGELOG.md", "FAQ.md") else set()
    assert not list(filter(None, map(problem, mentioned - gone)))
    assert not missing_paths(text)
    for block in blocks_of(path, "python"):
        assert not unresolved(MAGIC.sub(r"\1pass", block))


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_scripts_name_what_is_there(path):
    text = path.read_text(encoding="utf-8")
    assert not list(filter(None, map(problem, in_text(text))))
    assert not missing_paths(text)


def test_sources_name_paths_that_are_there():
    """Docstrings, comments and messages that say `see lib/module.py`."""
    wrong = {
        named(path): found
        for path in PYTHON
        if path != Path(__file__)
        and (found := [gone for gone in missing_paths(path.read_text(encoding="utf-8")) if "." in gone])
    }
    assert not wrong


def test_only_other_peoples_packages_may_be_skipped():
    """importorskip("lib...") would turn a module that was moved into a test that nobody misses."""
    skipped = {
        named(path): importorskipped(path.read_text(encoding="utf-8"))
        for path in PYTHON
        if named(path).startswith("tests") and path != Path(__file__)
    }
    assert "fastapi" in set().union(*skipped.values())
    assert not {path: names for path, names in skipped.items() if any(name.split(".")[0] == "lib" for name in names)}


def importorskipped(source):
    """What is given to importorskip; all that a test is parametrised with where that is an argument of the test."""
    names = set()
    for function in [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Module | ast.FunctionDef)]:
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "attr", getattr(node.func, "id", "")) == "importorskip"
            ):
                given = node.args[0]
                places = [given] if isinstance(given, ast.Constant) else getattr(function, "decorator_list", [])
                names |= {part.value for place in places for part in ast.walk(place) if isinstance(part, ast.Constant)}
    return {name for name in names if isinstance(name, str)}


def test_every_path_of_the_check_before_a_merge_is_there():
    text = re.sub(r"^\s*#.*$", "", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), flags=re.MULTILINE)
    paths = re.findall(r"(?<![\w./-])[\w.*-]+(?:/[\w.*-]+)+|\b\w+\.(?:sh|py)\b", text)
    paths = {path for path in paths if not path.startswith(".venv/")}
    assert {"colab_setup.sh", "tests/training", "notebooks/*.ipynb"} <= paths
    assert not [path for path in paths if not list(ROOT.glob(path))]


def test_what_is_not_there_is_found(tmp_path):
    source = tmp_path / "source.py"
    source.write_text(
        "import lib.no_such_module\n"
        "from lib import config as configs\n"
        "from lib.config import preset, no_such_name\n"
        "def f(patch):\n"
        "    from lib.no_such_package.module import name\n"
        "    patch.setattr('lib.config.no_such_constant', 1)\n"
        "    patch.setattr(configs, 'not_set', 1)\n"
        "    patch.delitem(sys.modules, f'lib.gone.{name}')\n"
        "    run(['-c', 'from lib.config import preset, not_in_code'])\n"
        "    return configs.no_such_attribute, configs.preset, configs.__name__, name\n"
    )
    assert unresolved(source.read_text()) == [
        "lib.config.no_such_attribute: lib.config has no no_such_attribute",
        "lib.config.no_such_constant: lib.config has no no_such_constant",
        "lib.config.no_such_name: lib.config has no no_such_name",
        "lib.config.not_in_code: lib.config has no not_in_code",
        "lib.config.not_set: lib.config has no not_set",
        "lib.gone: lib has no gone",
        "lib.no_such_module: lib has no no_such_module",
        "lib.no_such_package.module.name: lib has no no_such_package",
    ]
    assert importorskipped("pytest.importorskip('lib.config')\n") == {"lib.config"}
    assert missing_paths("see lib/config.py, lib/no_such.py, tests/ and tests/no_such/") == [
        "lib/no_such.py",
        "tests/no_such",
    ]
