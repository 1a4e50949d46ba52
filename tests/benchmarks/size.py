"""How large `lib` is, and through how many modules one passes: figures that a refactoring is judged by.

    python tests/benchmarks/size.py [--tree FOLDER] [--no-walks] [--lists]

The core is everything in lib but `apps/` and `display/`; of a tree from before the move of modules, everything but
display and APPS_BEFORE. The last line is JSON:

- `lines` of all files (.py, .js, .html, .css and templates of any suffix), `core_lines`, `app_lines`, `display_lines`,
  `files`, `lines_by_folder`
- `root_modules`: modules directly in lib, `__init__` not counted
- `core_tokens`: of Python, without comments, docstrings, line ends and indentation; an f-string is one token
- `docstring_lines_per_public_function`: in the core, all lines of docstrings by the functions and methods without `_`
- `duplicate_class_names`: names in core and display that two or more classes at the top of a module have
- `walk_generate`: distinct modules of lib entered by one `generate` on the released weights, with rules
- `walk_step`: distinct modules of lib.training entered by one optimizer step of diffusion, `loop.optimizer_step` (before:
  `Trainer.step`): forward, backward, clip, update; `walk_step_all`: of lib

With `--lists` the modules and names behind the last three are printed too.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import io
import json
import os
import sys
import tempfile
import tokenize
from collections import Counter
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from layouts import name_in_tree

ROOT = Path(__file__).resolve().parent.parent.parent
APPS_BEFORE = {
    "serve",
    "evaluate",
    "plan",
    "doctor",
    "commands",
    "headless",
    "sweep",
    "sweep_grid",
    "until_done",
    "when_done",
    "ratings",
    "export",
}
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
F_STRING = tuple(getattr(tokenize, name, -1) for name in ("FSTRING_START", "FSTRING_END"))  # of Python 3.12 on
# a short ruled solo: chords, density and swing choose among candidates
SOLO = {"seconds": 2.0, "num_steps": 2, "density": 6.0, "swing": 0.6, "num_candidates": 2}
STEPS = 4  # of the training whose last but one step is walked
QUIET = {"log_every": 1000, "validate_every": 1000, "save_every": 1000, "validation_batches": 1, "tracker": "none"}


def files_of(tree: Path) -> dict[str, list[Path]]:
    """The text files of lib by part: core, apps, display."""
    lib, parts = tree / "lib", {"core": [], "apps": [], "display": []}
    moved = (lib / "apps").is_dir()
    for path in sorted(path for path in lib.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        top = path.relative_to(lib).parts[0].removesuffix(".py")
        part = "display" if top == "display" else "apps" if top in ({"apps"} if moved else APPS_BEFORE) else "core"
        parts[part].append(path)
    return parts


def line_count(paths: list[Path]) -> int:
    """Lines of text files."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def docstrings_of(tree: ast.AST) -> list[ast.Constant]:
    """The docstrings in a module, as nodes."""
    documented = [node for node in ast.walk(tree) if isinstance(node, DOCUMENTED)]
    return [node.body[0].value for node in documented if ast.get_docstring(node, clean=False) is not None]


def token_count(source: str) -> int:
    """Tokens of Python without comments, docstrings and layout; an f-string is one, in every version of Python."""
    count, depth = -len(docstrings_of(ast.parse(source))), 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        depth -= token.type == F_STRING[1]
        count += token.type not in NO_CODE and depth == 0 and token.type != F_STRING[1]
        depth += token.type == F_STRING[0]
    return count


def docstring_share(sources: list[str]) -> float:
    """Lines of docstrings by public functions and methods."""
    trees = list(map(ast.parse, sources))
    lines = sum(node.end_lineno - node.lineno + 1 for tree in trees for node in docstrings_of(tree))
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, DOCUMENTED[2:])]
    return lines / sum(not function.name.startswith("_") for function in functions)


def duplicate_classes(sources: list[str]) -> list[str]:
    """Names that two or more classes at the top of a module have."""
    names = [node.name for source in sources for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    return sorted(name for name, count in Counter(names).items() if count > 1)


class Walk:
    """Modules of lib of which a function is entered while it is on; importing one does not count."""

    def __init__(self):
        self.modules = set()

    def __enter__(self):
        sys.setprofile(self._see)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)

    def _see(self, frame, event, argument):
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.split(".")[0] == "lib" and frame.f_code.co_name != "<module>":
            self.modules.add(name)


def walk_generate(tree: Path) -> set[str]:
    """Modules that one ruled solo enters."""
    improviser = name_in_tree("load_improviser")(tree / "data" / "released")
    generate, request = name_in_tree("generate"), name_in_tree("GenerateRequest")(**SOLO)
    with Walk() as walk:
        generate(improviser, request)
    return walk.modules


def walk_step(tree: Path) -> set[str]:
    """Modules that one optimizer step of diffusion enters."""
    walk, trainer = Walk(), name_in_tree("Trainer")
    owner = trainer if hasattr(trainer, "step") else importlib.import_module("lib.training.loop")
    name = "step" if hasattr(trainer, "step") else "optimizer_step"
    original = getattr(owner, name)

    def walked(trainer, step):
        """An optimizer step; one of them is walked."""
        with walk if step == STEPS - 2 else nullcontext():
            return original(trainer, step)

    with mock.patch.object(owner, name, walked), tempfile.TemporaryDirectory() as folder:
        train_briefly(tree, Path(folder))
    return walk.modules


def train_briefly(tree: Path, folder: Path):
    """Some steps of diffusion on the demo corpus, on top of the released models, without anything between them."""
    released = tree / "data" / "released"
    name_in_tree("prepare")(["demo"], folder / "data")
    config = name_in_tree("preset")("diffusion", "tiny", steps=STEPS, device="cpu", **QUIET)
    sources = {"vqvae_run": released, "style_encoder_run": released}
    name_in_tree("train")(config, folder / "data", folder / "runs", **sources)


def measure(tree: Path, walks: bool = True) -> tuple[dict, dict]:
    """(figures, the lists behind them) of a tree, which is first on sys.path."""
    parts = files_of(tree)
    code = {name: [path.read_text("utf-8") for path in paths if path.suffix == ".py"] for name, paths in parts.items()}
    everything = [path for paths in parts.values() for path in paths]
    lists = {"duplicate_class_names": duplicate_classes(code["core"] + code["display"])}
    folders = Counter()
    for path in everything:
        inner = path.relative_to(tree / "lib").parts
        folders[inner[0] if len(inner) > 1 else "."] += line_count([path])
    figures = {
        "lines": line_count(everything),
        "core_lines": line_count(parts["core"]),
        "app_lines": line_count(parts["apps"]),
        "display_lines": line_count(parts["display"]),
        "lines_by_folder": dict(sorted(folders.items())),
        "files": len(everything),
        "root_modules": len([path for path in (tree / "lib").glob("*.py") if path.stem != "__init__"]),
        "core_tokens": sum(map(token_count, code["core"])),
        "docstring_lines_per_public_function": round(docstring_share(code["core"]), 2),
        "duplicate_class_names": len(lists["duplicate_class_names"]),
    }
    if walks:
        lists |= {"walk_generate": sorted(walk_generate(tree)), "walk_step_all": sorted(walk_step(tree))}
        of_training = [name for name in lists["walk_step_all"] if name.startswith("lib.training")]
        figures |= {"walk_generate": len(lists["walk_generate"]), "walk_step": len(of_training)}
        figures["walk_step_all"] = len(lists["walk_step_all"])
    return figures, lists


def main():
    """The figures of this tree, or of another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--no-walks", action="store_true", help="count only, run nothing")
    parser.add_argument("--lists", action="store_true", help="say which modules and names they are")
    words = parser.parse_args()
    sys.path.insert(0, str(words.tree.resolve()))
    os.environ["LIB_QUIET"] = "1"
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        figures, lists = measure(words.tree.resolve(), not words.no_walks)
    if words.lists:
        for name, found in lists.items():
            print(f"{name}: {', '.join(found)}")
    print(json.dumps({"benchmark": "size", **figures}))


if __name__ == "__main__":
    main()
