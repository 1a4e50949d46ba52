"""The codes of whole pieces, encoded once: training a generator then needs neither codec nor style encoder.

A folder DATA/codes/frames-LAYOUT/CORPUS holds a file for each piece with what is known of its latent frames in any key
(coded_stream.FRAME). DATA/codes/CODEC/CORPUS holds the codes of each piece, a file for each key that it is encoded in,
DATA/codes/STYLE_ENCODER/CORPUS the styles of passages of each piece. CODEC and STYLE_ENCODER are fingerprints of the
weights; the names of files carry that of the piece's tempo map. Files are written whole, so that several processes may
write them at once; an existing file is not made again. coded_stream.CodedStream reads them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from lib.checkpoints.load import fingerprint
from lib.config import StyleEncoderConfig
from lib.models.style_encoder import StyleEncoder
from lib.models.vqvae import VQVAE
from lib.music.chart import next_chords
from lib.music.chord_recognition import recognise_chords
from lib.music.piano_roll import (
    CHUNK_S,
    LATENT_STRIDE,
    LATENTS_PER_BEAT,
    NUM_PITCHES,
    WINDOW,
    PianoRoll,
    sounding_roll,
)
from lib.music.tempo_map import clock_frames, tempo_frames, window_starts
from lib.progress import progress_bar
from lib.storage.atomic_write import atomic_write
from lib.storage.backends import Storage
from lib.training.code_archives import CodeArchives
from lib.training.coded_stream import AS_PLAYED, FRAME, NEVER, CodedStream
from lib.training.stream import Example, Stream

FRAMES_VERSION = 2  # another one where the same layout holds other values: of chord recognition, of likeness
PASSAGES_PER_PIECE = 16  # at most, whose styles are kept
LEAST_ALIKE = 0.25  # cosine: about a fifth of the windows have a passage so like them, and share a third of the onsets


class CodeStore:
    """The files of a stream's pieces for these frozen models.

    Parameters
    ----------
    data_dir : folder of the note stores; codes go to its folder `codes`
    vqvae, style_encoder : frozen, on the device that encodes
    style_config : of the style encoder
    mirror : a storage that keeps the codes for other machines (code_archives.py), or None
    """

    def __init__(
        self,
        data_dir: Path,
        vqvae: VQVAE,
        style_encoder: StyleEncoder,
        style_config: StyleEncoderConfig,
        mirror: Storage | None = None,
    ):
        self.vqvae, self.style_encoder, self.style_config = vqvae, style_encoder, style_config
        self.device = next(vqvae.parameters()).device
        codes = Path(data_dir) / "codes"
        self.archives = CodeArchives(mirror, codes) if mirror else None
        self.frames_folder = codes / f"frames-{_mark([FRAMES_VERSION, FRAME.descr])}"
        self.codes_folder, self.styles_folder = (codes / fingerprint(model)[:12] for model in (vqvae, style_encoder))

    def encode(self, *streams: CodedStream) -> None:
        """Encode what is not encoded yet, here or in the mirror; the streams then know the files."""
        work = {}
        for stream in streams:
            self._name_files(stream)
            work |= {path: (self._frames, stream, item) for item, path in enumerate(stream.frame_paths)}
            work |= {path: (self._codes, stream, *key) for key, path in stream.code_paths.items()}
            passages = Stream(stream.pieces, stream.config, augment=False)  # in seconds
            work |= {path: (self._styles, passages, item) for item, path in enumerate(stream.style_paths)}
        missing = [path for path in work if not path.exists()]
        if missing and self.archives:
            self.archives.fetch(missing)
            missing = [path for path in missing if not path.exists()]
        start = os.getpid() * 7919  # processes beside each other begin at different pieces
        for count in progress_bar(range(len(missing)), desc="encode", unit="file"):
            path = missing[(start + count) % len(missing)]
            if not path.exists():
                encode, *key = work[path]
                _write(path, encode(*key))
        if missing and self.archives:
            self.archives.store(missing)

    def _name_files(self, stream):
        """Names tell note stores of one name by their pieces, tempo maps, and encodings of other settings."""
        config, stores = stream.config, {store.path: store for store, _ in stream.pieces}
        marks = {path: _mark([dataclasses.asdict(piece) for piece in store.pieces]) for path, store in stores.items()}
        corpora = {path: f"{path.parent.name}-{mark}" for path, mark in marks.items()}
        keys = config.transpose_low, config.transpose_high
        settings = _mark([config.seed, *keys, config.velocity_spread])
        names = {e: "plain" if e == AS_PLAYED else f"{e}-{settings}" for e in stream.encodings}
        stream.frame_paths, stream.style_paths = [], []
        for item, (store, index) in enumerate(stream.pieces):
            corpus, piece = corpora[store.path], f"{index}-{stream.tempo_maps[item].fingerprint()[:8]}"
            stream.frame_paths.append(self.frames_folder / corpus / f"{piece}.npy")
            stream.style_paths.append(self.styles_folder / corpus / f"{index}.npy")
            for encoding, name in names.items():
                stream.code_paths[item, encoding] = self.codes_folder / corpus / f"{piece}.{name}.npy"

    @torch.inference_mode()
    def _codes(self, stream, item, encoding):
        """uint16 (N, GROUPS) of a piece in a key."""
        window = stream.whole_piece(item, encoding)
        roll = stream.piano_roll([window], window.length * LATENT_STRIDE, self.device)
        return self.vqvae.encode(roll)[0].cpu().numpy().astype(np.uint16)

    @torch.inference_mode()
    def _frames(self, stream, item):
        """FRAME (N,) of a piece."""
        window, tempo_map = stream.whole_piece(item, AS_PLAYED), stream.tempo_maps[item]
        roll = stream.piano_roll([window], window.length * LATENT_STRIDE)
        return latent_frames(roll, clock_frames(tempo_map, window.length), tempo_frames(tempo_map, window.length))

    @torch.inference_mode()
    def _styles(self, passages, item):
        """float16 (P, S): styles of passages that are evenly spread over the piece."""
        start_s, end_s = passages.bounds[item]
        latest_s = max(start_s, end_s - CHUNK_S)
        count = min(PASSAGES_PER_PIECE, max(1, int((end_s - start_s) / CHUNK_S)))
        examples = [Example(item, float(s)) for s in np.linspace(start_s, latest_s, count)]
        styles, _ = self.style_encoder(passages.style_inputs(self.style_config.reads, examples, self.device))
        return styles.half().cpu().numpy()


def latent_frames(roll: PianoRoll, clock: np.ndarray, bpm: np.ndarray) -> np.ndarray:
    """The conditions of a piece: PianoRoll (B = 1), clock (N, 3) and tempo (N,) -> FRAME (N,)."""
    rows = np.zeros(len(clock), FRAME)
    rows["clock"], rows["tempo"] = clock, bpm
    rows["chord"] = recognise_chords(sounding_roll(roll), torch.from_numpy(clock.astype(np.int64))[None])[0].numpy()
    rows["next"], until = next_chords(rows["chord"])
    rows["until"] = np.where(np.isfinite(until), np.minimum(until, NEVER - 1), NEVER)
    onsets = roll.onset[0].unflatten(-1, (-1, LATENT_STRIDE))  # (88, N, stride)
    rows["onsets"] = onsets.sum(0).numpy()
    begun = onsets.sum(-1)  # (88, N)
    rows["keys"] = (begun * torch.arange(NUM_PITCHES)[:, None]).sum(0).numpy()
    rows["alike"] = most_alike(begun.numpy(), clock)
    return rows


def most_alike(begun: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """Where in a piece the window begins that is most like each, by which keys begin when.

    Parameters
    ----------
    begun : (88, N), how many notes begin on each key in each latent frame
    clock : (N, 3)

    Returns
    -------
    int64 (N,) : of a window in the same phase of a like bar, and no part of this one; -1 where none is as like as
        LEAST_ALIKE, and where no window may begin
    """
    alike, starts = np.full(len(clock), -1), window_starts(clock, WINDOW)
    blurred = ndimage.convolve1d((begun > 0).astype(np.float32), (0.5, 1.0, 0.5), axis=1, mode="constant")
    for phase in np.unique(starts % LATENTS_PER_BEAT):
        own = starts[(starts % LATENTS_PER_BEAT == phase) & (starts + WINDOW <= len(clock))]
        if not len(own):
            continue
        passages = np.stack([blurred[:, first : first + WINDOW].ravel() for first in own])
        passages /= np.maximum(np.linalg.norm(passages, axis=1, keepdims=True), 1e-6)
        likeness = passages @ passages.T  # (S, S), cosines
        apart = np.abs(own[:, None] - own) >= WINDOW
        likeness[~(apart & (clock[own][:, None] == clock[own]).all(-1))] = -1
        alike[own] = np.where(likeness.max(1) >= LEAST_ALIKE, own[likeness.argmax(1)], -1)
    return alike


def _mark(facts):
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]


def _write(path, rows):
    with atomic_write(path, unique=True) as partial, open(partial, "wb") as file:
        np.save(file, rows)
