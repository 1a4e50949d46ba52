"""Names, order and start of parameters: of codec and style encoder as commit config.LAST_COMMIT_OF_OLD_LAYOUT had them,
of generators as the first version in beats had them.

An optimizer's state goes by position, so a checkpoint of those versions continues only if the order of the parameters
and of those that Muon trains has not changed.
"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from lib.checkpoints.config_migration import original_key
from lib.checkpoints.load import make_dit
from lib.config import preset
from lib.models.blocks import add_low_rank
from lib.models.style_encoder import StyleEncoder
from lib.models.vqvae import VQVAE
from lib.training.optimizers import make_optimizer

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
GOLDEN = json.loads((FIXTURES / "parameters.json").read_text(encoding="utf-8"))


def vqvae():
    config = preset("vqvae", "tiny")
    return VQVAE.from_config(config), config


def style_encoder(reads):
    config = preset("style_encoder", "tiny", reads=reads)
    return StyleEncoder.from_config(config, num_pianists=5), config


def diffusion():
    config = preset("diffusion", "tiny")
    codec = vqvae()[0]
    torch.manual_seed(0)
    return make_dit(config, preset("style_encoder", "tiny"), codec), config


def fine_tune():
    model, config = diffusion()
    sizes = {name: getattr(config, name) for name in ("width", "depth", "heads")}
    return add_low_rank(model, 2), dataclasses.replace(preset("fine_tune", "tiny"), **sizes)


MODELS = {
    "vqvae": vqvae,
    "style_encoder_notes": lambda: style_encoder("notes"),
    "style_encoder_roll": lambda: style_encoder("roll"),
    "diffusion": diffusion,
    "fine_tune_lora": fine_tune,
}


def layout(name):
    """What tests/fixtures/parameters.json holds of a model."""
    torch.manual_seed(0)
    model, config = MODELS[name]()
    optimizer = make_optimizer(model, config)
    names = {id(parameter): original_key(model, key) for key, parameter in model.named_parameters()}
    shapes = {original_key(model, key): list(tensor.shape) for key, tensor in model.state_dict().items()}
    return {
        "parameters": list(names.values()),
        "state": list(shapes),
        "shapes": list(shapes.values()),
        "muon": [names[id(parameter)] for parameter in optimizer.inside],
        "absolute_sums": [float(parameter.detach().double().abs().sum()) for parameter in model.parameters()],
        "next_random_number": float(torch.rand(())),
    }


@pytest.mark.parametrize("name", MODELS)
def test_parameters_have_their_old_order_and_start(name):
    golden, found = GOLDEN[name], layout(name)
    for part in ("parameters", "muon"):
        assert found[part] == golden[part]
    shapes, golden_shapes = (dict(zip(of["state"], of["shapes"], strict=True)) for of in (found, golden))
    assert shapes == golden_shapes
    assert found["absolute_sums"] == pytest.approx(golden["absolute_sums"], rel=1e-5)  # a seed gives the same model
    assert found["next_random_number"] == pytest.approx(golden["next_random_number"])
