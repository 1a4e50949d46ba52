"""Which transformer, optimizer and music: the stage itself, the same CPU minutes, validation loss on PiJAMA.

    python tests/benchmarks/transformers.py --data-dir data --vqvae-run RUN --style-encoder-run RUN [--minutes 4]
        [--only wide,...] [--corpora pijama]

Each variant changes a few settings of `train diffusion --preset laptop`; a warm-up, then cosine over the budget,
counted in the process's CPU time; averaged weights are validated. What has to be encoded is encoded before the clock
runs. Nats a latent frame of all validation batches, the same for all. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait use no CPU time, which is what is counted
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.checkpoints.load import make_dit  # noqa: E402
from lib.config import preset  # noqa: E402
from lib.training.optimizers import make_optimizer  # noqa: E402
from lib.training.stages.diffusion import DiffusionStage  # noqa: E402

CORES, WARMUP_SHARE, EMA_DECAY, REPORTED = 2, 0.03, 0.995, 100
VARIANTS = {
    "as it is": {},
    "adamw": {"optimizer": "adamw", "lr": 1e-3},
    "half the rate": {"lr": 1e-3},
    "half the batch": {"batch_size": 16},
    "wide": {"width": 384, "depth": 3},
    "deep": {"width": 192, "depth": 10, "heads": 3},
    "large": {"width": 384, "depth": 8, "heads": 6},
    "small": {"width": 128, "depth": 4, "heads": 2},
    "with classical music": {"corpora": ("maestro", "pijama")},
}


def train(stage, minutes):
    """(trained model, steps, mean of the last losses): a warm-up and a cosine over the budget; averaged weights stay."""
    torch.manual_seed(0)
    config, model = stage.config, make_dit(stage.config, stage.style_config, stage.vqvae)
    optimizer, averages = make_optimizer(model, config), None
    budget_s, began, step, losses = minutes * 60 * CORES, time.process_time(), 0, []
    while (share := (time.process_time() - began) / budget_s) < 1:
        lr = config.lr * min(1.0, share / WARMUP_SHARE) * (0.55 + 0.45 * math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = max(lr, 1e-6)
        with torch.autocast("cpu", torch.bfloat16):
            loss = stage.losses(model, stage.stream.batch(step, 0, config.batch_size))["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay, state = min(EMA_DECAY, (1 + step) / (10 + step)), model.state_dict()
        averages = averages or {name: value.clone() for name, value in state.items()}
        for name, value in state.items():
            averages[name].lerp_(value, 1 - decay)
        losses.append(loss.item())
        step += 1
    model.load_state_dict(averages)
    last = losses[-REPORTED:]
    return model.eval(), step, sum(last) / len(last)


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
    parser.add_argument("--corpora", default="pijama")
    parser.add_argument("--seed", type=int, default=0, help="what was encoded with it before is not encoded again")
    words = parser.parse_args()
    torch.set_num_threads(CORES)
    sources = {"vqvae": words.vqvae_run, "style_encoder": words.style_encoder_run}
    common = {"seed": words.seed, "corpora": words.corpora}
    judge = prepared(preset("diffusion", "laptop", **common), words.data_dir, sources)
    figures = {}
    for name in words.only.split(","):
        stage = prepared(preset("diffusion", "laptop", **{**common, **VARIANTS[name]}), words.data_dir, sources)
        began = time.monotonic()
        model, steps, last = train(stage, words.minutes)
        with torch.inference_mode():
            validation = judge.validate(model)
        figures[name] = {
            "nats": round(validation["loss"], 3),
            "steps": steps,
            "training_nats": round(last, 3),
            "parameters": sum(p.numel() for p in model.parameters()),
            "wall_s": round(time.monotonic() - began),
        }
        print(json.dumps({name: figures[name]}), file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "transformers", "minutes": words.minutes, "variants": figures}))


if __name__ == "__main__":
    main()
