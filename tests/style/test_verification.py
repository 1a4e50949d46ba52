"""Same player or not, for players that nobody was told of."""

from dataclasses import replace

import numpy as np
import pytest

from lib.data.corpora import open_corpus
from lib.music.notes import Notes
from lib.music.style_features import BUCKETS, count_ngrams, note_ngrams
from lib.style.classifier import Prediction
from lib.style.verification import MOST_RECORDINGS, Features, Verifier, _spread, _whitening


def traits_of(pooled, recordings=()):
    """Of pooled features alone, or with what is read off notes."""
    if recordings:
        return Features.of([Prediction(None, None, row) for row in pooled], recordings)
    return Features(pooled, np.zeros((len(pooled), 1)), {})


def recordings(demo_data):
    """(Notes, names of their players) of the demo corpus."""
    store = open_corpus("demo", demo_data)
    chosen = [i for i in range(len(store)) if not store.pieces[i].duet]
    return [store.piece_notes(i) for i in chosen], [store.pieces[i].pianist for i in chosen]


def test_words_are_counted(demo_data):
    (notes, *_), _ = recordings(demo_data)
    counts = count_ngrams([notes, notes])
    for kind, found in note_ngrams(notes).items():
        assert counts[kind].shape == (2, BUCKETS) and counts[kind].sum() == 2 * len(found)


def test_players_left_out_of_the_fit_are_told_apart(demo_data):
    notes, players = recordings(demo_data)
    features, players = traits_of(np.zeros((len(notes), 3)), notes), np.array(players)  # the encoder says nothing
    left_out = np.isin(players, sorted(set(players))[:2])
    vectors = Verifier.fit(features[~left_out], players[~left_out]).vectors(features)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    similarity, alike = vectors[left_out] @ vectors[left_out].T, players[left_out][:, None] == players[left_out]
    pairs = np.triu(np.ones_like(alike), 1)
    assert similarity[alike & pairs].mean() > similarity[~alike & pairs].mean() + 0.1


def test_the_tune_counts_less_than_the_player():
    generator = np.random.default_rng(0)
    players = np.repeat(np.arange(12), 10)
    tune, player = generator.normal(size=(120, 8)), generator.normal(size=(12, 8))[players]
    player = player + 0.3 * generator.normal(size=player.shape)
    pooled = np.concatenate([2 * tune, player], 1)  # what varies within a player is twice as loud
    fitted = players < 8
    verifier = Verifier.fit(traits_of(pooled[fitted]), players[fitted])
    new, who = verifier.vectors(traits_of(pooled[~fitted])), players[~fitted]
    plain = pooled[~fitted] / np.linalg.norm(pooled[~fitted], axis=1, keepdims=True)

    def nearest_right(vectors):
        similarity = vectors @ vectors.T - 9 * np.eye(len(vectors))
        return (who[similarity.argmax(1)] == who).mean()

    assert nearest_right(new) > 0.9 > 0.8 > nearest_right(plain)


def test_a_file_holds_it(demo_data, tmp_path):
    notes, players = recordings(demo_data)
    features = traits_of(np.random.default_rng(0).normal(size=(len(notes), 6)), notes)
    verifier = Verifier.fit(features, players)
    verifier.save(tmp_path)
    loaded = Verifier.load(tmp_path)
    assert set(loaded.ngrams) == set(note_ngrams(notes[0]))
    assert (loaded.vectors(features) * verifier.vectors(features)).sum(1) == pytest.approx(1, abs=1e-3)


def test_the_key_of_a_recording_changes_little(demo_data):
    notes, players = recordings(demo_data)
    verifier = Verifier.fit(traits_of(np.zeros((len(notes), 1)), notes), players)
    up = replace(notes[0], pitch=notes[0].pitch + 1)
    one, two, other = verifier.vectors(traits_of(np.zeros((3, 1)), [notes[0], up, notes[-1]]))
    assert one @ two > 0.8 > 0.5 > one @ other  # what lies below middle C depends on the key


def sequenced(generator, count=60):
    """A program's notes: one length, one velocity."""
    pitch = generator.integers(40, 80, count)
    return Notes.from_arrays(np.arange(count) * 0.25, np.full(count, 0.2), pitch, np.full(count, 64), [])


@pytest.mark.parametrize("case", ["one recording", "the same one", "one each", "one chord", "one length"])
def test_whatever_never_varies_is_no_number_out_of_range(case, tmp_path):
    generator = np.random.default_rng(0)
    if case == "one chord":
        notes = [Notes.from_arrays(np.zeros(10), np.full(10, 6.0), np.arange(60, 70), np.full(10, 64), [])] * 4
    else:
        notes = [sequenced(generator) for _ in range({"one recording": 1, "one each": 3}.get(case, 6))]
        notes = [notes[0]] * 6 if case == "the same one" else notes
    players = list("abc") if case == "one each" else ["a", "b", "a", "b", "a", "b"][: len(notes)]
    features = traits_of(np.ones((len(notes), 4)), notes)
    Verifier.fit(features, players).save(tmp_path)
    loaded = Verifier.load(tmp_path)
    assert np.isfinite(loaded.whitening).all() and np.isfinite(loaded.vectors(features)).all()


def test_whoever_recorded_most_does_not_rule():
    assert _whitening(np.ones((2, 3)), np.array(["a", "a"])) == pytest.approx(np.eye(3))
    rows = _spread(np.array(["a"] * 100 + ["b"] * 3))
    assert (rows < 100).sum() == MOST_RECORDINGS and (rows >= 100).sum() == 3
