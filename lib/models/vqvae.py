"""The piano codec: piano roll -> product codes of latent frames -> piano roll, each register separately.

A latent frame holds LATENT_STRIDE roll frames. The keyboard is cut into BANDS of BAND_KEYS keys. In each, a first code
says which keys are struck when (the pattern), a second one how long and how loud (the expression); one more code is the
pedal. All bands share their networks and codebooks. So a code means the same wherever it stands, and most of them say
that nothing begins: what a generator has to learn is the music, not the codec. No code depends on other frames or
bands.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.config import VQVAEConfig
from lib.models.blocks import ResidualMLP
from lib.models.codebook import Codebook, Quantised
from lib.music.piano_roll import DURATION, LATENT_STRIDE, NUM_PITCHES, VELOCITY, PianoRoll, duration_tolerance

BAND_KEYS = 8
BANDS = NUM_PITCHES // BAND_KEYS  # 11
CELLS = BAND_KEYS * LATENT_STRIDE  # of a band in a latent frame
GROUPS = 2 * BANDS + 1  # pattern, expression, pattern, expression, ..., pedal
PEDALS = 2**LATENT_STRIDE  # codes of the pedal
SILENT = 0  # both codes of a band in which nothing begins
TRAINED_ROWS = 128  # bands with notes of a chunk that a training step looks at
VELOCITY_TOLERANCE = 0.05  # of the range; half of what transcription is judged by


def to_bands(piano_roll: PianoRoll) -> Tensor:
    """What each band of a latent frame holds: PianoRoll (T frames) -> (B, N, BANDS, CELLS + 2 BAND_KEYS)."""
    roll = piano_roll.roll.unflatten(-1, (-1, LATENT_STRIDE))  # (B, 3, 88, N, stride)
    roll = roll.unflatten(2, (BANDS, BAND_KEYS))  # (B, 3, bands, keys, N, stride)
    onsets = roll[:, 0].permute(0, 3, 1, 2, 4).flatten(3)  # (B, N, bands, keys * stride)
    held = roll[:, [DURATION, VELOCITY]].amax(-1).permute(0, 4, 2, 1, 3).flatten(3)  # (B, N, bands, 2 keys)
    return torch.cat([onsets, held], -1)


def from_bands(bands: Tensor, pedal: Tensor) -> PianoRoll:
    """Inverse of `to_bands`: duration and velocity stand where their band's onsets are; pedal (B, N, stride)."""
    onsets, held = bands.split((CELLS, 2 * BAND_KEYS), -1)
    onsets = onsets.unflatten(-1, (BAND_KEYS, LATENT_STRIDE))  # (B, N, bands, keys, stride)
    onsets = onsets.permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)  # (B, 88, T)
    lanes = held.unflatten(-1, (2, BAND_KEYS)).permute(0, 3, 2, 4, 1).flatten(2, 3)  # (B, 2, 88, N)
    lanes = lanes.repeat_interleave(LATENT_STRIDE, -1) * onsets[:, None]
    return PianoRoll(torch.cat([onsets[:, None], lanes], 1), pedal.flatten(1)[:, None])


class VQVAE(nn.Module):
    """The codec of every band, and the pedal, which is written as it is.

    Patterns are numbers in a dictionary of those that training music has most often (exact for 99 % of all bands; the
    others take the most similar one), expression is quantised by a learned codebook.

    Parameters
    ----------
    width, blocks : of encoder and decoder: channels, residual layers
    codes, code_dim : K patterns, and as many codes of expression, of D dimensions
    codebook_decay, restart_below, seed : see codebook.Codebook
    patterns : (K, CELLS) in {0, 1}, the dictionary, the first one empty; None: weights will be loaded
    """

    MUON_MODULES = ("encoder.blocks", "decoder.blocks")  # whose matrices Muon may train

    def __init__(
        self,
        width: int,
        blocks: int,
        codes: int,
        code_dim: int,
        codebook_decay: float = 0.99,
        restart_below: float = 0.5,
        seed: int = 0,
        patterns: Tensor | None = None,
    ):
        super().__init__()
        self.encoder = ResidualMLP(CELLS + 2 * BAND_KEYS, width, blocks, code_dim)
        self.decoder = ResidualMLP(CELLS + code_dim, width, blocks, 2 * BAND_KEYS)
        self.codebook = Codebook(codes, code_dim, codebook_decay, restart_below, seed)
        self.register_buffer("patterns", torch.zeros(codes, CELLS) if patterns is None else patterns.float())

    @classmethod
    def from_config(cls, config: VQVAEConfig, patterns: Tensor | None = None) -> VQVAE:
        """A model of the config's sizes."""
        sizes = (config.channels, config.blocks, config.codes, config.code_dim)
        return cls(*sizes, config.codebook_decay, config.restart_below, config.seed, patterns)

    def encode(self, piano_roll: PianoRoll) -> Tensor:
        """Quantise rolls of T frames: int64 (B, N, GROUPS), N = T / LATENT_STRIDE."""
        bands = to_bands(piano_roll)
        struck = bands[..., :CELLS].amax(-1) > 0  # (B, N, bands)
        indices = torch.zeros(*struck.shape, 2, dtype=torch.long, device=bands.device)
        if struck.any():
            pattern = self.nearest_pattern(bands[struck][:, :CELLS])
            indices[struck] = torch.stack([pattern, self(bands[struck][None])[0].indices[0]], -1)
        pedal = piano_roll.pedal[:, 0].unflatten(-1, (-1, LATENT_STRIDE)) >= 0.5
        pedal = (pedal.long() << torch.arange(LATENT_STRIDE, device=pedal.device)).sum(-1, keepdim=True)
        return torch.cat([indices.flatten(2), pedal], -1)

    def nearest_pattern(self, cells: Tensor) -> Tensor:
        """(R, CELLS) in {0, 1} -> int64 (R,): the pattern that has the most cells in common (F1)."""
        both = cells @ self.patterns.T
        return (both / (cells.sum(-1, keepdim=True) + self.patterns.sum(-1)).clamp(min=1)).argmax(-1)

    def decode(self, indices: Tensor) -> PianoRoll:
        """Codes int64 (B, N, GROUPS) -> finished PianoRoll, T = N * LATENT_STRIDE."""
        pairs = indices[..., :-1].unflatten(-1, (BANDS, 2))  # (B, N, bands, 2)
        onsets, struck = self.patterns[pairs[..., 0]], pairs[..., 0] > 0
        held = onsets.new_zeros(*onsets.shape[:-1], 2 * BAND_KEYS)
        if struck.any():
            expression = self.codebook.embedding[0, pairs[struck][:, 1]]
            held[struck] = self.decoder(torch.cat([onsets[struck], expression], -1)).float().sigmoid()
        pedal = (indices[..., -1:] >> torch.arange(LATENT_STRIDE, device=indices.device)) & 1
        return from_bands(torch.cat([onsets, held], -1), pedal.to(onsets.dtype))

    def code_vectors(self) -> Tensor:
        """(GROUPS, K, CELLS): a vector for each code, as a generator reads it, padded with zeros."""
        expression, pedal = torch.zeros_like(self.patterns), torch.zeros_like(self.patterns)
        expression[:, : self.codebook.code_dim] = self.codebook.embedding[0]
        bits = (torch.arange(PEDALS)[:, None] >> torch.arange(LATENT_STRIDE)) & 1
        pedal[:PEDALS, :LATENT_STRIDE] = 2.0 * bits.to(pedal) - 1
        return torch.stack([*[self.patterns, expression] * BANDS, pedal])

    def forward(self, bands: Tensor) -> tuple[Quantised, Tensor]:
        """(B, R, CELLS + 2 BAND_KEYS) -> (Quantised (B, R), logits of duration and velocity (B, R, 2 BAND_KEYS))."""
        quantised = self.codebook(self.encoder(bands))
        return quantised, self.decoder(torch.cat([bands[..., :CELLS], quantised.z_q], -1))


def struck_bands(piano_roll: PianoRoll) -> Tensor:
    """Each chunk's bands in which notes begin, over and over: (B, R, CELLS + 2 BAND_KEYS); zeros where none do."""
    bands = to_bands(piano_roll).flatten(1, 2)  # (B, N * BANDS, values)
    struck = bands[..., :CELLS].amax(-1) > 0  # (B, N * BANDS)
    struck_first = (~struck).to(torch.int8).argsort(dim=1, stable=True)
    position = torch.arange(TRAINED_ROWS, device=bands.device) % struck.sum(1, keepdim=True).clamp(min=1)  # (B, R)
    index = struck_first.gather(1, position)  # (B, R)
    return bands.gather(1, index[..., None].expand(-1, -1, bands.shape[-1]))


def reconstruction_loss(logits: Tensor, bands: Tensor) -> dict[str, Tensor]:
    """Losses of decoded bands: logits (B, R, 2 BAND_KEYS), bands (B, R, CELLS + 2 BAND_KEYS).

    Returns
    -------
    dict of scalars: duration, velocity, means over the notes. An error counts as log(1 + error / tolerance), with
        mir_eval's tolerances: what is nearly right is worth more than what can't be saved
    """
    struck = bands[..., :CELLS].unflatten(-1, (BAND_KEYS, LATENT_STRIDE)).amax(-1)
    weight = struck / struck.sum((1, 2), keepdim=True).clamp(min=1) / len(bands)  # each chunk the same, however cut
    target, estimate = bands[..., CELLS:], logits.float().sigmoid()
    duration, velocity = (estimate - target).abs().split(BAND_KEYS, -1)  # errors
    errors = {
        "duration": duration / duration_tolerance(target[..., :BAND_KEYS]),
        "velocity": velocity / VELOCITY_TOLERANCE,
    }
    return {name: (error.log1p() * weight).sum() for name, error in errors.items()}
