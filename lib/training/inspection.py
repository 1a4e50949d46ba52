"""What a trained stage has learned, as arrays to plot: how it uses its codes, where it hears each player."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from lib.checkpoints.load import load_style_encoder, load_vqvae
from lib.data.selection import gather_labelled, gather_pieces, pianists_of
from lib.training.passages import passages
from lib.training.stream import Stream


@dataclass(frozen=True)
class Hearing:
    """How a style encoder hears held-out chunks.

    Attributes
    ----------
    names : the P players it knows
    player : int (N,), who plays each chunk, a place in `names`
    confusion : int (P, P), chunks of the row's player that were taken for the column's
    """

    names: tuple
    player: np.ndarray
    confusion: np.ndarray


def held_out_chunks(config, data_dir, count, gather=gather_pieces, balanced=False):
    """`count` chunks that training has not heard: (stream.Batch, the pianist of each).

    Where a corpus has no validation split, chunks of the training split are taken.
    """
    pieces = gather(config, data_dir, "validation") or gather(config, data_dir, "train")
    pianists = pianists_of(pieces)
    plain = dataclasses.replace(config, batch_size=count, gradient_accumulation=1)
    batch = Stream(pieces, plain, balance=pianists if balanced else None, augment=False).batch(0)
    return batch, [pianists[item] for item in batch.items]


@torch.inference_mode()
def code_use(run, data_dir, count=32):
    """How often a VQ-VAE run uses each of its codes on held-out chunks.

    Returns
    -------
    int (2, codes): patterns of onsets, and codes for how they are played, of bands in which notes begin
    """
    vqvae, config = load_vqvae(run)
    batch, _ = held_out_chunks(config, data_dir, count)
    pairs = vqvae.encode(batch.piano_roll)[..., :-1].unflatten(-1, (-1, 2))  # (B, N, bands, 2)
    return functional.one_hot(pairs[pairs[..., 0] > 0], config.codes).sum(0).numpy()


@torch.inference_mode()
def hear_players(run, data_dir, count=128):
    """What a style encoder run makes of held-out chunks, each player as often: Hearing."""
    style_encoder, config, names = load_style_encoder(run)
    batch, pianists = held_out_chunks(config, data_dir, count, gather_labelled, balanced=True)
    known = [row for row, pianist in enumerate(pianists) if pianist in names]
    _, logits = style_encoder(passages(config, batch.stream, batch.examples, batch.device))
    player = np.array([names.index(pianists[row]) for row in known])
    confusion = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(confusion, (player, logits[known].argmax(-1).numpy()), 1)
    return Hearing(tuple(names), player, confusion)


def main_directions(vectors):
    """Vectors (N, D) along the two directions in which they differ most: (N, 2)."""
    centred = vectors - vectors.mean(0)
    return centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
