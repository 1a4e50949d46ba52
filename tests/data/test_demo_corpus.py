"""The demo corpus: the same on every machine, and with habits that can be told apart."""

import hashlib

import numpy as np

from lib.data.corpora import open_corpus
from lib.data.demo import PLAYERS, demo_pieces, write_demo_midi
from lib.music.metrics import describe


def test_the_store(demo_data):
    store = open_corpus("demo", demo_data)
    assert set(store.pianists) == set(PLAYERS) and len(PLAYERS) >= 4
    assert 40 <= len(store.pieces) <= 80
    assert 0.5 < sum(piece.seconds for piece in store.pieces) / 3600 < 3
    for split in ("train", "validation"):
        assert {store.pieces[i].pianist for i in store.select(split=split)} == set(PLAYERS)


def test_it_sounds_like_a_pianist(demo_data):
    store = open_corpus("demo", demo_data)
    for index in range(0, len(store.pieces), 5):
        notes = store.piece_notes(index)
        figures = describe(notes)
        assert 2 < figures["notes_per_s"] < 15 and figures["longest_silence_s"] < 6
        assert figures["pitch_low"] >= 21 and figures["pitch_high"] <= 108 and figures["velocity_std"] > 3
        assert 0.1 < figures["left_hand_share"] < 0.9


def test_players_differ(demo_data):
    store = open_corpus("demo", demo_data)
    means = {}
    for player in PLAYERS:
        rows = [describe(store.piece_notes(i)) for i in store.select(pianist=player)]
        means[player] = {key: np.mean([row[key] for row in rows]) for key in ("velocity_mean", "pedal_share", "notes_per_s")}
    for key, least in (("velocity_mean", 15), ("pedal_share", 0.3), ("notes_per_s", 1)):
        values = [mean[key] for mean in means.values()]
        assert max(values) - min(values) > least


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    def digest(folder, seed):
        paths = sorted(write_demo_midi(folder, seed, pieces_per_album=1))
        return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()

    assert digest(tmp_path / "a", 0) == digest(tmp_path / "b", 0) != digest(tmp_path / "c", 1)


def test_no_album_holds_a_title_twice():
    titles = [(player.name, album, title) for player, album, title, _ in demo_pieces()]
    assert len(titles) == len(set(titles))
