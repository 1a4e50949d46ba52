"""A folder with the files that documents speak of, for running their commands in; what takes long or needs hardware ends early."""

import contextlib
import dataclasses
import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
from document_commands import names_of_files
from documents import ROOT, blocks_of
from tiny import save_tiny_improviser

from lib import config
from lib.music.midi_writer import write_midi
from lib.music.notes import Notes

FOLDERS = ("FOLDER", "DIR", "MINE")
ALBUMS, TITLES = 3, 2  # enough to train on, to validate and to test
PIANISTS = ("Brad Mehldau", "Bill Evans")


def passage(seconds=32.0, shift=0):
    """Quavers up and down."""
    time_s = np.arange(0, seconds, 0.25)
    pitch = 60 + (np.arange(len(time_s)) + shift) % 12
    return Notes.from_arrays(time_s, np.full(len(time_s), 0.2), pitch, np.full(len(time_s), 70))


def make_files(folder):
    """MIDI under every name that a command reads or writes, folders of it, a chart, a sweep."""
    owned = {f"{place}/ALBUM {album}/TITLE {title}.mid" for place in FOLDERS for album in range(ALBUMS) for title in range(TITLES)}
    takes = {f"outputs/{system}/{number}.mid" for system in ("mine", "released") for number in (1, 2)}
    for name in names_of_files() | owned | takes:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_midi(passage(), folder / name)
    for name in ("FILE", "mine.html"):
        (folder / name).write_text("irealb://" + quote("Alone Together=Me=Waltz=C==1r34LbKcu7[T34C^7 |A-7 |D-7 |G7 Z==90=0"))
    (folder / "sweep.yaml").write_text(blocks_of(ROOT / "docs" / "TRAINING_GUIDE.md", "yaml")[0])
    for place in ("runs", "data", "Settings"):  # the last is what tells FL Studio's folder
        (folder / place).mkdir()


@contextlib.contextmanager
def workplace(folder):
    """The folder, filled and gone to; networks are those of an untrained improviser, solos last a second.

    Where a command would wait for players, clients or notebooks, it comes to that point and no further.
    """
    from lib.apps.headless import headless
    from lib.apps.live import duet, ports
    from lib.generation import generate

    tiny = generate.load_improviser(save_tiny_improviser(folder / "tiny"), device="cpu")
    make_files(folder)
    play = generate.generate
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(config, "GUIDED_CANDIDATES", 2)
        patch.setattr(generate, "load_improviser", lambda *words, **named: tiny_with_styles(tiny, words, named))
        patch.setattr(generate, "generate", lambda who, asked, *more, **named: play(who, short(asked), *more, **named))
        patch.setattr(headless, "_execute", copied)
        patch.setattr(ports, "list_ports", lambda: ([], []))
        patch.setattr(duet, "play_duet", lambda *words, **named: None)
        with_one_client(patch, tiny)
        yield folder


def copied(path, copy, values, mirror):
    """Instead of papermill: the notebook as it is. tests/test_notebooks_run.py runs them."""
    copy.write_bytes(path.read_bytes())
    return ""


def with_one_client(patch, tiny):
    """Where the server's packages are installed: instead of listening it answers one client, who asks for a style."""
    with contextlib.suppress(ImportError):
        import uvicorn
        from starlette.testclient import TestClient

        from lib.apps.server import service

        def run(app, host, port, http, **named):
            assert hasattr(http, "hang_up_if_idle"), "who says nothing must be hung up on"
            allowed = {"Authorization": f"Bearer {'a' * 32}"}
            with TestClient(app, base_url=f"http://127.0.0.1:{port}", headers=allowed) as client:
                assert client.get("/readyz").status_code == client.get("/v1/styles").status_code == 200

        patch.setattr(service, "load_improviser", lambda *words: tiny)
        patch.setattr(uvicorn, "run", run)


def short(request):
    """The same wish, soon fulfilled."""
    return dataclasses.replace(request, choruses=None, bars=None, seconds=1.0, num_steps=1)


def tiny_with_styles(tiny, words, named):
    """The tiny improviser, which knows the styles that were added meanwhile."""
    from lib.style.classifier import StyleClassifier
    from lib.style.embeddings import with_own

    styles_dir = named.get("styles_dir") or (words[3] if len(words) > 3 else None)
    if not styles_dir:
        return tiny
    return dataclasses.replace(tiny, styles=with_own(tiny.styles, StyleClassifier.of_improviser(tiny), styles_dir))


# --- Corpora ---------------------------------------------------------------------------------------------------


def make_archives(folder):
    """The public corpora as their servers have them, with some pieces of our own in place of the music: {name: Path}."""
    from lib.data.corpora import CORPORA

    names = {f"2018/{number}.midi": split for number, split in enumerate(("train", "train", "validation", "test"))}
    table = ["canonical_composer,canonical_title,split,midi_filename", *(f"A,B,{split},{name}" for name, split in names.items())]
    archives = [zipped(folder / CORPORA["maestro"].sources[0].name, names, {"maestro-v3.0.0.csv": "\n".join(table)})]
    played = [(who, f"Album {album}", f"Title {title}") for who in PIANISTS for album in range(ALBUMS) for title in range(TITLES)]
    paths = ["live/" + "/".join(one) + ".midi" for one in played]
    rows = [f"{','.join(one)},{path},train,0,32" for one, path in zip(played, paths)]
    columns = "artist,album,title,midi_filepath,split,performance_start_sec,performance_end_sec"
    (folder / "pijama.csv").write_text("\n".join([columns, *rows]))
    (folder / "pijama_30.csv").write_text("midi_filepath,song_split,album_split_0,album_split_1,album_split_2\n")
    archives.append(zipped(folder / CORPORA["pijama"].sources[0].name, paths))
    return {path.name: path for path in (*archives, folder / "pijama.csv", folder / "pijama_30.csv")}


def zipped(path, names, tables=()):
    """An archive of MIDI of these names."""
    midi = write_midi(passage(), path.with_suffix(".mid")).read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, midi)
        for name in tables:
            archive.writestr(name, tables[name])
    return path


# --- Listeners -------------------------------------------------------------------------------------------------


def write_answers(folder, key_path):
    """What two listeners saved: answers-1.json, answers-2.json."""
    from lib.apps.listening_test.ratings import read_key

    key = read_key(key_path)
    for number in (1, 2):
        answers = [{"item": item["id"], "kind": item["kind"], "shown": item["takes"],
                    **({"choice": item["takes"][0]} if item["kind"] == "ab" else {"scores": dict.fromkeys(item["takes"], 50)})}
                   for item in key["items"]]  # fmt: skip
        listener = {"listener": str(number), "test": key["test"], "rater": f"L{number}", "answers": answers}
        (folder / f"answers-{number}.json").write_text(json.dumps(listener))


# --- Clients ---------------------------------------------------------------------------------------------------


def request_of(words, body):
    """What curl would send: SimpleNamespace(method, path, headers, content); `body` is what comes through a pipe."""
    headers, content, rest = {}, None, list(words[1:])
    while rest:
        word = rest.pop(0)
        if word == "-H":
            name, _, value = rest.pop(0).partition(": ")
            headers[name] = value
        elif word in ("-d", "--data-binary"):
            given = rest.pop(0)
            content = body if given == "@-" else Path(given[1:]).read_bytes() if given[0] == "@" else given.encode()
        elif word.startswith("http"):
            path = re.sub(r"^https?://[^/]+", "", word)
        else:
            assert word == "-s", f"an option that this client does not know: {word}"
    return SimpleNamespace(method="GET" if content is None else "POST", path=path, headers=headers, content=content)
