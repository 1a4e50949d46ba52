"""Inspects a trained stage, as arrays to plot: use of codes, confusions of players."""

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
from lib.data.tempo_maps import tempo_maps_of
from lib.training.coded_stream import BeatStream
from lib.training.stream import Batch, Stream


def _held_out(config: StageConfig, data_dir: Path, gather: Callable = gather_pieces) -> list:
    """Pieces that training has not seen; where a corpus has no validation split, those of the training split."""
    return gather(config, data_dir, "validation") or gather(config, data_dir, "train")


def _first_batch(stream_type: Callable, config: StageConfig, count: int, **arguments) -> Batch:
    """The first `count` examples of a stream, as played."""
    plain = dataclasses.replace(config, batch_size=count, gradient_accumulation=1)
    return stream_type(config=plain, augment=False, **arguments).batch(0)


@torch.inference_mode()
def code_use(run: Path, data_dir: Path, count: int = 32) -> np.ndarray:
    """How often a VQ-VAE run uses each of its codes in held-out windows of 32 beats.

    Returns
    -------
    int (2, codes): patterns of onsets, and codes for how they are played, of bands in which notes begin
    """
    vqvae, config = load_vqvae(run)
    pieces = _held_out(config, data_dir)
    batch = _first_batch(BeatStream, config, count, pieces=pieces, tempo_maps=tempo_maps_of(pieces))
    pairs = vqvae.encode(batch.piano_roll)[..., :-1].unflatten(-1, (-1, 2))  # (B, N, bands, 2)
    return functional.one_hot(pairs[pairs[..., 0] > 0], config.codes).sum(0).numpy()


@torch.inference_mode()
def confusion_of(run: Path, data_dir: Path, count: int = 128) -> tuple[tuple[str, ...], np.ndarray]:
    """Confusions of a style encoder run on held-out chunks, each player equally often.

    Returns
    -------
    (the P players it knows, int (P, P): chunks of the row's player that were taken for the column's)
    """
    style_encoder, config, names = load_style_encoder(run)
    pieces = _held_out(config, data_dir, gather_labelled)
    batch = _first_batch(Stream, config, count, pieces=pieces, balance=pianists_of(pieces))
    pianists = pianists_of([pieces[item] for item in batch.items])
    known = [row for row, pianist in enumerate(pianists) if pianist in names]
    _, logits = style_encoder(batch.stream.style_inputs(config.reads, batch.examples))
    played = np.array([names.index(pianists[row]) for row in known])
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (played, logits[known].argmax(-1).numpy()), 1)
    return tuple(names), counts
