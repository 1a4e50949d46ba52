"""The piano codec: piano roll -> product codes every 80 ms -> piano roll, each register for itself.

A latent frame holds LATENT_STRIDE roll frames. The keyboard is cut into BANDS of BAND_KEYS keys; in each, a first code says
which keys are struck when (`what`), a second one how long and how loud (`how`); one more code is the pedal. All bands share
their networks and codebooks. So a code means the same wherever it stands, and most of them say that nothing begins: what a
generator has to learn is the music, not the codec. Nothing depends on other frames or bands.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lib.models.codebook import Codebook, Codes
from lib.music.piano_roll import DURATION, LATENT_STRIDE, NUM_PITCHES, VELOCITY, PianoRoll, duration_tolerance

BAND_KEYS = 8
BANDS = NUM_PITCHES // BAND_KEYS  # 11
CELLS = BAND_KEYS * LATENT_STRIDE  # of a band in a latent frame
GROUPS = 2 * BANDS + 1  # what, how, what, how, ..., pedal
KINDS = (0, 1) * BANDS + (2,)  # what, how, pedal
TRAINED_ROWS = 256  # bands of a chunk that a training step looks at: those with notes come first
RARE_ONSET_LOGIT = -3.0
VELOCITY_TOLERANCE = 0.05  # of the range; half of what transcription is judged by
TYPICAL_NOTES = 100  # in a chunk of 10.24 s: both corpora have 9.8 a second
LOSS_WEIGHTS = {"onset": 1.0, "duration": 2.0, "velocity": 2.0}


def fold(piano_roll):
    """What each band of a latent frame holds: PianoRoll (T frames) -> (B, N, BANDS, CELLS + 2 BAND_KEYS)."""
    roll = piano_roll.roll.unflatten(-1, (-1, LATENT_STRIDE)).unflatten(2, (BANDS, BAND_KEYS))  # (B, 3, bands, keys, N, stride)
    onsets = roll[:, 0].permute(0, 3, 1, 2, 4).flatten(3)  # (B, N, bands, keys * stride)
    held = roll[:, [DURATION, VELOCITY]].amax(-1).permute(0, 4, 2, 1, 3).flatten(3)  # (B, N, bands, 2 keys)
    return torch.cat([onsets, held], -1)


def unfold(values, pedal):
    """Inverse of `fold`, duration and velocity repeated in each roll frame; pedal (B, N, stride) -> PianoRoll."""
    onsets, held = values.split((CELLS, 2 * BAND_KEYS), -1)
    onset = onsets.unflatten(-1, (BAND_KEYS, LATENT_STRIDE)).permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)  # (B, 88, T)
    lanes = held.unflatten(-1, (2, BAND_KEYS)).permute(0, 3, 2, 4, 1).flatten(2, 3)  # (B, 2, 88, N)
    lanes = lanes.repeat_interleave(LATENT_STRIDE, -1)
    return PianoRoll(torch.cat([onset[:, None], lanes], 1), pedal.flatten(1)[:, None])


class Perceptron(nn.Module):
    """Residual layers on vectors: (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs, width, blocks, outputs):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.RMSNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(blocks)
        )

    def forward(self, x):  # noqa: D102
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


class VQVAE(nn.Module):
    """The codec of every band, and the pedal, which is written as it is.

    Parameters
    ----------
    config : VQVAEConfig
    """

    HIDDEN = ("what_encoder.blocks", "what_decoder.blocks", "how_encoder.blocks", "how_decoder.blocks")  # for Muon

    def __init__(self, config):
        super().__init__()
        size, sizes = config.code_dim, (config.channels, config.blocks)
        self.what_encoder, self.what_decoder = Perceptron(CELLS, *sizes, size), Perceptron(size, *sizes, CELLS)
        self.how_encoder = Perceptron(CELLS + 2 * BAND_KEYS, *sizes, size)
        self.how_decoder = Perceptron(2 * size, *sizes, 2 * BAND_KEYS)
        self.codebook = Codebook(2, config.codes, size, config.codebook_decay, config.restart_below, config.seed)
        with torch.no_grad():
            self.what_decoder.last.bias.fill_(RARE_ONSET_LOGIT)

    def encode_bands(self, bands):
        """Bands (1, R, CELLS + 2 BAND_KEYS) -> codebook.Codes (1, R, 2)."""
        return self.codebook(torch.cat([self.what_encoder(bands[..., :CELLS]), self.how_encoder(bands)], -1))

    def decode_bands(self, z_q):
        """z_q (..., 2 D) -> logits (..., CELLS + 2 BAND_KEYS)."""
        what = z_q[..., : z_q.shape[-1] // 2]
        return torch.cat([self.what_decoder(what), self.how_decoder(z_q)], -1)

    def encode(self, piano_roll):
        """Quantise rolls of T frames: int64 (B, N, GROUPS), N = T / LATENT_STRIDE."""
        bands = fold(piano_roll)
        struck = bands[..., :CELLS].amax(-1) > 0  # (B, N, bands)
        indices = self.silent().to(bands.device).repeat(*struck.shape, 1)  # (B, N, bands, 2)
        if struck.any():
            indices[struck] = self.encode_bands(bands[struck][None]).indices[0]
        pedal = piano_roll.pedal[:, 0].unflatten(-1, (-1, LATENT_STRIDE)) >= 0.5
        pedal = (pedal.long() << torch.arange(LATENT_STRIDE, device=pedal.device)).sum(-1, keepdim=True)
        return torch.cat([indices.flatten(2), pedal], -1)

    def silent(self):
        """The codes (2,) of a band in which nothing begins."""
        device = self.codebook.embedding.device
        return self.encode_bands(torch.zeros(1, 1, CELLS + 2 * BAND_KEYS, device=device)).indices[0, 0]

    def decode(self, indices):
        """Codes int64 (B, N, GROUPS) -> PianoRoll of probabilities, not yet decided, T = N * LATENT_STRIDE."""
        pairs = indices[..., :-1].unflatten(-1, (BANDS, 2))  # (B, N, bands, 2)
        onsets = self.what_decoder(self.codebook.embedding[0]).float().sigmoid()[pairs[..., 0]]  # a table of all `what` codes
        held = onsets.new_zeros(*onsets.shape[:-1], 2 * BAND_KEYS)
        struck = onsets.amax(-1) >= 0.3
        if struck.any():
            held[struck] = self.how_decoder(self.codebook.look_up(pairs[struck][None])[0]).float().sigmoid()
        pedal = (indices[..., -1:] >> torch.arange(LATENT_STRIDE, device=indices.device)) & 1
        return unfold(torch.cat([onsets, held], -1), pedal.to(onsets.dtype))

    def code_vectors(self):
        """(GROUPS, K, D): what each code is, as a generator hears it; the pedal's bits are vectors too."""
        what, how = self.codebook.embedding
        pedal = torch.zeros_like(what)
        bits = (torch.arange(2**LATENT_STRIDE)[:, None] >> torch.arange(LATENT_STRIDE)) & 1
        pedal[: 2**LATENT_STRIDE, :LATENT_STRIDE] = 2.0 * bits.to(what) - 1
        return torch.stack([*[what, how] * BANDS, pedal])

    def forward(self, bands):
        """Training: (B, R, CELLS + 2 BAND_KEYS) -> (logits of that shape, codebook.Codes)."""
        codes: Codes = self.encode_bands(bands)
        return self.decode_bands(codes.z_q), codes


def struck_bands(piano_roll, rows=TRAINED_ROWS):
    """(B, rows, CELLS + 2 BAND_KEYS): of each chunk bands with notes first, then others."""
    bands = fold(piano_roll).flatten(1, 2)
    order = (bands[..., :CELLS].amax(-1) == 0).to(torch.int8).argsort(dim=1, stable=True)[:, :rows]
    return bands.gather(1, order[..., None].expand(-1, -1, bands.shape[-1]))


def reconstruction_loss(logits, bands, onset_weight):
    """Losses of decoded bands (B, R, CELLS + 2 BAND_KEYS).

    Returns
    -------
    dict of scalars: onset, duration, velocity (the latter two at onsets only) a typical note. The error of a duration or
    velocity counts as log(1 + error / what the ear and mir_eval let pass): what is nearly right is worth more than what
    can't be saved
    """
    onset = bands[..., :CELLS]
    weight = torch.as_tensor(onset_weight, device=onset.device)
    cells = functional.binary_cross_entropy_with_logits(logits[..., :CELLS].float(), onset, pos_weight=weight, reduction="sum")
    notes = TYPICAL_NOTES * len(bands)  # not the batch's own count: however it is cut, the sum is the same
    struck = onset.unflatten(-1, (BAND_KEYS, LATENT_STRIDE)).amax(-1)
    losses, held = {"onset": cells / notes}, bands[..., CELLS:].split(BAND_KEYS, -1)
    tolerances = (duration_tolerance(held[0]), VELOCITY_TOLERANCE)
    decoded = logits[..., CELLS:].float().sigmoid().split(BAND_KEYS, -1)
    for name, tolerance, wanted, found in zip(("duration", "velocity"), tolerances, held, decoded, strict=True):
        losses[name] = (((found - wanted).abs() / tolerance).log1p() * struck).sum() / notes
    return losses
