"""Runs by name: what is taken for a folder, what for a name, and the real client against a hub of our own."""

import hashlib
import json
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib.checkpoints.checkpoint import CheckpointError
from lib.checkpoints.load import load_improviser, load_vqvae
from lib.checkpoints.run_dependencies import HUB_FILES, locate

COMMIT = "1234567890abcdef1234567890abcdef12345678"


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Stands in for huggingface_hub: what was asked of it; everything lies in one folder."""
    calls = []

    def snapshot_download(name, revision=None, allow_patterns=None):
        calls.append((name, revision, allow_patterns))
        return str(tmp_path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    return calls


@pytest.mark.parametrize(
    ("run", "name", "revision"),
    [
        ("hf://ours/brad-final", "ours/brad-final", None),
        (Path("hf://ours/brad-final"), "ours/brad-final", None),  # pathlib drops a slash
        ("hf://ours/brad.final@v1.0", "ours/brad.final", "v1.0"),
        ("ours/brad-final", "ours/brad-final", None),
        (Path("ours/brad-final@main"), "ours/brad-final", "main"),
    ],
)
def test_names_are_asked_of_the_hub(asked, tmp_path, run, name, revision):
    assert locate(run) == tmp_path
    assert asked == [(name, revision, list(HUB_FILES))]


FOLDERS = ["brad_final", "runs/brad_fina", "runs/vqvae/best", "/somewhere/brad_final", "../runs/vqvae", "lib/nothing"]


@pytest.mark.parametrize("run", FOLDERS)
def test_folders_are_left_alone(asked, run):
    assert locate(run) == Path(run) and not asked


def test_a_folder_that_is_here_comes_before_a_name(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours" / "brad").mkdir(parents=True)
    assert locate("ours/brad") == Path("ours/brad") and locate("ours/bread") == Path("ours/bread") and not asked


def test_what_is_no_name_or_can_not_be_had_is_said(monkeypatch):
    with pytest.raises(CheckpointError, match="hf://OWNER/NAME"):
        locate("hf://brad-final")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it was not installed
    with pytest.raises(CheckpointError, match="pip install huggingface_hub"):
        locate("ours/brad-final")


def hub_of(folder, name):
    """A server that gives the files of a folder as the hub does (https://huggingface.co/docs/hub/api)."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def answer(self):
            path = self.path.split("?")[0]
            files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
            if path.startswith(f"/api/models/{name}/"):
                tree = [
                    {"type": "file", "path": file, "rfilename": file, "size": at.stat().st_size, "oid": "0"}
                    for file, at in files.items()
                ]
                whole = {"id": name, "sha": COMMIT, "siblings": tree, "private": False, "tags": [], "downloads": 0}
                self.send(
                    json.dumps(tree if "/tree/" in path else whole).encode(), {"Content-Type": "application/json"}
                )
            elif (file := path.removeprefix(f"/{name}/resolve/{COMMIT}/")) in files:
                content = files[file].read_bytes()
                self.send(content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT})
            else:
                self.send(b"", {"X-Error-Code": "RepoNotFound"}, 404)

        def send(self, content, headers, code=200):
            self.send_response(code)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Hub)


@pytest.fixture
def hub(tiny_runs, tmp_path, monkeypatch):
    """The tiny improviser as ours/tiny on a hub of our own; the real client asks there."""
    client = pytest.importorskip("huggingface_hub")
    folder = shutil.copytree(tiny_runs / "brad_final", tmp_path / "repository")
    (folder / "run_me.py").write_text("raise SystemExit")
    server = hub_of(folder, "ours/tiny")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cache = tmp_path / "cache"

    def snapshot_download(name, **words):
        return real(name, endpoint=f"http://127.0.0.1:{server.server_port}", cache_dir=cache, token=False, **words)

    real = client.snapshot_download
    monkeypatch.setattr(client, "snapshot_download", snapshot_download)
    yield SimpleNamespace(cache=cache, server=server)
    server.shutdown()
    server.server_close()


@pytest.mark.filterwarnings("default")  # the client's own
def test_an_improviser_comes_by_name_and_again_without_a_network(hub):
    improviser = load_improviser("hf://ours/tiny")
    assert improviser.pianist == "Cora Canonby" and load_vqvae("ours/tiny")[1] == improviser.configs["vqvae"]
    assert list(hub.cache.rglob("manifest.json")) and not list(hub.cache.rglob("run_me.py"))  # nothing that could run
    with pytest.raises(CheckpointError, match="does not give ours/none"):
        load_improviser("ours/none")
    hub.server.shutdown()
    hub.server.server_close()
    assert load_improviser("hf://ours/tiny").pianist == "Cora Canonby"
