"""Real clips: from which recordings, and how many; the Markov baseline; what is kept of what was played."""

import numpy as np
import pytest

from lib.apps.evaluate.clip_sets import CHORDS, Missing, Size, clips_of_others, real_clips, spread
from lib.apps.evaluate.players import ClipPlayer, MarkovBaseline, make_orders
from lib.data.corpora import open_corpus
from lib.generation.generate import load_improviser
from lib.music.notes import Notes


@pytest.fixture
def store(demo_data):
    return open_corpus("demo", demo_data)


def test_real_clips_are_of_the_pianist_and_the_split(store):
    clips = real_clips(store, "Cora Canonby", "validation", 12)
    pieces = [store.pieces[i] for i, _ in clips.positions]
    assert len(clips) == 12 and {(piece.pianist, piece.split) for piece in pieces} == {("Cora Canonby", "validation")}
    assert len(set(clips.groups[:4])) >= 3, "the first few are of several recordings"
    assert all(notes.onset_s.max() < 10.24 for notes in clips.clips)


def test_clips_of_others_are_of_everybody_else(store):
    clips = clips_of_others(store, "Cora Canonby", "validation", 5)
    assert len({store.pieces[i].pianist for i, _ in clips.positions} - {"Cora Canonby"}) == 5


def test_what_is_not_there_is_named(store):
    with pytest.raises(Missing, match="no test recording of Cora Canonby"):
        real_clips(store, "Cora Canonby", "test", 4)
    with pytest.raises(Missing, match="1000 s"):
        real_clips(store, "Cora Canonby", "train", 4, 1000.0)
    with pytest.raises(Missing, match="another pianist"):
        clips_of_others(store, "Cora Canonby", "test", 4)


def test_spread():
    assert spread(list(range(8))) == [0, 4, 2, 6, 1, 5, 3, 7], "bits backwards"
    assert sorted(spread(list(range(10)))) == list(range(10)) and np.ptp(spread(list(range(64)))[:4]) > 30


def test_a_markov_model_of_one_figure_plays_it():
    pitches = np.tile([60, 64, 67, 72], 30)
    notes = Notes.from_arrays(np.arange(120) * 0.24, np.full(120, 0.22), pitches, np.full(120, 70), [(0.0, 5.0)])
    model = MarkovBaseline([notes])
    played = model.play(5.0, seed=1)
    assert set(np.diff(played.pitch.astype(int))) <= {4, 3, 5, -12} and set(played.velocity) == {70}
    again, other = model.play(5.0, seed=1), model.play(5.0, seed=2)
    assert again.pitch.tolist() == played.pitch.tolist() and again.pedal_s.tolist() == played.pedal_s.tolist()
    assert played.end_s < 5.3 and other.pedal_s.tolist() != played.pedal_s.tolist()


def test_clips_are_kept_by_model_and_request(noise, tmp_path, monkeypatch):
    player = ClipPlayer(load_improviser(noise, device="cpu"), tmp_path)
    requests = make_orders([{"seconds": 3.0, "num_steps": 2}] * 2)
    first = player.play(requests, "Some Set!")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name[:14] for name in names] == ["some-set-0001-", "some-set-0002-"]
    plain = ClipPlayer(player.improviser).play(requests, "x")
    assert [notes.pitch.tolist() for notes in plain] == [notes.pitch.tolist() for notes in first]
    (tmp_path / names[0]).write_bytes(b"damaged")
    again = player.play(make_orders([{"seconds": 3.0, "num_steps": 2}] * 2), "other name")
    assert [notes.pitch.tolist() for notes in again] == [notes.pitch.tolist() for notes in first]
    assert sorted(path.name for path in tmp_path.iterdir()) == names, "one is played anew, in its place"
    monkeypatch.setattr("lib.apps.evaluate.players.generate_many", None)
    player.play(requests, "x")
    with pytest.raises(TypeError):
        player.play(make_orders([{"seconds": 3.0, "num_steps": 3}]), "x")  # another request


def test_sizes_of_notebooks_and_of_files():
    assert Size.for_preset("demo") == Size(8, 4, 0, 1, 1, 32.0) and Size.for_preset("tiny").solo_s == 18.0
    assert Size.for_preset("laptop", clips=64, guided=2) == Size(64, 32, 2, 8, 8, 32.0)
    size = Size(clips=5, with_chords=2)
    assert Size.of(size.values()) == size and size.values()[CHORDS] == 2
