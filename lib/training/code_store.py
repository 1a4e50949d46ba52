"""The codes of whole pieces, encoded once and memory-mapped: training a generator then needs neither codec nor ear.

A folder DATA/codes/CODEC/CORPUS holds a file for each piece and each time it was encoded, in another key and tempo: a row for
each latent frame with its codes, its chord as recognised, and its onsets. DATA/codes/EAR/CORPUS holds a piece's styles: what
the ear makes of passages of it. Files are written whole, so that whoever comes first may write them; what is there is not
made again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.checkpoints.load import fingerprint
from lib.config import ConfigError
from lib.keyed_random import keyed_generator
from lib.models.vqvae import GROUPS
from lib.music.chart import chord_features
from lib.music.chord_recognition import recognise_chords
from lib.music.notes import Notes
from lib.music.piano_roll import (
    CHUNK_S,
    LATENT_RATE_HZ,
    LATENT_STRIDE,
    LOWEST_PITCH,
    NUM_PITCHES,
    WINDOW,
    notes_to_piano_roll,
    smooth,
    sounding_roll,
)
from lib.progress import progress_bar
from lib.storage.atomic_write import atomic_write
from lib.training.passages import CHUNKS_PER_STYLE, passages
from lib.training.stream import Example

KNOB_WINDOW = 31  # latent frames (2.5 s) over which density and register are taken
CHORD_WINDOW = 2 * WINDOW  # latent frames in which chords are recognised at a time
PLAIN = -1  # the encoding as played: for validation
KEYS = 12


# a latent frame: codes, chord (root, quality, bass; -1 unknown), onsets, the sum of their keys (0 to 87)
FRAME = np.dtype([("codes", "<u2", (GROUPS,)), ("chord", "i1", (3,)), ("onsets", "u1"), ("keys", "<u2")])


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

    def density_and_register(self):
        """Onsets a second and mean MIDI pitch, (B, N) each, over KNOB_WINDOW around each latent frame; NaN in silence."""
        onsets, keys = (smooth(values[:, None], KNOB_WINDOW)[:, 0] for values in (self.onsets, self.keys))
        return onsets * LATENT_RATE_HZ, keys / onsets + LOWEST_PITCH


class CodeStore:
    """The codes of a stream's pieces.

    Parameters
    ----------
    stream : Stream; its pieces, and its config for how keys and tempi vary
    data_dir : folder of the note stores; codes go to its folder `codes`
    vqvae, style_encoder : frozen, on the device that encodes
    style_config : of the style encoder
    encodings : how many times each piece is encoded, each in another key; 0: as played
    """

    def __init__(self, stream, data_dir, vqvae, style_encoder, style_config, encodings):
        self.stream, self.vqvae, self.style_encoder = stream, vqvae, style_encoder
        self.style_config, self.encodings = style_config, encodings
        self.folder, self.ear = (Path(data_dir) / "codes" / short_fingerprint(model) for model in (vqvae, style_encoder))
        stores = {store.path: store for store, _ in stream.pieces}
        self.corpora = {path: f"{path.parent.name}-{_table_mark(store)}" for path, store in stores.items()}
        self.open = {}

    def build(self):
        """Encode what is not there yet; CodeStore."""
        turns = [PLAIN] if self.encodings == 0 else range(self.encodings)
        wanted = [(item, turn) for turn in turns for item in range(len(self.stream.pieces))]
        missing = [task for task in wanted if not self._path(*task).exists()]
        unheard = [item for item in range(len(self.stream.pieces)) if not self._style_path(item).exists()]
        start = os.getpid() * 7919  # processes beside each other begin at different pieces
        for place in progress_bar(range(len(missing)), desc="encode", unit="piece"):
            item, turn = missing[(start + place) % len(missing)]
            if not self._path(item, turn).exists():
                _write(self._path(item, turn), self._encode(item, turn))
        for item in progress_bar(unheard, desc="listen", unit="piece"):
            _write(self._style_path(item), self._listen(item))
        return self

    # --- Reading -----------------------------------------------------------------------------------------------

    def turn_of(self, epoch):
        """Which encoding an epoch takes."""
        return PLAIN if self.encodings == 0 else epoch % self.encodings

    def read(self, examples, epoch, device="cpu"):
        """Coded of examples of the stream, WINDOW latent frames each; where they begin is rounded to a latent frame."""
        turn = self.turn_of(epoch)
        rows = np.stack([self._window(example, turn) for example in examples])
        codes, chord, onsets, keys = (
            torch.from_numpy(rows[name].astype(kind)).to(device)
            for name, kind in (("codes", np.int64), ("chord", np.int64), ("onsets", np.float32), ("keys", np.float32))
        )
        return Coded(codes, chord_features(chord), onsets, keys)

    def chords(self, item):
        """int8 (N, 3): root, quality and bass of each latent frame of a piece, as first encoded; -1: unknown."""
        return self._mapped(self._path(item, self.turn_of(0)))["chord"]

    def styles(self, items, shares, device="cpu"):
        """(B, S): of each item the style of the passage at a share in [0, 1) of it."""
        rows = [self._mapped(self._style_path(item)) for item in items]
        return torch.from_numpy(np.stack([row[int(share * len(row))] for row, share in zip(rows, shares)])).float().to(device)

    def _window(self, example, turn):
        rows, start_s = self._mapped(self._path(example.item, turn)), self.stream.bounds[example.item][0]
        first = round((example.start_s - start_s) / self.variation(example.item, turn).tempo * LATENT_RATE_HZ)
        first = min(max(first, 0), len(rows) - WINDOW)
        return rows[first : first + WINDOW]

    def _mapped(self, path):
        if path not in self.open:
            try:
                self.open[path] = np.load(path, mmap_mode="r")
            except (OSError, ValueError) as error:
                raise ConfigError(f"{path} can't be read ({error}). Delete it: it is made anew.") from error
        return self.open[path]

    # --- Making ------------------------------------------------------------------------------------------------

    def variation(self, item, turn):
        """How an encoding changes a piece: Example with the key, tempo and loudness; successive ones have other keys."""
        start_s, config = self.stream.bounds[item][0], self.stream.config
        if turn == PLAIN:
            return Example(item, start_s)
        store, index = self.stream.pieces[item]
        generator = keyed_generator(config.seed, f"encoding {store.path.parent.name}", turn, index)
        first = int(keyed_generator(config.seed, f"key {store.path.parent.name}", 0, index).integers(KEYS))
        keys = config.transpose_high - config.transpose_low + 1
        transpose = config.transpose_low + (first + 5 * turn) % keys  # 5 and 12 have no common divisor: all keys come
        tempo = float(np.exp(generator.uniform(-1, 1) * np.log1p(config.tempo_spread)))
        loudness = float(generator.uniform(1 - config.velocity_spread, 1 + config.velocity_spread))
        return Example(item, start_s, transpose, tempo, loudness)

    @torch.inference_mode()
    def _encode(self, item, turn):
        """Rows of a piece."""
        roll = self._roll(self.variation(item, turn))
        count, device = roll.num_frames // LATENT_STRIDE, next(self.vqvae.parameters()).device
        rows = np.zeros(count, FRAME)
        rows["codes"] = self.vqvae.encode(roll.to(device))[0].cpu().numpy()
        rows["chord"] = _chords(sounding_roll(roll))[:count].numpy()
        onsets = roll.onset[0].unflatten(-1, (count, LATENT_STRIDE)).sum(-1)  # (88, N)
        rows["onsets"] = onsets.sum(0).numpy()
        rows["keys"] = (onsets * torch.arange(NUM_PITCHES)[:, None]).sum(0).numpy()
        return rows

    def _roll(self, example):
        """PianoRoll of a whole piece as varied; at least a window long."""
        start_s, end_s = self.stream.bounds[example.item]
        store, index = self.stream.pieces[example.item]
        notes = store.piece_notes(index, start_s, end_s)
        pitch = notes.pitch.astype(np.int64) + example.transpose
        kept = (pitch >= LOWEST_PITCH) & (pitch < LOWEST_PITCH + NUM_PITCHES)
        velocity = np.clip(notes.velocity * example.loudness, 1, 127)
        notes = Notes(notes.onset_s[kept] / example.tempo, notes.duration_s[kept] / example.tempo, pitch[kept],
                      velocity[kept], notes.pedal_s / example.tempo)  # fmt: skip
        return notes_to_piano_roll(notes, self.num_frames(example) * LATENT_STRIDE)

    def num_frames(self, example):
        """Latent frames of a varied piece."""
        start_s, end_s = self.stream.bounds[example.item]
        return max(WINDOW, math.ceil((end_s - start_s) / example.tempo * LATENT_RATE_HZ))

    @torch.inference_mode()
    def _listen(self, item):
        """float16 (P, S): styles of passages that are evenly spread over the piece."""
        start_s, end_s = self.stream.bounds[item]
        latest_s = max(start_s, end_s - CHUNK_S)
        count = min(CHUNKS_PER_STYLE, max(1, int((end_s - start_s) / CHUNK_S)))
        examples = [Example(item, float(s)) for s in np.linspace(start_s, latest_s, count)]
        device = next(self.style_encoder.parameters()).device
        return self.style_encoder(passages(self.style_config, self.stream, examples, device))[0].half().cpu().numpy()

    def _path(self, item, turn):
        store, index = self.stream.pieces[item]
        name = "plain" if turn == PLAIN else f"{turn}-{_settings_mark(self.stream.config)}"
        return self.folder / self.corpora[store.path] / f"{index}.{name}.npy"

    def _style_path(self, item):
        store, index = self.stream.pieces[item]
        return self.ear / self.corpora[store.path] / f"{index}.npy"


def _chords(sounding):
    """Chord frames (N, 3) of one piece (1, 88, T), recognised window by window: a path over all of it would take long."""
    frames = CHORD_WINDOW * LATENT_STRIDE
    padded = torch.nn.functional.pad(sounding[0], (0, -sounding.shape[-1] % frames))
    return recognise_chords(padded.unflatten(-1, (-1, frames)).transpose(0, 1)).flatten(0, 1)


def short_fingerprint(model):
    """What tells a frozen model from others, short enough for a file's name."""
    return fingerprint(model)[:12]


def _mark(facts):
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]


def _table_mark(store):
    """What tells a note store from another of the same name."""
    return _mark([dataclasses.asdict(piece) for piece in store.pieces])


def _settings_mark(config):
    """What tells encodings of other settings."""
    return _mark([config.seed, config.transpose_low, config.transpose_high, config.tempo_spread, config.velocity_spread])


def _write(path, rows):
    with atomic_write(path, unique=True) as partial, open(partial, "wb") as file:
        np.save(file, rows)
