"""The piano codec: piano roll -> one vector of product codes every 80 ms -> piano roll."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lib.models.codebook import Codebook
from lib.models.residual import residual_stack
from lib.music.piano_roll import DURATION, LATENT_STRIDE, NUM_PITCHES, ONSET, VELOCITY, PianoRoll

FRAME_VALUES = 3 * NUM_PITCHES + 1  # what one frame holds: three lanes of keys, the pedal
RARE_ONSET_LOGIT = -5.0  # the output starts at the share of cells that have an onset


class PianoRollEmbedding(nn.Module):
    """LATENT_STRIDE frames of the whole keyboard -> channels: PianoRoll (T frames) -> (B, C, T / stride)."""

    def __init__(self, channels):
        super().__init__()
        self.linear = nn.Conv1d(FRAME_VALUES, channels, LATENT_STRIDE, stride=LATENT_STRIDE)

    def forward(self, piano_roll):  # noqa: D102
        return self.linear(torch.cat([piano_roll.roll.flatten(1, 2), piano_roll.pedal], 1))


class VQVAE(nn.Module):
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
        with torch.no_grad():
            self.output.bias[:NUM_PITCHES] = RARE_ONSET_LOGIT

    def encode(self, piano_roll):
        """Quantise rolls of T frames: -> codebook.Codes with N = T / LATENT_STRIDE."""
        latent = self.to_latent(self.encoder(self.embed(piano_roll)))  # (B, D, N)
        return self.codebook(latent.transpose(1, 2))

    def decode(self, z_q):
        """Latents (B, N, D) -> PianoRoll of logits, T = N * LATENT_STRIDE."""
        hidden = self.decoder(self.from_latent(z_q.transpose(1, 2)))
        values = self.output(functional.gelu(self.norm(hidden)))  # (B, 265, T)
        return PianoRoll(values[:, :-1].unflatten(1, (3, NUM_PITCHES)), values[:, -1:])

    def decode_piano_roll(self, z_q):
        """Latents (B, N, D) -> PianoRoll of probabilities, not yet decided."""
        logits = self.decode(z_q)
        return PianoRoll(logits.roll.float().sigmoid(), logits.pedal.float().sigmoid())

    def forward(self, piano_roll):
        """PianoRoll -> (PianoRoll of logits, codebook.Codes)."""
        codes = self.encode(piano_roll)
        return self.decode(codes.z_q), codes


def reconstruction_loss(logits, piano_roll, onset_weight):
    """Losses of decoded logits against the roll they come from.

    Parameters
    ----------
    logits, piano_roll : PianoRoll (B, 3, 88, T)
    onset_weight : weight of cells with an onset in the onset loss

    Returns
    -------
    dict of scalars: onset, duration, velocity (the latter two at onsets only) a typical note, pedal
    """
    onset = piano_roll.onset
    weight = torch.as_tensor(onset_weight, device=onset.device)
    cells = functional.binary_cross_entropy_with_logits(logits.onset.float(), onset, pos_weight=weight, reduction="sum")
    notes = TYPICAL_NOTES * onset.shape[0]  # not the batch's own count: however it is cut, the sum is the same
    losses = {"onset": cells / notes}
    for name, lane in (("duration", DURATION), ("velocity", VELOCITY)):
        error = (logits.roll[:, lane].float().sigmoid() - piano_roll.roll[:, lane]).abs() * onset
        losses[name] = error.sum() / notes
    losses["pedal"] = functional.binary_cross_entropy_with_logits(logits.pedal.float(), piano_roll.pedal)
    return losses


TYPICAL_NOTES = 100  # in a chunk of 10.24 s: both corpora have 9.8 a second
LOSS_WEIGHTS = {"onset": 1.0, "duration": 4.0, "velocity": 4.0, "pedal": 0.5}
assert ONSET == 0  # the bias above starts at lane 0
