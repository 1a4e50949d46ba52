"""A tiny transformer that nobody trained, with the released codec: it plays noise, quickly, and always the same."""

import torch

from lib.checkpoints.load import (
    Improviser,
    frozen,
    load_changes,
    load_style_encoder,
    load_styles,
    load_vqvae,
    make_dit,
    save_improviser,
)
from lib.checkpoints.run_dependencies import require
from lib.config import RELEASED, preset


def tiny_improviser():
    """An Improviser; its weights are always the same, and something begins in a band as often as in music."""
    (vqvae, vqvae_config), released = load_vqvae(RELEASED), require(RELEASED, "diffusion")
    style_encoder, style_config, classes = load_style_encoder(RELEASED)
    config = preset("diffusion", "tiny")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        dit = make_dit(config, style_config, vqvae)
    return Improviser(
        vqvae=vqvae,
        style_encoder=style_encoder,
        dit=frozen(dit, dit.state_dict()),
        styles=load_styles(released),
        pianist=None,
        configs={"vqvae": vqvae_config, "style_encoder": style_config, "dit": config},
        classes=tuple(classes),
        changes=load_changes(released),
    )


def save_tiny_improviser(folder):
    """Write the finished folder of `tiny_improviser`."""
    return save_improviser(tiny_improviser(), folder)
