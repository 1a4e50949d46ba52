"""How well a plan foresees: predicted over actual time and memory of a ten-minute training of two stages on this machine.

    python tests/benchmarks/plan.py [--stages vqvae,diffusion] [--preset laptop] [--minutes 10] [--quick] [--data-dir data]

The machine is measured first, as `python -m lib plan` does; then each stage is trained for so many steps as should take that long,
as a command in a process of its own: starting, encoding, validating and saving count. Nothing else should run meanwhile:
`others` says what else did. The codec
trains on the real corpora where they are in --data-dir, else all stages on the demo corpus; diffusion always does, so that what it
encodes is foreseen too. Prints one JSON line last; wanted: plan_error and memory_error at most 0.15.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib import config as configs  # noqa: E402
from lib.apps.plan.estimate import Estimate, of_preset  # noqa: E402
from lib.apps.plan.machines import at_hand, available_cores  # noqa: E402
from lib.apps.plan.measurements import measure, peak_bytes  # noqa: E402
from lib.data.prepare import prepare  # noqa: E402

PROCESSOR = "--processor" in sys.argv
QUICK_MINUTES, QUICK_SECONDS = 1.5, 30.0
RELEASED_CODES = 1024  # patterns of the released codec, which the diffusion model speaks here
MOST = 10**7  # epochs never end before the steps do


def clock():
    """Seconds: on the wall, or of the processor in processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime if PROCESSOR else time.perf_counter()


def has_corpora(config, data_dir):
    """Whether the note stores of a config are there."""
    return all((Path(data_dir) / name / "notes.store").exists() for name in config.corpora)


def foresee(stage, preset, minutes, data_dir, demo, measurement):
    """(Estimate of a training that should take so long, its data folder)."""
    settings = {"epochs": MOST}
    if stage == "diffusion" or not has_corpora(configs.preset(stage, preset), data_dir):
        settings, data_dir = {"epochs": MOST, "corpora": "demo"}, demo
    config, codes = of_preset(stage, preset, **settings), RELEASED_CODES if stage == "diffusion" else None

    def estimate(steps):
        return Estimate(config, at_hand(), data_dir, measurement, codes, steps)

    seconds = estimate(1000).parts_s
    fixed = seconds["start"] + seconds["encode"]
    return estimate(max(1, round((60 * minutes - fixed) / (sum(seconds.values()) - fixed) * 1000))), data_dir


def train_in_a_process(stage, preset, corpora, steps, data_dir, folder):
    """(seconds, peak bytes) of a training."""
    words = [sys.executable, __file__, "--child", stage, preset, ",".join(corpora), *map(str, (steps, data_dir, folder))]
    began = clock()
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "LIB_QUIET": "1"})
    seconds = clock() - began
    if done.returncode:
        raise SystemExit(f"{stage} failed:\n{done.stderr[-2000:]}")
    return seconds, json.loads(done.stdout.splitlines()[-1])["peak_bytes"]


def child(stage, preset, corpora, steps, data_dir, folder):
    """Train here, and say how much memory it took."""
    from lib.devices import choose_device
    from lib.training.loop import train

    config = configs.preset(stage, preset, epochs=MOST, corpora=corpora, steps=int(steps))
    released = {name: configs.RELEASED if stage == "diffusion" else None for name in ("vqvae_run", "style_encoder_run")}
    train(config, data_dir, folder, **released)
    print(json.dumps({"peak_bytes": peak_bytes(choose_device("auto"))}))


def compare(stage, words, folder, measured):
    """A row of figures of one stage."""
    estimate, data_dir = foresee(stage, words.preset, words.minutes, words.data_dir, Path(folder) / "data", measured)
    corpora = estimate.config.corpora
    seconds, taken_bytes = train_in_a_process(
        stage, words.preset, corpora, estimate.steps, data_dir, Path(folder) / "runs"
    )
    foreseen, foreseen_bytes = estimate.hours * 3600, estimate.memory_gb * 1e9
    row = {
        "stage": stage,
        "steps": estimate.steps,
        "corpora": corpora,
        "predicted_s": round(foreseen, 1),
        "actual_s": round(seconds, 1),
        "predicted_over_actual": round(foreseen / seconds, 3),
        "predicted_mib": round(foreseen_bytes / 2**20),
        "actual_mib": round(taken_bytes / 2**20),
        "memory_over_actual": round(foreseen_bytes / taken_bytes, 3),
        "parts_s": {name: round(value, 1) for name, value in estimate.parts_s.items()},
        "step_s": round(measured.step_s, 4),
        "spread": round(measured.spread, 3),
        "others": round(measured.others, 3),
        "within_range": bool(estimate.low_hours <= seconds / 3600 <= estimate.high_hours),
    }
    print(row, flush=True)
    return row


def by_processor(measured):
    """A Measurement in seconds of the processor: of the wall's, those that this training kept one busy."""
    seconds = {name: getattr(measured, name) * measured.own for name in ("start_s", "step_s", "validate_s")}
    return dataclasses.replace(measured, **seconds, others=0.0)


def main():
    """Measure, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", default="vqvae,diffusion")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring")
    parser.add_argument("--data-dir", default=str(ROOT / "data"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--processor", action="store_true", help="seconds of the processor, one thread: on a busy machine"
    )
    parser.add_argument("--child", nargs=6)
    words = parser.parse_args()
    if words.child:
        child(*words.child)
        return
    if words.quick:
        words.minutes, words.seconds = QUICK_MINUTES, QUICK_SECONDS
    if PROCESSOR:
        os.environ["OMP_NUM_THREADS"] = "1"
    stages = words.stages.split(",")
    with tempfile.TemporaryDirectory() as folder:
        prepare(["demo"], Path(folder) / "data")
        measured = measure(words.preset, words.seconds / len(stages), stages, cache=None)
        if PROCESSOR:
            measured = {stage: by_processor(row) for stage, row in measured.items()}
        rows = [compare(stage, words, folder, measured[stage]) for stage in stages]
    print(json.dumps({
        "benchmark": "plan", "device": at_hand().title, "cores": available_cores(), "clock": "processor" if PROCESSOR else "wall",
        "minutes": words.minutes, "preset": words.preset,
        "plan_error": max(abs(row["predicted_over_actual"] - 1) for row in rows),
        "memory_error": max(abs(row["memory_over_actual"] - 1) for row in rows), "rows": rows,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
