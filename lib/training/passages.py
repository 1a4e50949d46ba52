"""Passages of a stream as a style encoder reads them, varied for training, averaged to a pianist's style."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch.nn import functional

from lib.checkpoints.load import Styles
from lib.data.selection import pianists_of
from lib.music.note_windows import note_windows
from lib.training.stream import Stream

CHUNKS_PER_STYLE = 16  # chunks a pianist's vector is the mean of


def passages(config, stream, examples, device):
    """A stream's examples as a style encoder of this config reads them: NoteWindows or PianoRoll."""
    if config.reads == "notes":
        return note_windows(stream.passages(examples), device)
    return stream.piano_roll(examples, device)


def vary(values, generator, config):
    """A passage's notes (5, N) with some left out, and times, lengths and velocities a little otherwise.

    Transposition and tempo are the stream's. So the model hears the player, not the transcriber, piano or room.
    """
    values = values[:, generator.random(values.shape[1]) >= config.dropout_notes * generator.random()]
    onset_s, duration_s, pitch, velocity, pedal = values
    onset_s = np.sort(onset_s + generator.normal(0, config.jitter_s, len(onset_s)))
    duration_s = duration_s * np.exp(generator.uniform(-1, 1) * config.duration_spread)
    contrast = generator.uniform(1 - config.velocity_contrast, 1 + config.velocity_contrast)
    velocity = ((velocity - 64) * contrast + 64).clip(1, 127)
    pedal = pedal * (generator.random() >= config.dropout_pedal)
    return np.stack([onset_s, duration_s, pitch, velocity, pedal]).astype(np.float32)


def embed_pianists(style_encoder, style_config, pieces, config, device="cpu", chunks=CHUNKS_PER_STYLE):
    """A style for each pianist: the mean over chunks of the given pieces, length 1.

    Parameters
    ----------
    pieces : [(store, piece index)], the training split alone
    """
    players, vectors = pianists_of(pieces), []
    names = sorted(set(filter(None, players)))
    plain = dataclasses.replace(config, batch_size=chunks, gradient_accumulation=1)
    with torch.inference_mode():
        for name in names:
            stream = Stream([p for p, who in zip(pieces, players, strict=True) if who == name], plain, augment=False)
            batch = stream.batch(0, device=device)
            vectors.append(style_encoder(passages(style_config, stream, batch.examples, device))[0].mean(0))
    vectors = torch.stack(vectors) if vectors else torch.zeros(0, style_encoder.project.out_features)
    return Styles(tuple(names), functional.normalize(vectors, dim=-1))
