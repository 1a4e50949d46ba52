"""Batches as a function of the step: nothing to save, nothing to restore.

Which chunk, transposition, tempo, velocity, noise and dropout example i of step t gets depends on (seed, t, i) and on
nothing else, i being its place in the global batch. So micro-batches and processes may cut the batch as they like,
and a run that goes on at step t sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lib.config import ConfigError
from lib.keyed_random import keyed_generator, permute
from lib.music.note_windows import LONGEST_PASSAGE_S, WINDOW_NOTES, note_values
from lib.music.notes import Notes
from lib.music.piano_roll import CHUNK_FRAMES, CHUNK_S, rasterise


@dataclass(frozen=True)
class Example:
    """Which music, heard how: `start_s` in the recording, semitones up, times faster, times louder."""

    item: int
    start_s: float
    transpose: int = 0
    tempo: float = 1.0
    loudness: float = 1.0


@dataclass(frozen=True)
class Batch:
    """Examples of one step.

    Attributes
    ----------
    stream : the Stream they are of
    examples : list of B Example
    step : the step they belong to
    indices : list of B places in the global batch
    device : where their music is made, when it is asked for
    """

    stream: object
    examples: list
    step: int
    indices: list
    device: object

    def __len__(self):
        return len(self.indices)

    @property
    def items(self):
        """B places in the stream's pieces."""
        return [example.item for example in self.examples]

    @cached_property
    def piano_roll(self):
        """PianoRoll (B, 3, 88, 512)"""
        return self.stream.piano_roll(self.examples, self.device)


class Stream:
    """Chunks of 10.24 s from pieces of several note stores.

    Parameters
    ----------
    pieces : list of (NoteStore, piece index)
    config : StageConfig: seed, batch and augmentation
    balance : None, or a label for each piece: labels then come equally often
    augment : False for validation
    """

    def __init__(self, pieces, config, balance=None, augment=True):
        if not pieces:
            raise ConfigError("There is no piece to train on: check corpora, pianist and split.")
        self.pieces, self.config, self.augment = pieces, config, augment
        records = [store.pieces[i] for store, i in pieces]
        self.bounds = [(record.start_s, max(record.end_s, record.start_s)) for record in records]
        chunks = [max(1, int((end - start) / CHUNK_S)) for start, end in self.bounds]
        self.last_chunk = np.cumsum(chunks)  # chunks before the end of each piece
        self.num_chunks = int(self.last_chunk[-1])
        self.labels = None if balance is None else self._by_label(balance)

    def _by_label(self, balance):
        return [[i for i, label in enumerate(balance) if label == name] for name in sorted(set(balance))]

    def example(self, step, index):
        """Example `index` of the global batch of `step`."""
        size = self.config.batch_size * self.config.gradient_accumulation
        epoch, position = divmod(step * size + index, self.num_chunks)
        generator = keyed_generator(self.config.seed, "example", step, index)
        if self.labels is None:
            chunk = permute(position, self.num_chunks, self.config.seed, f"epoch {epoch}")
            item = int(np.searchsorted(self.last_chunk, chunk, side="right"))
            place = chunk - (int(self.last_chunk[item - 1]) if item else 0)
        else:
            among = self.labels[(step * size + index) % len(self.labels)]
            item = among[int(generator.integers(len(among)))]
            place = int(generator.integers(self.last_chunk[item] - (self.last_chunk[item - 1] if item else 0)))
        return self._place(item, place, generator)

    def _place(self, item, place, generator):
        start_s, end_s = self.bounds[item]
        if not self.augment:
            return Example(item, start_s + place * CHUNK_S)
        tempo = float(np.exp(generator.uniform(-1, 1) * np.log1p(self.config.tempo_spread)))
        jitter_s = generator.uniform(-0.5, 0.5) * CHUNK_S
        latest_s = max(start_s, end_s - CHUNK_S * tempo)
        return Example(
            item,
            float(np.clip(start_s + place * CHUNK_S + jitter_s, start_s, latest_s)),
            int(generator.integers(self.config.transpose_low, self.config.transpose_high + 1)),
            tempo,
            float(generator.uniform(1 - self.config.velocity_spread, 1 + self.config.velocity_spread)),
        )

    def batch(self, step, first=0, last=None, device="cpu"):
        """Examples first to last - 1 of the global batch of `step` (all of it by default), as Batch."""
        last = self.config.batch_size * self.config.gradient_accumulation if last is None else last
        indices = list(range(first, last))
        return Batch(self, [self.example(step, index) for index in indices], step, indices, device)

    def piano_roll(self, examples, device="cpu"):
        """The rolls of examples (B, 3, 88, 512)."""
        windows = [self._window(example) for example in examples]
        batch = np.repeat(np.arange(len(windows)), [len(w) for w in windows])
        pedal_batch = np.repeat(np.arange(len(windows)), [len(w.pedal_s) for w in windows])
        columns = [np.concatenate([getattr(w, name) for w in windows]) for name in ("onset_s", "duration_s", "pitch", "velocity")]
        pedal_s = np.concatenate([w.pedal_s for w in windows])
        return rasterise(batch, columns, pedal_batch, pedal_s, len(windows), CHUNK_FRAMES, device)

    def passages(self, examples):
        """The notes that begin with each example and go on for longer than its chunk, as changed: list of float (5, N).

        For note_windows; N is a little above WINDOW_NOTES where the piece has as many, so that some may be left out.
        """
        windows = [self._window(example, LONGEST_PASSAGE_S) for example in examples]
        return [note_values(window)[:, : WINDOW_NOTES + WINDOW_NOTES // 4] for window in windows]

    def _window(self, example, seconds=CHUNK_S):
        """The example's notes, changed as it says, in its own time."""
        store, index = self.pieces[example.item]
        end_s = min(example.start_s + seconds * example.tempo, self.bounds[example.item][1])
        notes = store.piece_notes(index, example.start_s, max(end_s, example.start_s))
        pitch = notes.pitch.astype(np.int64) + example.transpose  # outside the keyboard: left out by rasterise
        velocity = np.clip(notes.velocity * example.loudness, 1, 127)
        times = (notes.onset_s / example.tempo, notes.duration_s / example.tempo)
        return Notes(*times, pitch, velocity, notes.pedal_s / example.tempo)
