"""What saving and mirroring cost: the median step with both, over the median step with neither.

    python tests/benchmarks/checkpoint_cost.py [--preset laptop] [--rounds 4] [--steps 140] [--save-every 50]

Two trainings run in one process and take turns, seven steps each, one with saving and a mirror and one without, so that
both see the same noise of the machine; a save is never the last thing in a turn, so that its own training pays for it.
Which of them starts first changes from round to round. The last line is JSON: `ratio` (median step of a turn over that of
the other's turn beside it, median over all turns), `ratios` (by round), `ratio_of_means` (all steps: what a user waits,
all in all), `save_s` and `mirror_s` (how long the last ones took, beside the training), `checkpoint_mb`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("LIB_QUIET", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the one that waits must not spin

from lib.config import preset  # noqa: E402
from lib.data.demo_corpus import write_demo_corpus  # noqa: E402
from lib.training import checkpoint as checkpoints  # noqa: E402
from lib.training.loop import train  # noqa: E402
from lib.training.session import Session  # noqa: E402

NEVER, TURN = 1_000_000, 7


class Turns:
    """Lets two trainings go in turns, and notes how long each of their steps took."""

    def __init__(self, first):
        self.changed, self.now, self.times = threading.Condition(), first, {False: [], True: []}
        self.alive = {False: True, True: True}

    def step(self, session, steps, original):
        """One step of a session, when it is its turn."""
        saving = session.config.save_every < NEVER
        with self.changed:
            self.changed.wait_for(lambda: self.now == saving or not self.alive[not saving])
        began = time.perf_counter()
        original(session, steps)
        self.times[saving].append(time.perf_counter() - began)
        if session.step % TURN == 0:
            self.hand_over(saving)

    def hand_over(self, saving, ended=False):
        """The other one's turn."""
        with self.changed:
            self.alive[saving] = not ended
            self.now = not saving
            self.changed.notify_all()


def one_round(configs, folder, first):
    """Both trainings in turns, `first` the saving one or the other: (step times by whether it saved, the saving session)."""
    turns, original, sessions = Turns(first), Session._one_step, {}

    def timed(session, steps):
        sessions[session.config.save_every < NEVER] = session
        turns.step(session, steps, original)

    def work(saving):
        mirror = folder / "mirror" if saving else None
        train(configs[saving], folder / "data", folder / "runs", run=f"run{time.monotonic_ns()}{saving}", mirror=mirror)
        turns.hand_over(saving, ended=True)

    Session._one_step = timed
    try:
        threads = [threading.Thread(target=work, args=(saving,)) for saving in (first, not first)]
        for thread in threads:
            thread.start()
            time.sleep(3.0)  # one after the other: starting is not what is measured
        for thread in threads:
            thread.join()
    finally:
        Session._one_step = original
    return {saving: times[TURN:-1] for saving, times in turns.times.items()}, sessions[True]  # no warm-up, no validation


def by_turns(times):
    """Median step of each turn with saving, over that of the other's turn beside it."""
    turns = range(0, min(map(len, times.values())) - TURN + 1, TURN)
    saving, other = ([statistics.median(times[kind][i : i + TURN]) for i in turns] for kind in (True, False))
    return [a / b for a, b in zip(saving, other, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--stage", default="vqvae")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=140)
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    logging.disable(logging.INFO)
    knobs = {"corpora": ("demo",), "steps": asked.steps, "validate_every": NEVER, "log_every": 10, "tracker": "none",
             "device": asked.device, "validation_batches": 1}  # fmt: skip
    every = {False: NEVER, True: asked.save_every}
    settings = {saving: preset(asked.stage, asked.preset, save_every=every[saving], **knobs) for saving in every}
    rounds, means = [], []
    with tempfile.TemporaryDirectory() as scratch:
        write_demo_corpus(Path(scratch) / "data")
        for number in range(asked.rounds):
            times, session = one_round(settings, Path(scratch), number % 2 == 0)
            rounds.append(by_turns(times))
            means.append(statistics.mean(times[True]) / statistics.mean(times[False]))
            print(f"round {number}: median {statistics.median(rounds[-1]):.4f}, mean {means[-1]:.4f}", flush=True)
        newest = checkpoints.step_folders(session.folder)[0]
        size = sum(path.stat().st_size for path in newest.iterdir())
    ratio = statistics.median(ratio for turns in rounds for ratio in turns)
    print(json.dumps({"ratio": round(ratio, 4), "ratio_of_means": round(statistics.median(means), 4),
                      "ratios": [round(statistics.median(turns), 4) for turns in rounds],
                      "ratios_of_means": [round(mean, 4) for mean in means], "turns": sum(map(len, rounds)),
                      "median_step_s": round(statistics.median(times[False]), 4), "save_s": round(session.saver.seconds, 2),
                      "mirror_s": round(session.mirror.seconds, 2), "checkpoint_mb": round(size / 2**20, 1),
                      "save_every": asked.save_every, "steps": asked.steps, "preset": asked.preset, "stage": asked.stage,
                      "threads": torch.get_num_threads(), "device": asked.device}))  # fmt: skip


if __name__ == "__main__":
    main()
