"""Which transformer, optimizer and music: the stage itself, the same CPU minutes, validation loss on PiJAMA.

    python tests/benchmarks/transformers.py --data-dir data --vqvae-run RUN --style-encoder-run RUN [--minutes 4]
        [--only wide,...]

Each variant changes a few settings of `train diffusion --preset laptop`; a warm-up, then cosine over the budget,
counted in the process's CPU time; averaged weights are validated. What has to be encoded is encoded before the clock
runs. Nats a latent frame of all of PiJAMA's validation batches, the same for all. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import diffusability as common  # first: it sets how threads wait
import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.config import preset  # noqa: E402
from lib.models.dit import DiT  # noqa: E402
from lib.models.vqvae import KINDS  # noqa: E402
from lib.training.stages.diffusion import DiffusionStage  # noqa: E402

VARIANTS = {
    "as it is": {},
    "adamw": {"optimizer": "adamw", "lr": 1e-3},
    "half the rate": {"lr": 1e-3},
    "half the batch": {"batch_size": 16},
    "wide": {"width": 384, "depth": 3},
    "deep": {"width": 192, "depth": 10, "heads": 3},
    "large": {"width": 384, "depth": 8, "heads": 6},
    "small": {"width": 128, "depth": 4, "heads": 2},
    "patch 2": {"patch": 2},
    "patch 2 deep": {"patch": 2, "depth": 12},
    "with classical music": {"corpora": ("maestro", "pijama")},
}


class Patched(DiT):
    """The same with one position for two latent frames; each frame is still masked, and predicted, by itself."""

    def __init__(self, code_vectors, kinds, width, *sizes):
        super().__init__(code_vectors, kinds, width, *sizes)
        self.join, self.part = nn.Linear(2 * width, width), nn.Linear(width, 2 * width)

    def transform(self, x, condition):
        """(B, N, H) -> (B, N, H), half as many positions in between."""
        pairs = super().transform(self.join(x.unflatten(1, (-1, 2)).flatten(2)), condition)
        return x + self.part(pairs).unflatten(-1, (2, -1)).flatten(1, 2)


class Staged(common.Training):
    """A stage's model and losses, trained by the clock."""

    def __init__(self, stage, patch):
        self.stage, self.config = stage, stage.config
        torch.manual_seed(0)
        kind = {1: DiT, 2: Patched}[patch]
        self.model = kind.from_config(stage.config, stage.style_config.style_dim, stage.vqvae.code_vectors(), KINDS)

    def loss(self, step):
        """Of a step's batch."""
        batch = self.stage.stream.batch(step, 0, self.config.batch_size)
        with torch.autocast("cpu", torch.bfloat16):
            return self.stage.losses(self.model, batch)["loss"]


def prepared(config, data_dir, sources):
    """The stage, its music encoded."""
    stage = DiffusionStage(config, data_dir, None, sources)
    stage.prepare("cpu")
    return stage.to("cpu")


def main():
    """All variants, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--vqvae-run", type=Path, required=True)
    parser.add_argument("--style-encoder-run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--only", default=",".join(VARIANTS))
    parser.add_argument("--seed", type=int, default=0, help="what was encoded with it before is not encoded again")
    words = parser.parse_args()
    torch.set_num_threads(common.CORES)
    sources = {"vqvae": words.vqvae_run, "style_encoder": words.style_encoder_run}
    judge = prepared(preset("diffusion", "laptop", seed=words.seed), words.data_dir, sources)
    figures = {}
    for name in words.only.split(","):
        knobs = dict(VARIANTS[name])
        patch, config = knobs.pop("patch", 1), preset("diffusion", "laptop", seed=words.seed, **knobs)
        training = Staged(prepared(config, words.data_dir, sources), patch)
        began = time.monotonic()
        steps, last = training.train(words.minutes)
        with torch.inference_mode():
            validation = judge.validate(training.model.eval())
        figures[name] = {
            "nats": round(validation["loss"], 3),
            "steps": steps,
            "training_nats": round(last, 3),
            "parameters": sum(p.numel() for p in training.model.parameters()),
            "wall_s": round(time.monotonic() - began),
        }
        print(json.dumps({name: figures[name]}), file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "transformers", "minutes": words.minutes, "variants": figures}))


if __name__ == "__main__":
    main()
