"""The stages: model, data, losses and results of each. See stage.py."""

from lib.training.stages.diffusion import DiffusionStage, FineTuneStage
from lib.training.stages.style_encoder import StyleEncoderStage
from lib.training.stages.vqvae import VQVAEStage

STAGES = {
    "vqvae": VQVAEStage,
    "style_encoder": StyleEncoderStage,
    "diffusion": DiffusionStage,
    "fine_tune": FineTuneStage,
}
