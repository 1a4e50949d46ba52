"""What a training step costs: steps a second, peak memory and GFLOP of each stage and preset on this machine.

    python tests/benchmarks/train_step.py [--presets tiny,demo] [--stages vqvae] [--steps 4] [--device auto]

The music is the demo corpus: the cost of a step does not depend on the notes. Each stage runs in a process of its own.
Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib import config as configs  # noqa: E402

CHEAP = {
    "corpora": ("demo",),
    "log_every": 1,
    "validation_batches": 1,
    "validate_every": 10**6,
    "save_every": 10**6,
    "tracker": "none",
}


def measure(preset, stage, steps, device, folder):
    """One stage in this process: a dict of figures."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from lib.checkpoints.history import read_history
    from lib.checkpoints.run_dependencies import DEPENDENCIES
    from lib.training.loop import train
    from lib.training.stages import STAGES

    extra = {"pianist": "Cora Canonby"} if stage == "fine_tune" else {}
    config = configs.preset(stage, preset, steps=steps, device=device, **CHEAP, **extra)
    result = train(config, folder / "data", folder / preset)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
    if torch.cuda.is_available() and device != "cpu":
        peak_mib = torch.cuda.max_memory_allocated() / 2**20
    times = [row["time"] for row in read_history(result.run) if row["split"] == "train"]
    step_s = statistics.median(b - a for a, b in zip(times, times[1:], strict=False))
    trained = configs.build(type(config), json.loads((result.run / "config.json").read_text()))
    sources = {name: folder / preset / name for name in DEPENDENCIES[stage]}
    job = STAGES[stage](trained, folder / "data", None, sources)
    job.prepare("cpu")
    job.to("cpu")
    batch = job.stream.batch(0)
    with FlopCounterMode(display=False) as counter:
        job.losses(job.model, batch)["loss"].backward()
    parameters = sum(p.numel() for p in job.model.parameters())
    gflop = counter.get_total_flops() * config.gradient_accumulation / 1e9
    return {
        "preset": preset,
        "stage": stage,
        "steps_per_s": round(1 / step_s, 3),
        "peak_mib": round(peak_mib),
        "gflop_per_step": round(gflop, 1),
        "million_parameters": round(parameters / 1e6, 2),
        "batch_size": config.batch_size,
    }


def main():
    """Measure what is asked, each stage in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", default=",".join(configs.PRESETS))
    parser.add_argument("--stages", default=",".join(configs.STAGES))
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--child", nargs=3, metavar=("PRESET", "STAGE", "FOLDER"))
    words = parser.parse_args()
    if words.child:
        preset, stage, folder = words.child
        print(json.dumps(measure(preset, stage, words.steps, words.device, Path(folder))))
        return
    from lib.data.prepare import prepare

    rows, wanted = [], words.stages.split(",")
    with tempfile.TemporaryDirectory() as folder:
        prepare(["demo"], Path(folder) / "data")
        for preset in words.presets.split(","):
            for stage in configs.STAGES:  # all of them: each needs the runs of those before
                rows += in_a_process(preset, stage, words, folder) if needed(stage, wanted) else []
    rows = [row for row in rows if row["stage"] in wanted]
    print(json.dumps({"benchmark": "train_step", "device": words.device, "cores": os.cpu_count(), "rows": rows}))


def needed(stage, wanted):
    """Whether a stage is asked for, or one that builds on it."""
    order = list(configs.STAGES)
    later = [other for other in wanted if order.index(stage) < order.index(other)]
    return stage in wanted or any(other != "style_encoder" for other in later)


def in_a_process(preset, stage, words, folder):
    """[figures] of one stage; a line on the screen."""
    options = ["--steps", str(words.steps), "--device", words.device, "--child", preset, stage, folder]
    command = [sys.executable, __file__, *options]
    environment = {**os.environ, "LIB_QUIET": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{preset} {stage} failed:\n{done.stderr[-2000:]}")
    row = json.loads(done.stdout.splitlines()[-1])
    line = (
        "{preset:>7} {stage:>14}: {steps_per_s:8.3f} steps/s {peak_mib:6d} MiB {gflop_per_step:10.1f} GFLOP a step "
        "{million_parameters:8.2f} M parameters, batch {batch_size}"
    )
    print(line.format(**row), flush=True)
    return [row]


if __name__ == "__main__":
    main()
