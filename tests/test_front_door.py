"""colab_setup.sh: its commands, and what `colab` would do to a Colab runtime on Python 3.12 and 3.13."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib import config

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "colab_setup.sh"
COLAB_VERSIONS = ROOT / "tests" / "colab_versions.txt"
PROTECTED = ("torch", "numpy", "ipywidgets", "ipykernel", "ipython", "jupyter")
TESTS_ONLY = {"httpx", "playwright", "schemathesis"}
TEXT = (".md", ".py", ".ipynb", ".sh", ".cff", ".yaml", ".toml", ".txt", ".js", ".html", "")
COLAB_EXTRAS = {"dramatiq", "krippendorff", "mido", "mir-eval", "muspy", "nbstripout", "papermill", "pretty-midi",
                "pyfluidsynth", "symusic"}  # fmt: skip


def bash(*words, **environment):
    words = ["bash", *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment})


def sourced(command, **environment):
    """Run a function of the script without running the script."""
    return bash("-c", f'source "{SCRIPT}"; {command}', **environment)


def lines_of(path):
    text = path.read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in text if line.split("#")[0].strip()]


def name_of(requirement):
    return re.match(r"[A-Za-z0-9_.-]+", requirement).group().lower().replace("_", "-")


@pytest.mark.parametrize("script", ["colab_setup.sh", ".ci/run"])
def test_scripts_parse_and_stop_on_errors(script):
    assert bash("-n", ROOT / script).returncode == 0
    assert "set -euo pipefail" in (ROOT / script).read_text(encoding="utf-8")


@pytest.mark.parametrize("script", ["colab_setup.sh", ".ci/run"])
def test_shellcheck_finds_nothing(script):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    checked = subprocess.run(["shellcheck", ROOT / script], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_no_command_shows_usage_and_exits_2():
    shown = bash(SCRIPT)
    assert shown.returncode == 2
    for command in ("demo", "test", "install", "colab", "address"):
        assert re.search(rf"^  {command}\b", shown.stdout, re.MULTILINE)


def test_unknown_command_is_named():
    refused = bash(SCRIPT, "demmo")
    assert refused.returncode == 2 and "'demmo'" in refused.stderr and not refused.stdout


def test_missing_soundfont_is_refused_before_anything_is_installed(tmp_path):
    refused = bash(SCRIPT, "demo", "--soundfont", tmp_path / "none.sf2")
    assert refused.returncode == 1 and "none.sf2" in refused.stderr


def test_python_that_does_not_start_is_refused(tmp_path):
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n", encoding="utf-8")
    shim.chmod(0o755)
    refused = sourced("find_python", PYTHON=str(shim))
    assert refused.returncode == 1 and str(shim) in refused.stderr
    # without PYTHON the same shim, first on PATH, is passed over for an interpreter that starts
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    found = sourced("VENV=/nonexistent; find_python", PATH=path)
    assert found.returncode == 0 and found.stdout.strip() != "python3.12"


def test_cpu_machines_never_fall_through_to_the_cuda_build(tmp_path):
    python = tmp_path / "python"  # has no torch, and neither pip nor uv finds a CPU build
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexit 1\n', encoding="utf-8")
    python.chmod(0o755)
    refused = sourced(f"install_cpu_torch {python}")
    assert refused.returncode == 1 and "CPU build of torch" in refused.stderr
    asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert not [line for line in asked if "pip install" in line and "torch" in line and "+cpu" not in line]


def test_colab_leaves_out_exactly_the_protected():
    kept = {name_of(line) for line in sourced("colab_requirements").stdout.splitlines() if line[:1] != "#"}
    everything = {name_of(line) for name in ("", "-serve") for line in lines_of(ROOT / f"requirements{name}.txt")}
    assert everything - kept == set(PROTECTED) - {"ipython"} | TESTS_ONLY  # ipython is not asked for by name at all


def test_every_requirement_has_an_upper_bound_and_a_reason():
    lines = [path.read_text(encoding="utf-8").splitlines() for path in ROOT.glob("requirements*.txt")]
    for line in sum(lines, []):
        if not line.startswith("#"):
            assert re.fullmatch(r"[A-Za-z0-9_.\[\]-]+>=[\d.]+,<[\d.]+ +# \S.*", line), line


# --- The address and the version -------------------------------------------------------------------------------


@pytest.fixture
def copy_of_the_project(tmp_path):
    """The tracked files that are text, in a repository of their own."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no clone of a repository")
    for name in listed.stdout.splitlines():
        if (ROOT / name).suffix in TEXT:
            (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "copy" / name)
    return tmp_path / "copy"


def texts_below(folder, names):
    return {name: (folder / name).read_text(encoding="utf-8") for name in names}


def test_a_fork_is_named_everywhere_by_one_command(copy_of_the_project):
    old, new, script = config.REPOSITORY.removeprefix("https://github.com/"), "jane-doe/my.jazz_2", "colab_setup.sh"
    page = copy_of_the_project / "docs" / "listen" / "index.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text(f'<a href="{config.REPOSITORY}">', encoding="utf-8")  # in place of the real one, which is large
    names = [str(path.relative_to(copy_of_the_project)) for path in copy_of_the_project.rglob("*") if path.is_file()]
    before = texts_below(copy_of_the_project, names)
    done = bash(copy_of_the_project / script, "address", new, PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    after = texts_below(copy_of_the_project, names)
    assert not [name for name in names if old in after[name]]
    counts = {"CITATION.cff": 1, "README.md": 10, "docs/RUNPOD.md": 1, "docs/listen/index.html": 1, "notebooks/06_listen.ipynb": 2}
    for name, count in counts.items():
        assert after[name].count(new) == count, name
    code = [name for name in names if name.endswith((".py", ".sh")) and before[name] != after[name]]
    assert code == ["lib/config.py"], "the folder on Drive and the mirror's marker stay"
    back = bash(copy_of_the_project / script, "address", old, PYTHON=sys.executable)
    assert back.returncode == 0 and texts_below(copy_of_the_project, names) == before


@pytest.mark.parametrize("address", ["", "jane", "https://github.com/jane/jazz", "jane/jazz/tree", "ja|ne/jazz"])
def test_an_address_that_is_none_is_refused(copy_of_the_project, address):
    refused = bash(copy_of_the_project / "colab_setup.sh", "address", address, PYTHON=sys.executable)
    assert refused.returncode == 1 and "OWNER/NAME" in refused.stderr


def test_a_version_is_taken_or_its_absence_said(tmp_path):
    """A branch, a tag, a commit of the repository that was cloned; a fork may lack it."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C"]

    def commit(line, *more):
        (origin / "colab_setup.sh").write_text(SCRIPT.read_text(encoding="utf-8") + f"# {line}\n", encoding="utf-8")
        for words in (["add", "."], ["commit", "-qm", line], *more):
            subprocess.run([*git, origin, *words], check=True, capture_output=True)

    subprocess.run([*git, origin, "init", "-q", "-b", "trunk"], check=True)
    commit("old", ["tag", "v1"])
    first = subprocess.run([*git, origin, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    commit("new")
    subprocess.run([*git, origin, "config", "uploadpack.allowAnySHA1InWant", "true"], check=True)
    stand_in = 'colab() { [[ -z "${1:-}" ]] || take_version "$1"; tail -1 "$ROOT/colab_setup.sh"; }'

    def take(version):
        shutil.rmtree(clone, ignore_errors=True)
        words = ["git", "clone", "-q", "--depth", "1", f"file://{origin}", clone]
        subprocess.run(words, check=True, capture_output=True)
        return again(version)

    def again(version):
        command = f'source "{clone}/colab_setup.sh"; exec() {{ main colab; exit; }}; {stand_in}; main colab "{version}"'
        return bash("-c", command).stdout

    assert take("trunk") == "# new\n"
    assert take("v1") == again("v1") == "# old\n" and take(first) == "# old\n"
    assert take("main") == "== the repository has no main: its branch trunk is taken\n# new\n"
    shutil.rmtree(clone / ".git")
    assert again("v1") == "# new\n", "a zip that was unpacked is what it is"


@pytest.fixture(scope="module")
def uv(tmp_path_factory):
    """uv from the package index, or a skip: it resolves for a Python that this machine lacks."""
    folder = tmp_path_factory.mktemp("uv")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    installed = subprocess.run([*pip, "--target", folder, "uv>=0.5"], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"no package index can be reached: {installed.stderr.strip()[-300:]}")
    return folder / "bin" / "uv"


@pytest.fixture
def colab_packages(tmp_path):
    """A folder that says it holds Colab's packages, at Colab's versions."""
    for line in lines_of(COLAB_VERSIONS):
        name, version = line.split("==")
        info = tmp_path / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").touch()
        (info / "INSTALLER").write_text("pip\n")
    return tmp_path / "site"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_colab_runtime_keeps_all_it_has(uv, colab_packages, tmp_path, version):
    wanted = tmp_path / "requirements.txt"
    wanted.write_text(sourced("colab_requirements").stdout, encoding="utf-8")
    pins = tmp_path / "pins.txt"
    protected = [line for line in lines_of(COLAB_VERSIONS) if name_of(line) in PROTECTED]
    pins.write_text("\n".join(protected), encoding="utf-8")
    plan = subprocess.run(
        [uv, "pip", "install", "--dry-run", "--target", colab_packages, "--python-version", version,
         "-r", wanted, "-c", pins], capture_output=True, text=True,
    )  # fmt: skip
    assert plan.returncode == 0, plan.stderr
    changes = re.findall(r"^ ([+-]) ([^=\s]+)", plan.stderr, re.MULTILINE)
    assert not [name for sign, name in changes if sign == "-"], "nothing that Colab has is replaced"
    assert {name_of(name) for sign, name in changes if sign == "+"} >= COLAB_EXTRAS
    assert not {name_of(name) for _, name in changes} & set(PROTECTED)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.12", "3.13"])
@pytest.mark.usefixtures("uv")  # that is, where a package index can be reached
def test_colab_command_on_a_real_interpreter(colab_packages, tmp_path, version):
    """The command itself, pip only told not to write: on Python `version` where this machine has one."""
    venv = tmp_path / "venv"
    pythons = [f"python{version}", *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    makers = (subprocess.run([python, "-m", "venv", venv]) for python in pythons if shutil.which(python))
    if not any(made.returncode == 0 for made in makers):
        pytest.skip(f"no Python {version} that can make a venv on this machine")
    (site,) = venv.glob("lib/python*/site-packages")
    for info in colab_packages.iterdir():
        if not info.name.startswith(("pip-", "setuptools-")):
            shutil.copytree(info, site / info.name)
    done = bash(SCRIPT, "colab", PYTHON=str(venv / "bin" / "python"), PIP_DRY_RUN="1", PIP_QUIET="0")
    assert done.returncode == 0, done.stderr
    assert "numpy==2.0.2" in done.stdout and "torch==2.11.0+cu128" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_requirements_resolve(uv, version):
    compiled = subprocess.run(
        [uv, "pip", "compile", "-q", "--python-version", version, ROOT / "requirements.txt"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stderr
    resolved = {name_of(line) for line in compiled.stdout.splitlines() if re.match(r"[A-Za-z]", line)}
    assert resolved >= {name_of(line) for line in lines_of(ROOT / "requirements.txt")}
