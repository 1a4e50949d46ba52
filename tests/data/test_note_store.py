"""The note store: what goes in comes out, and damage is noticed."""

import pickle

import numpy as np
import pytest

from lib.data import note_store
from lib.data.note_store import CorpusError, NoteStore, Piece, write_note_store
from lib.music.notes import Notes


def performance(seed, count=50):
    generator = np.random.default_rng(seed)
    onset_s = np.sort(generator.uniform(0, 60, count))
    columns = (onset_s, generator.uniform(0.01, 3, count), generator.integers(21, 109, count), generator.integers(1, 128, count))
    return Notes.from_arrays(*columns, pedal_s=[(1.0, 2.5), (3.0, 9.25)])


@pytest.fixture
def store(tmp_path):
    pieces = [
        Piece("x", "a.mid", "Ann", album="One", split="train"),
        Piece("x", "b.mid", "Ann", album="Two", split="test", duet=True),
        Piece("x", "c.mid", "Ben", album="Three", split="validation", start_s=10.0, end_s=20.0),
    ]
    return write_note_store(tmp_path / "notes.store", pieces, [performance(seed) for seed in range(3)])


def test_notes_come_back_within_the_store_resolution(store):
    for index in range(2):
        was, now = performance(index), store.piece_notes(index)
        assert np.abs(now.onset_s - was.onset_s).max() <= 5.1e-5
        assert np.abs(now.duration_s - was.duration_s).max() <= 5.1e-4
        assert np.array_equal(now.pitch, was.pitch) and np.array_equal(now.velocity, was.velocity)
        assert np.allclose(now.pedal_s, was.pedal_s, atol=1e-4)


def test_the_resolution_of_times_is_kept_or_measured(store, tmp_path):
    rounded = performance(0)
    rounded = Notes.from_arrays(np.rint(rounded.onset_s * 50) / 50, rounded.duration_s, rounded.pitch, rounded.velocity)
    coarse = write_note_store(tmp_path / "coarse.store", [Piece("x", "a.mid")], [rounded])
    assert (coarse.stored_resolution_s, store.stored_resolution_s) == (pytest.approx(0.02), pytest.approx(1e-4))
    content = bytearray(coarse.path.read_bytes())
    content[36:40] = bytes(4)  # as an earlier version wrote it
    (tmp_path / "older.store").write_bytes(content)
    older = NoteStore.open(tmp_path / "older.store")
    assert older.stored_resolution_s == 0 and older.time_resolution_s == pytest.approx(0.02)


def test_a_store_of_before_quarters_were_kept_is_read(store, tmp_path, monkeypatch):
    plain = note_store.asdict

    def without_quarters(piece):
        return {name: value for name, value in plain(piece).items() if name != "quarters"}

    monkeypatch.setattr(note_store, "asdict", without_quarters)
    notes = [store.piece_notes(index) for index in range(len(store))]
    older = write_note_store(tmp_path / "older.store", list(store.pieces), notes)
    assert [piece.quarters for piece in older.pieces] == [()] * len(store)
    assert [piece.member for piece in older.pieces] == [piece.member for piece in store.pieces]


def test_bounds_cut_a_performance_and_move_it_to_zero(store):
    notes, whole = store.piece_notes(2), performance(2)
    inside = whole.onset_s[(whole.onset_s >= 10) & (whole.onset_s < 20)]
    assert np.allclose(notes.onset_s, inside - 10, atol=1e-4)
    assert len(store.rows(2)[0]) == 50
    assert len(store.piece_notes(2, 0.0, 100.0)) == 50


def test_select(store):
    assert store.select() == [0, 1, 2]
    assert store.select(pianist="Ann") == [0, 1] and store.select(pianist="Ann", duets=False) == [0]
    assert store.select(split="validation") == [2]
    assert store.select(pianist="Nobody") == [] and store.pianists == ["Ann", "Ben"]


def test_find_pianist(store):
    assert store.find_pianist(" ann ") == "Ann"
    with pytest.raises(CorpusError, match="'Anne'.*mean 'Ann'"):
        store.find_pianist("Anne")


def test_pickles_as_its_path(store):
    again = pickle.loads(pickle.dumps(store))
    assert again.pieces == store.pieces and np.array_equal(again.notes, store.notes)


@pytest.mark.parametrize("damage", ["cut", "magic", "table", "missing", "empty"])
def test_damage_is_noticed(store, damage):
    path, content = store.path, bytearray(store.path.read_bytes())
    if damage == "cut":
        content = content[:-100]
    elif damage == "magic":
        content[0] ^= 1
    elif damage == "table":
        content[-20] ^= 1
    del store
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else content)
    with pytest.raises(CorpusError, match="ingest"):
        NoteStore.open(path)


def test_a_failed_write_leaves_the_old_store(store):
    before = store.path.read_bytes()
    with pytest.raises(ValueError):
        write_note_store(store.path, [Piece("x", "a.mid")], [])
    assert store.path.read_bytes() == before and list(store.path.parent.iterdir()) == [store.path]


def test_a_long_note_is_capped(tmp_path):
    notes = Notes.from_arrays([0.0], [200.0], [60], [60])
    store = write_note_store(tmp_path / "s", [Piece("x", "a")], [notes])
    assert store.piece_notes(0).duration_s[0] == pytest.approx(65.535)
