"""Batches of music in beats: windows of pieces with their tempo maps, and the same encoded beforehand.

A window is WINDOW latent frames of a piece and begins on a bar line, where bars are unknown on a beat. As of Stream,
it depends on (seed, step, index) alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.config import ConfigError, StageConfig
from lib.data.corpora import pianists_of
from lib.keyed_random import keyed_generator
from lib.music.chart import chord_features
from lib.music.piano_roll import (
    LATENT_STRIDE,
    LATENTS_PER_BEAT,
    LOWEST_PITCH,
    WINDOW,
    WINDOW_FRAMES,
    PianoRoll,
    rasterise,
    smooth,
)
from lib.music.tempo_map import BeatNotes, TempoMap, clock_frames, in_beats, window_starts
from lib.training.stream import Batch, Stream

# Purposes of random numbers. They are data: with other texts a run could not be resumed.
ENCODING_PURPOSE, KEY_PURPOSE, LENGTH_PURPOSE = "encoding {corpus}", "key {corpus}", "window length"
CONTEXT_LATENTS = 31  # five beats, over which density and register are taken
KEYS = 12
AS_PLAYED = -1  # the encoding of a piece as played: for validation
SHORT_WINDOWS, SHORT_SHARE = (96, 144), 0.25  # latent frames of some steps' windows, and in how many steps

# a latent frame of a piece, whatever its key: tempo_map's clock and tempo, the chord, the next one and in how many
# latent frames it comes, onsets by frame, the sum of their keys (0 is A0); where a window may begin, the latent frame
# where the passage begins that is most like it, else -1
FRAME = np.dtype(
    [
        ("clock", "u1", (3,)),
        ("tempo", "<f2"),
        ("chord", "i1", (3,)),
        ("next", "i1", (3,)),
        ("until", "<u2"),
        ("onsets", "u1", (LATENT_STRIDE,)),
        ("keys", "<u2"),
        ("alike", "<i4"),
    ]
)
NEVER = np.iinfo(np.uint16).max  # `until`: no other chord comes


@dataclass(frozen=True)
class Excerpt:
    """Which music, changed how.

    Attributes
    ----------
    item : index of a piece in the stream
    first : latent frame of the piece in which it begins
    length : latent frames
    transpose : semitones up; loudness : times louder
    """

    item: int
    first: int
    length: int = WINDOW
    transpose: int = 0
    loudness: float = 1.0


class BeatStream(Stream):
    """Windows of pieces in beats.

    Parameters
    ----------
    pieces : list of (NoteStore, piece index)
    tempo_maps : of each piece, from its first second to its last
    config, augment : as of Stream
    """

    def __init__(self, pieces: list, tempo_maps: list[TempoMap], config: StageConfig, augment: bool = True):
        super().__init__(pieces, config, augment=augment)
        self.tempo_maps = tempo_maps
        lengths_s = (end_s - start_s for start_s, end_s in self.bounds)
        ends = (float(tempo_map.to_beats(length_s)) for tempo_map, length_s in zip(tempo_maps, lengths_s, strict=True))
        self.lengths = [max(WINDOW, math.ceil(end * LATENTS_PER_BEAT)) for end in ends]  # latent frames
        chunks = [length // WINDOW for length in self.lengths]
        self.last_chunk = np.cumsum(chunks)
        self.first_chunk = self.last_chunk - chunks
        self.num_chunks = int(self.last_chunk[-1])
        self._starts: dict[int, np.ndarray] = {}

    def _augmented(self, item, chunk, generator):
        nominal = chunk * WINDOW
        if not self.augment:
            return Excerpt(item, self._nearest_start(item, nominal))
        first = self._nearest_start(item, nominal + generator.uniform(-0.5, 0.5) * WINDOW)
        transpose = int(generator.integers(self.config.transpose_low, self.config.transpose_high + 1))
        return Excerpt(item, first, transpose=transpose, loudness=self._loudness(generator))

    def _nearest_start(self, item, latent):
        if item not in self._starts:
            self._starts[item] = window_starts(clock_frames(self.tempo_maps[item], self.lengths[item]), WINDOW)
        starts = self._starts[item]
        return int(starts[np.abs(starts - latent).argmin()])

    def notes(self, window: Excerpt) -> BeatNotes:
        """A window's notes, changed as it says, in its own time; some may lie outside the keyboard."""
        store, index = self.pieces[window.item]
        first, last = window.first / LATENTS_PER_BEAT, (window.first + window.length) / LATENTS_PER_BEAT
        notes = in_beats(store.piece_notes(index), self.tempo_maps[window.item]).between(first, last)
        pitch = notes.pitch.astype(np.int64) + window.transpose
        velocity = np.clip(notes.velocity * window.loudness, 1, 127)
        return BeatNotes(notes.onset, notes.release, pitch, velocity, notes.pedal)

    def piano_roll(self, examples: list[Excerpt], num_frames: int = WINDOW_FRAMES, device="cpu") -> PianoRoll:
        """The rolls of windows (B, 3, 88, num_frames)."""
        return rasterise([self.notes(window) for window in examples], num_frames, device)


@dataclass(frozen=True)
class Coded:
    """Windows as a generator learns them.

    Attributes
    ----------
    codes : int64 (B, N, G)
    clock : int64 (B, N, 3), of tempo_map.clock_frames
    tempo : (B, N), felt beats a minute, NaN where there is no beat
    chords, next_chords : (B, N, CHORD_DIM), of chart.chord_features
    beats_until : (B, N), until the next chord; infinite where none comes
    onsets : (B, N, LATENT_STRIDE), how many notes begin in each frame
    keys : (B, N), the sum of their keys (0 is A0)
    reference : int64 (B, N, G), the passage of the piece that is most like the window; referred : bool (B,), whether
        there is one
    """

    codes: Tensor
    clock: Tensor
    tempo: Tensor
    chords: Tensor
    next_chords: Tensor
    beats_until: Tensor
    onsets: Tensor
    keys: Tensor
    reference: Tensor
    referred: Tensor

    def density_and_register(self) -> tuple[Tensor, Tensor]:
        """Onsets a beat and mean MIDI pitch, (B, N) each, over CONTEXT_LATENTS around each frame; NaN in silence."""
        sums = (self.onsets.sum(-1), self.keys)
        onsets, keys = (smooth(values[:, None], CONTEXT_LATENTS)[:, 0] for values in sums)
        return onsets * LATENTS_PER_BEAT, keys / onsets + LOWEST_PITCH


class CodedStream(BeatStream):
    """Windows of pieces that lie encoded on disk; code_store.CodeStore makes the files and sets their paths.

    Parameters
    ----------
    pieces, tempo_maps, config, augment : as of BeatStream
    num_encodings : how many times each piece is encoded, each in another key; 0: as played

    Attributes
    ----------
    encodings : their numbers
    pianists : of each piece, "" where unknown
    frame_paths : a file for each piece, FRAME (N,)
    code_paths : dict (item, encoding) -> file, uint16 (N, GROUPS)
    style_paths : a file for each piece, float16 (P, S)
    """

    def __init__(self, pieces: list, tempo_maps: list[TempoMap], config: StageConfig, num_encodings: int, augment=True):
        super().__init__(pieces, tempo_maps, config, augment)
        self.encodings = range(num_encodings) if num_encodings else [AS_PLAYED]
        self.pianists = pianists_of(pieces)
        self.frame_paths: list[Path] = []
        self.code_paths: dict[tuple[int, int], Path] = {}
        self.style_paths: list[Path] = []
        self._maps = {}

    def whole_piece(self, item: int, encoding: int) -> Excerpt:
        """A whole piece as its encoding number `encoding` changes it; successive encodings have other keys."""
        length = self.lengths[item]
        if encoding == AS_PLAYED:
            return Excerpt(item, 0, length)
        (store, index), config = self.pieces[item], self.config
        corpus = store.path.parent.name
        generator = keyed_generator(config.seed, ENCODING_PURPOSE.format(corpus=corpus), encoding, index)
        first = int(keyed_generator(config.seed, KEY_PURPOSE.format(corpus=corpus), 0, index).integers(KEYS))
        num_keys = config.transpose_high - config.transpose_low + 1
        transpose = config.transpose_low + (first + 5 * encoding) % num_keys  # 5 and 12 are coprime: all keys come
        return Excerpt(item, 0, length, transpose, self._loudness(generator))

    def window_length(self, step: int) -> int:
        """Latent frames of all windows of a step."""
        generator = keyed_generator(self.config.seed, LENGTH_PURPOSE, step)
        is_short = self.augment and generator.random() < SHORT_SHARE
        return int(generator.choice(SHORT_WINDOWS)) if is_short else WINDOW

    def read(self, batch: Batch) -> Coded:
        """The windows of a batch, in the encoding of its epoch."""
        encoding, length = self.encodings[self.epoch(batch.step) % len(self.encodings)], self.window_length(batch.step)
        rows, codes, references = zip(*(self._read(window, encoding, length) for window in batch.examples), strict=True)
        shifts = [self.whole_piece(item, encoding).transpose for item in batch.items]

        def tensor(arrays, kind):
            return torch.from_numpy(np.stack(arrays).astype(kind)).to(batch.device)

        def column(name, kind=np.float32):
            return tensor([part[name] for part in rows], kind)

        shift = torch.tensor(shifts, device=batch.device)[:, None]
        chords, next_chords = (chord_features(_shifted(column(name, np.int64), shift)) for name in ("chord", "next"))
        until = column("until")
        onsets = column("onsets")
        return Coded(
            codes=tensor(codes, np.int64),
            clock=column("clock", np.int64),
            tempo=column("tempo"),
            chords=chords,
            next_chords=next_chords,
            beats_until=torch.where(until == NEVER, torch.inf, until / LATENTS_PER_BEAT),
            onsets=onsets,
            keys=column("keys") + onsets.sum(-1) * shift,
            reference=tensor([np.zeros_like(codes[0]) if part is None else part for part in references], np.int64),
            referred=torch.tensor([part is not None for part in references], device=batch.device),
        )

    def _read(self, window, encoding, length):
        """(rows (N,), codes (N, G), codes of the passage most like them or None) of one window."""
        paths = self.frame_paths[window.item], self.code_paths[window.item, encoding]
        frames, codes = map(self._mapped, paths)
        part, alike = slice(window.first, window.first + length), int(frames["alike"][window.first])
        return frames[part], codes[part], None if alike < 0 else codes[alike : alike + length]

    def chords(self, item: int) -> np.ndarray:
        """int8 (N, 3): chord frames of a piece as played."""
        return self._mapped(self.frame_paths[item])["chord"]

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

    def _mapped(self, path):
        if path not in self._maps:
            try:
                self._maps[path] = np.load(path, mmap_mode="r")
            except (OSError, ValueError) as error:
                raise ConfigError(f"{path} can't be read ({error}). Delete it: it is built again.") from error
        return self._maps[path]


def _shifted(chord, shift):
    """Chord frames int64 (B, N, 3) so many semitones up, (B, 1)."""
    root, quality, bass = chord.unbind(-1)
    moved = [torch.where(pitch < 0, pitch, (pitch + shift) % 12) for pitch in (root, bass)]
    return torch.stack([moved[0], quality, moved[1]], -1)
