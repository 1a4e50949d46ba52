"""What a generator should learn: four objectives, the same transformer, music and CPU minutes, and their clips.

    python tests/benchmarks/objectives.py --data-dir data (--released | --run RUN) [--minutes 12]
        [--only masked,posterior,v,flow]

posterior : continuous diffusion, cross-entropy over codes, the denoised latent is their mean (Dieleman et al. 2022)
v         : continuous diffusion, mean square error of v, weighted by min-SNR-5 (Salimans & Ho 2022; Hang et al. 2023)
flow      : rectified flow, mean square error of the velocity, times logit-normal (Liu et al. 2023; Esser et al. 2024)
masked    : discrete diffusion, codes masked at random and predicted by cross-entropy (Chang et al. 2022;
            Sahoo et al. 2024)

Everything else is tests/benchmarks/diffusability.py's: its transformer, its music, its statistics. --optimizer muon
trains the matrices within the blocks by Muon. Clips are drawn at each temperature. Prints one JSON line last.
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

from overlap import overlapping_area  # noqa: E402

from lib.checkpoints.load import load_vqvae  # noqa: E402
from lib.config import RELEASED  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.devices import choose_device  # noqa: E402
from lib.keyed_random import keyed_generator, uniform  # noqa: E402
from lib.models.dit import DiT  # noqa: E402
from lib.models.vqvae import KINDS  # noqa: E402

TEMPERATURES = {"posterior": (0.8, 1.0), "v": (1.0,), "flow": (1.0,), "masked": (0.9, 1.0)}
STATISTICS_STEPS = 8  # batches that the latents' scale is taken from
SNR_CAP = 5.0
STEPS = 40  # of sampling


def normal(seed, purpose, step, indices, shape):
    """Unit noise (len(indices), *shape), each row from its own key."""
    rows = [keyed_generator(seed, purpose, step, i).standard_normal(shape, np.float32) for i in indices]
    return torch.from_numpy(np.stack(rows))


class Masked(common.Training):
    """What is released."""


class Continuous(common.Training):
    """Diffusion of latents, the codes' vectors at unit deviation, by a transformer with a timestep embedding."""

    def make_model(self):
        self.vectors = self.vqvae.code_vectors()  # (G, K, D)
        self.scale = 1.0
        return ContinuousDiT(self.config, self.vectors, self.outputs)

    def train(self, minutes):
        """As all others; the latents' scale first."""
        self.scale = torch.cat([self.latents(self.batch(step)[0]).flatten() for step in range(STATISTICS_STEPS)]).std()
        return super().train(minutes)

    def latents(self, codes):
        """(B, N, G) -> (B, N, G D)."""
        return self.vectors[torch.arange(len(self.vectors)), codes].flatten(-2) / self.scale

    def nearest(self, latents):
        """(B, N, G D) -> codes (B, N, G)."""
        parts = (latents * self.scale).unflatten(-1, (len(self.vectors), -1))  # (B, N, G, D)
        parts = parts.flatten(0, 1).transpose(0, 1)  # (G, B N, D)
        return torch.cdist(parts.contiguous(), self.vectors).argmin(-1).T.unflatten(0, latents.shape[:2])

    @torch.inference_mode()
    def codes(self, style, rows, temperature):
        """Codes next to what sampling reaches."""
        told, latent_dim = self.conditions(style), self.vectors.shape[0] * self.vectors.shape[2]
        noisy, times = normal(1, "step 0", 0, rows, (common.FRAMES, latent_dim)), torch.linspace(0.995, 0, STEPS + 1)
        for step in range(STEPS):
            now, later = times[step].expand(len(style)), times[step + 1].expand(len(style))
            clean = self.estimate(self.model(noisy, now, told).float(), noisy, now, temperature)
            if step + 1 < STEPS:
                noisy = self.next(noisy, clean, now, later, normal(1, f"step {step + 1}", 0, rows, noisy.shape[1:]))
        return self.nearest(clean)

    def next(self, noisy, clean, now, later, epsilon):
        """One step of ancestral sampling."""
        return ancestral_step(noisy, clean, now, later, epsilon)

    def signal_and_noise(self, timestep):
        """(B,) in [0, 1] -> both (B, 1, 1), of the cosine schedule."""
        return signal_and_noise(timestep)

    def timestep(self, step):
        """(B,) of a training step."""
        return uniform(0, "timestep", step, range(common.BATCH))

    def diffused(self, step):
        """(codes, style, clean, noise, timestep, noisy) of a step's batch."""
        codes, style = self.batch(step)
        clean, rows, timestep = self.latents(codes), range(common.BATCH), self.timestep(step)
        epsilon = normal(0, "noise", step, rows, clean.shape[1:])
        a, s = self.signal_and_noise(timestep)
        return codes, style, clean, epsilon, timestep, a * clean + s * epsilon


class Posterior(Continuous):
    """What was released before."""

    outputs = None

    def loss(self, step):
        """Cross-entropy of all codes in nats."""
        codes, style, _, _, timestep, noisy = self.diffused(step)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(noisy, timestep, self.conditions(style))
        return functional.cross_entropy(logits.float().flatten(0, 2), codes.flatten())

    def estimate(self, output, noisy, timestep, temperature):
        """The clean latent from the model's output."""
        return torch.einsum("bngk,gkd->bngd", (output / temperature).softmax(-1), self.vectors).flatten(-2) / self.scale


class V(Continuous):
    """v = signal * noise - noise level * clean."""

    outputs = 1

    def loss(self, step):
        """Mean square error, weighted."""
        _, style, clean, epsilon, timestep, noisy = self.diffused(step)
        with torch.autocast("cpu", torch.bfloat16):
            found = self.model(noisy, timestep, self.conditions(style)).flatten(2).float()
        a, s = signal_and_noise(timestep)
        ratio = (a / s.clamp(min=1e-4)).square()
        weight = ratio.clamp(max=SNR_CAP) / (ratio + 1)
        return (weight * (found - (a * epsilon - s * clean)).square()).mean()

    def estimate(self, output, noisy, timestep, temperature):
        """The clean latent from v."""
        a, s = signal_and_noise(timestep)
        return a * noisy - s * output.flatten(2)


class Flow(Continuous):
    """velocity = noise - clean, along straight lines."""

    outputs = 1

    def signal_and_noise(self, timestep):
        """Both (B, 1, 1)."""
        return 1 - timestep[:, None, None], timestep[:, None, None]

    def timestep(self, step):
        """Logit-normal."""
        return normal(0, "timestep", step, range(common.BATCH), (1,))[:, 0].sigmoid()

    def loss(self, step):
        """Mean square error."""
        _, style, clean, epsilon, timestep, noisy = self.diffused(step)
        with torch.autocast("cpu", torch.bfloat16):
            found = self.model(noisy, timestep, self.conditions(style)).flatten(2).float()
        return (found - (epsilon - clean)).square().mean()

    def estimate(self, output, noisy, timestep, temperature):
        """The clean latent from the velocity."""
        return noisy - timestep[:, None, None] * output.flatten(2)

    def next(self, noisy, clean, now, later, epsilon):
        """One step of Euler's method."""
        velocity = (noisy - clean) / now[:, None, None]
        return noisy + (later - now)[:, None, None] * velocity


class ContinuousDiT(DiT):
    """The same transformer over latents (B, N, D) at a timestep (B,)."""

    MUON_MODULES = ("blocks",)

    def __init__(self, config, vectors, outputs):
        (groups, codes, size), width = vectors.shape, config.width
        latent_dim = groups * size
        super().__init__(vectors, KINDS, width, config.depth, config.heads, style_dim=2)
        del self.head, self.mask_token, self.embed_conditions
        self.sizes = (groups, codes) if outputs is None else (outputs, latent_dim)
        self.output = nn.Linear(width, math.prod(self.sizes))
        nn.init.zeros_(self.output.weight), nn.init.zeros_(self.output.bias)
        self.embed_codes = nn.Parameter(torch.randn(latent_dim, width) / math.sqrt(latent_dim))
        self.embed_timestep = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        nn.init.normal_(self.embed_timestep[2].weight, std=0.02)

    def forward(self, noisy, timestep, conditions):
        """Logits (B, N, G, K), or v as (B, N, 1, D)."""
        frequency = torch.exp(-math.log(10000) * torch.arange(0, 1, 2 / self.embed_timestep[0].in_features))
        angle = 1000 * timestep[:, None] * frequency
        told = self.embed_timestep(torch.cat([angle.cos(), angle.sin()], -1))
        told = told + self.embed_style(conditions.style * self.style_scale)
        return self.output(self.transform(noisy @ self.embed_codes, told)).unflatten(-1, self.sizes)


def signal_and_noise(timestep):
    """(B,) in [0, 1] -> both (B, 1, 1), of the cosine schedule."""
    angle = timestep[:, None, None] * math.pi / 2
    return angle.cos(), angle.sin()


def ancestral_step(noisy, clean, timestep, later, epsilon):
    """One step of DDPM's ancestral sampling."""
    (a, s), (a_next, s_next) = signal_and_noise(timestep), signal_and_noise(later)
    fresh = s_next / s * (1 - (a / a_next).square()).clamp(min=0).sqrt()
    direction = (noisy - a * clean) / s
    return a_next * clean + (s_next.square() - fresh.square()).clamp(min=0).sqrt() * direction + fresh * epsilon


OBJECTIVES = {"posterior": Posterior, "v": V, "flow": Flow, "masked": Masked}


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
    store = open_corpus("pijama", words.data_dir)
    codec, _ = load_vqvae(RELEASED if words.released else words.run, choose_device("auto"))
    real = np.array([common.statistics(notes) for notes in common.chunks(store, 0, 4 * words.clips)])
    figures = {"real": compare(common.chunks(store, 1, words.clips), real)}
    for name in words.only.split(","):
        training, began = OBJECTIVES[name](codec, store, words.optimizer), time.monotonic()
        steps, last = training.train(words.minutes)
        row = {"steps": steps, "loss": round(last, 4), "wall_s": round(time.monotonic() - began)}
        if words.keep:
            words.keep.mkdir(parents=True, exist_ok=True)
            torch.save(training.model.state_dict(), words.keep / f"{name}_{words.optimizer}.pt")
        for temperature in TEMPERATURES[name]:
            row[f"temperature {temperature}"] = compare(training.clips(words.clips, temperature), real)
        figures[name] = row
        print(json.dumps({name: row}), file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "objectives", "minutes": words.minutes, "optimizer": words.optimizer, **figures}))


if __name__ == "__main__":
    main()
