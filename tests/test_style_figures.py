"""The style benchmark's own arithmetic: error rates, calibration, baselines."""

import sys
from pathlib import Path

import numpy as np
import pytest

from lib.data.corpora import open_corpus
from lib.music.style_features import note_ngrams, note_statistics

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))

import style  # noqa: E402
from strangers import equal_error_rate  # noqa: E402
from style_baselines import NGramBaseline, StatisticsBaseline  # noqa: E402


def test_equal_error_rate():
    assert equal_error_rate(np.array([0.9, 0.8]), np.array([0.1, 0.2, 0.3])) == 0
    assert equal_error_rate(np.array([0.1, 0.2]), np.array([0.8, 0.9])) == 1
    generator = np.random.default_rng(0)
    alike = equal_error_rate(generator.random(2000), generator.random(3000))
    assert alike == pytest.approx(0.5, abs=0.03)


def test_calibration_error():
    names, who = ("Ann", "Bob"), np.array(["Ann", "Ann", "Ann", "Bob"])
    honest = np.tile([0.75, 0.25], (4, 1))
    assert style.calibration_error(honest, names, who) == pytest.approx(0)
    assert style.calibration_error(np.tile([1.0, 0.0], (4, 1)), names, who) == pytest.approx(0.25)


class Demo:
    """The demo corpus as the baselines want it."""

    def __init__(self, data_dir):
        self.store = open_corpus("demo", data_dir)
        self.pieces = self.store.pieces
        self.notes = {i: self.store.piece_notes(i) for i in range(len(self.store))}

    def who(self, recordings):
        return np.array([self.pieces[i].pianist for i in recordings])


@pytest.mark.parametrize("baseline", [StatisticsBaseline, NGramBaseline])
def test_the_baselines_tell_the_demo_corpus_apart(baseline, demo_data):
    corpus, found = Demo(demo_data), baseline()
    train, validation, test = (corpus.store.select(split=split) for split in ("train", "validation", "test"))
    found.fit(corpus, train, validation)
    held = test or validation
    assert (found.names[found.scores(corpus, held).argmax(1)] == corpus.who(held)).mean() > 0.6


def test_statistics_and_words_do_not_hear_the_key(demo_data):
    notes = open_corpus("demo", demo_data).piece_notes(0)
    up = type(notes)(notes.onset_s, notes.duration_s, notes.pitch + 1, notes.velocity, notes.pedal_s)
    theirs, own = note_ngrams(up), note_ngrams(notes)
    assert all(theirs[kind] == own[kind] for kind in own if kind != "left")  # middle C stays where it is
    assert np.isfinite(note_statistics(notes)).all()


def test_flat_and_dry():
    notes = open_notes()
    assert set(style.flat_velocity(notes).velocity) == {64} and len(style.no_pedal(notes).pedal_s) == 0
    assert len(notes.pedal_s) == 1  # the original is left alone


def open_notes():
    from lib.music.notes import Notes

    return Notes.from_arrays([0, 1], [1, 1], [60, 62], [50, 70], [(0.0, 1.0)])
