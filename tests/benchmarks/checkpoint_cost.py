"""What saving and mirroring cost: the median step with both, over the median step with neither.

    python tests/benchmarks/checkpoint_cost.py [--preset laptop] [--rounds 3] [--steps 150] [--save-every 50]

The two variants are trained in one process, in turns, round after round, on the demo corpus, so that both see the same
noise of the machine. The last line is JSON: `ratio` (median of the rounds' ratios of median step times), `ratio_of_means`
(whole rounds over one another: what a user waits), `ratios`, `checkpoint_mb`.
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

from lib.config import preset  # noqa: E402
from lib.data.demo_corpus import write_demo_corpus  # noqa: E402
from lib.training import checkpoint as checkpoints  # noqa: E402
from lib.training.loop import train  # noqa: E402
from lib.training.session import Session  # noqa: E402

NEVER = 1_000_000


def step_times(config, folder, mirror):
    """Seconds from the end of a step to the end of the next, as Session's loop does them, saving included."""
    ends, original = [], Session._one_step

    def timed(self, steps):
        original(self, steps)
        ends.append(time.perf_counter())

    Session._one_step = timed
    try:
        result = train(config, folder / "data", folder / "runs", run=f"run{time.monotonic_ns()}", mirror=mirror)
    finally:
        Session._one_step = original
    return [b - a for a, b in zip(ends[4:-1], ends[5:], strict=False)], result  # without warm-up


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--stage", default="vqvae")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    logging.disable(logging.INFO)
    knobs = {"corpora": ("demo",), "steps": asked.steps, "validate_every": NEVER, "log_every": 10, "tracker": "none",
             "device": asked.device, "validation_batches": 1}  # fmt: skip
    ratios, mean_ratios, size = [], [], 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_demo_corpus(folder / "data")
        for number in range(asked.rounds):
            times = {}
            for saving in (False, True) if number % 2 == 0 else (True, False):
                every = asked.save_every if saving else NEVER
                config = preset(asked.stage, asked.preset, save_every=every, **knobs)
                times[saving], result = step_times(config, folder, folder / "mirror" if saving else None)
                if saving:
                    newest = checkpoints.step_folders(result.run)[0]
                    size = sum(path.stat().st_size for path in newest.iterdir())
            ratios.append(statistics.median(times[True]) / statistics.median(times[False]))
            mean_ratios.append(statistics.mean(times[True]) / statistics.mean(times[False]))
            print(f"round {number}: median {ratios[-1]:.4f}, mean {mean_ratios[-1]:.4f}", flush=True)
    print(json.dumps({"ratio": round(statistics.median(ratios), 4), "ratio_of_means": round(statistics.median(mean_ratios), 4),
                      "ratios": [round(ratio, 4) for ratio in ratios], "ratios_of_means": [round(r, 4) for r in mean_ratios],
                      "checkpoint_mb": round(size / 2**20, 1), "median_step_s": round(statistics.median(times[False]), 4),
                      "save_every": asked.save_every, "steps": asked.steps, "preset": asked.preset, "stage": asked.stage,
                      "threads": torch.get_num_threads(), "device": asked.device}))  # fmt: skip


if __name__ == "__main__":
    main()
