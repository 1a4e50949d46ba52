"""Ingest: the real corpora, a user's folder, hostile and broken archives."""

import json
import zipfile

import numpy as np
import pytest

from lib.data.corpora import open_corpus, summary
from lib.data.ingest import ingest
from lib.data.note_store import CorpusError
from lib.music.midi_writer import write_midi
from lib.music.notes import Notes


def tune(path, seed=0, count=20):
    generator = np.random.default_rng(seed)
    onset_s = np.sort(generator.uniform(0, 30, count))
    return write_midi(Notes.from_arrays(onset_s, np.full(count, 0.3), generator.integers(40, 80, count), np.full(count, 70)), path)


@pytest.fixture
def folder(tmp_path):
    """Two pianists, four albums, a file without an album and one without a pianist."""
    root = tmp_path / "mine"
    for seed, name in enumerate(["Ann/One/a.mid", "Ann/Two/b.midi", "Ann/Three/c.MID", "Bén/Four/d.mid", "Bén/e.mid", "f.mid"]):
        tune(root / name, seed)
    return root


def test_a_folder_of_the_users_own(folder, tmp_path):
    report = ingest("mine", tmp_path / "data", folder=folder)
    assert (report.pieces, report.notes, report.skipped) == (6, 120, [])
    store = open_corpus("mine", tmp_path / "data")
    assert store.pianists == ["Ann", "Bén"]
    found = {(p.pianist, p.album, p.title) for p in store.pieces}
    assert ("Ann", "One", "a") in found and ("Bén", "", "e") in found and ("", "", "f") in found
    assert {p.split for p in store.pieces if p.pianist == "Ann"} >= {"train", "validation"}
    assert summary("mine", tmp_path / "data", "ann")["pieces"] == 3
    assert report.time_resolution_ms == summary("mine", tmp_path / "data")["time_resolution_ms"] == 1.04  # of 480 ticks


BROKEN = {
    "x/truncated.mid": lambda good: good[: len(good) // 2],
    "x/garbage.mid": lambda good: bytes(range(256)) * 4,
    "x/zero.mid": lambda good: b"",
    "x/claims.mid": lambda good: good[:18] + b"\x7f\xff\xff\xff" + good[22:],
    "x/text.mid": lambda good: b"hello",
    "../../escape.mid": lambda good: good,
    "/absolute.mid": lambda good: good,
    "C:\\windows.mid": lambda good: good,
}


def test_broken_files_are_counted_and_the_good_one_is_kept(tmp_path):
    good = tune(tmp_path / "good.mid").read_bytes()
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("Ann/One/good.mid", good)
        for name, damage in BROKEN.items():
            archive.writestr(name, damage(good))
        archive.writestr("readme.txt", "no music")
        archive.writestr("__MACOSX/._good.mid", b"junk")
    report = ingest("mine", tmp_path / "data", archive=tmp_path / "all.zip")
    assert report.pieces == 1 and len(report.skipped) == len(BROKEN)
    written = json.loads((tmp_path / "data/mine/ingest_report.json").read_text(encoding="utf-8"))
    reasons = {entry["member"]: entry["reason"] for entry in written["skipped"]}
    assert "empty" in reasons["x/zero.mid"] and "2,147,483,647" in reasons["x/claims.mid"]
    assert "unsafe" in reasons["../../escape.mid"] and "unsafe" in reasons["/absolute.mid"]
    assert not list(tmp_path.rglob("escape.mid")) and all(reasons.values())


def test_a_bomb_is_not_unpacked(tmp_path):
    tune(tmp_path / "good.mid")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "good.mid", "good.mid")
        archive.writestr("bomb.mid", b"MThd" + bytes(100 << 20))
    report = ingest("mine", tmp_path / "data", archive=tmp_path / "bomb.zip")
    assert report.pieces == 1 and "MB" in report.skipped[0]["reason"]


def test_nothing_usable_is_an_error_and_leaves_the_old_store(folder, tmp_path):
    ingest("mine", tmp_path / "data", folder=folder)
    before = (tmp_path / "data/mine/notes.store").read_bytes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="no MIDI file"):
        ingest("mine", tmp_path / "data", folder=tmp_path / "empty")
    (tmp_path / "empty" / "x.mid").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"x\.mid is empty"):
        ingest("mine", tmp_path / "data", folder=tmp_path / "empty")
    assert (tmp_path / "data/mine/notes.store").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"archive": "nothing.zip"}, "no archive at"),
        ({"archive": "cut.zip"}, "not a zip archive"),
        ({"folder": "nowhere"}, "no folder at"),
        ({"folder": "a", "archive": "b"}, "not both"),
        ({}, "--folder"),
    ],
)
def test_bad_sources(tmp_path, arguments, message):
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4" + bytes(50))
    with pytest.raises(CorpusError, match=message):
        ingest("mine", tmp_path, **{key: tmp_path / value for key, value in arguments.items()})


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_bad_names(tmp_path, name):
    with pytest.raises(CorpusError, match="plain name"):
        ingest(name, tmp_path, folder=tmp_path)


def test_unknown_corpora_name_the_nearest(folder, tmp_path):
    ingest("mine", tmp_path, folder=folder)
    with pytest.raises(CorpusError, match="Did you mean 'mine'"):
        open_corpus("mime", tmp_path)
    with pytest.raises(CorpusError, match="data download pijama"):
        ingest("pijama", tmp_path)


@pytest.mark.slow
def test_the_real_corpora(real_data, tmp_path):
    reports = [
        ingest("maestro", tmp_path, archive=real_data / "maestro-v3.0.0-midi.zip"),
        ingest("pijama", tmp_path, archive=real_data / "midi_kong.zip"),
    ]
    assert [r.pieces for r in reports] == [1276, 2777] and [r.unlisted for r in reports] == [0, 0]
    assert [r.skipped for r in reports] == [[], []] and 14.1e6 < sum(r.notes for r in reports) < 14.2e6
    assert {k: v["pieces"] for k, v in summary("maestro", tmp_path)["splits"].items()} == {
        "train": 962, "validation": 137, "test": 177
    }  # fmt: skip
    store = open_corpus("pijama", tmp_path)
    assert len(store.pianists) == 120 and "André Previn" in store.pianists
    solo = store.select(pianist="Brad Mehldau", duets=False)
    assert len(solo) == 69 and len(store.select(pianist="Brad Mehldau")) == 72
    albums = {}
    for piece in store.pieces:
        albums.setdefault((piece.pianist, piece.album), set()).add(piece.split)
    assert not [album for album, splits in albums.items() if len(splits) > 1 and "train" in splits]
    assert summary("pijama", tmp_path, "Brad Mehldau")["pieces"] == 69
