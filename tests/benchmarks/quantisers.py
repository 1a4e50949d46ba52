"""Which quantiser keeps more of how notes are played, at the same rate, steps, data and network.

    python tests/benchmarks/quantisers.py --data-dir data [--steps 600] [--only sphere,fsq] [--set channels=320]

Each variant replaces the learned codebook of the same VQ-VAE (preset laptop: 1,024 codes for the lengths and velocities
of a band's notes) and is trained and validated by the stage itself; a short warm-up, then cosine. Prints one JSON line
last.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.config import parse_settings, preset  # noqa: E402
from lib.devices import make_accelerator  # noqa: E402
from lib.models.codebook import Codebook, Quantised, perplexity  # noqa: E402
from lib.training.loop import optimizer_step  # noqa: E402
from lib.training.stages.vqvae import VQVAEStage  # noqa: E402
from lib.training.trainer import Adjustments, Trainer  # noqa: E402


class Rotation(Codebook):
    """Codes on a sphere; gradients are turned as z_e is onto its code (Fifty et al. 2024) instead of copied."""

    def _quantise(self, latent):
        z_e = self.normalise(latent)
        quantised = super()._quantise(latent)
        z_q = quantised.z_q.detach()
        e, q = functional.normalize(z_e, dim=-1).detach(), functional.normalize(z_q, dim=-1)
        r = functional.normalize(e + q, dim=-1)
        turned = z_e - 2 * (z_e * r).sum(-1, keepdim=True) * r + 2 * (z_e * e).sum(-1, keepdim=True) * q
        return Quantised(quantised.indices, turned, quantised.commitment_loss)


class Euclidean(Codebook):
    """Codes that are not normalised (van den Oord et al. 2017, with moving averages)."""

    def normalise(self, vectors):
        """As they are."""
        return vectors

    def _quantise(self, latent):
        z_e = self.normalise(latent)
        flat = z_e.flatten(0, 1)
        far = self.embedding[0].square().sum(-1) - 2 * flat @ self.embedding[0].T
        indices = far.argmin(-1)
        if self.training:
            self._gather(flat.detach(), indices)
        indices = indices.unflatten(0, latent.shape[:2])
        z_q = self.embedding[0, indices]
        return Quantised(indices, z_e + (z_q - z_e).detach(), functional.mse_loss(z_e, z_q))

    @torch.no_grad()
    def update(self, generator, reduce=None, share=(0, 1)):
        """Means of what used a code, not sums on a sphere."""
        figure = super().update(generator, reduce, share)
        self.embedding.copy_(self.mean_sum / self.mean_use.clamp(min=1e-3)[..., None])
        return figure


class Fixed(Codebook):
    """Codes that never move: nothing to update."""

    def __init__(self, codes, code_dim, grid):
        super().__init__(codes, code_dim, 0.99, 0.0)
        self.embedding.copy_(grid)

    @torch.no_grad()
    def update(self, generator, reduce=None, share=(0, 1)):
        """Code use alone."""
        use = self.batch_use.clone()
        self.reset_statistics()
        return perplexity(use)

    def _quantise(self, latent):
        z_e = self.bound(latent)
        z_q = self.snap(z_e)
        flat = z_q.flatten(0, 1)
        indices = self.index(flat)
        if self.training:
            self._gather(flat.detach(), indices)
        return Quantised(indices.unflatten(0, latent.shape[:2]), z_e + (z_q - z_e).detach(), self.commit(z_e, z_q))


class FSQ(Fixed):
    """Finite scalar quantisation (Mentzer et al. 2023): 5 numbers of 4 levels each, by rounding."""

    LEVELS, NUMBERS = 4, 5

    def __init__(self):
        level = (torch.arange(self.LEVELS) - (self.LEVELS - 1) / 2) / self.scale
        super().__init__(self.LEVELS**self.NUMBERS, self.NUMBERS, torch.cartesian_prod(*[level] * self.NUMBERS))

    scale = math.sqrt((LEVELS**2 - 1) / 12)  # unit variance when all levels are used evenly

    def bound(self, latent):
        """Into the grid's range."""
        return torch.tanh(latent) * (self.LEVELS / 2 - 1e-3) / self.scale

    def snap(self, z_e):
        """To the nearest level."""
        half = (self.LEVELS - 1) / 2
        return ((z_e * self.scale + half).round().clamp(0, self.LEVELS - 1) - half) / self.scale

    def index(self, flat):
        """Digits in base 4."""
        digit = (flat * self.scale + (self.LEVELS - 1) / 2).round().long()
        return (digit * self.LEVELS ** torch.arange(self.NUMBERS - 1, -1, -1)).sum(-1)

    def commit(self, z_e, z_q):
        """None is needed."""
        return z_e.new_zeros(())


class LFQ(Fixed):
    """Look-up-free quantisation (Yu et al. 2023): 10 signs; confident bits, evenly used."""

    BITS = 10

    def __init__(self):
        super().__init__(2**self.BITS, self.BITS, torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * self.BITS))

    def bound(self, latent):
        """On the sphere of the codes (binary spherical quantisation, Zhao et al. 2024)."""
        return self.normalise(latent)

    def snap(self, z_e):
        """Signs."""
        return torch.where(z_e >= 0, 1.0, -1.0)

    def index(self, flat):
        """Bits as a number."""
        return ((flat > 0).long() * (2 ** torch.arange(self.BITS - 1, -1, -1))).sum(-1)

    def commit(self, z_e, z_q):
        """Distance, and the entropy of a bit less that of its mean."""
        p = torch.sigmoid(4 * z_e)

        def entropy(p):
            return -(p * p.clamp(min=1e-6).log() + (1 - p) * (1 - p).clamp(min=1e-6).log())

        gain = entropy(p).mean() - entropy(p.mean((0, 1))).mean()
        return functional.mse_loss(z_e, z_q.detach()) + 0.1 * gain


def codebook(name, config):
    """The variant's codebook."""
    sizes = (config.codes, config.code_dim, config.codebook_decay, config.restart_below)
    made = {"sphere": Codebook, "rotation": Rotation, "euclidean": Euclidean}
    return made[name](*sizes) if name in made else {"fsq": FSQ, "lfq": LFQ}[name]()


NAMES = ("sphere", "rotation", "euclidean", "fsq", "lfq")
DIMS = {"fsq": FSQ.NUMBERS, "lfq": LFQ.BITS}


def try_one(name, settings, data_dir, steps):
    """Train a variant and validate it: a row of figures."""
    own = {**settings, "code_dim": DIMS[name]} if name in DIMS else settings
    config = preset("vqvae", "laptop", steps=steps, tracker="none", **own)
    torch.manual_seed(config.seed)
    stage = VQVAEStage(config, data_dir, None, {})
    stage.model.codebook = codebook(name, config)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        adjustments = Adjustments(folder, config.batch_size, None, True)
        trainer = Trainer(stage, make_accelerator(config, folder), adjustments, steps, print)
        began = time.monotonic()
        for step in range(steps):
            losses = optimizer_step(trainer, step).losses
            if step % 100 == 99:
                print(name, step + 1, {k: round(v, 3) for k, v in losses.items()}, file=sys.stderr, flush=True)
        seconds = time.monotonic() - began
        figures = trainer.validate(steps)
    return {"quantiser": name, "seconds": round(seconds), **{k: round(v, 4) for k, v in figures.items()}}


def main():
    """All variants, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", default=",".join(NAMES))
    parser.add_argument("--set", action="append", default=[])
    words = parser.parse_args()
    logging.disable(logging.INFO)
    rows = []
    for name in words.only.split(","):
        rows.append(try_one(name, parse_settings(words.set), words.data_dir, words.steps))
        print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"benchmark": "quantisers", "steps": words.steps, "rows": rows}))


if __name__ == "__main__":
    main()
