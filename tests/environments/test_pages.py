"""One page per environment: its links, and what it says was tested; its commands: tests/test_document_commands.py."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from lib.apps.plan.machines import ENVIRONMENTS

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PAGES = [DOCS / f"{name}.md" for name in ("COLAB", "RUNPOD", "LOCAL_NVIDIA", "APPLE_MPS", "CPU", "DOCKER")]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def text_of(page):
    return page.read_text(encoding="utf-8").replace("\\\n", " ")


@each_page
def test_links_to_files_resolve(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target
    for name in re.findall(r"`((?:tests|docs|lib)/[\w/.-]+)`", page.read_text(encoding="utf-8")):
        assert (page.parent.parent / name).exists(), name


@each_page
def test_it_says_what_was_tested(page):
    text = page.read_text(encoding="utf-8")
    assert re.search(r"\*\*(?:Tested|Not tested):\*\*", text) and len(text.split()) < 700, "one page"


@each_page
def test_environments_are_those_of_the_plan(page):
    for name in re.findall(r"--environment ([\w-]+)", text_of(page)):
        assert name in {"here", *ENVIRONMENTS}


def test_runpods_facts():
    said = text_of(DOCS / "RUNPOD.md")
    for fact in ("PyTorch", "50 GB", "100 GB volume at `/workspace`", "30 minutes", "spot", "stop-pod"):
        assert fact in said, fact


@pytest.mark.parametrize(("used", "stopped"), [("0", True), ("97", False)])
def test_the_loop_that_stops_an_idle_pod(used, stopped, tmp_path):
    """The very lines of the page: after thirty idle minutes, not where work comes between, and not for ever."""
    (loop,) = re.findall(r"```bash\n(idle=0\n.*?)```", (DOCS / "RUNPOD.md").read_text(encoding="utf-8"), re.DOTALL)
    stand_ins = {
        "nvidia-smi": f"echo 0; echo {used}",
        "runpodctl": 'echo "$@" > stopped',
        # the minutes of a night, then no more
        "sleep": 'echo "$1" >> slept; [ "$(wc -l < slept)" -le 40 ]',
    }
    for name, lines in stand_ins.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "RUNPOD_POD_ID": "pod-1"}
    subprocess.run(["bash", "-c", loop], cwd=tmp_path, env=environment, check=False, timeout=60)
    slept = (tmp_path / "slept").read_text(encoding="utf-8").split()
    assert set(slept) == {"60"}
    if stopped:
        assert (tmp_path / "stopped").read_text(encoding="utf-8") == "stop pod pod-1\n" and len(slept) == 30
    else:
        assert not (tmp_path / "stopped").exists() and len(slept) == 41
