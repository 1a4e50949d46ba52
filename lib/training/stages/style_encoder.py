"""The style encoder: a passage -> who plays."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from lib.config import StyleEncoderConfig
from lib.data.corpora import gather_labelled, pianists_of
from lib.keyed_random import keyed_generator
from lib.models.style_encoder import StyleEncoder
from lib.music.grouped_notes import windows_of
from lib.music.note_augmentation import alter
from lib.music.note_windows import WINDOW_NOTES, NoteWindows, note_values, note_windows
from lib.music.notes import Notes, select
from lib.music.piano_roll import WINDOW, PianoRoll
from lib.music.time_grid import put_on_random_grid
from lib.training.stages.stage import Stage
from lib.training.stream import Batch, Stream

PASSAGE_NOTES = WINDOW_NOTES + WINDOW_NOTES // 4  # more than a style encoder reads: some may be left out
NOTES_PURPOSE, VIEW_PURPOSE = "notes", "view {view}"  # of random numbers: data, see keyed_random


class StyleEncoderStage(Stage):
    """A passage -> who plays."""

    def __init__(self, config: StyleEncoderConfig, data_dir, checkpoint, sources):
        train, validation = (gather_labelled(config, data_dir, split) for split in ("train", "validation"))
        self.names = sorted(set(pianists_of(train)))
        validation = [(store, i) for store, i in validation if store.pieces[i].pianist in self.names] or train
        balanced = Stream(train, config, balance=pianists_of(train))
        super().__init__(config, balanced, Stream(validation, config, balance=pianists_of(validation), augment=False))
        self.classes, self.validation_classes = (
            torch.tensor([self.names.index(name) for name in pianists_of(pieces)]) for pieces in (train, validation)
        )
        self.model = StyleEncoder.from_config(config, len(self.names))
        self.tokens_per_example = WINDOW if config.reads == "roll" else WINDOW_NOTES  # latent frames, or notes

    def losses(self, model, batch):
        """Cross-entropy over pianists with a margin (Wang et al. 2018, CosFace), and accuracy.

        Passages on two time grids add how far the two answers are apart: the mean of both divergences (Wu et al. 2021,
        R-Drop), times `consistency`.
        """
        target = self.classes[batch.items].to(self.device)
        _, logits = model(self.varied(batch))  # (V B, P)
        views = len(logits) // len(target)
        target = target.repeat(views)
        margin = model.log_scale.exp() * self.config.margin * functional.one_hot(target, len(self.names))
        figures = self._figures(logits - margin, logits, target)
        if views == 1:
            return figures
        one, other = logits.log_softmax(-1).chunk(2)
        divergence = ((one.exp() - other.exp()) * (one - other)).sum(-1).mean() / 2
        loss = figures["loss"] + self.config.consistency * divergence
        return {**figures, "loss": loss, "divergence": divergence.detach()}

    def validation_losses(self, model, batch):
        """Losses of what was played, unvaried and without a margin; held-out albums, each pianist as often."""
        target = self.validation_classes[batch.items].to(self.device)
        _, logits = model(batch.stream.style_inputs(self.config.reads, batch.examples, self.device))
        return self._figures(logits, logits, target)

    def _figures(self, logits, plain_logits, target):
        loss = functional.cross_entropy(logits, target, label_smoothing=self.config.label_smoothing)
        return {"loss": loss, "accuracy": (plain_logits.argmax(-1) == target).float().mean()}

    def varied(self, batch: Batch) -> NoteWindows | PianoRoll:
        """The batch as other machines might have transcribed it: see `augmented_windows`; a roll only loses notes."""
        if self.config.reads == "chords":
            generators = [
                [
                    keyed_generator(self.config.seed, VIEW_PURPOSE.format(view=view), batch.step, i)
                    for i in batch.indices
                ]
                for view in range(self.config.views)
            ]
            notes = batch.stream.long_windows(batch.examples)
            return augmented_windows(notes, generators, self.config.augmentation, self.device)
        generators = [keyed_generator(self.config.seed, NOTES_PURPOSE, batch.step, index) for index in batch.indices]
        if self.config.reads == "notes":
            passages = [note_values(notes)[:, :PASSAGE_NOTES] for notes in batch.stream.long_windows(batch.examples)]
            pairs = zip(passages, generators, strict=True)
            return note_windows([vary(values, generator, self.config) for values, generator in pairs], self.device)
        roll = batch.piano_roll.roll
        draws = np.stack([generator.random(roll.shape[2:], dtype="float32") for generator in generators])
        keep = torch.from_numpy(draws).to(roll.device) >= self.config.dropout_notes
        return PianoRoll(roll * keep[:, None], batch.piano_roll.pedal)

    def facts(self):
        """The names of the classes."""
        return {"pianists": self.names}


def augmented_windows(
    passages: list[Notes], generators: list[list[np.random.Generator]], strength: float, device="cpu"
) -> NoteWindows:
    """NoteWindows (V B, 5, L) of passages as other machines might have transcribed them, each on V time grids.

    Parameters
    ----------
    passages : B passages, longer than a window
    generators : V lists of B; the first one alters the passages too
    strength : of note_augmentation.alter
    """
    passages = [select(notes, slice(PASSAGE_NOTES)) for notes in passages]
    altered = [
        alter(*pair, strength) if len(pair[0]) else pair[0] for pair in zip(passages, generators[0], strict=True)
    ]
    views = [
        put_on_random_grid(notes, generator) if len(notes) else notes
        for view in generators
        for notes, generator in zip(altered, view, strict=True)
    ]
    return windows_of(views, "chords", device)


def vary(values: np.ndarray, generator: np.random.Generator, config: StyleEncoderConfig) -> np.ndarray:
    """A passage's notes (5, N) with some left out, and times, durations and velocities slightly changed.

    Transposition and tempo are the stream's. So the model learns the player, not the transcriber, piano or room.
    """
    values = values[:, generator.random(values.shape[1]) >= config.dropout_notes * generator.random()]
    onset_s, duration_s, pitch, velocity, pedal = values
    onset_s = np.sort(onset_s + generator.normal(0, config.jitter_s, len(onset_s)))
    duration_s = duration_s * np.exp(generator.uniform(-1, 1) * config.duration_spread)
    contrast = generator.uniform(1 - config.velocity_contrast, 1 + config.velocity_contrast)
    velocity = ((velocity - 64) * contrast + 64).clip(1, 127)
    pedal = pedal * (generator.random() >= config.dropout_pedal)
    return np.stack([onset_s, duration_s, pitch, velocity, pedal]).astype(np.float32)
