"""Batches as a function of the step: nothing to save, nothing to restore.

Which chunk, transposition, tempo, velocity, noise and dropout example i of step t gets depends on (seed, t, i) and on
nothing else, i being its index in the global batch. So micro-batches and processes may cut the batch as they like,
and a run that is resumed at step t sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.config import ConfigError, StageConfig
from lib.data.corpora import pianists_of
from lib.keyed_random import keyed_generator, permute
from lib.models.vqvae import GROUPS
from lib.music.chart import chord_features
from lib.music.grouped_notes import grouped_values
from lib.music.note_windows import LONGEST_PASSAGE_S, WINDOW_NOTES, NoteWindows, note_values, note_windows
from lib.music.notes import Notes
from lib.music.piano_roll import (
    CHUNK_FRAMES,
    CHUNK_S,
    FRAME_RATE_HZ,
    LATENT_RATE_HZ,
    LOWEST_PITCH,
    WINDOW,
    PianoRoll,
    rasterise,
    smooth,
)

# Purposes of random numbers. They are data: with other texts a run could not be resumed.
EXAMPLE_PURPOSE = "example"
EPOCH_PURPOSE = "epoch {epoch}"
ENCODING_PURPOSE = "encoding {corpus}"
KEY_PURPOSE = "key {corpus}"

CONTEXT_FRAMES = 31  # latent frames (2.5 s) over which density and register are taken
KEYS = 12
AS_PLAYED = -1  # the encoding of a piece as played: for validation
PASSAGE_NOTES = WINDOW_NOTES + WINDOW_NOTES // 4  # more than a style encoder reads: some may be left out

# a latent frame of an encoded piece: codes, chord frame, onsets, the sum of their keys (0 to 87)
FRAME = np.dtype([("codes", "<u2", (GROUPS,)), ("chord", "i1", (3,)), ("onsets", "u1"), ("keys", "<u2")])


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
        """PianoRoll (B, 3, 88, 512)"""
        return self.stream.piano_roll(self.examples, CHUNK_FRAMES, self.device)


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

    def whole_piece(self, item: int, encoding: int) -> Example:
        """A whole piece as its encoding number `encoding` changes it; successive encodings have other keys."""
        start_s, config = self.bounds[item][0], self.config
        if encoding == AS_PLAYED:
            return Example(item, start_s)
        store, index = self.pieces[item]
        corpus = store.path.parent.name
        generator = keyed_generator(config.seed, ENCODING_PURPOSE.format(corpus=corpus), encoding, index)
        first = int(keyed_generator(config.seed, KEY_PURPOSE.format(corpus=corpus), 0, index).integers(KEYS))
        num_keys = config.transpose_high - config.transpose_low + 1
        transpose = config.transpose_low + (first + 5 * encoding) % num_keys  # 5 and 12 are coprime: all keys come
        tempo = self._tempo(generator)
        return Example(item, start_s, transpose, tempo, self._loudness(generator))

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
        """The rolls of examples (B, 3, 88, num_frames)."""
        windows = [self.notes(example, num_frames / FRAME_RATE_HZ) for example in examples]
        return rasterise(windows, num_frames, device)

    def style_inputs(self, reads: str, examples: list[Example], device="cpu") -> NoteWindows | PianoRoll:
        """The examples as a style encoder reads them: `reads` of its config, "chords", "notes" or "roll"."""
        if reads == "chords":
            return note_windows([grouped_values(notes) for notes in self.long_windows(examples)], device)
        if reads == "notes":
            return note_windows(self.passages(examples), device)
        return self.piano_roll(examples, device=device)

    def passages(self, examples: list[Example]) -> list[np.ndarray]:
        """The notes from each example on, beyond its chunk too, for note_windows: list of float32 (5, N).

        N is a little above WINDOW_NOTES where the piece has as many, so that some may be left out.
        """
        return [note_values(notes)[:, :PASSAGE_NOTES] for notes in self.long_windows(examples)]

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


# --- Encoded music -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coded:
    """Examples as a generator learns them.

    Attributes
    ----------
    codes : int64 (B, N, G)
    chords : (B, N, CHORD_DIM), of chart.chord_features
    onsets, keys : (B, N), how many notes begin in each latent frame, and the sum of their keys (0 is A0)
    """

    codes: Tensor
    chords: Tensor
    onsets: Tensor
    keys: Tensor

    def density_and_register(self) -> tuple[Tensor, Tensor]:
        """Onsets a second and mean MIDI pitch, (B, N) each, over CONTEXT_FRAMES around each frame; NaN in silence."""
        onsets, keys = (smooth(values[:, None], CONTEXT_FRAMES)[:, 0] for values in (self.onsets, self.keys))
        return onsets * LATENT_RATE_HZ, keys / onsets + LOWEST_PITCH


class CodedStream(Stream):
    """Chunks of pieces that lie encoded on disk; code_store.CodeStore makes the files and sets their paths.

    Parameters
    ----------
    pieces, config, augment : as of Stream
    num_encodings : how many times each piece is encoded, each in another key; 0: as played

    Attributes
    ----------
    encodings : their numbers
    pianists : of each piece, "" where unknown
    code_paths : dict (item, encoding) -> file with rows FRAME
    style_paths : a file for each piece, float16 (P, S)
    """

    def __init__(self, pieces: list, config: StageConfig, num_encodings: int, augment: bool = True):
        super().__init__(pieces, config, augment=augment)
        self.encodings = range(num_encodings) if num_encodings else [AS_PLAYED]
        self.pianists = pianists_of(pieces)
        self.code_paths: dict[tuple[int, int], Path] = {}
        self.style_paths: list[Path] = []
        self._maps, self._tempos = {}, {}

    def read(self, examples: list[Example], epoch: int, device="cpu") -> Coded:
        """WINDOW latent frames of each example; where they begin is rounded to a latent frame."""
        encoding = self.encodings[epoch % len(self.encodings)]
        rows = np.stack([self._window(example, encoding) for example in examples])
        codes, chord, onsets, keys = (
            torch.from_numpy(rows[name].astype(kind)).to(device)
            for name, kind in (("codes", np.int64), ("chord", np.int64), ("onsets", np.float32), ("keys", np.float32))
        )
        return Coded(codes, chord_features(chord), onsets, keys)

    def chords(self, item: int) -> np.ndarray:
        """int8 (N, 3): chord frames of a piece as first encoded."""
        return self._mapped(self.code_paths[item, self.encodings[0]])["chord"]

    def styles(self, items: list[int], shares: list[float], device="cpu") -> Tensor:
        """(B, S): of each item the style of the passage at a share in [0, 1) of it."""
        rows = [self._mapped(self.style_paths[item]) for item in items]
        passages = np.stack([row[int(share * len(row))] for row, share in zip(rows, shares, strict=True)])
        return torch.from_numpy(passages).float().to(device)

    def set_pianist_styles(self, names: tuple[str, ...], vectors: Tensor) -> None:
        """The vectors (P, S) that `pianist_styles` looks up, on the device of training."""
        rank = {name: index for index, name in enumerate(names)}
        self._style_rank = torch.tensor([rank.get(name, len(names)) for name in self.pianists], device=vectors.device)
        self._pianist_styles = functional.pad(vectors, (0, 0, 0, 1))  # the last one is that of unknown pianists

    def pianist_styles(self, items: list[int]) -> tuple[Tensor, Tensor]:
        """(vectors (B, S) of the items' pianists, bool (B,) whether they have one)."""
        rank = self._style_rank[items]
        return self._pianist_styles[rank], rank < len(self._pianist_styles) - 1

    def _window(self, example, encoding):
        item = example.item
        if (item, encoding) not in self._tempos:
            self._tempos[item, encoding] = self.whole_piece(item, encoding).tempo
        rows, start_s = self._mapped(self.code_paths[item, encoding]), self.bounds[item][0]
        first = round((example.start_s - start_s) / self._tempos[item, encoding] * LATENT_RATE_HZ)
        first = min(max(first, 0), len(rows) - WINDOW)
        return rows[first : first + WINDOW]

    def _mapped(self, path):
        if path not in self._maps:
            try:
                self._maps[path] = np.load(path, mmap_mode="r")
            except (OSError, ValueError) as error:
                raise ConfigError(f"{path} can't be read ({error}). Delete it: it is made anew.") from error
        return self._maps[path]
