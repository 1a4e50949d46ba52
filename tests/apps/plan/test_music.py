"""How much music there is, known or counted."""

import pytest

from lib import config as configs
from lib.apps.plan.music import KNOWN, music_of
from lib.config import ROOT, ConfigError
from lib.data.corpora import CORPORA


def test_the_demo_corpus_is_known_as_it_is_counted(demo_data):
    for stage in configs.STAGES:
        config = configs.preset(stage, "demo")
        known, counted = music_of(config), music_of(config, demo_data)
        assert counted.counted and not known.counted
        assert (known.chunks, known.players) == (counted.chunks, counted.players), stage
        assert known.train_hours == pytest.approx(counted.train_hours, abs=0.01)
        assert known.validation_hours == pytest.approx(counted.validation_hours, abs=0.01)


@pytest.mark.parametrize("stage", configs.STAGES)
def test_the_real_corpora_are_known_as_they_are_counted(stage):
    if not all((ROOT / "data" / name / "notes.store").exists() for name in ("maestro", "pijama")):
        pytest.skip("the note stores of the real corpora are not in data/")
    config = configs.preset(stage, "large")
    known, counted = music_of(config), music_of(config, ROOT / "data")
    assert (known.chunks, known.players) == (counted.chunks, counted.players)
    assert known.train_hours == pytest.approx(counted.train_hours, abs=0.02)
    for name in config.corpora:
        assert CORPORA[name].store_bytes == pytest.approx((ROOT / "data" / name / "notes.store").stat().st_size, rel=0.01)


def test_a_missing_store_falls_back_and_an_unknown_corpus_is_named(tmp_path):
    config = configs.preset("vqvae", "laptop")
    assert music_of(config, tmp_path) == music_of(config)
    assert music_of(config).chunks == KNOWN["vqvae", "maestro"][0] + KNOWN["vqvae", "pijama"][0]
    with pytest.raises(ConfigError, match="'mine'.*data ingest mine"):
        music_of(configs.preset("vqvae", "laptop", corpora="mine"), tmp_path)
