"""What a generator should learn: three objectives, the same transformer, music and CPU minutes, and their clips.

    python tests/benchmarks/objectives.py --data-dir data (--released | --run RUN) [--minutes 12] [--only masked,posterior,v]

posterior : continuous diffusion, cross-entropy over codes, the denoised latent is their mean (Dieleman et al. 2022)
v         : continuous diffusion, mean square error of v, weighted by min-SNR-5 (Salimans & Ho 2022; Hang et al. 2023)
masked    : discrete diffusion, codes hidden at random and named by cross-entropy (Chang et al. 2022; Sahoo et al. 2024)

Everything else is tests/benchmarks/diffusability.py's: its transformer, its music, its statistics. --optimizer muon trains
the matrices within the blocks by Muon. Clips are drawn at each temperature. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import diffusability as common  # first: it sets how threads wait
import numpy as np
import torch
from torch import nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.config import RELEASED  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.diffusion.sampling import sample  # noqa: E402
from lib.diffusion.schedule import diffuse, noise, signal  # noqa: E402
from lib.generate import load_codec  # noqa: E402
from lib.music.metrics import overlapping_area  # noqa: E402
from lib.music.piano_roll import decide, piano_roll_to_notes  # noqa: E402
from lib.training.optimizers import MuonAdamW  # noqa: E402
from lib.training.stream import normal, uniform  # noqa: E402

TEMPERATURES = {"posterior": (0.8, 1.0), "v": (1.0,), "masked": (0.9, 1.0)}
SNR_CAP = 5.0
STEPS = 40  # of sampling


class Posterior(common.Training):
    """What is released today."""

    @torch.inference_mode()
    def latents(self, style, rows, temperature):
        """Latents of clips `rows`."""
        told = self.conditions(style)

        def denoise(noisy, timestep):
            return self.estimate(self.model(noisy, timestep, told), noisy, timestep, temperature)

        clean = sample(denoise, lambda step, _: normal(1, f"step {step}", 0, rows, self.sizes), STEPS)
        return self.vqvae.latents(self.vqvae.nearest(clean))

    def estimate(self, output, noisy, timestep, temperature):
        """The clean latent from the model's output."""
        return self.vqvae.expected((output / temperature).softmax(-1))


class V(Posterior):
    """v = signal * noise - noise level * clean."""

    def __init__(self, vqvae, store):
        super().__init__(vqvae, store)
        self.model.output = nn.Linear(self.config.hidden, self.sizes[1])
        nn.init.zeros_(self.model.output.weight), nn.init.zeros_(self.model.output.bias)
        self.model.groups, self.model.codes = 1, self.sizes[1]
        self.ema = {name: value.clone() for name, value in self.model.state_dict().items()}

    def loss(self, step):
        """Mean square error, weighted."""
        codes, style = self.batch(step)
        clean, rows = self.vqvae.latents(codes), range(common.BATCH)
        timestep = uniform(0, "timestep", step, rows)
        epsilon = normal(0, "noise", step, rows, self.sizes)
        with torch.autocast("cpu", torch.bfloat16):
            found = self.model(diffuse(clean, epsilon, timestep), timestep, self.conditions(style))[:, :, 0].float()
        a, s = signal(timestep)[:, None, None], noise(timestep)[:, None, None]
        ratio = (a / s.clamp(min=1e-4)).square()
        weight = ratio.clamp(max=SNR_CAP) / (ratio + 1)
        return (weight * (found - (a * epsilon - s * clean)).square()).mean()

    def estimate(self, output, noisy, timestep, temperature):
        a, s = signal(timestep)[:, None, None], noise(timestep)[:, None, None]
        return a * noisy - s * output[:, :, 0]


class Masked(common.Training):
    """Codes are hidden, each with the example's own probability."""

    def __init__(self, vqvae, store):
        super().__init__(vqvae, store)
        groups, codes = vqvae.codebook.groups, vqvae.codebook.codes
        self.model.embed = CodeEmbedding(groups, codes, self.config.hidden)
        self.ema = {name: value.clone() for name, value in self.model.state_dict().items()}

    def loss(self, step):
        """Cross-entropy of what is hidden, each example the same: a bound on nats a code (Sahoo et al. 2024)."""
        codes, style = self.batch(step)
        rows = range(common.BATCH)
        share = uniform(0, "share", 0, [step * common.BATCH + r for r in rows]) * 0.98 + 0.02
        hidden = torch.from_numpy(np.stack([common_random(step, r, codes.shape[1:]) for r in rows])) < share[:, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.logits(codes, hidden, share, style)
        nats = functional.cross_entropy(logits.float().flatten(0, 2), codes.flatten(), reduction="none").view(hidden.shape)
        return ((nats * hidden).sum((1, 2)) / hidden.sum((1, 2)).clamp(min=1)).mean()

    def logits(self, codes, hidden, share, style):
        """(B, N, G, K) from codes (B, N, G) of which some are hidden."""
        seen = torch.where(hidden, self.model.codes, codes)
        told = self.conditions(style)
        self.model.embed.codes = seen
        return self.model(torch.zeros(*seen.shape[:2], self.sizes[1]), share, told)

    @torch.inference_mode()
    def latents(self, style, rows, temperature, choice=0.0):
        """Codes are settled in a random order, as many a step as the cosine asks."""
        groups, count = self.vqvae.codebook.groups, len(style)
        shape = (count, self.sizes[0], groups)
        codes, hidden = torch.zeros(shape, dtype=torch.long), torch.ones(shape, dtype=torch.bool)
        order = torch.from_numpy(np.stack([common_random(10**6, r, shape[1:]) for r in rows]))
        generator = torch.Generator().manual_seed(1 + rows[0])
        for step in range(STEPS):
            share = hidden.float().mean((1, 2))
            logits = self.logits(codes, hidden, share, style).float() / temperature
            gumbel = -torch.log(-torch.log(torch.rand(logits.shape, generator=generator).clamp(1e-9, 1 - 1e-7)))
            drawn = (logits + gumbel).argmax(-1)
            left = 1 - (step + 1) / STEPS
            settle = hidden & (order >= left)
            codes = torch.where(settle, drawn, codes)
            hidden = hidden & ~settle
        return self.vqvae.latents(codes)


class CodeEmbedding(nn.Module):
    """The sum of an embedding a group; the last code of a group is `hidden`. Takes DiT's tokens and reads `codes` instead."""

    def __init__(self, groups, codes, hidden):
        super().__init__()
        self.table = nn.Embedding(groups * (codes + 1), hidden)
        nn.init.normal_(self.table.weight, std=1 / math.sqrt(groups))
        self.register_buffer("first", torch.arange(groups) * (codes + 1), persistent=False)
        self.codes = None

    def forward(self, _):
        return self.table(self.codes + self.first).sum(-2)


def common_random(step, row, shape):
    """float32 in [0, 1) of a key."""
    from lib.training.stream import keyed_generator

    return keyed_generator(0, "hidden", step, row).random(shape, dtype=np.float32)


OBJECTIVES = {"posterior": Posterior, "v": V, "masked": Masked}


def play(training, count, temperature, at_once=16):
    """Clips as Notes."""
    played = []
    for first in range(0, count, at_once):
        style = torch.tensor([[0.0, 1.0]]).repeat(at_once, 1) / math.sqrt(2)
        with torch.autocast("cpu", torch.bfloat16):
            latents = training.latents(style, range(first, first + at_once), temperature).float()
        with torch.inference_mode():
            played += piano_roll_to_notes(decide(training.vqvae.decode_latents(latents)))
    return played[:count]


def compare(clips, real):
    """Overlapping area by statistic, and the clips' means."""
    own = np.array([common.statistics(clip) for clip in clips])
    areas = [overlapping_area(own[:, i], real[:, i]) for i in range(own.shape[1])]
    means = {name: round(float(mean), 2) for name, mean in zip(common.STATISTICS, own.mean(0), strict=True)}
    return {"oa": round(float(np.mean(areas)), 4), "means": means}


def main():
    """Train, play, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--released", action="store_true")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--only", default=",".join(OBJECTIVES))
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    parser.add_argument("--keep", type=Path, help="folder for the trained weights")
    words = parser.parse_args()
    if (words.run is None) != words.released:
        parser.error("give either --run RUN or --released")
    torch.set_num_threads(common.CORES)
    store, codec = open_corpus("pijama", words.data_dir), load_codec(RELEASED if words.released else words.run)
    real = np.array([common.statistics(notes) for notes in common.chunks(store, 0, 4 * words.clips)])
    figures = {"real": compare(common.chunks(store, 1, words.clips), real)}
    for name in words.only.split(","):
        training, began = OBJECTIVES[name](codec, store), time.monotonic()
        if words.optimizer == "muon":
            training.make_optimizer = lambda p, lr, weight_decay, m=training.model: MuonAdamW(
                [q for n, q in m.named_parameters() if q.ndim > 1 and n.startswith("blocks")], m.parameters(),
                {"lr": lr, "weight_decay": weight_decay})  # fmt: skip
        steps, last = training.train(words.minutes)
        row = {"steps": steps, "loss": round(last, 4), "wall_s": round(time.monotonic() - began)}
        if words.keep:
            words.keep.mkdir(parents=True, exist_ok=True)
            torch.save(training.model.state_dict(), words.keep / f"{name}_{words.optimizer}.pt")
        for temperature in TEMPERATURES[name]:
            row[f"temperature {temperature}"] = compare(play(training, words.clips, temperature), real)
        figures[name] = row
        print(json.dumps({name: row}), file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "objectives", "minutes": words.minutes, "optimizer": words.optimizer, **figures}))


if __name__ == "__main__":
    main()
