"""The piano codec: piano roll -> product codes every 80 ms -> piano roll, each register for itself.

A latent frame holds LATENT_STRIDE roll frames. The keyboard is cut into BANDS of BAND_KEYS keys; in each, a first code says
which keys are struck when (`what`), a second one how long and how loud (`how`); one more code is the pedal. All bands share
their networks and codebooks. So a code means the same wherever it stands, and most of them say that nothing begins: what a
generator has to learn is the music, not the codec. Nothing depends on other frames or bands.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lib.models.codebook import Codebook
from lib.music.piano_roll import (
    DURATION,
    FRAME_RATE_HZ,
    LATENT_STRIDE,
    LOWEST_PITCH,
    NUM_PITCHES,
    VELOCITY,
    PianoRoll,
    duration_tolerance,
)

BAND_KEYS = 8
BANDS = NUM_PITCHES // BAND_KEYS  # 11
CELLS = BAND_KEYS * LATENT_STRIDE  # of a band in a latent frame
GROUPS = 2 * BANDS + 1  # what, how, what, how, ..., pedal
KINDS = (0, 1) * BANDS + (2,)  # what, how, pedal
TRAINED_ROWS = 128  # bands with notes of a chunk that a training step looks at
VELOCITY_TOLERANCE = 0.05  # of the range; half of what transcription is judged by


def fold(piano_roll):
    """What each band of a latent frame holds: PianoRoll (T frames) -> (B, N, BANDS, CELLS + 2 BAND_KEYS)."""
    roll = piano_roll.roll.unflatten(-1, (-1, LATENT_STRIDE)).unflatten(2, (BANDS, BAND_KEYS))  # (B, 3, bands, keys, N, stride)
    onsets = roll[:, 0].permute(0, 3, 1, 2, 4).flatten(3)  # (B, N, bands, keys * stride)
    held = roll[:, [DURATION, VELOCITY]].amax(-1).permute(0, 4, 2, 1, 3).flatten(3)  # (B, N, bands, 2 keys)
    return torch.cat([onsets, held], -1)


def unfold(values, pedal):
    """Inverse of `fold`: duration and velocity stand where their band's onsets are; pedal (B, N, stride) -> PianoRoll."""
    onsets, held = values.split((CELLS, 2 * BAND_KEYS), -1)
    onset = onsets.unflatten(-1, (BAND_KEYS, LATENT_STRIDE)).permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)  # (B, 88, T)
    lanes = held.unflatten(-1, (2, BAND_KEYS)).permute(0, 3, 2, 4, 1).flatten(2, 3)  # (B, 2, 88, N)
    lanes = lanes.repeat_interleave(LATENT_STRIDE, -1) * onset[:, None]
    return PianoRoll(torch.cat([onset[:, None], lanes], 1), pedal.flatten(1)[:, None])


class RootMeanSquareNorm(nn.RMSNorm):
    """In full precision, whatever is around it."""

    def forward(self, x):  # noqa: D102
        return super().forward(x.float())


class Perceptron(nn.Module):
    """Residual layers on vectors: (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs, width, blocks, outputs):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(RootMeanSquareNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(blocks)
        )

    def forward(self, x):  # noqa: D102
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


class VQVAE(nn.Module):
    """The codec of every band, and the pedal, which is written as it is.

    `what` is the number of a pattern in a dictionary of those that training music has most often (exact for 99 % of all
    bands; the others take the one most like them), `how` is quantised by a learned codebook.

    Parameters
    ----------
    config : VQVAEConfig
    patterns : (K, CELLS) in {0, 1}, the dictionary, the first one empty; None: weights will be loaded
    """

    HIDDEN = ("encoder.blocks", "decoder.blocks")  # for Muon

    def __init__(self, config, patterns=None):
        super().__init__()
        size, sizes = config.code_dim, (config.channels, config.blocks)
        self.encoder = Perceptron(CELLS + 2 * BAND_KEYS, *sizes, size)
        self.decoder = Perceptron(CELLS + size, *sizes, 2 * BAND_KEYS)
        self.codebook = Codebook(1, config.codes, size, config.codebook_decay, config.restart_below, config.seed)
        self.register_buffer("patterns", torch.zeros(config.codes, CELLS) if patterns is None else patterns.float())

    def encode(self, piano_roll):
        """Quantise rolls of T frames: int64 (B, N, GROUPS), N = T / LATENT_STRIDE."""
        bands = fold(piano_roll)
        struck = bands[..., :CELLS].amax(-1) > 0  # (B, N, bands)
        indices = torch.zeros(*struck.shape, 2, dtype=torch.long, device=bands.device)
        if struck.any():
            what = self.nearest_pattern(bands[struck][:, :CELLS])
            indices[struck] = torch.stack([what, self.quantise(bands[struck][None])[0].indices[0, :, 0]], -1)
        pedal = piano_roll.pedal[:, 0].unflatten(-1, (-1, LATENT_STRIDE)) >= 0.5
        pedal = (pedal.long() << torch.arange(LATENT_STRIDE, device=pedal.device)).sum(-1, keepdim=True)
        return torch.cat([indices.flatten(2), pedal], -1)

    def nearest_pattern(self, cells):
        """(R, CELLS) in {0, 1} -> int64 (R,): the pattern that has the most cells in common (F1)."""
        both = cells @ self.patterns.T
        return (both / (cells.sum(-1, keepdim=True) + self.patterns.sum(-1)).clamp(min=1)).argmax(-1)

    def quantise(self, bands):
        """Bands (1, R, CELLS + 2 BAND_KEYS) -> (codebook.Codes (1, R, 1), logits of duration and velocity (1, R, 2 BAND_KEYS))."""
        codes = self.codebook(self.encoder(bands))
        return codes, self.decoder(torch.cat([bands[..., :CELLS], codes.z_q], -1))

    def decode(self, indices):
        """Codes int64 (B, N, GROUPS) -> finished PianoRoll, T = N * LATENT_STRIDE."""
        pairs = indices[..., :-1].unflatten(-1, (BANDS, 2))  # (B, N, bands, 2)
        onsets, struck = self.patterns[pairs[..., 0]], pairs[..., 0] > 0
        held = onsets.new_zeros(*onsets.shape[:-1], 2 * BAND_KEYS)
        if struck.any():
            how = self.codebook.embedding[0, pairs[struck][:, 1]]
            held[struck] = self.decoder(torch.cat([onsets[struck], how], -1)).float().sigmoid()
        pedal = (indices[..., -1:] >> torch.arange(LATENT_STRIDE, device=indices.device)) & 1
        return unfold(torch.cat([onsets, held], -1), pedal.to(onsets.dtype))

    def code_vectors(self):
        """(GROUPS, K, CELLS): what each code is, as a generator hears it, padded with zeros."""
        how, pedal = torch.zeros_like(self.patterns), torch.zeros_like(self.patterns)
        how[:, : self.codebook.code_dim] = self.codebook.embedding[0]
        bits = (torch.arange(2**LATENT_STRIDE)[:, None] >> torch.arange(LATENT_STRIDE)) & 1
        pedal[: 2**LATENT_STRIDE, :LATENT_STRIDE] = 2.0 * bits.to(how) - 1
        return torch.stack([*[self.patterns, how] * BANDS, pedal])

    def silent(self):
        """The codes (2,) of a band in which nothing begins."""
        return torch.zeros(2, dtype=torch.long)

    def forward(self, bands):
        """Training: (B, R, CELLS + 2 BAND_KEYS) -> (logits (B, R, 2 BAND_KEYS), codebook.Codes)."""
        codes, logits = self.quantise(bands)
        return logits, codes


def frequent_patterns(pieces, codes):
    """(codes, CELLS): the dictionary of [(store, piece index)], the first pattern empty, then the most frequent ones."""
    counts = Counter()
    for store, index in pieces:
        notes = store.piece_notes(index)
        frame, key = np.floor(notes.onset_s * FRAME_RATE_HZ + 0.5).astype(np.int64), notes.pitch.astype(np.int64) - LOWEST_PITCH
        inside = (key >= 0) & (key < NUM_PITCHES)
        frame, key = frame[inside], key[inside]
        place = frame // LATENT_STRIDE * BANDS + key // BAND_KEYS
        cell = key % BAND_KEYS * LATENT_STRIDE + frame % LATENT_STRIDE
        place, cell = np.unique(np.stack([place, cell]), axis=1)  # ordered by place
        if len(place):
            starts = np.flatnonzero(np.diff(place, prepend=-1))
            counts.update(np.bitwise_or.reduceat(np.int64(1) << cell, starts).tolist())
    found = np.array([0, *(pattern for pattern, _ in counts.most_common(codes - 1))])
    bits = (found[:, None] >> np.arange(CELLS)) & 1
    return functional.pad(torch.from_numpy(bits).float(), (0, 0, 0, codes - len(found)))


def struck_bands(piano_roll, rows=TRAINED_ROWS):
    """(B, rows, CELLS + 2 BAND_KEYS): of each chunk the bands in which notes begin, over and over; zeros where none do."""
    bands = fold(piano_roll).flatten(1, 2)
    struck = bands[..., :CELLS].amax(-1) > 0
    order = (~struck).to(torch.int8).argsort(dim=1, stable=True)
    places = torch.arange(rows, device=bands.device) % struck.sum(1, keepdim=True).clamp(min=1)
    return bands.gather(1, order.gather(1, places)[..., None].expand(-1, -1, bands.shape[-1]))


def reconstruction_loss(logits, bands):
    """Losses of decoded bands: logits (B, R, 2 BAND_KEYS), bands (B, R, CELLS + 2 BAND_KEYS).

    Returns
    -------
    dict of scalars: duration, velocity, means over the notes. An error counts as log(1 + error / what the ear and mir_eval
    let pass): what is nearly right is worth more than what can't be saved
    """
    struck = bands[..., :CELLS].unflatten(-1, (BAND_KEYS, LATENT_STRIDE)).amax(-1)
    wanted, found = bands[..., CELLS:].split(BAND_KEYS, -1), logits.float().sigmoid().split(BAND_KEYS, -1)
    tolerances = (duration_tolerance(wanted[0]), VELOCITY_TOLERANCE)
    share = struck / struck.sum((1, 2), keepdim=True).clamp(min=1) / len(bands)  # each chunk the same, however cut
    return {name: (((f - w).abs() / tolerance).log1p() * share).sum()
            for name, tolerance, w, f in zip(("duration", "velocity"), tolerances, wanted, found, strict=True)}  # fmt: skip
