"""The codes of whole pieces, encoded once: training a generator then needs neither codec nor style encoder.

A folder DATA/codes/CODEC/CORPUS holds a file for each piece and each time it was encoded, in another key and tempo: a
row (stream.FRAME) for each latent frame with its codes, its chord as recognised, and its onsets. A folder
DATA/codes/STYLE_ENCODER/CORPUS holds the styles of passages of each piece. CODEC and STYLE_ENCODER are fingerprints of
the weights. Files are written whole, so that several processes may write them at once; an existing file is not made
again. stream.CodedStream reads them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import torch

from lib.checkpoints.load import fingerprint
from lib.config import StyleEncoderConfig
from lib.models.style_encoder import StyleEncoder
from lib.models.vqvae import VQVAE
from lib.music.chord_recognition import recognise_chords
from lib.music.piano_roll import CHUNK_S, LATENT_RATE_HZ, LATENT_STRIDE, NUM_PITCHES, WINDOW, sounding_roll
from lib.progress import progress_bar
from lib.storage.atomic_write import atomic_write
from lib.training.stream import AS_PLAYED, FRAME, CodedStream, Example

PASSAGES_PER_PIECE = 16  # at most, whose styles are kept
CHORD_WINDOW = 2 * WINDOW  # latent frames in which chords are recognised at a time


class CodeStore:
    """The files of a stream's pieces for these frozen models.

    Parameters
    ----------
    data_dir : folder of the note stores; codes go to its folder `codes`
    vqvae, style_encoder : frozen, on the device that encodes
    style_config : of the style encoder
    """

    def __init__(self, data_dir: Path, vqvae: VQVAE, style_encoder: StyleEncoder, style_config: StyleEncoderConfig):
        self.vqvae, self.style_encoder, self.style_config = vqvae, style_encoder, style_config
        self.device = next(vqvae.parameters()).device
        self.codes_folder, self.styles_folder = (
            Path(data_dir) / "codes" / fingerprint(model)[:12] for model in (vqvae, style_encoder)
        )

    def encode(self, stream: CodedStream) -> CodedStream:
        """Encode what is not encoded yet; the stream then knows the files."""
        self._name_files(stream)
        missing = [key for key, path in stream.code_paths.items() if not path.exists()]
        without_style = [item for item, path in enumerate(stream.style_paths) if not path.exists()]
        start = os.getpid() * 7919  # processes beside each other begin at different pieces
        for count in progress_bar(range(len(missing)), desc="encode", unit="piece"):
            key = missing[(start + count) % len(missing)]
            if not stream.code_paths[key].exists():
                _write(stream.code_paths[key], self._codes(stream, *key))
        for item in progress_bar(without_style, desc="styles", unit="piece"):
            _write(stream.style_paths[item], self._styles(stream, item))
        return stream

    def _name_files(self, stream):
        """Names tell note stores of one name by their pieces, and encodings of other settings."""
        config, stores = stream.config, {store.path: store for store, _ in stream.pieces}
        marks = {path: _mark([dataclasses.asdict(piece) for piece in store.pieces]) for path, store in stores.items()}
        corpora = {path: f"{path.parent.name}-{mark}" for path, mark in marks.items()}
        keys = config.transpose_low, config.transpose_high
        settings = _mark([config.seed, *keys, config.tempo_spread, config.velocity_spread])
        names = {e: "plain" if e == AS_PLAYED else f"{e}-{settings}" for e in stream.encodings}
        stream.style_paths = []
        for item, (store, index) in enumerate(stream.pieces):
            corpus = corpora[store.path]
            stream.style_paths.append(self.styles_folder / corpus / f"{index}.npy")
            for encoding, name in names.items():
                stream.code_paths[item, encoding] = self.codes_folder / corpus / f"{index}.{name}.npy"

    @torch.inference_mode()
    def _codes(self, stream, item, encoding):
        """FRAME (N,) of a piece, at least a window long."""
        example, (start_s, end_s) = stream.whole_piece(item, encoding), stream.bounds[item]
        count = max(WINDOW, math.ceil((end_s - start_s) / example.tempo * LATENT_RATE_HZ))
        roll = stream.piano_roll([example], count * LATENT_STRIDE)
        rows = np.zeros(count, FRAME)
        rows["codes"] = self.vqvae.encode(roll.to(self.device))[0].cpu().numpy()
        rows["chord"] = _chords(sounding_roll(roll))[:count].numpy()
        onsets = roll.onset[0].unflatten(-1, (count, LATENT_STRIDE)).sum(-1)  # (88, N)
        rows["onsets"] = onsets.sum(0).numpy()
        rows["keys"] = (onsets * torch.arange(NUM_PITCHES)[:, None]).sum(0).numpy()
        return rows

    @torch.inference_mode()
    def _styles(self, stream, item):
        """float16 (P, S): styles of passages that are evenly spread over the piece."""
        start_s, end_s = stream.bounds[item]
        latest_s = max(start_s, end_s - CHUNK_S)
        count = min(PASSAGES_PER_PIECE, max(1, int((end_s - start_s) / CHUNK_S)))
        examples = [Example(item, float(s)) for s in np.linspace(start_s, latest_s, count)]
        styles, _ = self.style_encoder(stream.style_inputs(self.style_config.reads, examples, self.device))
        return styles.half().cpu().numpy()


def _chords(sounding):
    """Chord frames (N, 3) of one piece (1, 88, T), by windows: one path over all of it would take long."""
    frames = CHORD_WINDOW * LATENT_STRIDE
    padded = torch.nn.functional.pad(sounding[0], (0, -sounding.shape[-1] % frames))
    return recognise_chords(padded.unflatten(-1, (-1, frames)).transpose(0, 1)).flatten(0, 1)


def _mark(facts):
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]


def _write(path, rows):
    with atomic_write(path, unique=True) as partial, open(partial, "wb") as file:
        np.save(file, rows)
