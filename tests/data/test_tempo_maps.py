"""Tempo maps of a corpus are tracked once, continue where they were stopped, and are read as they were written."""

import shutil
from functools import partial

import numpy as np
import pytest

from lib.data.corpora import open_corpus
from lib.data.ingest import ingest
from lib.data.note_store import CorpusError, Piece, write_note_store
from lib.data.prepare import copy_store, prepare
from lib.data.tempo_maps import (
    MAPS_NAME,
    PARTS_NAME,
    find_tempo_maps,
    open_tempo_maps,
    read_tempo_maps,
    store_fingerprint,
    tempo_maps_of,
    write_tempo_maps,
)
from lib.music.midi_writer import write_midi
from lib.music.notes import Notes
from lib.music.tempo_map import BEATS_ONLY, IN_BARS, Metre, TempoMap
from lib.storage.backends import open_storage


def maps():
    drifting = 0.4 + np.cumsum(np.linspace(0.4, 0.9, 33))
    waltz = TempoMap.constant(97.0, Metre.parse("3/4"), 12, start_s=0.1234)
    sevens = TempoMap(drifting, TempoMap.constant(120, Metre.parse("7/8"), 8).bars)
    return [waltz, sevens, TempoMap.constant(80.0, Metre.parse("12/8"), 3)]


def test_maps_are_read_as_they_were_written(tmp_path):
    write_tempo_maps(tmp_path / "maps.npz", maps(), "print")
    found = read_tempo_maps(tmp_path / "maps.npz", "print")
    assert len(found) == 3
    for written, read in zip(maps(), found):
        assert read.beats_s == pytest.approx(written.beats_s, abs=6e-5) and (read.bars == written.bars).all()
    write_tempo_maps(tmp_path / "again.npz", found, "print")
    again = read_tempo_maps(tmp_path / "again.npz", "print")
    assert [m.fingerprint() for m in again] == [m.fingerprint() for m in found]


def test_a_file_that_is_missing_broken_or_of_other_notes_is_named(tmp_path):
    path = tmp_path / "maps.npz"
    with pytest.raises(CorpusError, match="no tempo maps"):
        read_tempo_maps(path, "print")
    write_tempo_maps(path, maps(), "print")
    with pytest.raises(CorpusError, match=r"maps\.npz: tempo maps of other notes"):
        read_tempo_maps(path, "other")
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(CorpusError, match=r"maps\.npz: not a file of tempo maps"):
        read_tempo_maps(path, "print")


def test_beats_too_far_apart_are_refused(tmp_path):
    wide = TempoMap(np.array([0.0, 7.0]), maps()[0].bars[:0])
    with pytest.raises(CorpusError, match=r"maps\.npz: beats"):
        write_tempo_maps(tmp_path / "maps.npz", [wide], "print")


def seventy_pieces(folder):
    """A store of 70 pieces, three parts' worth."""
    notes = Notes.from_arrays([2.0, 3.0, 31.0], [0.5, 0.5, 3.0], [60, 62, 64], [70, 70, 70])
    pieces = [Piece("mine", f"{number}.mid", start_s=1.0) for number in range(70)]
    return write_note_store(folder / "mine" / "notes.store", pieces, [notes] * 70)


def track_and_count(folder):
    """A track that leaves a file behind for each part."""
    (folder / f"loaded-{len(list(folder.glob('loaded-*')))}").touch()
    return lambda notes, own_beats_s: TempoMap.constant(120, Metre.parse("4/4"), 2)


def never():
    raise RuntimeError("nothing is left to track")


def test_a_corpus_is_tracked_once_and_continues_after_a_stop(tmp_path):
    store = seventy_pieces(tmp_path)
    assert find_tempo_maps(store, partial(track_and_count, tmp_path)) == "tracked"
    assert len(list(tmp_path.glob("loaded-*"))) == 3 and not (tmp_path / "mine" / PARTS_NAME).exists()
    found = open_tempo_maps(store)
    assert len(found) == 70 and found[0].beats_s[0] <= 0 and found[69].beats_s[-1] >= 33.0
    assert find_tempo_maps(store, never) == "there"
    (tmp_path / "mine" / "tempo_maps.npz").unlink()
    parts = tmp_path / "mine" / PARTS_NAME
    for first in (0, 32):  # as if it had been stopped before the last part
        count = min(32, 70 - first)
        write_tempo_maps(parts / f"{store_fingerprint(store)}-{first:05d}.npz", found[:count], store_fingerprint(store))
    assert find_tempo_maps(store, partial(track_and_count, tmp_path)) == "tracked"
    assert len(list(tmp_path.glob("loaded-*"))) == 4 and len(open_tempo_maps(store)) == 70


def test_the_demo_corpus_has_maps_by_itself_and_so_has_what_a_mirror_brings(tmp_path):
    store = prepare(["demo"], tmp_path / "data")["demo"]
    maps = open_tempo_maps(store)
    assert len(maps) == len(store) and all(m.bars["start"][0] == 0 for m in maps)
    assert sum(m.seconds_of(IN_BARS, BEATS_ONLY) for m in maps) > 0.9 * sum(piece.seconds for piece in store.pieces)
    changed = [m.from_beat(0) for m in maps[::-1]]
    write_tempo_maps(tmp_path / "data" / "demo" / MAPS_NAME, changed, store_fingerprint(store))  # tracked anew, say
    mirror = open_storage(tmp_path / "mirror")
    mirror.open()
    copy_store(mirror, "demo", tmp_path / "data")
    back = prepare(["demo"], tmp_path / "elsewhere", str(tmp_path / "mirror"))["demo"]
    assert [m.fingerprint() for m in open_tempo_maps(back)] == [m.fingerprint() for m in maps[::-1]]


def test_a_corpus_of_ones_own_is_prepared_without_maps_and_training_says_what_to_do(tmp_path):
    write_midi(Notes.from_arrays([0.0], [1.0], [60], [64]), tmp_path / "in" / "Ann" / "One" / "a.mid")
    ingest("mine", tmp_path / "data", folder=tmp_path / "in")
    store = prepare(["mine"], tmp_path / "data")["mine"]
    with pytest.raises(CorpusError, match="no tempo maps.*python -m lib data beats"):
        tempo_maps_of([(store, 0)])


def test_a_note_store_that_was_ingested_or_mirrored_without_its_maps_gets_the_released_ones(demo_data, tmp_path):
    shutil.copytree(demo_data / "demo", tmp_path / "demo", ignore=shutil.ignore_patterns(MAPS_NAME))
    store = open_corpus("demo", tmp_path)
    assert len(open_tempo_maps(store)) == len(store) and (tmp_path / "demo" / MAPS_NAME).exists()


def test_released_maps_are_taken_where_they_fit(tmp_path):
    store = seventy_pieces(tmp_path)
    write_tempo_maps(tmp_path / "released.npz", [maps()[0]] * 70, store_fingerprint(store))
    assert find_tempo_maps(store, never, released=tmp_path / "released.npz") == "released"
    assert open_tempo_maps(store)[3].beats_s == pytest.approx(maps()[0].beats_s, abs=6e-5)
    (tmp_path / "mine" / "tempo_maps.npz").unlink()
    write_tempo_maps(tmp_path / "released.npz", [maps()[0]] * 70, "others")
    with pytest.raises(RuntimeError, match="nothing is left"):
        find_tempo_maps(store, never, released=tmp_path / "released.npz")


def test_ingest_keeps_the_grid_of_a_file_whose_notes_sit_on_it(tmp_path):
    beats_s = np.arange(64) * 0.4
    on_grid = Notes.from_arrays(np.r_[beats_s, beats_s + 0.2], np.full(128, 0.1), np.full(128, 60), np.full(128, 70))
    played = Notes.from_arrays(np.sort(np.random.default_rng(0).uniform(0, 25, 128)), *(np.full((3, 128), 60)))
    write_midi(on_grid, tmp_path / "mine" / "Ann" / "One" / "a.mid", TempoMap.constant(150, Metre.parse("4/4"), 4))
    write_midi(played, tmp_path / "mine" / "Ann" / "One" / "b.mid", TempoMap.constant(150, Metre.parse("4/4"), 4))
    ingest("mine", tmp_path / "data", folder=tmp_path / "mine")
    from lib.data.corpora import open_corpus

    first, second = open_corpus("mine", tmp_path / "data").pieces
    assert second.quarters_s is None and len(first.quarters) == 2
    assert np.diff(first.quarters_s) == pytest.approx(0.4) and first.quarters_s[-1] > 25.4
