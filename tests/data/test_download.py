"""Download, against a real HTTP server that cuts, refuses and lies."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lib.data import download as downloads
from lib.data.download import Source, download, fetch
from lib.data.note_store import CorpusError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the path says what goes wrong."""

    def do_GET(self):
        kind = self.path.strip("/").split("/")[0]
        self.server.requests.append((kind, self.headers.get("Range")))
        if kind == "record":
            return self.answer(200, json.dumps(self.server.record).encode())
        if kind == "no":
            return self.answer(403, b"no")
        if kind == "busy" and len(self.server.requests) < 3:
            return self.answer(503, b"later")
        start = int(self.headers["Range"].split("=")[1].rstrip("-")) if "Range" in self.headers and kind != "plain" else 0
        if start >= len(CONTENT):
            return self.answer(416, b"")
        cut = kind == "cut" and len(self.server.requests) == 1
        self.answer(206 if start else 200, CONTENT[start:], len(CONTENT) // 2 if cut else None)

    def answer(self, status, body, sent=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSE_S", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests, running.record = [], {}
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        running.url = f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()
        thread.join()


def test_whole_and_verified(server, tmp_path):
    source = Source("a.zip", f"{server.url}/good", f"sha256:{SHA256}")
    path = fetch(source, tmp_path / "new")
    assert path.read_bytes() == CONTENT and [p.name for p in path.parent.iterdir()] == ["a.zip"]
    fetch(source, tmp_path / "new")
    assert len(server.requests) == 1  # what is there and right is not fetched again


def test_a_cut_download_goes_on(server, tmp_path):
    assert fetch(Source("a.zip", f"{server.url}/cut", f"sha256:{SHA256}"), tmp_path).read_bytes() == CONTENT
    assert server.requests == [("cut", None), ("cut", f"bytes={len(CONTENT) // 2}-")]


def test_a_part_of_an_earlier_day_goes_on(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:1000])
    fetch(Source("a.zip", f"{server.url}/good", f"sha256:{SHA256}"), tmp_path)
    assert server.requests == [("good", "bytes=1000-")]


@pytest.mark.parametrize("part", [b"wrong" * 100, CONTENT + b"too long"])
def test_a_spoilt_part_is_fetched_anew(server, tmp_path, part):
    (tmp_path / "a.zip.part").write_bytes(part)
    path = fetch(Source("a.zip", f"{server.url}/good", f"sha256:{SHA256}"), tmp_path)
    assert path.read_bytes() == CONTENT and len(server.requests) == 2


def test_a_server_without_ranges(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:1000])
    assert fetch(Source("a.zip", f"{server.url}/plain", f"sha256:{SHA256}"), tmp_path).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server, tmp_path):
    fetch(Source("a.zip", f"{server.url}/busy", f"sha256:{SHA256}"), tmp_path)
    assert len(server.requests) == 3


def test_wrong_content_is_not_kept(server, tmp_path):
    with pytest.raises(CorpusError, match=r"checksum.*By hand.*a\.zip"):
        fetch(Source("a.zip", f"{server.url}/good", "sha256:" + "0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_says_the_way_by_hand(server, tmp_path):
    with pytest.raises(CorpusError, match=r"403.*By hand: open http.*save the file as .*a\.zip"):
        fetch(Source("a.zip", f"{server.url}/no"), tmp_path)
    assert len(server.requests) == 1


def test_nobody_there(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "PAUSE_S", 0.01)
    with pytest.raises(CorpusError, match="can't be fetched.*it continues"):
        fetch(Source("a.zip", "http://127.0.0.1:9/a.zip"), tmp_path)


def test_the_checksum_of_a_record(server, tmp_path):
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    server.record = {"files": [{"key": "a.zip", "checksum": f"md5:{md5}"}]}
    source = Source("a.zip", f"{server.url}/good", record=f"{server.url}/record")
    assert fetch(source, tmp_path).exists()
    server.record = {"files": []}
    with pytest.raises(CorpusError, match="no checksum for a.zip"):
        fetch(source, tmp_path)


def test_corpora_and_their_names(server, tmp_path):
    path = download("maestro", tmp_path, f"{server.url}/good", SHA256)
    assert path == tmp_path / "maestro" / "maestro-v3.0.0-midi.zip" and path.read_bytes() == CONTENT
    with pytest.raises(CorpusError, match="'maestr'.*Did you mean 'maestro'"):
        download("maestr", tmp_path)
