"""The documents' commands that train, evaluate and gather data: run whole, with preset tiny and a few short pieces."""

import functools
import http.server
import shutil
import threading
from dataclasses import replace

import pytest
from document_commands import runnable
from document_workplace import FOLDERS, make_archives, workplace
from evaluation_sizes import FEW, PIANIST
from test_document_commands_run import LONG, typed

from lib.apps.cli import comparing as commands
from lib.apps.evaluate import intervals
from lib.apps.headless import until_done
from lib.apps.headless.until_done import Ending
from lib.config import RELEASED
from lib.data import corpora
from lib.data.download import download
from lib.data.ingest import ingest
from lib.storage.manifest import file_sha256

pytestmark = pytest.mark.slow
BUILDS_ON = {"vqvae": (), "style_encoder": (), "diffusion": ("vqvae", "style_encoder"),
             "fine_tune": ("vqvae", "style_encoder", "diffusion")}  # fmt: skip
PLAYERS = {"Brad Mehldau": PIANIST, "Bill Evans": "Bea Blockford"}  # who plays in the demo corpus instead
EVALUATING = ("evaluate", "compare")


@pytest.fixture(scope="module")
def place(demo_data, tiny_runs, tmp_path_factory):
    """Runs of all stages, the demo corpus, the public corpora as far as the commands need them, and the user's own music."""
    with workplace(tmp_path_factory.mktemp("workplace")) as folder, served(make_archives(mkdir(folder / "archives"))):
        (folder / "runs").rmdir()
        shutil.copytree(tiny_runs, folder / "runs")
        (folder / "data" / "demo").symlink_to(demo_data / "demo", target_is_directory=True)
        for name in ("maestro", "pijama"):
            download(name, folder / "data")
            ingest(name, folder / "data")
        ingest("mine", folder / "data", folder=folder / FOLDERS[0])
        yield folder


def mkdir(folder):
    folder.mkdir()
    return folder


class served:
    """The sources of the public corpora, on a server of our own while this lasts."""

    def __init__(self, files):
        self.files, self.patch = files, pytest.MonkeyPatch()

    def __enter__(self):
        folder = next(iter(self.files.values())).parent
        handler = functools.partial(Quiet, directory=folder)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        for name in ("maestro", "pijama"):
            corpus = corpora.CORPORA[name]
            self.patch.setitem(corpora.CORPORA, name, replace(corpus, sources=tuple(map(self.here, corpus.sources))))

    def here(self, source):
        checksum = f"sha256:{file_sha256(self.files[source.name])}"
        return replace(source, url=f"http://127.0.0.1:{self.server.server_port}/{source.name}", checksum=checksum, record="")

    def __exit__(self, *_):
        self.patch.undo()
        self.server.shutdown()
        self.server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of what it serves."""

    def log_message(self, *words):
        pass


def small(words, place, runs):
    """The same command with preset tiny, for players that there are, with checkpoints in folders that there are."""
    if words[0] == "until-done":
        return ["until-done", *small(words[1:], place, runs)]
    if words[0] == "data":
        return words
    words = [PLAYERS.get(word, word).replace("gdrive:", "drive/") for word in words]
    if words[0] == "train":
        words = with_value(with_value(words, "--preset", "tiny"), "--steps", "2")
        words = [str(RELEASED) if word == "data/released" else word for word in words]
        sources = BUILDS_ON[words[1]] if "--diffusion-run" not in words else ()  # which brings the others
        given = [word for stage in sources for word in (f"--{stage.replace('_', '-')}-run", str(place / "runs" / stage))]
        return [*words, *given, "--runs-dir", str(runs)]
    words = ["runs/brad_final" if word == "--released" else "runs/diffusion" if word == "data/released" else word for word in words]
    return with_value(with_value(words, "--clips", "2"), "--pianist", PIANIST) if words[0] == "evaluate" else words


@functools.cache
def evaluated(*words):
    """What an evaluation says; in small, several of the documents' are the same."""
    return typed(words)


def with_value(words, option, value):
    """The words with an option set to a value."""
    if option not in words:
        return [*words, option, value]
    return [value if before == option else word for before, word in zip(["", *words], words)]


def in_this_process(words, step_file, asked):
    """Instead of a process of its own, which tests/apps/headless/test_until_done.py starts."""
    typed(words)
    return Ending(0, "", None)


@pytest.mark.parametrize("words", [words for words in runnable() if words[0] in LONG], ids=" ".join)
def test_what_is_long_runs_in_small(words, place, tmp_path, monkeypatch):
    monkeypatch.setattr(until_done, "_run", in_this_process)
    monkeypatch.setattr(intervals, "DRAWS", 40)
    # tests/apps/evaluate/test_commands.py tries size_of
    monkeypatch.setattr(commands, "size_of", lambda *words, **given: replace(FEW, clips=2))
    monkeypatch.chdir(place)
    (tmp_path / "drive").mkdir()
    less = [word.replace("drive/", f"{tmp_path}/drive/") for word in small(words, place, tmp_path / "runs")]
    said = evaluated(*less) if words[0] in EVALUATING else typed(less)
    if words[0] == "train":
        assert "finished" in said and list((tmp_path / "runs").glob("*/checkpoints"))
    if words[0] == "until-done":
        assert list((tmp_path / "runs").glob("*/checkpoints"))
