"""The codec that the released diffusion model was trained on, until it is trained on the present one."""

from __future__ import annotations

from torch import nn
from torch.nn import functional

from lib.models.codebook import Codebook
from lib.models.residual import residual_stack
from lib.models.style_encoder import FRAME_VALUES, PianoRollEmbedding
from lib.music.piano_roll import LATENT_STRIDE, NUM_PITCHES, PianoRoll


class FirstVQVAE(nn.Module):
    """1-D convolutional VQ-VAE over time; the keyboard is in the channels.

    Parameters
    ----------
    config : VQVAEConfig
    """

    def __init__(self, config):
        super().__init__()
        latent_dim = config.groups * config.code_dim
        self.embed = PianoRollEmbedding(config.channels)
        self.encoder = residual_stack(config.channels, config.blocks)
        self.to_latent = nn.Conv1d(config.channels, latent_dim, 1)
        self.codebook = Codebook(
            config.groups, config.codes, config.code_dim, config.codebook_decay, config.restart_below, config.seed
        )
        self.from_latent = nn.Conv1d(latent_dim, config.channels, 1)
        self.decoder = residual_stack(config.channels, config.blocks)
        self.norm = nn.GroupNorm(1, config.channels)
        self.output = nn.ConvTranspose1d(config.channels, FRAME_VALUES, LATENT_STRIDE, stride=LATENT_STRIDE)

    def encode(self, piano_roll):
        """Quantise rolls of T frames: -> codebook.Codes with N = T / LATENT_STRIDE."""
        latent = self.to_latent(self.encoder(self.embed(piano_roll)))  # (B, D, N)
        return self.codebook(latent.transpose(1, 2))

    def decode(self, z_q):
        """Latents (B, N, D) -> PianoRoll of logits, T = N * LATENT_STRIDE."""
        hidden = self.decoder(self.from_latent(z_q.transpose(1, 2)))
        values = self.output(functional.gelu(self.norm(hidden)))  # (B, 265, T)
        return PianoRoll(values[:, :-1].unflatten(1, (3, NUM_PITCHES)), values[:, -1:])

    def latents(self, indices):
        """Codes int64 (B, N, G) -> latents (B, N, D), which are its codes as they are."""
        return self.codebook.look_up(indices)

    def expected(self, probabilities):
        """Mean latent under a posterior: (B, N, G, K) -> (B, N, D)."""
        return self.codebook.expected(probabilities)

    def nearest(self, latents):
        """Latents (B, N, D) -> the codes next to them, int64 (B, N, G)."""
        return self.codebook(latents).indices

    def decode_latents(self, latents):
        """Latents (B, N, D) -> PianoRoll of probabilities, not yet decided."""
        logits = self.decode(latents)
        return PianoRoll(logits.roll.float().sigmoid(), logits.pedal.float().sigmoid())

    def forward(self, piano_roll):
        """PianoRoll -> (PianoRoll of logits, codebook.Codes)."""
        codes = self.encode(piano_roll)
        return self.decode(codes.z_q), codes
