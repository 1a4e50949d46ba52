"""How well music can be generated in a codec's latents: a small diffusion transformer, trained briefly, and its clips.

    python tests/benchmarks/diffusability.py --data-dir data (--released | --run RUN) [--minutes 20] [--clips 64]

The generator is always the same: lib's DiT, 256 wide and 5 deep, conditioned only on whether Mehldau plays, trained to
predict masked codes of PiJAMA's training pieces (a quarter of them Mehldau's) for so many minutes of two cores, counted
in the process's CPU time. Its clips of 10.24 s are compared with chunks of every other of Mehldau's training and
validation pieces: the overlapping area of the distributions of 8 statistics, over that of chunks of the pieces between
them (`oa_real`). Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait use no CPU time, which is what is counted
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.nn import functional  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from overlap import overlapping_area  # noqa: E402

from lib.checkpoints.load import load_vqvae  # noqa: E402
from lib.config import RELEASED, preset  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.devices import choose_device  # noqa: E402
from lib.diffusion.sampling import sample_ancestral, training_mask_ratio  # noqa: E402
from lib.keyed_random import uniform, uniforms  # noqa: E402
from lib.models.dit import ATTRIBUTES_DIM, Conditions, DiT, Posterior  # noqa: E402
from lib.models.vqvae import GROUPS, KINDS  # noqa: E402
from lib.music.chart import CHORD_DIM  # noqa: E402
from lib.music.metrics import describe  # noqa: E402
from lib.music.piano_roll import CHUNK_FRAMES, CHUNK_S, LATENT_STRIDE, piano_roll_to_notes  # noqa: E402
from lib.training.optimizers import make_optimizer  # noqa: E402
from lib.training.stream import Stream  # noqa: E402

PIANIST = "Brad Mehldau"
CORES, BATCH, PEAK_LR, WARMUP_SHARE, EMA_DECAY = 2, 16, 1e-3, 0.03, 0.995
SAMPLING_STEPS, TEMPERATURE, FRAMES = 40, 1.0, CHUNK_FRAMES // LATENT_STRIDE
STATISTICS = (
    "notes_per_s",
    "sounding_notes",
    "pitch_mean",
    "pitch_std",
    "duration",
    "spacing",
    "velocity_mean",
    "velocity_std",
)


def statistics(notes):
    """The 8 numbers of a clip; lengths and spacings as logarithms of seconds."""
    plain = describe(notes, CHUNK_S)
    if not len(notes):
        return [0.0, 0.0, 60.0, 0.0, math.log(0.01), math.log(CHUNK_S), 0.0, 0.0]
    pitch, gaps = notes.pitch.astype(float), np.diff(np.unique(notes.onset_s))
    spacing = np.log(gaps.clip(0.02)).mean() if len(gaps) else math.log(CHUNK_S)
    duration = np.log(notes.duration_s.clip(0.01)).mean()
    counts, velocity = [plain["notes_per_s"], plain["sounding_notes"]], [plain["velocity_mean"], plain["velocity_std"]]
    return [*counts, pitch.mean(), pitch.std(), duration, spacing, *velocity]


def chunks(store, parity, count):
    """Chunks of real Mehldau as Notes, evenly from every other of his training and validation pieces."""
    config = dataclasses.replace(preset("diffusion", "laptop"), batch_size=count)
    splits = [store.select(pianist=PIANIST, split=split, duets=False) for split in ("train", "validation")]
    pieces = [(store, i) for i in sorted(sum(map(list, splits), []))[parity::2]]
    stream = Stream(pieces, config, balance=[str(i) for _, i in pieces], augment=False)
    return piano_roll_to_notes(stream.batch(0).piano_roll)


class Training:
    """The generator and its data."""

    def __init__(self, vqvae, store, optimizer="adamw"):
        self.vqvae = vqvae
        self.config = preset("diffusion", "laptop", depth=5, batch_size=BATCH, optimizer=optimizer, lr=PEAK_LR)
        torch.manual_seed(0)
        self.model = self.make_model()
        pieces = [(store, i) for i in store.select(split="train")]
        theirs = [store.pieces[i].pianist == PIANIST for _, i in pieces]
        own = [piece for piece, is_his in zip(pieces, theirs, strict=True) if is_his]
        self.everybody, self.his = Stream(pieces, self.config), Stream(own, self.config)
        self.is_his = theirs

    def make_model(self):
        """An untrained transformer."""
        return DiT.from_config(self.config, 2, self.vqvae.code_vectors(), KINDS)

    def batch(self, step):
        """Codes (B, N, G) and styles (B, 2): every fourth chunk is Mehldau's."""
        theirs, his = self.everybody.batch(step, 0, BATCH - BATCH // 4), self.his.batch(step, 0, BATCH // 4)
        with torch.no_grad():
            codes = torch.cat([self.vqvae.encode(part.piano_roll) for part in (theirs, his)])
        is_his = [self.is_his[item] for item in theirs.items] + [True] * len(his)
        return codes, functional.one_hot(torch.tensor(is_his).long(), 2).float() / math.sqrt(2)

    def conditions(self, style):
        """No condition but the style."""
        blank = torch.zeros(len(style), FRAMES, CHORD_DIM + ATTRIBUTES_DIM)
        return Conditions(style, *blank.split([CHORD_DIM, ATTRIBUTES_DIM], -1))

    def loss(self, step):
        """Cross-entropy of masked codes in nats."""
        codes, style = self.batch(step)
        ratio = training_mask_ratio((uniform(0, "share", step, [0]) + torch.arange(BATCH) / BATCH) % 1)
        mask = uniforms(0, f"hidden {step}", range(BATCH), codes.shape[1:2]) < ratio[:, None]
        with torch.autocast("cpu", torch.bfloat16):
            context = self.model(codes, mask, self.conditions(style))
            nll_nats = self.model.nll(context[mask], codes[mask])[0]
        weight = (1 / mask.sum(1).clamp(min=1))[:, None].expand(mask.shape)[mask]
        return (nll_nats * weight).sum() / BATCH

    def train(self, minutes):
        """A warm-up and a cosine over the budget; the averaged weights stay. (steps, last losses)"""
        optimizer, ema = make_optimizer(self.model, self.config), None
        budget_s, began, step, losses = minutes * 60 * CORES, time.process_time(), 0, []
        while (share := (time.process_time() - began) / budget_s) < 1:
            lr = self.config.lr * min(1.0, share / WARMUP_SHARE) * (0.55 + 0.45 * math.cos(math.pi * share))
            for group in optimizer.param_groups:
                group["lr"] = max(lr, 1e-6)
            loss = self.loss(step)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            decay = min(EMA_DECAY, (1 + step) / (10 + step))
            state = self.model.state_dict()
            ema = {name: value.clone() for name, value in state.items()} if ema is None else ema
            for name, value in state.items():
                ema[name].lerp_(value, 1 - decay)
            losses.append(loss.item())
            step += 1
            if step % 100 == 0:
                print(f"step {step}, {share:.0%}, {np.mean(losses[-100:]):.3f} nats", file=sys.stderr, flush=True)
        self.model.load_state_dict(ema)
        return step, float(np.mean(losses[-100:]))

    @torch.inference_mode()
    def codes(self, style, rows, temperature):
        """Codes of clips `rows`, drawn."""
        conditions, shape = self.conditions(style), (len(style), FRAMES, GROUPS)

        def predict(codes, mask):
            return Posterior(self.model, self.model(codes, mask, conditions)[None], temperature=temperature)

        def draw(step, candidate):
            return uniforms(1, f"step {step}", rows, shape[1:])

        codes, mask = torch.zeros(shape, dtype=torch.long), torch.ones(shape[:2], dtype=torch.bool)
        return sample_ancestral(predict, codes, mask, draw, SAMPLING_STEPS)

    def clips(self, count, temperature=TEMPERATURE, at_once=16):
        """`count` clips in Mehldau's style, as Notes."""
        played = []
        for first in range(0, count, at_once):
            style = torch.tensor([[0.0, 1.0]]).repeat(at_once, 1) / math.sqrt(2)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                codes = self.codes(style, range(first, first + at_once), temperature)
            with torch.inference_mode():
                played += piano_roll_to_notes(self.vqvae.decode(codes))
        return played[:count]


def main():
    """Train, play, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--released", action="store_true")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--clips", type=int, default=64)
    words = parser.parse_args()
    if (words.run is None) != words.released:
        parser.error("give either --run RUN or --released")
    torch.set_num_threads(CORES)
    store = open_corpus("pijama", words.data_dir)
    training = Training(load_vqvae(RELEASED if words.released else words.run, choose_device("auto"))[0], store)
    began = time.monotonic()
    steps, nats = training.train(words.minutes)
    seconds = time.monotonic() - began
    clips = training.clips(words.clips)
    real = np.array([statistics(notes) for notes in chunks(store, 0, 4 * words.clips)])
    compared = {"oa": clips, "oa_real": chunks(store, 1, words.clips)}
    figures = {
        "steps": steps,
        "wall_s": round(seconds),
        "nats": round(nats, 3),
        "parameters": sum(p.numel() for p in training.model.parameters()),
    }
    for name, notes in compared.items():
        own = np.array([statistics(clip) for clip in notes])
        areas = [overlapping_area(own[:, i], real[:, i]) for i in range(len(STATISTICS))]
        figures[name] = round(float(np.mean(areas)), 4)
        figures[f"{name}_by_statistic"] = {s: round(a, 3) for s, a in zip(STATISTICS, areas, strict=True)}
        figures[f"{name}_means"] = {s: round(float(m), 3) for s, m in zip(STATISTICS, own.mean(0), strict=True)}
    figures["real_means"] = {s: round(float(m), 3) for s, m in zip(STATISTICS, real.mean(0), strict=True)}
    figures["diffusability"] = round(figures["oa"] / figures["oa_real"], 4)
    print(json.dumps({"benchmark": "diffusability", "minutes": words.minutes, "clips": words.clips, **figures}))


if __name__ == "__main__":
    main()
