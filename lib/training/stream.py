"""Batches as a function of the step: nothing to save, nothing to restore.

Which chunk, transposition, tempo, velocity, noise and dropout example i of step t gets depends on (seed, t, i) and on
nothing else, i being its index in the global batch. So micro-batches and processes may cut the batch as they like,
and a run that is resumed at step t sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from lib.config import ConfigError, StageConfig
from lib.keyed_random import keyed_generator, permute
from lib.music.grouped_notes import windows_of
from lib.music.note_windows import LONGEST_PASSAGE_S, NoteWindows
from lib.music.notes import Notes
from lib.music.piano_roll import CHUNK_FRAMES, CHUNK_S, PianoRoll, rasterise
from lib.music.tempo_map import STEADY, in_beats

# Purposes of random numbers. They are data: with other texts a run could not be resumed.
EXAMPLE_PURPOSE = "example"
EPOCH_PURPOSE = "epoch {epoch}"


@dataclass(frozen=True)
class Example:
    """Which music, changed how.

    Attributes
    ----------
    item : index of a piece in the stream
    start_s : where it begins in the recording
    transpose : semitones up; tempo : times faster; loudness : times louder
    """

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
    indices : list of B indices in the global batch
    device : where their music is made, when it is asked for
    """

    stream: Stream
    examples: list[Example]
    step: int
    indices: list[int]
    device: torch.device | str

    def __len__(self):
        return len(self.indices)

    @property
    def items(self) -> list[int]:
        """B indices of pieces in the stream."""
        return [example.item for example in self.examples]

    @cached_property
    def piano_roll(self) -> PianoRoll:
        """PianoRoll of the examples."""
        return self.stream.piano_roll(self.examples, device=self.device)


class Stream:
    """Chunks of 10.24 s from pieces of several note stores.

    Parameters
    ----------
    pieces : list of (NoteStore, piece index)
    config : StageConfig: seed, batch and augmentation
    balance : None, or a label for each piece: labels then come equally often
    augment : False for validation

    Raises
    ------
    ConfigError : no pieces
    """

    def __init__(self, pieces: list, config: StageConfig, balance: list | None = None, augment: bool = True):
        if not pieces:
            raise ConfigError("There is no piece to train on: check corpora, pianist and split.")
        self.pieces, self.config, self.augment = pieces, config, augment
        records = [store.pieces[i] for store, i in pieces]
        self.bounds = [(record.start_s, max(record.end_s, record.start_s)) for record in records]
        chunks = [max(1, int((end - start) / CHUNK_S)) for start, end in self.bounds]
        self.last_chunk = np.cumsum(chunks)  # chunks before the end of each piece
        self.first_chunk = self.last_chunk - chunks  # and before its beginning
        self.num_chunks = int(self.last_chunk[-1])
        items = {label: [] for label in sorted(set(balance or ()))}
        for item, label in enumerate(balance or ()):
            items[label].append(item)
        self.items_by_label = list(items.values())

    @property
    def global_batch(self) -> int:
        """Examples of one optimizer step."""
        return self.config.batch_size * self.config.gradient_accumulation

    # --- Which music ---------------------------------------------------------------------------------------------

    def epoch(self, step: int) -> int:
        """The pass over the chunks, from 0, in which a step's global batch begins."""
        return step * self.global_batch // self.num_chunks

    def example(self, step: int, index: int) -> Example:
        """Example `index` of the global batch of `step`."""
        count = step * self.global_batch + index
        generator = keyed_generator(self.config.seed, EXAMPLE_PURPOSE, step, index)
        if not self.items_by_label:
            epoch, position = divmod(count, self.num_chunks)
            chunk = permute(position, self.num_chunks, self.config.seed, EPOCH_PURPOSE.format(epoch=epoch))
            item = int(np.searchsorted(self.last_chunk, chunk, side="right"))
            return self._augmented(item, chunk - int(self.first_chunk[item]), generator)
        items = self.items_by_label[count % len(self.items_by_label)]
        item = items[int(generator.integers(len(items)))]
        chunk = int(generator.integers(self.last_chunk[item] - self.first_chunk[item]))
        return self._augmented(item, chunk, generator)

    def _augmented(self, item, chunk, generator):
        """A chunk of a piece, moved and changed where the stream augments."""
        start_s, end_s = self.bounds[item]
        if not self.augment:
            return Example(item, start_s + chunk * CHUNK_S)
        tempo = self._tempo(generator)
        jitter_s = generator.uniform(-0.5, 0.5) * CHUNK_S
        latest_s = max(start_s, end_s - CHUNK_S * tempo)
        moved_s = float(np.clip(start_s + chunk * CHUNK_S + jitter_s, start_s, latest_s))
        transpose = int(generator.integers(self.config.transpose_low, self.config.transpose_high + 1))
        return Example(item, moved_s, transpose, tempo, self._loudness(generator))

    def _tempo(self, generator):
        return float(np.exp(generator.uniform(-1, 1) * np.log1p(self.config.tempo_spread)))

    def _loudness(self, generator):
        return float(generator.uniform(1 - self.config.velocity_spread, 1 + self.config.velocity_spread))

    def batch(self, step: int, first: int = 0, last: int | None = None, device="cpu") -> Batch:
        """Examples first to last - 1 of the global batch of `step` (all of it by default)."""
        indices = list(range(first, self.global_batch if last is None else last))
        return Batch(self, [self.example(step, index) for index in indices], step, indices, device)

    # --- The music itself ----------------------------------------------------------------------------------------

    def piano_roll(self, examples: list[Example], num_frames: int = CHUNK_FRAMES, device="cpu") -> PianoRoll:
        """The rolls of examples (B, 3, 88, num_frames), at a steady tempo."""
        return rasterise([in_beats(self.notes(example), STEADY) for example in examples], num_frames, device)

    def style_inputs(self, reads: str, examples: list[Example], device="cpu") -> NoteWindows | PianoRoll:
        """The examples as a style encoder reads them: `reads` of its config, "chords", "notes" or "roll"."""
        if reads == "roll":
            return self.piano_roll(examples, device=device)
        return windows_of(self.long_windows(examples), reads, device)

    def long_windows(self, examples: list[Example]) -> list[Notes]:
        """The notes from each example on for LONGEST_PASSAGE_S, beyond its chunk, as `notes` changes them."""
        return [self.notes(example, LONGEST_PASSAGE_S) for example in examples]

    def notes(self, example: Example, seconds: float = CHUNK_S) -> Notes:
        """The example's notes, changed as it says, in its own time; some may lie outside the keyboard."""
        store, index = self.pieces[example.item]
        end_s = min(example.start_s + seconds * example.tempo, self.bounds[example.item][1])
        notes = store.piece_notes(index, example.start_s, max(end_s, example.start_s))
        pitch = notes.pitch.astype(np.int64) + example.transpose
        velocity = np.clip(notes.velocity * example.loudness, 1, 127)
        times = (notes.onset_s / example.tempo, notes.duration_s / example.tempo)
        return Notes(*times, pitch, velocity, notes.pedal_s / example.tempo)
