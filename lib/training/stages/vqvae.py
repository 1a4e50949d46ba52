"""The VQ-VAE: the codec between piano rolls and codes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.config import VQVAEConfig
from lib.data.corpora import gather_pieces, in_published_test
from lib.data.tempo_maps import tempo_maps_of
from lib.keyed_random import keyed_generator
from lib.models.codebook import perplexity
from lib.models.vqvae import BAND_KEYS, BANDS, CELLS, GROUPS, VQVAE, reconstruction_loss, struck_bands
from lib.music.metrics import note_f1
from lib.music.piano_roll import FRAMES_PER_BEAT, LATENT_STRIDE, LOWEST_PITCH, NUM_PITCHES, WINDOW, piano_roll_to_notes
from lib.music.tempo_map import STEADY, in_seconds
from lib.training.coded_stream import BeatStream, Excerpt
from lib.training.stages.stage import Stage

CODEBOOK_PURPOSE = "codebook"  # of random numbers: data, see keyed_random


class VQVAEStage(Stage):
    """Piano roll -> codes -> piano roll."""

    tokens_per_example = WINDOW * GROUPS  # codes

    def __init__(self, config: VQVAEConfig, data_dir, checkpoint, sources):
        pieces = {split: gather_pieces(config, data_dir, split) for split in ("train", "validation")}
        train, validation = (
            [(store, i) for store, i in pieces[split] if not in_published_test(store.pieces[i])] for split in pieces
        )
        validation = validation or train
        super().__init__(
            config,
            BeatStream(train, tempo_maps_of(train), config),
            BeatStream(validation, tempo_maps_of(validation), config, augment=False),
        )
        self.model = VQVAE.from_config(config, None if checkpoint else frequent_patterns(self.stream, config.codes))

    def losses(self, model, batch):
        """Reconstruction by lane, commitment; `loss` is their weighted sum."""
        bands = struck_bands(batch.piano_roll)
        quantised, logits = model(bands)
        losses = reconstruction_loss(logits, bands)
        loss = sum(losses.values()) + self.config.commitment_weight * quantised.commitment_loss
        rest = {**losses, "commitment": quantised.commitment_loss}
        return {"loss": loss, **{name: value.detach() for name, value in rest.items()}}

    def after_step(self, step, reduce=None, share=(0, 1)):
        """Move the codebook."""
        generator = keyed_generator(self.config.seed, CODEBOOK_PURPOSE, step)
        return {"perplexity": self.model.codebook.update(generator, reduce, share)}

    def forget(self):
        """The codebook's statistics of this step."""
        self.model.codebook.reset_statistics()

    def validate(self, model):
        """Losses, and the F1 of decoded notes over the validation batches."""
        rows = super().validate(model)
        scores, use = [], 0
        for batch in self.validation_batches():
            codes = model.encode(batch.piano_roll)
            decoded = model.decode(codes)
            pairs = zip(piano_roll_to_notes(batch.piano_roll), piano_roll_to_notes(decoded), strict=True)
            pairs = ([in_seconds(notes, STEADY) for notes in pair] for pair in pairs)
            scores += [note_f1(original, estimate) for original, estimate in pairs if len(original)]
            pairs = codes[..., :-1].unflatten(-1, (-1, 2))
            expression = pairs[..., 1][pairs[..., 0] > 0]
            use = use + functional.one_hot(expression, self.config.codes).sum(0)
        for name in ("onset", "onset_offset", "onset_velocity"):
            rows[f"{name}_f1"] = sum(getattr(score, name) for score in scores) / max(1, len(scores))
        return {**rows, "perplexity": perplexity(use.float())}


def frequent_patterns(stream: BeatStream, codes: int) -> Tensor:
    """The codec's dictionary: the empty pattern of onsets, then the most frequent ones.

    Parameters
    ----------
    stream : whose pieces are counted, as played
    codes : K

    Returns
    -------
    (K, CELLS) in {0, 1}
    """
    counts = Counter()
    for item, length in enumerate(stream.lengths):
        notes = stream.notes(Excerpt(item, 0, length))
        frame = np.floor(notes.onset * FRAMES_PER_BEAT + 0.5).astype(np.int64)
        key = notes.pitch.astype(np.int64) - LOWEST_PITCH
        inside = (key >= 0) & (key < NUM_PITCHES)
        frame, key = frame[inside], key[inside]
        band = frame // LATENT_STRIDE * BANDS + key // BAND_KEYS  # of all bands of all latent frames
        cell = key % BAND_KEYS * LATENT_STRIDE + frame % LATENT_STRIDE
        band, cell = np.unique(np.stack([band, cell]), axis=1)  # ordered by band
        if len(band):
            starts = np.flatnonzero(np.diff(band, prepend=-1))
            counts.update(np.bitwise_or.reduceat(np.int64(1) << cell, starts).tolist())
    patterns = np.array([0, *(pattern for pattern, _ in counts.most_common(codes - 1))])
    bits = (patterns[:, None] >> np.arange(CELLS)) & 1
    return functional.pad(torch.from_numpy(bits).float(), (0, 0, 0, codes - len(patterns)))
