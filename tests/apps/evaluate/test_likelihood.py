"""Likelihood by pianist: what is known costs less; a model that learnt nothing holds all alike."""

import dataclasses

import numpy as np
import pytest
from tiny import tiny_improviser

from lib.apps.evaluate.clip_sets import ClipSets, Missing, Size, real_clips
from lib.apps.evaluate.clips import Clip
from lib.apps.evaluate.likelihood import nll_figures, nll_nats
from lib.data.corpora import open_corpus
from lib.generation.generate import load_improviser
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap


@pytest.fixture(scope="module")
def tuned():
    """The released improviser."""
    return load_improviser(released=True, device="cpu")


def clip_of(pitches, bpm=120):
    onset_s = np.arange(len(pitches)) * 30 / bpm
    notes = Notes.from_arrays(onset_s, np.full(len(pitches), 25 / bpm), pitches, np.full(len(pitches), 70))
    return Clip(notes, TempoMap.constant(bpm, Metre(4, 4), 8), 32)


def test_music_costs_less_than_chance_keys(tuned):
    line = np.tile([60, 62, 64, 65, 67, 65, 64, 62], 8)
    chance = np.random.default_rng(0).integers(30, 100, 64)
    known, unknown = (nll_nats(tuned, clip_of(pitches), None) for pitches in (line, chance))
    assert 0 < known < 0.7 * unknown
    assert nll_nats(tuned, clip_of(line), None) == known, "masks are the same"
    assert np.isnan(nll_nats(tuned, Clip(clip_of(line).notes.between(0, 0), clip_of(line).tempo_map, 32), None))


def test_a_model_that_learnt_nothing_knows_nobody():
    model, line = tiny_improviser(), clip_of(np.tile([60, 62, 64, 65], 16))
    own, other = (nll_nats(model, line, name) for name in model.styles.names[:2])
    assert own == other > 15


def test_sections_without_clips_say_so(noise, demo_data):
    sets = ClipSets(noise, demo_data, None, Size(clips=2, each=0), corpus="demo")
    with pytest.raises(Missing, match="--each 0"):
        nll_figures(sets)
    sets.size = dataclasses.replace(sets.size, each=1)
    sets.tuned = dataclasses.replace(sets.tuned, styles=dataclasses.replace(sets.tuned.styles, names=("A", "B")))
    with pytest.raises(Missing):
        nll_figures(sets)


def test_shuffled_bars_of_demo_music_cost_more(tuned, demo_data):
    clips = real_clips(open_corpus("demo", demo_data), None, "validation", 3)
    costs = [np.mean([nll_nats(tuned, clip, None) for clip in part.clips]) for part in (clips, clips.shuffled())]
    assert costs[0] < costs[1]


def test_real_music_costs_less_than_its_shuffled_bars(tuned, pijama):
    clips = real_clips(pijama, "Brad Mehldau", "validation", 4)
    costs = [np.mean([nll_nats(tuned, clip, "Brad Mehldau") for clip in part.clips]) for part in (clips, clips.shuffled())]
    assert costs[0] < costs[1]
