"""What saving and mirroring cost: the median step with both, over the median step with neither.

    python tests/benchmarks/checkpoint_cost.py [--preset laptop] [--rounds 6] [--save-every 50]

One training saves in every second block of steps only: a block with one save (and its copy to the mirror) in its middle,
then one without, and so on. Both kinds run on the same tensors at the same time of day; two trainings side by side
differed by up to 10 % without any saving at all, by where their memory happened to lie. The last line is JSON: `ratio`
(median step of a block over that of the block after it, median of the rounds), `ratios`, `ratio_of_means` (all steps:
what a user waits, all in all), `save_s` and `mirror_s` (how long the last ones took, beside the training).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("LIB_QUIET", "1")

from lib.checkpoints import checkpoint as checkpoints  # noqa: E402
from lib.checkpoints.history import read_events  # noqa: E402
from lib.config import preset  # noqa: E402
from lib.data.prepare import prepare  # noqa: E402
from lib.training import loop  # noqa: E402
from lib.training.run import Run  # noqa: E402

NEVER = 1_000_000


class Blocks:
    """Switches a run's saving on and off, and notes how long its steps take: saving in even blocks."""

    def __init__(self, every):
        self.every, self.times, self.run, self.began = every, {}, None, None

    def block(self, step):
        """The block that a step, counted from 1, is in: a save is in the middle of its block."""
        return (step + self.every // 2) // self.every

    def optimizer_step(self, trainer, step, original):
        """The optimizer step `step` (from 0); what the loop did with the one before is a part of that one's time."""
        now = time.perf_counter()
        if self.began is not None:
            self.times.setdefault(self.block(step), []).append(now - self.began)
        self.began = now
        return original(trainer, step)

    def save_is_due(self, run):
        """Whether the loop saves after the steps that are done."""
        self.run = run
        return self.block(run.step) % 2 == 0 and run.step % self.every == 0

    def rounds(self):
        """[(steps of a block with a save, steps of the block after it)], the first and the last block left out."""
        full = [block for block in sorted(self.times)[1:-1] if len(self.times[block]) == self.every]
        return [(self.times[block], self.times[block + 1]) for block in full if block % 2 == 0 and block + 1 in full]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--stage", default="vqvae")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    logging.disable(logging.INFO)
    every = asked.save_every - max(1, asked.save_every // 10)  # as Run.save_is_due has it
    config = preset(asked.stage, asked.preset, save_every=asked.save_every, corpora=("demo",), epochs=NEVER, validate_every=NEVER,
                    steps=every * (2 * asked.rounds + 2), log_every=10, tracker="none", device=asked.device,
                    validation_batches=1)  # fmt: skip
    blocks, original = Blocks(every), loop.optimizer_step
    loop.optimizer_step = lambda trainer, step: blocks.optimizer_step(trainer, step, original)
    Run.save_is_due = lambda run: blocks.save_is_due(run)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(["demo"], folder / "data")
        result = loop.train(config, folder / "data", folder / "runs", mirror=folder / "mirror")
        size = sum(path.stat().st_size for path in checkpoints.step_folders(result.run)[0].iterdir())
        saves = sum(event["event"] == "mirrored" for event in read_events(result.run))
    rounds, run = blocks.rounds(), blocks.run
    ratios = [statistics.median(saving) / statistics.median(other) for saving, other in rounds]
    means = [statistics.mean(saving) / statistics.mean(other) for saving, other in rounds]
    print(json.dumps({"ratio": round(statistics.median(ratios), 4), "ratio_of_means": round(statistics.median(means), 4),
                      "ratios": [round(ratio, 4) for ratio in ratios], "ratios_of_means": [round(mean, 4) for mean in means],
                      "rounds": len(rounds), "checkpoints_mirrored": saves, "save_s": round(run.saver.seconds, 2),
                      "median_step_s": round(statistics.median(step for _, other in rounds for step in other), 4),
                      "mirror_s": round(run.mirror.seconds, 2), "checkpoint_mb": round(size / 2**20, 1),
                      "save_every": asked.save_every, "preset": asked.preset, "stage": asked.stage,
                      "threads": torch.get_num_threads(), "device": asked.device}))  # fmt: skip


if __name__ == "__main__":
    main()
