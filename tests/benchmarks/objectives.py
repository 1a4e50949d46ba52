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
from lib.diffusion.schedule import diffuse, noise, signal  # noqa: E402
from lib.generate import load_codec  # noqa: E402
from lib.training.stream import keyed_generator, normal, uniform  # noqa: E402

TEMPERATURES = {"posterior": (0.8, 1.0), "v": (1.0,), "masked": (0.9, 1.0)}
SNR_CAP = 5.0


class V(common.Training):
    """v = signal * noise - noise level * clean."""

    def __init__(self, vqvae, store, optimizer):
        super().__init__(vqvae, store, optimizer)
        self.model.output = nn.Linear(self.config.hidden, self.sizes[1])
        nn.init.zeros_(self.model.output.weight), nn.init.zeros_(self.model.output.bias)
        self.model.groups, self.model.codes = 1, self.sizes[1]

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
        """The clean latent from v."""
        a, s = signal(timestep)[:, None, None], noise(timestep)[:, None, None]
        return a * noisy - s * output[:, :, 0]


class Masked(common.Training):
    """Codes are hidden, each with the example's own probability."""

    def __init__(self, vqvae, store, optimizer):
        super().__init__(vqvae, store, optimizer)
        self.model.embed = CodeEmbedding(vqvae.codebook.groups, vqvae.codebook.codes, self.config.hidden)

    def loss(self, step):
        """Cross-entropy of what is hidden, each example the same: a bound on nats a code (Sahoo et al. 2024)."""
        codes, style = self.batch(step)
        rows = range(common.BATCH)
        share = uniform(0, "share", 0, [step * common.BATCH + r for r in rows]) * 0.98 + 0.02
        hidden = uniforms(step, rows, codes.shape[1:]) < share[:, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.logits(codes, hidden, share, self.conditions(style))
        nats = functional.cross_entropy(logits.float().flatten(0, 2), codes.flatten(), reduction="none").view(hidden.shape)
        return ((nats * hidden).sum((1, 2)) / hidden.sum((1, 2)).clamp(min=1)).mean()

    def logits(self, codes, hidden, share, told):
        """(B, N, G, K) from codes (B, N, G) of which some are hidden."""
        self.model.embed.codes = torch.where(hidden, self.model.codes, codes)
        return self.model(torch.zeros(*codes.shape[:2], self.sizes[1]), share, told)

    def latents(self, told, rows, temperature):
        """Codes are settled in a random order, as many at each step."""
        shape = (len(rows), self.sizes[0], self.vqvae.codebook.groups)
        codes, hidden = torch.zeros(shape, dtype=torch.long), torch.ones(shape, dtype=torch.bool)
        order, generator = uniforms(10**6, rows, shape[1:]), torch.Generator().manual_seed(1 + rows[0])
        for step in range(common.SAMPLING_STEPS):
            logits = self.logits(codes, hidden, hidden.float().mean((1, 2)), told).float() / temperature
            chances = logits.softmax(-1).flatten(0, 2)
            drawn = torch.multinomial(chances, 1, generator=generator).view(shape)
            settle = hidden & (order >= 1 - (step + 1) / common.SAMPLING_STEPS)
            codes, hidden = torch.where(settle, drawn, codes), hidden & ~settle
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


def uniforms(step, rows, shape):
    """Numbers in [0, 1), (len(rows), *shape), each row from its own key."""
    return torch.from_numpy(np.stack([keyed_generator(0, "hidden", step, row).random(shape, np.float32) for row in rows]))


OBJECTIVES = {"posterior": common.Training, "v": V, "masked": Masked}


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
    words = parser.parse_args()
    if (words.run is None) != words.released:
        parser.error("give either --run RUN or --released")
    torch.set_num_threads(common.CORES)
    store, codec = open_corpus("pijama", words.data_dir), load_codec(RELEASED if words.released else words.run)
    real = common.chunks(store, 0, 4 * words.clips)
    figures = {"real": common.compare(common.chunks(store, 1, words.clips), real)}
    for name in words.only.split(","):
        training, began = OBJECTIVES[name](codec, store, words.optimizer), time.monotonic()
        steps, last = training.train(words.minutes)
        row = {"steps": steps, "loss": round(last, 4), "wall_s": round(time.monotonic() - began)}
        for temperature in TEMPERATURES[name]:
            row[f"temperature {temperature}"] = common.compare(training.clips(words.clips, temperature), real)
        figures[name] = row
        print(json.dumps({name: row}), file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "objectives", "minutes": words.minutes, "optimizer": words.optimizer, **figures}))


if __name__ == "__main__":
    main()
