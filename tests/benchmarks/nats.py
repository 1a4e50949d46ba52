"""How well an improviser predicts validation music, in nats a note: what music in beats costs and what it saves.

    python tests/benchmarks/nats.py --data-dir data [--run RUN] [--batches 24]
    python tests/benchmarks/nats.py --data-dir data --tree ../earlier [--run RUN]     with the lib of an earlier commit

Both are told style, chords as recognised, density and register, nothing else. `nll_nats`: the bound of masked diffusion on
the codes of whole windows, over their notes. `log_width`: mean log length in seconds of the frames that notes begin in: a
wider frame says less of when. `map_nats`: what the tempo maps cost, spread over the notes, 0 where music is in seconds: the
entropy of the beats (of each period what is left after the one before, in steps of PRECISION_S) and of the bars (length and
kind, after those of the bar before). `total`: their sum, the negative log density of a note. Whoever pays for the map may
read it: `nll_nats_map` and `total_map` are those of a model that is told clock, tempo and next chord besides, all of which
map and chords say. Frames of an earlier commit are 20 ms long. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
PRECISION_S = 0.005
EARLIER_FRAME_S = 0.02
TOLD, BY_MAP, NOT_TOLD = ("style", "chords", "attributes"), ("next_chord", "clock", "tempo"), ("feel", "reference")


def told(config, batch_size, by_map=False):
    """The config of a model that is told TOLD alone, or what the map says as well, of every latent frame."""
    fields = {field.name for field in dataclasses.fields(config)}
    shares = dict.fromkeys(TOLD, 0.0) | dict.fromkeys(BY_MAP, 0.0 if by_map else 1.0) | dict.fromkeys(NOT_TOLD, 1.0)
    known = {f"drop_{name}": share for name, share in shares.items() if f"drop_{name}" in fields}
    return dataclasses.replace(config, prefix_share=0.0, batch_size=batch_size, gradient_accumulation=1, **known)


def stage_of(run, data_dir, batch_size):
    """The stage of a run, or of a finished improviser's base, with its weights; its validation encoded."""
    from lib.checkpoints.config_migration import differences, put_weights
    from lib.checkpoints.load import config_of
    from lib.checkpoints.run_dependencies import require, resolve_dependency
    from lib.training.code_store import CodeStore
    from lib.training.stages.diffusion import DiffusionStage

    checkpoint = require(run, "diffusion")
    frozen = ("vqvae", "style_encoder")
    has_runs = "sources" in checkpoint.manifest
    sources = {name: resolve_dependency(checkpoint, name) if has_runs else Path(run) for name in frozen}
    stage = DiffusionStage(told(config_of(checkpoint), batch_size), data_dir, checkpoint, sources)
    where = checkpoint.path, differences("diffusion", checkpoint.manifest["config"])
    put_weights(stage.model, checkpoint.weights(), *where)
    CodeStore(stage.data_dir, stage.vqvae, stage.style_encoder, stage.style_config).encode(stage.validation)
    stage.to(torch.device("cpu"))
    stage.model.eval()
    return stage


def seconds_of_frames(coded):
    """Length of the frames of each latent frame (B, N), in seconds."""
    if not hasattr(coded, "tempo"):
        return torch.full(coded.keys.shape, EARLIER_FRAME_S)
    from lib.music.piano_roll import FRAMES_PER_BEAT
    from lib.music.tempo_map import FREE_BPM

    return 60 / FRAMES_PER_BEAT / coded.tempo.nan_to_num(FREE_BPM)


def entropy(rows):
    """Nats of all rows, coded by their own shares."""
    counts = np.unique(np.stack(rows), axis=0, return_counts=True)[1]
    return float(-(counts * np.log(counts / counts.sum())).sum())


def map_nats(stage, maps):
    """Nats a note of the beats and bars of the validation pieces' maps."""
    steps, bars, notes = [], [], 0
    for (store, index), tempo_map in zip(stage.validation.pieces, maps, strict=True):
        steps.extend(np.rint(np.diff(tempo_map.beats_s, 2) / PRECISION_S))
        bars.extend(np.stack([tempo_map.bars["beats"], tempo_map.bars["kind"]], 1))
        notes += len(store.piece_notes(index))
    pairs = [np.concatenate(pair) for pair in itertools.pairwise(bars)]
    return (entropy(steps) + entropy(pairs) - entropy(bars[:-1])) / notes


def main():
    """Print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data")
    parser.add_argument("--run", type=Path, help="of diffusion; the released base model by default")
    parser.add_argument("--tree", type=Path, default=ROOT, help="a checkout whose lib is used")
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=32)
    words = parser.parse_args()
    sys.path.insert(0, str(words.tree.resolve()))
    stage = stage_of(words.run or words.tree / "data" / "released", words.data_dir, words.batch_size)
    nats, by_map, notes, widths = [], [], [], 0.0
    configs = [told(stage.config, words.batch_size, by_map) for by_map in (False, True)]
    with torch.inference_mode():
        for step in range(words.batches):
            batch = stage.validation.batch(step)
            try:
                coded = batch.stream.read(batch)
            except TypeError:  # of an earlier commit
                coded = batch.stream.read(batch.examples, batch.stream.epoch(batch.step), stage.device)
            onsets = coded.onsets.flatten(2).sum(2) if coded.onsets.ndim == 3 else coded.onsets  # (B, N)
            for row, stage.config in zip((nats, by_map), configs, strict=True):
                row.append(float(stage.losses(stage.model, batch)["loss"]) * onsets.numel())
            notes.append(float(onsets.sum()))
            widths += float((onsets * seconds_of_frames(coded).log()).sum())
    nats, notes = np.array(nats), np.array(notes)
    ratio = nats.sum() / notes.sum()
    error = math.sqrt(np.square(nats - ratio * notes).sum()) / notes.sum()  # of a ratio of sums
    figures = {"nll_nats": float(ratio), "nll_standard_error": error, "log_width": widths / notes.sum()}
    maps = getattr(stage.validation, "tempo_maps", None)
    figures["map_nats"] = map_nats(stage, maps) if maps else 0.0
    figures["nll_nats_map"] = sum(by_map) / float(notes.sum())
    for name in ("", "_map"):
        figures[f"total{name}"] = figures[f"nll_nats{name}"] + figures["log_width"] + figures["map_nats"]
    print(json.dumps({"benchmark": "nats", "notes": int(notes.sum()), "batches": words.batches, **figures}))


if __name__ == "__main__":
    main()
