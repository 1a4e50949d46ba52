"""The benchmark of sizes: what it counts, in a tree of its own and in this one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))

import size  # noqa: E402

SOURCE = '''"""A module
of two lines."""

# a comment
class Roll:
    """A class."""

    def _private(self):
        return f"{self!r} and {1 + 1}"  # one token, not ten


def public():
    """A function."""
    return [1, 2]
'''


def test_tokens_are_counted_without_comments_docstrings_and_layout():
    # class Roll : | def _private ( self ) : | return f"..." | def public ( ) : | return [ 1 , 2 ]
    assert size.token_count(SOURCE) == 3 + 6 + 2 + 5 + 6
    assert size.token_count(SOURCE.replace("# a comment", "")) == size.token_count(SOURCE)
    assert size.docstring_share([SOURCE]) == 4.0


@pytest.mark.parametrize("moved", [True, False])
def test_core_apps_and_display(tmp_path, moved):
    files = {"config.py": SOURCE, "display/page.html": "<p>\n</p>\n", "display/plots.py": "class Roll:\n    pass\n"}
    files |= {"apps/server/page.js": "1\n2\n3\n"} if moved else {"serve/page.js": "1\n2\n3\n"}
    for name, text in files.items():
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    figures, lists = size.measure(tmp_path, walks=False)
    assert (figures["core_lines"], figures["app_lines"], figures["display_lines"]) == (SOURCE.count("\n"), 3, 4)
    assert figures["lines"] == SOURCE.count("\n") + 7 and figures["files"] == 4 and figures["root_modules"] == 1
    assert lists["duplicate_class_names"] == ["Roll"]


@pytest.mark.slow
def test_this_tree_is_walked():
    words = [sys.executable, "tests/benchmarks/size.py", "--lists"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert "lib.generation.generate" in done.stdout and "lib.training.trainer" in done.stdout
    assert 5 < figures["walk_generate"] < 40 and 3 < figures["walk_step"] <= figures["walk_step_all"] < 30
    assert figures["core_lines"] + figures["app_lines"] + figures["display_lines"] == figures["lines"]
