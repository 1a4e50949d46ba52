"""The documents' commands that take seconds, run in one process: solos of a second by an untrained network, and all that looks."""

import contextlib
import io
import os
import shutil
import subprocess
import sys

import pytest
from document_commands import UNIQUE, requests, runnable, shell_lines
from document_workplace import request_of, workplace, write_answers
from documents import DOCUMENTS, ROOT, blocks_of, text_of

from lib.apps.cli.main import main
from lib.music.notes import read_midi

LONG = ("train", "until-done", "evaluate", "compare", "data", "export")  # tests/test_document_commands_run_long.py
SHORT = {"generate": ["--num-steps", "1", "--device", "cpu"], "identify": ["--device", "cpu"],
         "plan": ["--no-calibrate"], "serve": ["--device", "cpu"]}  # fmt: skip
MANY = "5000"  # solos: two will do
LACKING = {"doctor": 1}  # this machine need not have everything


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two finished runs beside the files."""
    with workplace(tmp_path_factory.mktemp("workplace")) as folder:
        for run in ("vqvae", "brad_final"):
            (folder / "runs" / run).symlink_to(folder / "tiny", target_is_directory=True)
        yield folder


def typed(words):
    """python -m lib WORDS: what it says; it must succeed."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        if "--host" in words:
            patch.setenv("LIB_SERVE_TOKEN", "a" * 32)
        patch.setattr(sys, "argv", ["python -m lib", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    assert code in (0, LACKING.get(words[0])), said.getvalue()
    return said.getvalue()


@pytest.mark.parametrize("words", [words for words in runnable() if words[0] not in LONG], ids=" ".join)
def test_what_is_cheap_runs(words, place):
    """Duets come as far as to their ports, servers answer one client, notebooks are chosen and copied."""
    if "--collect" in words:
        typed(["listening-test", "--takes", "mine=outputs/mine/*.mid", "--takes", "released=outputs/released/*.mid"])
        write_answers(place, place / "outputs" / "listening_test.key.json")
    words = ["2" if word == MANY else word for word in words]
    less = [] if "--help" in words else SHORT.get(words[0], [])
    less = [*less, "--seconds", "1"] if "--count" in words else less  # other solos are shortened where they are played
    assert typed([*words, *less]) or words[0] == "duet"


@pytest.mark.parametrize("command", requests(), ids=str)
def test_what_clients_ask_is_answered(command, place, tmp_path):
    """curl's words as a request to the server itself."""
    pytest.importorskip("fastapi")
    testclient = pytest.importorskip("starlette.testclient")
    from lib.apps.server import app, service

    asked = request_of(command.words, piped(place) if "@-" in command.words else None)
    token = "a" * 32
    headers = {name: os.path.expandvars(value).replace("$LIB_SERVE_TOKEN", token) for name, value in asked.headers.items()}
    served = app.make_app(service.Service(tmp_path, place / "tiny", device="cpu"), token if "Authorization" in headers else None)
    with testclient.TestClient(served, base_url="http://127.0.0.1:8000") as client:
        answer = client.request(asked.method, asked.path, headers=headers, content=asked.content)
    assert answer.status_code in (200, 202), answer.text


def piped(folder):
    """What the line before it hands to curl: an order with a file in it."""
    (line,) = (line for line in text_of(ROOT / "docs" / "SERVER.md").splitlines() if line.startswith("echo "))
    return subprocess.run(["bash", "-c", line.rstrip(" |")], cwd=folder, capture_output=True, check=True).stdout


@pytest.mark.parametrize("line", shell_lines())
def test_the_shell_takes_what_is_for_it(line, place):
    if "openssl" in line and not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    subprocess.run(["bash", "-ec", line.rstrip(" |")], cwd=place, check=True, stdout=subprocess.DEVNULL)


def test_an_environment_is_made_where_the_documents_say(tmp_path):
    for command in UNIQUE:
        if command.words[1:3] == ("-m", "venv"):
            subprocess.run([sys.executable, *command.words[1:], "--without-pip"], cwd=tmp_path, check=True)
    assert (tmp_path / ".venv" / "bin" / "python").exists()


def test_python_in_the_documents_runs(place):
    """A document's snippets, one after the other."""
    notes = read_midi(place / "solo.mid")
    for path in DOCUMENTS:
        names = {"notes": notes}
        for block in blocks_of(path, "python"):
            exec(compile(block, path.name, "exec"), names)
