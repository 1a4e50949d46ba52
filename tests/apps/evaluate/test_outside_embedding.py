"""The outside embedding: said where it is missing; with one, noise is further from real music than real music is."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from evaluation_sizes import FEW, PIANIST

from lib.apps.evaluate.clip_sets import ClipSets, Missing
from lib.apps.evaluate.outside_embedding import load_embedding, outside_figures
from lib.music.notes import read_midi


def package(extractor):
    """A package frechet_music_distance with this extractor."""
    outer, models = ModuleType("frechet_music_distance"), ModuleType("frechet_music_distance.models")
    outer.__spec__, models.CLaMP2Extractor = SimpleNamespace(), extractor
    return {"frechet_music_distance": outer, "frechet_music_distance.models": models}


class Histogram:
    """Embeds a file by its keys, lengths and gaps."""

    def __init__(self, verbose):
        assert not verbose

    def extract_feature(self, path):
        notes = read_midi(path)
        keys = np.bincount(notes.pitch // 4, minlength=32)[:32] / max(1, len(notes))
        gaps = np.histogram(np.diff(notes.onset_s), [0, 0.03, 0.1, 0.2, 0.4, 0.8, 9])[0] / max(1, len(notes))
        return np.concatenate([keys, gaps])[None].astype(np.float32)


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "frechet_music_distance", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Missing, match="pip install frechet-music-distance"):
        load_embedding()


def test_weights_that_cannot_be_had_are_a_reason(monkeypatch):
    def fails(verbose):
        raise OSError("no network")

    for name, module in package(fails).items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(Missing, match="CLaMP 2 .no network."):
        load_embedding()


def test_noise_is_further_than_real_music(monkeypatch, noise, demo_data, likeness):
    for name, module in package(Histogram).items():
        monkeypatch.setitem(sys.modules, name, module)
    found = outside_figures(ClipSets(noise, demo_data, likeness[1], FEW, pianist=PIANIST))
    assert found["training"]["frechet"].value < 0.5 * found["generated"]["frechet"].value
    assert found["generated"]["nearest"].value > 0.9 and "real" not in found
