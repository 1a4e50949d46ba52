"""A tiny transformer that nobody trained, with the released codec: it plays noise, quickly, and always the same."""

import dataclasses
import math

import torch

from lib.checkpoints.load import frozen, load_improviser, make_dit, save_improviser
from lib.config import RELEASED, preset
from lib.models.dit import TYPICAL_LOGIT


def save_tiny_improviser(folder):
    """Write a finished folder; its weights are always the same."""
    released = load_improviser(RELEASED)
    config, heard = preset("diffusion", "tiny"), released.configs["style_encoder"]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        dit = make_dit(config, heard, released.vqvae)
    with torch.no_grad():  # something begins in a band as often as in music, not nearly always
        dit.head.bias[0:-1:2, dit.silent] = math.log(dit.codes) - TYPICAL_LOGIT
    made = {**released.configs, "dit": config}
    tiny = dataclasses.replace(released, dit=frozen(dit, dit.state_dict()), pianist=None, configs=made)
    return save_improviser(tiny, folder)
