"""How well a plan foresees: predicted over actual time and memory of a ten-minute training of two stages on this machine.

    python tests/benchmarks/plan.py [--stages vqvae,diffusion] [--preset laptop] [--minutes 10] [--quick] [--data-dir data]

The machine is measured first, as `python -m lib plan` does; then each stage is trained for so many steps as should take that long,
as a command in a process of its own: starting, encoding, validating and saving count. Nothing else should run meanwhile:
`others` says what else did when the machine was measured. The codec trains on the real corpora where they are in --data-dir, else
all stages on the demo corpus; diffusion always does, so that what it encodes is foreseen too.
Prints one JSON line last; wanted: plan_error and memory_error at most 0.15.
"""

from __future__ import annotations

import argparse
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
from lib.apps.plan import machines  # noqa: E402
from lib.apps.plan.estimate import estimate, of_preset  # noqa: E402
from lib.data.prepare import prepare  # noqa: E402

PROCESSOR = "--processor" in sys.argv
QUICK_MINUTES, QUICK_SECONDS = 1.5, 30.0
MOST = 10**7  # epochs never end before the steps do


def clock():
    """Seconds: on the wall, or of the processor in processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime if PROCESSOR else time.perf_counter()


def has_corpora(config, data_dir):
    """Whether the note stores of a config are there."""
    return all((Path(data_dir) / name / "notes.store").exists() for name in config.corpora)


def measure(stage, preset, seconds, here):
    """Logged of a probe; with --processor its step in seconds of the processor, as many as that training kept busy."""
    used_s, began = clock(), time.perf_counter()
    logged = machines.probe(stage, preset, seconds, 0.0 if PROCESSOR else here.others)
    busy = (clock() - used_s) / (time.perf_counter() - began)  # 1 of the wall's
    return logged._replace(step_s=logged.step_s * busy)


def foresee(stage, preset, minutes, data_dir, demo, here, logged):
    """(estimate of a training that should take so long, its config, its data folder)."""
    settings = {"epochs": MOST}
    if stage == "diffusion" or not has_corpora(configs.preset(stage, preset), data_dir):
        settings, data_dir = {"epochs": MOST, "corpora": "demo"}, demo
    config = of_preset(stage, preset, **settings)
    seconds = estimate(config, here, data_dir, [logged], 1000)["parts_s"]
    fixed = seconds["start"] + seconds["encode"]
    steps = max(1, round((60 * minutes - fixed) / (sum(seconds.values()) - fixed) * 1000))
    return estimate(config, here, data_dir, [logged], steps), config, data_dir


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
    from lib.devices import choose_device, peak_bytes
    from lib.training.loop import train

    config = configs.preset(stage, preset, epochs=MOST, corpora=corpora, steps=int(steps))
    released = {name: configs.RELEASED if stage == "diffusion" else None for name in ("vqvae_run", "style_encoder_run")}
    train(config, data_dir, folder, **released)
    print(json.dumps({"peak_bytes": peak_bytes(choose_device("auto"))}))


def compare(stage, words, folder, here):
    """A row of figures of one stage."""
    logged = measure(stage, words.preset, words.seconds / len(words.stages.split(",")), here)
    data = words.data_dir, Path(folder) / "data"
    estimated, config, data_dir = foresee(stage, words.preset, words.minutes, *data, here, logged)
    run = stage, words.preset, config.corpora, estimated["steps"], data_dir, Path(folder) / "runs"
    seconds, taken_bytes = train_in_a_process(*run)
    foreseen, foreseen_bytes = estimated["hours"] * 3600, estimated["memory_gb"] * 1e9
    row = {
        "stage": stage,
        "steps": estimated["steps"],
        "corpora": config.corpora,
        "predicted_s": round(foreseen, 1),
        "actual_s": round(seconds, 1),
        "predicted_over_actual": round(foreseen / seconds, 3),
        "predicted_mib": round(foreseen_bytes / 2**20),
        "actual_mib": round(taken_bytes / 2**20),
        "memory_over_actual": round(foreseen_bytes / taken_bytes, 3),
        "parts_s": {name: round(value, 1) for name, value in estimated["parts_s"].items()},
        "step_s": round(logged.step_s, 4),
        "others": round(here.others, 3),
        "within_range": bool(estimated["low_hours"] <= seconds / 3600 <= estimated["high_hours"]),
    }
    print(row, flush=True)
    return row


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
    with tempfile.TemporaryDirectory() as folder:
        machines.PROBES = Path(folder) / "probes"  # not those of whoever uses this machine
        prepare(["demo"], Path(folder) / "data")
        rows = [compare(stage, words, folder, machines.at_hand()) for stage in words.stages.split(",")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(json.dumps({
        "benchmark": "plan", "device": machines.at_hand().title, "cores": cores, "clock": "processor" if PROCESSOR else "wall",
        "minutes": words.minutes, "preset": words.preset,
        "plan_error": max(abs(row["predicted_over_actual"] - 1) for row in rows),
        "memory_error": max(abs(row["memory_over_actual"] - 1) for row in rows), "rows": rows,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
