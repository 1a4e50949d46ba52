"""What the training of each released weight is made of: FLOPs, the share of a step spent on its data, what bf16 gains.

    python tests/benchmarks/released_steps.py [--steps 12] [--device auto] [--weights vqvae,diffusion] [--data-dir data]

Trains some steps with the released weights' own settings (preset laptop), on the demo corpus or, with --data-dir, for the stages
that read note stores directly, on the real ones: in single precision, then in bf16. Data means all that makes a batch: choosing
passages, reading the memory-mapped stores, changing key and tempo, rasterising. Shares are of processor time on a CPU, which other
work beside it changes little, and of time on the clock elsewhere. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib import config as configs  # noqa: E402

# name -> stage, settings beside the preset's, optimizer steps in all (the cards in data/released say so)
WEIGHTS = {
    "vqvae": ("vqvae", {}, 5000),
    "style_encoder": ("style_encoder", {}, 6000),
    "diffusion": ("diffusion", {}, 3960),
    "fine_tune": ("fine_tune", {"pianist": "Cora Canonby"}, 400),
    "judge": ("style_encoder", {"reads": "roll", "seed": 1, "views": 1, "batch_size": 32}, 2500),
}
FROM_STORES = ("vqvae", "style_encoder", "judge")  # the others would have to encode a whole corpus first
CHEAP = {"log_every": 1000, "validation_batches": 1, "validate_every": 10**6, "save_every": 10**6, "tracker": "none"}
WARM_UP = 2  # steps that are not counted


class Clock:
    """Seconds in `data` and in whole `steps`, and the FLOPs of the last step.

    Attributes
    ----------
    now : callable, seconds: of the processor on a CPU
    total_steps : the last one counts FLOPs, which takes time of its own
    """

    def __init__(self, device, total_steps):
        import torch

        self.cuda, self.total_steps = device == "cuda", total_steps
        self.now = time.process_time if device == "cpu" else time.perf_counter
        self.wait = torch.cuda.synchronize if self.cuda else lambda: None
        self.data_s, self.steps, self.flops = 0.0, [], 0

    def around_data(self, function):
        """`function`, timed as data."""

        def timed(*words, **named):
            self.wait()
            began = self.now()
            result = function(*words, **named)
            self.wait()
            self.data_s += self.now() - began
            return result

        return timed

    def around_step(self, function):
        """loop.optimizer_step, timed as (seconds, seconds of data, seconds on the clock); the last one counted instead."""
        from torch.utils.flop_counter import FlopCounterMode

        def timed(trainer, step):
            if step == self.total_steps - 1:
                with FlopCounterMode(display=False) as counter:
                    result = function(trainer, step)
                self.flops = counter.get_total_flops()
                return result
            self.data_s, began, on_clock = 0.0, self.now(), time.perf_counter()
            result = function(trainer, step)
            self.wait()
            if step >= WARM_UP:
                self.steps.append((self.now() - began, self.data_s, time.perf_counter() - on_clock))
            return result

        return timed


def measure(name, precision, words, folder):
    """Some steps of one weight's training: a dict of figures."""
    from lib.checkpoints.run_dependencies import DEPENDENCIES
    from lib.devices import choose_device
    from lib.training import loop
    from lib.training.coded_stream import BeatStream, CodedStream
    from lib.training.stages import style_encoder
    from lib.training.stream import Stream

    stage, settings, _ = WEIGHTS[name]
    real = words.data_dir is not None and name in FROM_STORES
    corpora = {} if real else {"corpora": ("demo",)}
    total = WARM_UP + words.steps + 1
    config = configs.preset(stage, "laptop", steps=total, epochs=10**6, device=words.device, mixed_precision=precision,
                            **CHEAP, **corpora, **settings)  # fmt: skip
    clock = Clock(choose_device(words.device), total)
    data = [(Stream, "batch"), (Stream, "piano_roll"), (Stream, "style_inputs"), (BeatStream, "piano_roll"),
            (CodedStream, "read"), (Stream, "long_windows"),
            (CodedStream, "styles"),
            *((style_encoder, function) for function in ("vary", "note_windows", "windows_of"))]  # fmt: skip
    built_on = {f"{source}_run": configs.RELEASED for source in DEPENDENCIES[stage]}
    with contextlib.ExitStack() as patches:
        for owner, function in data:
            patches.enter_context(mock.patch.object(owner, function, clock.around_data(getattr(owner, function))))
        patches.enter_context(mock.patch.object(loop, "optimizer_step", clock.around_step(loop.optimizer_step)))
        loop.train(config, words.data_dir if real else folder / "data", folder / f"{name}-{precision}", **built_on)
    spent, of_data, on_clock = map(statistics.median, zip(*clock.steps))
    return {"seconds": spent, "data_share": of_data / spent, "on_clock": on_clock, "flops": clock.flops}


def main():
    """Each weight in single precision and in bf16."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=",".join(WEIGHTS))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data-dir", type=Path)
    words = parser.parse_args()
    import torch

    from lib.data.prepare import prepare

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(["demo"], Path(folder) / "data")
        for name in words.weights.split(","):
            plain, half = (measure(name, precision, words, Path(folder)) for precision in ("no", "bf16"))
            steps = WEIGHTS[name][2]
            rows.append({"weights": name, "steps": steps, "gflop_per_step": round(plain["flops"] / 1e9, 1),
                         "pflop": round(plain["flops"] * steps / 1e15, 3), "step_s": round(plain["on_clock"], 3),
                         "data_share": round(plain["data_share"], 3), "data_share_bf16": round(half["data_share"], 3),
                         "bf16_speedup": round(plain["seconds"] / half["seconds"], 2)})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    about = {"device": words.device, "torch": torch.__version__, "threads": torch.get_num_threads(), "cores": os.cpu_count()}
    print(json.dumps({"benchmark": "released_steps", **about, "counted_steps": words.steps, "rows": rows}))


if __name__ == "__main__":
    main()
