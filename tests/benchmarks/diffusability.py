"""How well music can be generated in a codec's latents: a small diffusion transformer, trained briefly, and its clips.

    python tests/benchmarks/diffusability.py --data-dir data (--released | --run RUN) [--minutes 20] [--clips 64]

The generator is always the same: lib's DiT, 256 wide and 5 deep, told only whether Mehldau plays, trained by
cross-entropy on this codec's codes of PiJAMA's training pieces (a quarter of them Mehldau's) for so many minutes of two
cores, counted in the process's CPU time. Its clips of 10.24 s are compared with chunks of every other of Mehldau's
training and validation pieces: the overlapping area of the distributions of 8 statistics, over that of chunks of the
pieces between them (`oa_real`). Prints one JSON line last.
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

from lib.config import RELEASED, preset  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.diffusion.sampling import sample  # noqa: E402
from lib.diffusion.schedule import diffuse  # noqa: E402
from lib.generate import load_codec  # noqa: E402
from lib.models.dit import Conditions, DiT  # noqa: E402
from lib.music.chords import CHORD_DIM  # noqa: E402
from lib.music.metrics import describe, overlapping_area  # noqa: E402
from lib.music.piano_roll import CHUNK_FRAMES, CHUNK_S, LATENT_STRIDE, decide, piano_roll_to_notes  # noqa: E402
from lib.training.optimizers import make_optimizer  # noqa: E402
from lib.training.stream import Stream, normal, uniform  # noqa: E402

PIANIST = "Brad Mehldau"
CORES, BATCH, PEAK_LR, WARMUP_SHARE, EMA_DECAY = 2, 16, 1e-3, 0.03, 0.995
SAMPLING_STEPS, TEMPERATURE = 40, 1.0
STATISTICS = ("notes_per_s", "sounding_notes", "pitch_mean", "pitch_std", "duration", "spacing", "velocity_mean",
              "velocity_std")  # fmt: skip


def statistics(notes):
    """The 8 numbers of a clip; lengths and spacings as logarithms of seconds."""
    plain = describe(notes, CHUNK_S)
    if not len(notes):
        return [0.0, 0.0, 60.0, 0.0, math.log(0.01), math.log(CHUNK_S), 0.0, 0.0]
    pitch, gaps = notes.pitch.astype(float), np.diff(np.unique(notes.onset_s))
    spacing = np.log(gaps.clip(0.02)).mean() if len(gaps) else math.log(CHUNK_S)
    return [plain["notes_per_s"], plain["sounding_notes"], pitch.mean(), pitch.std(),
            np.log(notes.duration_s.clip(0.01)).mean(), spacing, plain["velocity_mean"], plain["velocity_std"]]  # fmt: skip


def chunks(store, parity, count):
    """Chunks of real Mehldau as Notes, evenly from every other of his training and validation pieces."""
    config = dataclasses.replace(preset("diffusion", "laptop"), batch_size=count)
    pieces = sorted(i for split in ("train", "validation") for i in store.select(pianist=PIANIST, split=split, duets=False))
    pieces = [(store, i) for i in pieces[parity::2]]
    stream = Stream(pieces, config, balance=[str(i) for _, i in pieces], augment=False)
    return piano_roll_to_notes(stream.batch(0).piano_roll)


class Training:
    """The generator and its data."""

    def __init__(self, vqvae, store, optimizer="adamw"):
        self.vqvae, codebook = vqvae, vqvae.codebook
        self.config = preset("diffusion", "laptop", layers=5, batch_size=BATCH, optimizer=optimizer, lr=PEAK_LR)
        self.sizes = (CHUNK_FRAMES // LATENT_STRIDE, codebook.groups * codebook.code_dim)
        torch.manual_seed(0)
        self.model = DiT(self.config, 2, codebook.groups, codebook.codes, codebook.code_dim)
        pieces = [(store, i) for i in store.select(split="train")]
        theirs = [store.pieces[i].pianist == PIANIST for _, i in pieces]
        own = [piece for piece, is_his in zip(pieces, theirs, strict=True) if is_his]
        self.everybody, self.his = Stream(pieces, self.config), Stream(own, self.config)
        self.is_his = theirs

    def batch(self, step):
        """Codes (B, N, G) and styles (B, 2): every fourth chunk is Mehldau's."""
        theirs, his = self.everybody.batch(step, 0, BATCH - BATCH // 4), self.his.batch(step, 0, BATCH // 4)
        with torch.no_grad():
            codes = torch.cat([self.vqvae.encode(part.piano_roll).indices for part in (theirs, his)])
        told = [self.is_his[item] for item in theirs.items] + [True] * len(his)
        return codes, functional.one_hot(torch.tensor(told).long(), 2).float() / math.sqrt(2)

    def conditions(self, style):
        """Nothing is told but the style."""
        frames, size = self.sizes
        blank = torch.zeros(len(style), frames, CHORD_DIM + size + 1)
        chords, known, mask = blank.split([CHORD_DIM, size, 1], -1)
        return Conditions(style, chords, known, mask)

    def loss(self, step):
        """Cross-entropy of the codes in nats."""
        codes, style = self.batch(step)
        clean, rows = self.vqvae.latents(codes), range(BATCH)
        timestep = uniform(0, "timestep", step, rows)
        noisy = diffuse(clean, normal(0, "noise", step, rows, self.sizes), timestep)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(noisy, timestep, self.conditions(style))
        return functional.cross_entropy(logits.float().flatten(0, 2), codes.flatten())

    def train(self, minutes):
        """A warm-up and a cosine over the budget; the averaged weights stay. (steps, last losses)"""
        optimizer = make_optimizer(self.model, self.config)
        ema = {name: value.clone() for name, value in self.model.state_dict().items()}
        budget_s, began, step, losses = minutes * 60 * CORES, time.process_time(), 0, []
        while (share := (time.process_time() - began) / budget_s) < 1:
            lr = PEAK_LR * min(1.0, share / WARMUP_SHARE) * (0.55 + 0.45 * math.cos(math.pi * share))
            for group in optimizer.param_groups:
                group["lr"] = max(lr, 1e-6)
            loss = self.loss(step)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            decay = min(EMA_DECAY, (1 + step) / (10 + step))
            for name, value in self.model.state_dict().items():
                ema[name].lerp_(value, 1 - decay)
            losses.append(loss.item())
            step += 1
            if step % 100 == 0:
                print(f"step {step}, {share:.0%}, {np.mean(losses[-100:]):.3f} nats", file=sys.stderr, flush=True)
        self.model.load_state_dict(ema)
        return step, float(np.mean(losses[-100:]))

    @torch.inference_mode()
    def clips(self, count, temperature=TEMPERATURE, at_once=16):
        """`count` clips in Mehldau's style, as Notes."""
        played = []
        for first in range(0, count, at_once):
            style = torch.tensor([[0.0, 1.0]]).repeat(at_once, 1) / math.sqrt(2)
            latents = self.latents(self.conditions(style), range(first, first + at_once), temperature)
            played += piano_roll_to_notes(decide(self.vqvae.decode_latents(latents)))
        return played[:count]

    def latents(self, told, rows, temperature):
        """Latents (B, N, D) of clips `rows`, on the codes."""

        def denoise(noisy, timestep):
            return self.estimate(self.model(noisy, timestep, told), noisy, timestep, temperature)

        clean = sample(denoise, lambda step, _: normal(1, f"step {step}", 0, rows, self.sizes), SAMPLING_STEPS)
        return self.vqvae.latents(self.vqvae.nearest(clean))

    def estimate(self, output, noisy, timestep, temperature):
        """The clean latent from the model's output."""
        return self.vqvae.expected((output / temperature).softmax(-1))


def compare(clips, real):
    """Mean overlapping area with real clips' statistics, the area and the clips' mean of each."""
    own, others = (np.array([statistics(clip) for clip in part]) for part in (clips, real))
    areas = [overlapping_area(own[:, i], others[:, i]) for i in range(len(STATISTICS))]
    return {"oa": round(float(np.mean(areas)), 4),
            "oa_by_statistic": {s: round(a, 3) for s, a in zip(STATISTICS, areas, strict=True)},
            "means": {s: round(float(m), 3) for s, m in zip(STATISTICS, own.mean(0), strict=True)}}  # fmt: skip


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
    training = Training(load_codec(RELEASED if words.released else words.run), store)
    began = time.monotonic()
    steps, nats = training.train(words.minutes)
    seconds = time.monotonic() - began
    real = chunks(store, 0, 4 * words.clips)
    compared = {"oa": training.clips(words.clips), "oa_real": chunks(store, 1, words.clips)}
    figures = {"steps": steps, "wall_s": round(seconds), "nats": round(nats, 3),
               "parameters": sum(p.numel() for p in training.model.parameters())}  # fmt: skip
    for name, clips in compared.items():
        found = compare(clips, real)
        figures |= {name: found["oa"], f"{name}_by_statistic": found["oa_by_statistic"], f"{name}_means": found["means"]}
    figures["real_means"] = compare(real, real)["means"]
    figures["diffusability"] = round(figures["oa"] / figures["oa_real"], 4)
    print(json.dumps({"benchmark": "diffusability", "minutes": words.minutes, "clips": words.clips, **figures}))


if __name__ == "__main__":
    main()
