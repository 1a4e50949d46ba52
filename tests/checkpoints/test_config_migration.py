"""Checkpoints of other versions: they load where they fit, else it is said which fields and tensors differ."""

import dataclasses
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.checkpoint import CheckpointError
from lib.checkpoints.config_migration import config_from, differences
from lib.checkpoints.load import load_improviser, load_style_encoder, load_vqvae
from lib.config import STAGES, preset
from lib.storage.manifest import read_manifest, write_manifest
from lib.training.loop import train


def rewrite(folder, change, hashes="kept"):
    """Change a manifest as an earlier version would have written it."""
    manifest = read_manifest(folder)
    change(manifest)
    write_manifest(folder, {k: v for k, v in manifest.items() if k != "sha256"}, manifest["sha256"] if hashes == "kept" else None)


@pytest.fixture
def run(tiny_runs, tmp_path):
    """A function that copies a tiny run and changes the config of its checkpoints."""

    def make(stage, gone=None, missing=()):
        folder = shutil.copytree(tiny_runs / stage, tmp_path / stage)
        for step in checkpoints.step_folders(folder):
            rewrite(step, lambda m: m.update(config={k: v for k, v in {**m["config"], **(gone or {})}.items() if k not in missing}))
        return folder

    return make


def test_an_unknown_and_a_missing_field_are_said_and_it_loads(run, caplog):
    with caplog.at_level(logging.WARNING):
        vqvae, config = load_vqvae(run("vqvae", {"groups": 12, "onset_weight": 4.0}, ("restart_below", "tempo_spread")))
    said = caplog.text
    assert "groups=12, onset_weight=4.0, which this version does not know" in said
    assert "tempo_spread (0.1 is taken), restart_below (0.5 is taken)" in said
    assert config == preset("vqvae", "tiny") and not vqvae.training


def test_a_config_of_this_version_says_nothing(tiny_runs, caplog):
    with caplog.at_level(logging.WARNING):
        load_vqvae(tiny_runs / "vqvae")
        load_improviser(tiny_runs / "brad_final")
    assert not caplog.text


def test_weights_of_another_size_are_named_with_the_field_that_was_missing(run):
    with pytest.raises(CheckpointError) as error:
        load_vqvae(run("vqvae", {"groups": 12}, ("channels",)))
    said = str(error.value)
    assert "holds weights of another model" in said and "there and" in said and "groups=12" in said
    assert "channels (256 is taken)" in said and "step-0000000" in said and "more." in said
    assert "(64" in said and "(256" in said  # 64 of preset tiny there, 256 here


def test_an_ear_without_a_say_on_what_it_reads_read_piano_rolls(run):
    values = {name: value for name, value in dataclasses.asdict(preset("style_encoder", "tiny")).items() if name != "reads"}
    assert config_from("style_encoder", values, "x").reads == "roll"
    with pytest.raises(CheckpointError, match=r"reads \('roll' is taken\)"):  # this one reads notes: no such weights
        load_style_encoder(run("style_encoder", missing=("reads",)))


def test_a_value_that_can_not_be_is_named(run):
    with pytest.raises(CheckpointError, match="step-0000000.*decay.*'exponential'"):
        load_vqvae(run("vqvae", {"decay": "exponential"}))


def test_a_finished_folder_of_another_version(tiny_runs, tmp_path, caplog):
    folder = shutil.copytree(tiny_runs / "brad_final", tmp_path / "brad_final")
    rewrite(folder, lambda m: m["configs"]["dit"].update(objective="v"))
    rewrite(folder, lambda m: m["configs"]["vqvae"].pop("code_dim"))
    with pytest.raises(CheckpointError, match=r"vqvae.safetensors.*code_dim \(8 is taken\)"):
        load_improviser(folder)
    rewrite(folder, lambda m: m["configs"]["vqvae"].update(code_dim=4))
    with caplog.at_level(logging.WARNING):
        load_improviser(folder)
    assert "dit is of another version: its config has objective='v'" in caplog.text


def test_an_improviser_from_before_there_were_two_transformers(tiny_runs, tmp_path):
    folder = shutil.copytree(tiny_runs / "brad_final", tmp_path / "brad_final")
    (folder / "fine_tune.safetensors").rename(folder / "dit.safetensors")
    rewrite(folder, lambda m: m["configs"]["vqvae"].update(groups=12), hashes="new")
    with pytest.raises(CheckpointError, match="another version: it holds.*dit.safetensors.*one of fine_tune.*vqvae.*groups=12"):
        load_improviser(folder)


def test_a_tensor_too_many_and_one_too_few(tiny_runs, tmp_path):
    folder = shutil.copytree(tiny_runs / "brad_final", tmp_path / "brad_final")
    weights = load_file(folder / "fine_tune.safetensors")
    name = next(iter(weights))
    weights["old.weight"] = torch.zeros(1)
    save_file({key: tensor for key, tensor in weights.items() if key != name}, folder / "fine_tune.safetensors")
    rewrite(folder, lambda m: None, hashes="new")
    with pytest.raises(CheckpointError, match=f"{name} is not there, old.weight is there only"):
        load_improviser(folder)


def test_training_goes_on_from_an_earlier_config(run, demo_data):
    runs = run("vqvae", {"groups": 12}, ("velocity_spread",)).parent
    with pytest.raises(CheckpointError, match="velocity_spread: 0.15 there, 0.2 asked"):
        train(preset("vqvae", "tiny", steps=6, velocity_spread=0.2), demo_data, runs)
    assert train(preset("vqvae", "tiny", steps=6), demo_data, runs).resumed_from_step == 4


@pytest.mark.parametrize("stage", STAGES)
def test_differences_of_a_whole_config_are_none(stage):
    assert differences(stage, dataclasses.asdict(preset(stage, "tiny"))) == ""
