"""What a trained stage has learned, as arrays to plot: how it uses its codes, whom it takes for whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from lib.checkpoints.load import load_style_encoder, load_vqvae
from lib.config import StageConfig
from lib.data.corpora import gather_labelled, gather_pieces, pianists_of
from lib.training.stream import Batch, Stream


def _held_out_chunks(
    config: StageConfig, data_dir: Path, count: int, gather: Callable = gather_pieces, balanced: bool = False
) -> tuple[Batch, list[str]]:
    """`count` chunks that training has not seen: (stream.Batch, the pianist of each).

    Where a corpus has no validation split, chunks of the training split are taken.
    """
    pieces = gather(config, data_dir, "validation") or gather(config, data_dir, "train")
    pianists = pianists_of(pieces)
    plain = dataclasses.replace(config, batch_size=count, gradient_accumulation=1)
    batch = Stream(pieces, plain, balance=pianists if balanced else None, augment=False).batch(0)
    return batch, [pianists[item] for item in batch.items]


@torch.inference_mode()
def code_use(run: Path, data_dir: Path, count: int = 32) -> np.ndarray:
    """How often a VQ-VAE run uses each of its codes on held-out chunks.

    Returns
    -------
    int (2, codes): patterns of onsets, and codes for how they are played, of bands in which notes begin
    """
    vqvae, config = load_vqvae(run)
    batch, _ = _held_out_chunks(config, data_dir, count)
    pairs = vqvae.encode(batch.piano_roll)[..., :-1].unflatten(-1, (-1, 2))  # (B, N, bands, 2)
    return functional.one_hot(pairs[pairs[..., 0] > 0], config.codes).sum(0).numpy()


@torch.inference_mode()
def confusion_of(run: Path, data_dir: Path, count: int = 128) -> tuple[tuple[str, ...], np.ndarray]:
    """Whom a style encoder run takes for whom in held-out chunks, each player as often.

    Returns
    -------
    (the P players it knows, int (P, P): chunks of the row's player that were taken for the column's)
    """
    style_encoder, config, names = load_style_encoder(run)
    batch, pianists = _held_out_chunks(config, data_dir, count, gather_labelled, balanced=True)
    known = [row for row, pianist in enumerate(pianists) if pianist in names]
    _, logits = style_encoder(batch.stream.style_inputs(config.reads, batch.examples))
    played = np.array([names.index(pianists[row]) for row in known])
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (played, logits[known].argmax(-1).numpy()), 1)
    return tuple(names), counts
