"""What a stage may build on: runs, or the folder of a finished improviser, and nothing else."""

import shutil

import pytest
import torch

from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.load import load_improviser, save_improviser
from lib.checkpoints.run_dependencies import require
from lib.config import preset
from lib.training.loop import train


@pytest.fixture(scope="module")
def finished(tiny_runs, tmp_path_factory):
    """A finished folder that holds the base model too."""
    folder = tmp_path_factory.mktemp("finished") / "ours"
    return save_improviser(load_improviser(tiny_runs / "fine_tune"), folder, base=load_improviser(tiny_runs / "diffusion"))


@pytest.mark.parametrize("stage", ["diffusion", "fine_tune"])
def test_training_begins_with_finished_weights(stage, finished, demo_data, tmp_path):
    sources = {f"{name}_run": finished for name in (("vqvae", "style_encoder") if stage == "diffusion" else ())}
    result = train(preset(stage, "tiny", lr=1e-12, steps=1, ema_decay=0.0), demo_data, tmp_path, diffusion_run=finished, **sources)
    trained, base = checkpoints.find(result.run), load_improviser(finished, base=True)
    for name, tensor in base.dit.state_dict().items():
        assert torch.allclose(trained.weights(averaged=False)[name], tensor, atol=1e-6), name
    assert set(trained.manifest["sources"]) == {"vqvae", "style_encoder", "diffusion"}
    assert load_improviser(result.run).pianist == (None if stage == "diffusion" else "Cora Canonby")
    if stage == "diffusion":
        tuned = train(preset("fine_tune", "tiny", steps=1), demo_data, tmp_path, run="tuned", diffusion_run=result.run)
        assert tuned.finished and load_improviser(tuned.run).changes["Cora Canonby"].size


def test_it_goes_on_from_its_own_weights(finished, demo_data, tmp_path):
    given = {f"{name}_run": finished for name in ("vqvae", "style_encoder", "diffusion")}
    for steps in (2, 4):
        result = train(preset("diffusion", "tiny", decay="constant", steps=steps), demo_data, tmp_path / "parts", **given)
    assert result.resumed_from_step == 2
    whole = train(preset("diffusion", "tiny", decay="constant"), demo_data, tmp_path / "whole", **given)
    parts, whole = (checkpoints.find(run).weights(averaged=False) for run in (result.run, whole.run))
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_changed_finished_weights_are_noticed(finished, demo_data, tmp_path):
    ours = shutil.copytree(finished, tmp_path / "ours")
    config = preset("fine_tune", "tiny", steps=1)
    train(config, demo_data, tmp_path, diffusion_run=ours)
    improviser = load_improviser(ours, base=True)
    with torch.no_grad():
        next(iter(improviser.dit.parameters())).add_(1)
    save_improviser(load_improviser(ours), ours, base=improviser)
    with pytest.raises(checkpoints.CheckpointError, match="trained on weights"):
        train(preset("fine_tune", "tiny", steps=2), demo_data, tmp_path, diffusion_run=ours)


def test_a_folder_without_the_base_model_is_refused(tiny_runs):
    with pytest.raises(checkpoints.CheckpointError, match="holds no weights of 'diffusion'"):
        require(tiny_runs / "brad_final", "diffusion")
    assert require(tiny_runs / "brad_final", "vqvae").step == 0
