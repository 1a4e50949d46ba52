"""The judge's file: what is saved hears the same when loaded, and damage is noticed."""

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from lib.apps.evaluate.reference_classifier import JUDGE, load_reference_classifier
from lib.config import ConfigError, preset
from lib.data.corpora import open_corpus
from lib.storage.manifest import DamageError
from lib.style.classifier import StyleClassifier
from lib.training.loop import train

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from release_judge import save_reference_classifier  # noqa: E402


@pytest.fixture(scope="module")
def run(demo_data, tmp_path_factory):
    """A run of style_encoder that reads rolls."""
    return train(preset("style_encoder", "tiny", reads="roll", seed=1), demo_data, tmp_path_factory.mktemp("runs")).run


def test_a_judge_is_one_file(run, demo_data, tmp_path):
    judge = save_reference_classifier(run, demo_data, tmp_path / "new" / "judge.safetensors", "free")
    notes = open_corpus("demo", demo_data).piece_notes(0)
    again, original = load_reference_classifier(tmp_path / "new" / "judge.safetensors"), StyleClassifier.of_run(run)
    assert again.names == original.names and again.reads == "roll" and again.temperature != 1
    assert np.array_equal(judge.predict(notes).log_probability, again.predict(notes).log_probability)
    assert np.allclose(again.predict(notes).style, original.predict(notes).style, atol=0.02)  # half precision


def test_damage_is_noticed(run, demo_data, tmp_path):
    path = tmp_path / "judge.safetensors"
    save_reference_classifier(run, demo_data, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1, whole[-1]]))
    with pytest.raises(DamageError, match="damaged"):
        load_reference_classifier(path)
    path.write_bytes(whole[:1000])
    with pytest.raises(DamageError, match=r"judge\.safetensors"):
        load_reference_classifier(path)
    path.write_bytes(whole)
    save_file(load_file(path), tmp_path / "plain.safetensors")
    with pytest.raises(DamageError, match="header"):
        load_reference_classifier(tmp_path / "plain.safetensors")
    with pytest.raises(ConfigError, match="no reference classifier"):
        load_reference_classifier(tmp_path / "nowhere.safetensors")


@pytest.mark.skipif(not JUDGE.exists(), reason="the judge is not released yet")
def test_the_released_judge_is_somebody_else():
    from lib.style.gallery import load_classifier

    judge, ear = load_reference_classifier(), load_classifier(JUDGE.parent)[0]
    assert judge.reads != ear.reads and set(judge.names) == set(ear.names) and len(judge.names) == 30
    assert JUDGE.stat().st_size < 6e6
