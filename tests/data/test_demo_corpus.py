"""The demo corpus: the same on every machine, and with habits that can be told apart."""

import numpy as np
from demo_corpus.generator import demo_pieces, write_archive
from demo_corpus.players import PLAYERS

from lib.data.corpora import open_corpus
from lib.data.ingest import ingest
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


def test_the_program_still_writes_the_corpus_that_is_shipped(demo_data, tmp_path):
    """The same notes, their times within a tick: the files that are shipped were rounded otherwise."""
    ingest("demo", tmp_path, archive=write_archive(tmp_path / "anew.zip"))
    shipped, anew = (open_corpus("demo", folder) for folder in (demo_data, tmp_path))
    assert [piece.member for piece in shipped.pieces] == [piece.member for piece in anew.pieces]
    for index in range(len(shipped)):
        columns = []
        for store in (shipped, anew):
            notes = store.piece_notes(index)
            rows = np.lexsort((notes.onset_s, notes.pitch))
            columns.append([getattr(notes, name)[rows] for name in ("pitch", "velocity", "onset_s", "duration_s")])
        (pitch, velocity, *times_s), (pitch_anew, velocity_anew, *times_anew_s) = columns
        assert np.array_equal(pitch, pitch_anew) and np.array_equal(velocity, velocity_anew)
        assert np.abs(np.array(times_s) - np.array(times_anew_s)).max() < 2e-3


def test_another_seed_is_another_performance(tmp_path):
    archives = [write_archive(tmp_path / f"{number}.zip", seed, 1).read_bytes() for number, seed in enumerate((0, 0, 1))]
    assert archives[0] == archives[1] != archives[2]


def test_no_album_holds_a_title_twice():
    titles = [(player.name, album, title) for player, album, title, _ in demo_pieces()]
    assert len(titles) == len(set(titles))
