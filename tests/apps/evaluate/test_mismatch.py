"""Mismatch agreement: who is asked for and whose music it is are told apart."""

from types import SimpleNamespace

import numpy as np
import pytest

from lib.apps.evaluate.clip_sets import ClipSets, Missing, Size, real_clips
from lib.apps.evaluate.clips import ClipSet
from lib.apps.evaluate.mismatch import mismatch_figures
from lib.apps.evaluate.reference_classifier import load_reference_classifier, log_probabilities
from lib.data.corpora import open_corpus
from lib.data.tempo_maps import open_tempo_maps


class Hears:
    """A judge that goes by how loud the music is."""

    def __init__(self, names, velocities):
        self.names, self.velocities = tuple(names), np.array(velocities, float)

    def predict(self, notes):
        return SimpleNamespace(log_probability=-np.abs(self.velocities - notes.velocity.mean()))


@pytest.fixture
def sets(demo_data):
    """Three pianists of the demo corpus, a judge that hears their loudness, and a base model that `plays` what is asked."""
    store = open_corpus("demo", demo_data)
    names = sorted({store.pieces[index].pianist for index in store.select(split="train", duets=False)})[:3]
    loudness = [np.mean([c.notes.velocity.mean() for c in real_clips(store, n, "train", 2).clips]) for n in names]
    known = SimpleNamespace(styles=SimpleNamespace(names=names))
    own = {name: real_clips(store, name, "train", 2) for name in names}
    asked = []

    def play_set(title, requests):
        """Clips of whom is asked for."""
        asked.extend(requests)
        return ClipSet.of_generated(title, [own[request["style"]].clips[0] for request in requests])

    base = SimpleNamespace(improviser=known, play_set=play_set)
    judge = Hears(names, loudness)
    return SimpleNamespace(store=store, base=base, reference_classifier=judge, size=Size(each=2), asked=asked, names=names)


def test_a_model_that_plays_like_whom_is_asked_for_agrees_and_the_sources_do_not(sets):
    found = mismatch_figures(sets)
    assert found["generated"]["asked"].value > 0.6 > 0.4 > found["generated"]["source"].value
    assert found["sources"]["source"].value > 0.6 > 0.4 > found["sources"]["asked"].value, "the control"
    assert len(sets.asked) == 6 and [request["style"] for request in sets.asked[::2]] == sets.names
    assert all(request["chords"] and request["density"] is None for request in sets.asked)


def test_what_is_missing_is_said(sets, noise, demo_data):
    with pytest.raises(Missing, match="--each 0"):
        mismatch_figures(sets, 0)
    sets.reference_classifier.names = ("Somebody",)
    with pytest.raises(Missing, match="judge"):
        mismatch_figures(sets)
    with pytest.raises(Missing):
        mismatch_figures(ClipSets(noise, demo_data, None, Size(each=1), corpus="demo", pianist="Cora Canonby"))


def test_the_judge_hears_the_sources_of_real_music(pijama):
    judge, names = load_reference_classifier(), ("Brad Mehldau", "Art Tatum")
    open_tempo_maps(pijama)
    for name, other in (names, names[::-1]):
        rows = log_probabilities(judge, real_clips(pijama, name, "train", 6).notes, names)
        assert (rows[:, names.index(name)] > rows[:, names.index(other)]).mean() > 0.6
