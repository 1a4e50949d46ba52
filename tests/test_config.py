"""Configs: presets, overrides, and what is said of wrong ones."""

import dataclasses

import pytest

from lib.config import (
    PRESETS,
    STAGES,
    ConfigError,
    as_values,
    build,
    parse_settings,
    preset,
    stage_of,
)
from lib.generation.request import GenerateRequest


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("stage", STAGES)
def test_every_preset_builds_and_survives_json(stage, name):
    config = preset(stage, name)
    assert config.preset == name and stage_of(config) == stage
    assert build(STAGES[stage], as_values(config)) == config


def test_starting_points():
    assert preset("diffusion", "laptop").epochs == 50
    assert preset("fine_tune", "colab").lr == 5e-6
    style = preset("style_encoder", "laptop")
    assert style.batch_size * style.views == 32
    colab = [preset(stage, "colab") for stage in STAGES]
    assert {(config.batch_size, config.epochs) for config in colab} == {(32, 30)}
    assert [config.lr for config in colab] == [2e-3, 2e-3, 1e-3, 5e-6]
    assert preset("fine_tune", "laptop").pianist == "Brad Mehldau"


def test_text_values_get_their_types():
    settings = parse_settings(["lr=3e-4", "batch_size=8", "corpora=maestro, pijama", "steps=none"])
    config = preset("vqvae", "laptop", **settings)
    assert (config.lr, config.batch_size, config.corpora, config.steps) == (3e-4, 8, ("maestro", "pijama"), None)


@pytest.mark.parametrize(
    "stage, name, overrides, said",
    [
        ("vqva", "tiny", {}, "Did you mean 'vqvae'"),
        ("vqvae", "tine", {}, "Did you mean 'tiny'"),
        ("vqvae", "tiny", {"batchsize": 3}, "Did you mean 'batch_size'"),
        ("vqvae", "tiny", {"batch_size": 0}, "batch_size"),
        ("vqvae", "tiny", {"lr": "fast"}, "lr"),
        ("vqvae", "tiny", {"lr": float("nan")}, "lr"),
        ("vqvae", "tiny", {"device": "gpu"}, "device"),
        ("vqvae", "tiny", {"transpose_low": 3}, "transpose_low"),
    ],
)
def test_wrong_values_are_named(stage, name, overrides, said):
    with pytest.raises(ConfigError, match=said):
        preset(stage, name, **overrides)


def test_settings_want_an_equals_sign():
    with pytest.raises(ConfigError, match="key=value"):
        parse_settings(["batch_size"])


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("vqvae", "tiny").lr = 1.0


@pytest.mark.parametrize("values", [{"seconds": -1}, {"tempo_bpm": 5}, {"chords": "  "}, {"pitch_classes": (1.0,)}])
def test_impossible_requests(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        build(GenerateRequest, values)


def test_epochs_that_are_asked_for_beat_the_steps_of_a_preset():
    assert preset("vqvae", "demo").steps == 450 and preset("vqvae", "demo", epochs=2).steps is None
    assert preset("vqvae", "demo", epochs=2, steps=7).steps == 7
