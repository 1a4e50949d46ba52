"""The piano codec: piano roll -> one vector of product codes every 80 ms -> piano roll.

A latent frame holds LATENT_STRIDE roll frames. Onsets and pedal are read and written in every one of them; duration
and velocity once a key and latent frame, as the same key is hardly ever struck twice within 80 ms. Every layer is
local in time, so that a piece of any length is coded in one pass, as its chunks would be.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lib.models.codebook import Codebook
from lib.models.residual import FrameNorm, wide_stack
from lib.music.piano_roll import DURATION, LATENT_STRIDE, NUM_PITCHES, VELOCITY, PianoRoll, duration_tolerance

ONSETS, KEYS, PEDALS = NUM_PITCHES * LATENT_STRIDE, NUM_PITCHES, LATENT_STRIDE
LATENT_FRAME_VALUES = (ONSETS, KEYS, KEYS, PEDALS)  # onsets, durations, velocities, pedal
RARE_ONSET_LOGIT = -5.0  # the output starts at the share of cells that have an onset
VELOCITY_TOLERANCE = 0.05  # of the range; half of what transcription is judged by
TYPICAL_NOTES = 100  # in a chunk of 10.24 s: both corpora have 9.8 a second
LOSS_WEIGHTS = {"onset": 1.0, "duration": 2.0, "velocity": 2.0, "pedal": 0.5}


def fold(piano_roll):
    """What a latent frame holds: PianoRoll (T frames) -> (B, 532, T / LATENT_STRIDE)."""
    roll = piano_roll.roll.unflatten(-1, (-1, LATENT_STRIDE))  # (B, 3, 88, N, stride)
    pedal = piano_roll.pedal.unflatten(-1, (-1, LATENT_STRIDE))[:, 0]  # (B, N, stride)
    onsets = roll[:, 0].transpose(-1, -2).flatten(1, 2)
    return torch.cat([onsets, roll[:, DURATION].amax(-1), roll[:, VELOCITY].amax(-1), pedal.transpose(1, 2)], 1)


def unfold(values):
    """Inverse of `fold`, duration and velocity repeated in each roll frame: (B, 532, N) -> PianoRoll."""
    onsets, duration, velocity, pedal = values.split(LATENT_FRAME_VALUES, 1)
    onset = onsets.unflatten(1, (NUM_PITCHES, LATENT_STRIDE)).transpose(-1, -2).flatten(-2)  # (B, 88, T)
    keys = torch.stack([duration, velocity], 1).repeat_interleave(LATENT_STRIDE, -1)  # (B, 2, 88, T)
    return PianoRoll(torch.cat([onset[:, None], keys], 1), pedal.transpose(1, 2).flatten(1)[:, None])


class VQVAE(nn.Module):
    """1-D convolutional VQ-VAE over time; the keyboard is in the channels.

    Parameters
    ----------
    config : VQVAEConfig
    """

    HIDDEN = ("encoder", "decoder")  # parts whose matrices Muon may train

    def __init__(self, config):
        super().__init__()
        latent_dim, values = config.groups * config.code_dim, sum(LATENT_FRAME_VALUES)
        self.embed = nn.Conv1d(values, config.channels, 1)
        self.encoder = wide_stack(config.channels, config.blocks, config.kernel)
        self.to_latent = nn.Conv1d(config.channels, latent_dim, 1)
        self.codebook = Codebook(
            config.groups, config.codes, config.code_dim, config.codebook_decay, config.restart_below, config.seed
        )
        self.from_latent = nn.Conv1d(latent_dim, config.channels, 1)
        self.decoder = wide_stack(config.channels, config.blocks, config.kernel)
        self.norm = FrameNorm(config.channels)
        self.output = nn.Conv1d(config.channels, values, 1)
        with torch.no_grad():
            self.output.bias[:ONSETS] = RARE_ONSET_LOGIT

    def encode(self, piano_roll):
        """Quantise rolls of T frames: -> codebook.Codes with N = T / LATENT_STRIDE."""
        latent = self.to_latent(self.encoder(self.embed(fold(piano_roll))))  # (B, D, N)
        return self.codebook(latent.transpose(1, 2))

    def decode(self, z_q):
        """Codes z_q (B, N, D) -> PianoRoll of logits, T = N * LATENT_STRIDE."""
        hidden = self.decoder(self.from_latent(z_q.transpose(1, 2)))
        return unfold(self.output(functional.gelu(self.norm(hidden))))

    def latents(self, indices):
        """What diffusion works on: codes int64 (B, N, G) -> (B, N, D), each channel of mean 0 and deviation 1 in use."""
        return self._normalised(self.codebook.look_up(indices))

    def expected(self, probabilities):
        """Mean latent under a posterior: (B, N, G, K) -> (B, N, D)."""
        return self._normalised(self.codebook.expected(probabilities))

    def nearest(self, latents):
        """Latents (B, N, D) -> the codes next to them, int64 (B, N, G)."""
        return self.codebook(self._raw(latents)).indices

    def decode_latents(self, latents):
        """Latents (B, N, D) -> PianoRoll of probabilities, not yet decided."""
        logits = self.decode(self._raw(latents))
        return PianoRoll(logits.roll.float().sigmoid(), logits.pedal.float().sigmoid())

    def _normalised(self, z_q):
        mean, std = self.codebook.statistics()
        return (z_q - mean) / std

    def _raw(self, latents):
        mean, std = self.codebook.statistics()
        return latents * std + mean

    def forward(self, piano_roll, noise=None):
        """PianoRoll -> (PianoRoll of logits, codebook.Codes); noise (B, N, D) is added to the codes before decoding."""
        codes = self.encode(piano_roll)
        return self.decode(codes.z_q if noise is None else codes.z_q + noise), codes


def reconstruction_loss(logits, piano_roll, onset_weight):
    """Losses of decoded logits against the roll they come from.

    Parameters
    ----------
    logits, piano_roll : PianoRoll (B, 3, 88, T)
    onset_weight : weight of cells with an onset in the onset loss

    Returns
    -------
    dict of scalars: onset, duration, velocity (the latter two at onsets only) a typical note, pedal. The error of
    a duration or velocity counts as log(1 + error / what the ear and mir_eval let pass): what is nearly right is
    worth more than what can't be saved
    """
    onset = piano_roll.onset
    weight = torch.as_tensor(onset_weight, device=onset.device)
    cells = functional.binary_cross_entropy_with_logits(logits.onset.float(), onset, pos_weight=weight, reduction="sum")
    notes = TYPICAL_NOTES * onset.shape[0]  # not the batch's own count: however it is cut, the sum is the same
    losses = {"onset": cells / notes}
    tolerances = {"duration": duration_tolerance(piano_roll.roll[:, DURATION]), "velocity": VELOCITY_TOLERANCE}
    for name, lane in (("duration", DURATION), ("velocity", VELOCITY)):
        error = (logits.roll[:, lane].float().sigmoid() - piano_roll.roll[:, lane]).abs()
        losses[name] = ((error / tolerances[name]).log1p() * onset).sum() / notes
    losses["pedal"] = functional.binary_cross_entropy_with_logits(logits.pedal.float(), piano_roll.pedal)
    return losses
