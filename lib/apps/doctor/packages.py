"""Packages: what is installed, against requirements*.txt."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version

from lib.apps.doctor.findings import Finding
from lib.config import ROOT

NEEDED = "requirements.txt"
LINE = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*([<>=!~][^#;]*)?")
PYTHONS = ((3, 11), (3, 13))
# of a needed file, what is of use to tests, to notebooks or with an option alone
OPTIONAL = {"playwright", "pytest", "ruff", "nbstripout", "wandb", "jupyter", "papermill"}


def look_at_packages(root=ROOT):
    """Findings: Python, and one a requirements file."""
    return [_python(), *(_file(path) for path in sorted(root.glob("requirements*.txt"), key=lambda path: path.name != NEEDED))]


def _python():
    says = f"{platform.python_version()} on {platform.system()} {platform.release()} {platform.machine()}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Finding("Python", "ok", says)
    return Finding("Python", "missing", says, "install Python 3.11, 3.12 or 3.13, then: bash colab_setup.sh install")


def _file(path):
    """What of a requirements file is not as it says."""
    asked = [LINE.match(line).groups() for line in path.read_text(encoding="utf-8").splitlines() if line[:1].strip("# ")]
    wrong, needed = [], False
    for name, wanted in asked:
        said = _mismatch(name, (wanted or "").strip())
        wrong += [said] if said else []
        needed |= bool(said) and path.name == NEEDED and name.lower() not in OPTIONAL
    versions = ", ".join(f"{name} {_version(name)}" for name, _ in asked if name in ("torch", "numpy", "accelerate"))
    if not wrong:
        return Finding(path.name, "ok", f"{len(asked)} packages as asked" + (f" ({versions})" if versions else ""))
    fix = "bash colab_setup.sh install" if needed else f"where you want it: pip install -r {path.name}"
    return Finding(path.name, "missing" if needed else "note", f"{len(wrong)} of {len(asked)}: {', '.join(wrong)}", fix)


def _mismatch(name, wanted):
    """"", or what is wrong with a package."""
    from packaging.specifiers import SpecifierSet

    there = _version(name)
    if there is None:
        return f"{name} is not installed"
    if not SpecifierSet(wanted).contains(there, prereleases=True):
        return f"{name} {there} (wanted {wanted})"
    return ""


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None
