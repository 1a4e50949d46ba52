"""Real clips: from which recordings, and how many; the Markov baseline; what is kept of what was played."""

import numpy as np
import pytest

from lib.apps.evaluate.clip_sets import Missing, Size, clips_of_others, real_clips, spread
from lib.apps.evaluate.clips import LEAST_IN_TIME, ClipPlayer, MarkovBaseline, make_orders, passages
from lib.data.corpora import open_corpus
from lib.data.tempo_maps import open_tempo_maps
from lib.generation.generate import load_improviser
from lib.music.metrics import phase_lock
from lib.music.tempo_map import BEATS_ONLY, IN_BARS, LONGEST_BAR, NO_BEAT, BeatNotes, Metre, TempoMap, bar_table


@pytest.fixture
def store(demo_data):
    return open_corpus("demo", demo_data)


def test_real_clips_are_of_the_pianist_and_the_split(store):
    clips = real_clips(store, "Cora Canonby", "validation", 10)
    pieces = [store.pieces[i] for i in clips.pieces]
    assert len(clips.clips) == 10 and {(piece.pianist, piece.split) for piece in pieces} == {("Cora Canonby", "validation")}
    assert len(set(clips.groups[:5])) == 3, "the first few are of several recordings"
    for clip in clips.clips:
        assert 24 <= clip.beats <= 32 and clip.notes.onset_s.max() < clip.seconds
        assert clip.clock[0, 0] == 0 and clip.clock[0, 1] in (0, LONGEST_BAR), "with a bar, or a beat of unknown bars"
        assert clip.felt_bpm == pytest.approx(clip.prompt()["tempo_bpm"]) and 75 <= clip.felt_bpm <= 170
    locks = [max(phase_lock(clip.in_beats.onset, parts) for parts in (3, 4)) for clip in clips.clips]
    assert np.median(locks) > 0.5, "in its own beats it is in time"


def test_clips_of_others_are_of_everybody_else(store):
    clips = clips_of_others(store, "Cora Canonby", "validation", 5)
    assert len({store.pieces[i].pianist for i in clips.pieces} - {"Cora Canonby"}) == 5


def test_what_is_not_there_is_named(store):
    with pytest.raises(Missing, match="no test recording of Cora Canonby"):
        real_clips(store, "Cora Canonby", "test", 4)
    with pytest.raises(Missing, match="4000 beats in time"):
        real_clips(store, "Cora Canonby", "train", 4, 4000)
    with pytest.raises(Missing, match="another pianist"):
        clips_of_others(store, "Cora Canonby", "test", 4)


def test_spread():
    assert spread(list(range(8))) == [0, 4, 2, 6, 1, 5, 3, 7], "bits backwards"
    assert sorted(spread(list(range(10)))) == list(range(10)) and np.ptp(spread(list(range(64)))[:4]) > 30


def test_passages_are_whole_bars_in_time():
    beats_s = np.arange(121) * 0.5
    metres = [(0, 20, NO_BEAT, None), (20, 48, IN_BARS, Metre(3, 4)), (68, 52, BEATS_ONLY, None)]
    bars = [
        bar_table(np.arange(first, first + count, size := 3 if metre else count), [size] * (count // size), kind, 1.0, metre)
        for first, count, kind, metre in metres
    ]
    found = passages(TempoMap(beats_s, np.concatenate(bars)), 32)
    assert found[0] == (20, 30), "ten bars of three; nothing begins without a beat"
    assert all(first + length <= later for (first, length), (later, _) in zip(found, found[1:]))
    assert found[-1][1] == 32, "bars that are not known count as bars of four"
    assert len(passages(TempoMap(beats_s, bar_table([0], [120], NO_BEAT, 0.0)), 32)) == 0 < LEAST_IN_TIME
    assert len(passages(TempoMap.constant(100, Metre(4, 4), 8), 32)) == 1


def test_real_passages_are_those_of_the_map(store):
    maps, (index,) = open_tempo_maps(store), real_clips(store, "Cora Canonby", "validation", 1).pieces
    first, beats = passages(maps[index])[0]
    assert first < 8 and beats in (28, 30, 32)


def test_a_markov_model_of_one_figure_plays_it():
    pitches, onset = np.tile([60, 64, 67, 72], 30), np.arange(120) * 0.5
    notes = BeatNotes(onset, onset + 0.45, pitches, np.full(120, 70), np.array([[0.0, 10.0]]))
    model = MarkovBaseline([notes])
    played = model.play(10.0, seed=1)
    assert set(np.diff(played.pitch.astype(int))) <= {4, 3, 5, -12} and set(played.velocity) == {70}
    assert set(np.diff(played.onset)) == {0.5}
    again, other = model.play(10.0, seed=1), model.play(10.0, seed=2)
    assert again.pitch.tolist() == played.pitch.tolist() and again.pedal.tolist() == played.pedal.tolist()
    assert played.end < 10.6 and other.pedal.tolist() != played.pedal.tolist()


def pitches(clips):
    return [clip.notes.pitch.tolist() for clip in clips]


def test_clips_are_kept_by_model_and_request(noise, tmp_path, monkeypatch):
    player = ClipPlayer(load_improviser(noise, device="cpu"), tmp_path)
    requests = make_orders([{"bars": 2, "num_steps": 2}] * 2)
    first = player.play(requests, "Some Set!")
    names = sorted(path.name for path in tmp_path.glob("*.mid"))
    assert [name[:14] for name in names] == ["some-set-0001-", "some-set-0002-"]
    plain = ClipPlayer(player.improviser).play(requests, "x")
    assert pitches(plain) == pitches(first)
    (tmp_path / names[0]).write_bytes(b"damaged")
    again = player.play(make_orders([{"bars": 2, "num_steps": 2}] * 2), "other name")
    assert pitches(again) == pitches(first)
    assert sorted(path.name for path in tmp_path.glob("*.mid")) == names, "one is played anew, in its place"
    monkeypatch.setattr("lib.apps.evaluate.clips.generate_many", None)
    player.play(requests, "x")
    with pytest.raises(TypeError):
        player.play(make_orders([{"bars": 2, "num_steps": 3}]), "x")  # another request


def test_sizes_of_notebooks():
    assert Size.for_preset("demo") == Size(8, 0, 1, 1, 64) and Size.for_preset("tiny").solo_beats == 36
    assert Size.for_preset("laptop", clips=64, guided=2) == Size(64, 2, 8, 8, 64)
