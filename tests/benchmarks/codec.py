"""How much of the test music survives the codec, measured as a transcription is.

    python tests/benchmarks/codec.py --data-dir data (--released | --run RUN) [--quick] [--split validation]

Takes all test pieces of MAESTRO, and those of PiJAMA that its own tables test on (`album_split_0` for the 30 pianists
of the benchmark, `pijama.csv` for the others), each coded in one pass, in the beats of its tempo map, and mapped back to
seconds; --quick takes 20 of each, chosen by a seed.
Notes are matched by mir_eval (onset 40 ms; offset 20 % of the length or 50 ms; velocity after the best linear fit);
F1 is the mean over pieces. Noise is added to the codes' vectors in units of their deviation, on the quick choice of MAESTRO.
Prints the pieces that went worst, and tables by density, register and velocity; one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.checkpoints.load import load_vqvae  # noqa: E402
from lib.config import RELEASED  # noqa: E402
from lib.data.corpora import in_published_test, open_corpus  # noqa: E402
from lib.data.note_store import resolution_ms  # noqa: E402
from lib.data.tempo_maps import open_tempo_maps  # noqa: E402
from lib.devices import choose_device  # noqa: E402
from lib.models.vqvae import BANDS, GROUPS  # noqa: E402
from lib.music.metrics import match_notes, note_f1  # noqa: E402
from lib.music.piano_roll import LATENT_STRIDE, LATENTS_PER_BEAT, WINDOW, notes_to_piano_roll, piano_roll_to_notes  # noqa: E402
from lib.music.tempo_map import in_beats, in_seconds  # noqa: E402

WINDOW_BEATS = WINDOW / LATENTS_PER_BEAT
QUICK_PIECES, NOISE = 20, (0.05, 0.1, 0.2)
BORDER_BEATS = 0.6  # of a window, where a seam would be
EDGES = {"density": (0, 4, 8, 12, 16, 24, math.inf), "register": (21, 40, 52, 64, 76, 88, 109),
         "velocity": (0, 30, 50, 70, 90, 128)}  # fmt: skip


@dataclass
class Row:
    """One piece through the codec."""

    corpus: str
    title: str
    notes: int
    seconds: float
    onset: float
    onset_offset: float
    onset_velocity: float
    pedal: np.ndarray  # frames: right, wrongly down, missed
    errors_ms: np.ndarray
    tables: dict  # name -> (3, buckets): pairs, notes of the piece, notes of the decoded
    indices: torch.Tensor
    encode_s: float
    decode_s: float


def choose(store, split, quick):
    """Places of the pieces to measure on."""
    pieces = [i for i, piece in enumerate(store.pieces) if not piece.duet and piece.num_notes]
    if split == "test":
        pieces = [i for i in pieces if in_published_test(store.pieces[i])]
    else:
        pieces = [i for i in pieces if store.pieces[i].split == split and not in_published_test(store.pieces[i])]
    if quick and len(pieces) > QUICK_PIECES:
        pieces = sorted(np.random.default_rng(0).choice(pieces, QUICK_PIECES, replace=False).tolist())
    return pieces


def through(vqvae, piano_roll, noise=0.0, seed=0):
    """A roll through the codec: (roll, indices, seconds of encoding and decoding)."""
    began = time.perf_counter()
    codes = vqvae.encode(piano_roll)
    encoded = time.perf_counter()
    if noise:
        codes = disturbed(vqvae, codes, noise, torch.Generator().manual_seed(seed))
    decoded = vqvae.decode(codes)
    return decoded, codes[0], encoded - began, time.perf_counter() - encoded


def disturbed(vqvae, codes, noise, generator):
    """Codes whose vectors come nearest to those of `codes` with noise, in units of each vector set's deviation."""
    vectors, changed = vqvae.code_vectors(), codes.clone()
    for group in range(codes.shape[-1]):
        own = vectors[group, codes[..., group]].flatten(0, 1)
        own = own + noise * vectors[group].std() * torch.randn(own.shape, generator=generator)
        changed[..., group] = torch.cdist(own, vectors[group]).argmin(-1).view(codes.shape[:2])
    return changed


def measure(vqvae, store, tempo_map, index):
    """Row of one piece."""
    piece, notes = store.pieces[index], store.piece_notes(index)
    piano_roll = notes_to_piano_roll(in_beats(notes, tempo_map))
    decoded, indices, encode_s, decode_s = through(vqvae, piano_roll)
    estimate = in_seconds(piano_roll_to_notes(decoded)[0], tempo_map)
    score, pairs = note_f1(notes, estimate), match_notes(notes, estimate)
    errors_ms = 1000 * np.abs(notes.onset_s[pairs[:, 0]] - estimate.onset_s[pairs[:, 1]])
    down, wanted = decoded.pedal.bool(), piano_roll.pedal.bool()
    pedal = np.array([int((down & wanted).sum()), int((down & ~wanted).sum()), int((wanted & ~down).sum())])
    return Row(piece.corpus, piece.title or piece.member, len(notes), notes.end_s,
               score.onset, score.onset_offset, score.onset_velocity, pedal, errors_ms,
               tables(notes, estimate, pairs, tempo_map), indices, encode_s, decode_s)  # fmt: skip


def tables(notes, estimate, pairs, tempo_map):
    """Pairs, notes and decoded notes by density, register, velocity, and by how near a window's border they are."""
    counted = {}
    sides = [traits(notes, notes, tempo_map), traits(estimate, notes, tempo_map)]
    for name, edges in {**EDGES, "border": (0, BORDER_BEATS, math.inf)}.items():
        of, decoded = (np.digitize(side[name], edges[1:-1]) for side in sides)
        decoded[pairs[:, 1]] = of[pairs[:, 0]]  # a note that is kept counts where it was, however it has changed
        size = len(edges) - 1
        counted[name] = np.stack([np.bincount(x, minlength=size) for x in (of[pairs[:, 0]], of, decoded)])
    return counted


def traits(notes, original, tempo_map):
    """What notes are sorted by: the original's notes a second around them, pitch, velocity, beats to a border."""
    around = np.searchsorted(original.onset_s, [notes.onset_s - 0.5, notes.onset_s + 0.5])
    place = tempo_map.to_beats(notes.onset_s) % WINDOW_BEATS
    return {"density": around[1] - around[0], "register": notes.pitch, "velocity": notes.velocity,
            "border": np.minimum(place, WINDOW_BEATS - place)}  # fmt: skip


def f1_by(rows, name):
    """F1 in each bucket of a trait, over all notes of these pieces."""
    pairs, notes, decoded = sum(row.tables[name] for row in rows)
    return [round(2 * p / (n + d), 4) if n + d else None for p, n, d in zip(pairs, notes, decoded, strict=True)]


def pedal_f1(rows):
    """F1 of frames with the pedal down, over all frames."""
    right, wrong, missed = sum(row.pedal for row in rows)
    return float(2 * right / max(1, 2 * right + wrong + missed))


def decode_flops(vqvae, indices):
    """FLOPs of decoding a window of 32 beats of real codes (N, GROUPS), the mean of up to 100."""
    chunks = indices[: len(indices) // WINDOW * WINDOW].unflatten(0, (-1, WINDOW))[:100]
    with FlopCounterMode(display=False) as counter:
        vqvae.decode(chunks)
    return counter.get_total_flops() / len(chunks)


def noise_figures(vqvae, store, maps, pieces):
    """Mean onset F1 with noise on the latents."""
    figures = {}
    for level in NOISE:
        scores = []
        for index in pieces:
            notes = store.piece_notes(index)
            decoded = through(vqvae, notes_to_piano_roll(in_beats(notes, maps[index])), level, index)[0]
            scores.append(note_f1(notes, in_seconds(piano_roll_to_notes(decoded)[0], maps[index])).onset)
        figures[f"noise{round(100 * level)}_onset_f1"] = round(float(np.mean(scores)), 4)
    return figures


def code_figures(indices):
    """Use of the codes, and real bits a beat of codes (N, GROUPS), by each group's own frequencies."""
    pairs = indices[:, :-1].unflatten(-1, (BANDS, 2))
    struck = pairs[pairs[..., 0] > 0]
    size = int(indices.max()) + 1
    used = [len(column.unique()) for column in struck.T]
    entropy = sum(entropy_bits(indices[:, group], size) for group in range(GROUPS))
    return {"patterns_used": used[0], "ways_used": used[1], "bits_per_beat": round(entropy * LATENTS_PER_BEAT, 1)}


def entropy_bits(codes, size):
    """Bits a code takes, by its frequencies."""
    share = torch.bincount(codes, minlength=size).double() / len(codes)
    return float(-(share * share.clamp(min=1e-12).log2()).sum())


def corpus_figures(rows, name):
    """Means over pieces, and their spread."""
    figures = {}
    for kind in ("onset", "onset_offset", "onset_velocity"):
        scores = [getattr(row, kind) for row in rows]
        figures[f"{name}_{kind}_f1"], figures[f"{name}_{kind}_f1_std"] = np.mean(scores), np.std(scores)
    figures[f"{name}_pedal_frame_f1"] = pedal_f1(rows)
    figures = {key: round(float(value), 4) for key, value in figures.items()}
    errors = np.concatenate([row.errors_ms for row in rows])
    for trait in EDGES:
        figures[f"{name}_onset_f1_by_{trait}"] = f1_by(rows, trait)
    figures[f"{name}_onset_f1_near_border_and_elsewhere"] = f1_by(rows, "border")
    figures[f"{name}_onset_error_ms"] = {"median": round(float(np.median(errors)), 2),
                                         "p95": round(float(np.percentile(errors, 95)), 2)}  # fmt: skip
    return {**figures, f"{name}_pieces": len(rows), f"{name}_hours": round(sum(row.seconds for row in rows) / 3600, 2)}


def main():
    """Both corpora, then noise and cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--released", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--split", default="test", choices=("validation", "test"))
    words = parser.parse_args()
    if (words.run is None) != words.released:
        parser.error("give either --run RUN or --released")
    vqvae = load_vqvae(RELEASED if words.released else words.run, choose_device("auto"))[0]
    rows, figures = [], {}
    with torch.inference_mode():
        for corpus in ("maestro", "pijama"):
            store = open_corpus(corpus, words.data_dir)
            figures[f"time_resolution_ms_{corpus}"] = resolution_ms(store)
            maps = open_tempo_maps(store)
            own = [measure(vqvae, store, maps[index], index) for index in choose(store, words.split, words.quick)]
            figures.update(corpus_figures(own, corpus))
            for row in sorted(own, key=lambda row: row.onset)[:5]:
                print(f"{corpus}: onset F1 {row.onset:.3f}, {row.notes / row.seconds:.1f} notes/s, {row.title}", flush=True)
            rows += own
        store = open_corpus("maestro", words.data_dir)
        figures.update(noise_figures(vqvae, store, open_tempo_maps(store), choose(store, words.split, True)))
        indices = torch.cat([row.indices for row in rows])
        figures.update(code_figures(indices))
        figures["codebook_use"] = round((figures["patterns_used"] + figures["ways_used"]) / (2 * vqvae.codebook.codes), 4)
        figures["nominal_bits_per_beat"] = (2 * BANDS * math.log2(vqvae.codebook.codes) + LATENT_STRIDE) * LATENTS_PER_BEAT
        figures["decode_gflop"] = round(decode_flops(vqvae, indices) / 1e9, 4)
    figures["pedal_frame_f1"] = round(pedal_f1(rows), 4)
    for name in ("encode", "decode"):
        factors = [row.seconds / getattr(row, f"{name}_s") for row in rows]
        figures[f"{name}_realtime_factor"] = round(float(np.median(factors)))
    figures["parameters"] = sum(p.numel() for p in vqvae.parameters())
    print(json.dumps({"edges": {name: [e for e in edges if e < math.inf] for name, edges in EDGES.items()}}))
    print(json.dumps({"benchmark": "codec", "split": words.split, "quick": words.quick, **figures}))


if __name__ == "__main__":
    main()
