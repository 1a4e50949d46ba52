"""What each stage trains: its model, its data, its losses, and what it leaves behind. See stage.py."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch.nn import functional

from lib.data.selection import gather_labelled, gather_pieces, in_published_test, pianists_of
from lib.keyed_random import keyed_generator
from lib.models.codebook import perplexity
from lib.models.style_encoder import StyleEncoder
from lib.models.vqvae import BAND_KEYS, BANDS, CELLS, VQVAE, reconstruction_loss, struck_bands
from lib.music.metrics import note_f1
from lib.music.note_windows import note_windows
from lib.music.piano_roll import (
    FRAME_RATE_HZ,
    LATENT_STRIDE,
    LOWEST_PITCH,
    NUM_PITCHES,
    PianoRoll,
    piano_roll_to_notes,
)
from lib.training.passages import passages, vary
from lib.training.stages.diffusion import DiffusionStage, FineTuneStage
from lib.training.stages.stage import Stage
from lib.training.stream import Stream


class VQVAEStage(Stage):
    """Piano roll -> codes -> piano roll."""

    def __init__(self, config, data_dir, checkpoint, sources):
        chosen = {split: gather_pieces(config, data_dir, split) for split in ("train", "validation")}
        for split, pieces in chosen.items():
            chosen[split] = [(store, i) for store, i in pieces if not in_published_test(store.pieces[i])]
        train, held_out = chosen["train"], chosen["validation"] or chosen["train"]
        super().__init__(config, Stream(train, config), Stream(held_out, config, augment=False))
        self.model = VQVAE.from_config(config, None if checkpoint else frequent_patterns(train, config.codes))

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
        generator = keyed_generator(self.config.seed, "codebook", step)
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
            scores += [note_f1(original, estimate) for original, estimate in pairs if len(original)]
            pairs = codes[..., :-1].unflatten(-1, (-1, 2))
            expression = pairs[..., 1][pairs[..., 0] > 0]
            use = use + functional.one_hot(expression, self.config.codes).sum(0)
        for name in ("onset", "onset_offset", "onset_velocity"):
            rows[f"{name}_f1"] = sum(getattr(score, name) for score in scores) / max(1, len(scores))
        return {**rows, "perplexity": perplexity(use.float())}


def frequent_patterns(pieces, codes):
    """The codec's dictionary: the empty pattern of onsets, then the most frequent ones.

    Parameters
    ----------
    pieces : [(store, piece index)]
    codes : K

    Returns
    -------
    (K, CELLS) in {0, 1}
    """
    counts = Counter()
    for store, index in pieces:
        notes = store.piece_notes(index)
        frame = np.floor(notes.onset_s * FRAME_RATE_HZ + 0.5).astype(np.int64)
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


class StyleEncoderStage(Stage):
    """A passage -> who plays."""

    def __init__(self, config, data_dir, checkpoint, sources):
        train = gather_labelled(config, data_dir, "train")
        players = pianists_of(train)
        self.names = sorted(set(players))
        self.target = [self.names.index(name) for name in players]
        held_out = gather_labelled(config, data_dir, "validation")
        held_out = [(store, i) for store, i in held_out if store.pieces[i].pianist in self.names] or train
        self.held_out_target = [self.names.index(name) for name in pianists_of(held_out)]
        held_out = Stream(held_out, config, augment=False, balance=pianists_of(held_out))
        super().__init__(config, Stream(train, config, balance=players), held_out)
        self.model = StyleEncoder.from_config(config, len(self.names))

    def losses(self, model, batch, targets=None, varied=True):
        """Cross-entropy over pianists, in training with a margin (Wang et al. 2018, CosFace), and accuracy."""
        targets = self.target if targets is None else targets
        target = torch.tensor([targets[item] for item in batch.items], device=self.device)
        style, logits = model(self.varied(batch) if varied else passages(self.config, batch.stream, batch.examples, self.device))
        asked = logits - self.margin(model, target) if varied else logits
        loss = functional.cross_entropy(asked, target, label_smoothing=self.config.label_smoothing)
        return {"loss": loss, "accuracy": (logits.argmax(-1) == target).float().mean()}

    def margin(self, model, target):
        """What the right pianist's logit must be ahead by: (B, P)."""
        return model.log_scale.exp() * self.config.margin * functional.one_hot(target, len(self.names))

    def varied(self, batch):
        """The batch as another machine might have written it down: see `vary`; a roll only loses notes."""
        generators = [keyed_generator(self.config.seed, "notes", batch.step, index) for index in batch.indices]
        if self.config.reads == "notes":
            windows = zip(batch.stream.passages(batch.examples), generators, strict=True)
            return note_windows([vary(values, generator, self.config) for values, generator in windows], self.device)
        roll = batch.piano_roll.roll
        keep = np.stack([generator.random(roll.shape[2:], dtype="float32") for generator in generators])
        keep = torch.from_numpy(keep).to(roll.device) >= self.config.dropout_notes
        return PianoRoll(roll * keep[:, None], batch.piano_roll.pedal)

    def held_out_losses(self, model, batch):
        """Losses of what was played, unvaried; held-out albums, each pianist as often."""
        return self.losses(model, batch, self.held_out_target, varied=False)

    def facts(self):
        """The names of the classes."""
        return {"pianists": self.names}


STAGES = {
    "vqvae": VQVAEStage,
    "style_encoder": StyleEncoderStage,
    "diffusion": DiffusionStage,
    "fine_tune": FineTuneStage,
}
