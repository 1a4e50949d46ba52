"""Which peak learning rate learns faster: a stage trained a little at each, judged by its validation loss.

    python tests/benchmarks/learning_rate.py STAGE --data-dir data --runs-dir runs/rates [--lrs 7e-4,2e-3,6e-3]
        [--widths 256,512,768] [--steps 250] [--processes 2] [--minutes 10] [--preset laptop] [--set name=value]

The same steps, seed, music and batch at each rate: a tenth of the steps as warm-up, then a cosine to a tenth; averaged
weights are validated. Diffusion models are trained at each width, six blocks of heads of 64. What is best in so few
steps is rather too high for a long training than too low.

Each cell is a run of `python -m lib train` in --runs-dir: after --minutes (all cells together), or when it is stopped,
the same command continues. Prints one JSON line last: `rows`, of each cell the validation loss, None where it is not
done; `best_lr` of each width that is done, the vertex of the parabola through the losses over the logarithm of the
rate, or the best rate at an edge; `finished`, whether all cells are.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.checkpoints.history import read_events, validation_figures  # noqa: E402
from lib.config import RELEASED, STAGES  # noqa: E402

HEAD_WIDTH, WARMUP_SHARE = 64, 0.1
LEAST_S = 60.0  # below this no cell is begun or continued
BUILT_ON = {
    "diffusion": ("vqvae", "style_encoder"),
    "fine_tune": ("vqvae", "style_encoder", "diffusion"),
}
# micro-batches of eight, for the memory of a widest model twice; the step is that of 32
SETTINGS = {
    "diffusion": {"batch_size": 8, "gradient_accumulation": 4, "mixed_precision": "bf16", "depth": 6},
    "fine_tune": {"batch_size": 8, "gradient_accumulation": 4, "mixed_precision": "bf16"},
}


def cells_of(asked: argparse.Namespace) -> list[dict]:
    """The runs of the table: name, width (None but for diffusion) and lr."""
    widths = asked.widths if asked.stage == "diffusion" else [None]
    names = {None: asked.stage, **{width: f"width-{width}" for width in widths if width}}
    return [{"name": f"{names[width]}-lr-{lr:g}", "width": width, "lr": lr} for width in widths for lr in asked.lrs]


def command(cell: dict, asked: argparse.Namespace, seconds: float | None) -> list[str]:
    """The training of a cell, or what is left of it."""
    many = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(asked.processes), "-m", "--"]
    settings = {
        "warmup_steps": round(WARMUP_SHARE * asked.steps),
        "decay": "cosine",
        "tracker": "none",
        "validate_every": asked.steps,
        "validation_batches": 16,
        "save_every": 50,
        "epochs": 10**6,
        **SETTINGS.get(asked.stage, {}),
        **({"width": cell["width"], "heads": cell["width"] // HEAD_WIDTH} if cell["width"] else {}),
        "steps": asked.steps,
        "lr": cell["lr"],
    }
    words = [sys.executable, "-m", *(many if asked.processes > 1 else []), "lib", "train", asked.stage]
    words += ["--preset", asked.preset, "--data-dir", asked.data_dir, "--runs-dir", asked.runs_dir, "--run", cell["name"]]
    for name in BUILT_ON.get(asked.stage, ()):
        words += [f"--{name.replace('_', '-')}-run", getattr(asked, f"{name}_run")]
    words += ["--time-budget", f"{max(1, round(seconds))}s"] if seconds is not None else []
    chosen = [f"{name}={value}" for name, value in settings.items()] + asked.settings
    return [str(word) for word in [*words, *(part for setting in chosen for part in ("--set", setting))]]


def loss_of(cell: dict, asked: argparse.Namespace) -> float | None:
    """The validation loss after the last step; None where the cell is not done."""
    return validation_figures(asked.runs_dir / cell["name"], asked.steps).get("loss")


def train(cell: dict, asked: argparse.Namespace, seconds: float | None) -> None:
    """Train a cell to its end, or for so long; SystemExit where it failed."""
    threads = str(max(1, (os.cpu_count() or 1) // asked.processes))
    environment = {"OMP_NUM_THREADS": threads, **os.environ, "LIB_QUIET": "1"}
    done = subprocess.run(command(cell, asked, seconds), cwd=ROOT, env=environment, capture_output=True, text=True)
    ended = [event["event"] for event in read_events(asked.runs_dir / cell["name"])][-1:]
    if ended not in (["finished"], ["stopped"]):
        raise SystemExit(f"{cell['name']} failed:\n{done.stderr[-2000:]}")


def best_lr(rows: list[dict]) -> float:
    """Where the parabola through (log lr, loss) is lowest, if that lies among the rates; else the best of them."""
    rows = sorted(rows, key=lambda row: row["lr"])
    best = min(range(len(rows)), key=lambda index: rows[index]["loss"])
    if not 0 < best < len(rows) - 1:
        return rows[best]["lr"]
    x, y = zip(*((math.log(row["lr"]), row["loss"]) for row in rows[best - 1 : best + 2]), strict=True)
    a, b, _ = np.polyfit(x, y, 2)
    return float(f"{math.exp(-b / (2 * a)):.2g}")


def summary(rows: list[dict]) -> dict:
    """What the last line says of these rows."""
    by_width = {}
    for row in rows:
        by_width.setdefault(str(row["width"] or "preset"), []).append(row)
    whole = {width: of for width, of in by_width.items() if all(row["loss"] is not None for row in of)}
    best = {width: best_lr(of) for width, of in whole.items()}
    return {"rows": rows, "best_lr": best, "finished": len(whole) == len(by_width)}


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data")
    parser.add_argument("--runs-dir", type=Path, required=True, help="of this table alone")
    parser.add_argument("--lrs", type=lambda text: [float(part) for part in text.split(",")], default=[7e-4, 2e-3, 6e-3])
    parser.add_argument("--widths", type=lambda text: [int(part) for part in text.split(",")], default=[256, 512, 768])
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="of this call; without it to the end")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="as of train")
    for name in BUILT_ON["fine_tune"]:
        parser.add_argument(f"--{name.replace('_', '-')}-run", default=RELEASED)
    return parser.parse_args(words)


def main():
    """Cells one after the other, until time is up."""
    asked, began = parsed(), time.monotonic()
    asked.runs_dir, asked.data_dir = asked.runs_dir.absolute(), asked.data_dir.absolute()
    cells, rows = cells_of(asked), []
    for cell in cells:
        left_s = 60 * asked.minutes - (time.monotonic() - began) if asked.minutes else None
        if loss_of(cell, asked) is None and (left_s is None or left_s >= LEAST_S):
            train(cell, asked, left_s)
        rows.append({**cell, "loss": loss_of(cell, asked)})
        print(f"{cell['name']}: {rows[-1]['loss']}", file=sys.stderr, flush=True)
    asked_for = {"stage": asked.stage, "preset": asked.preset, "steps": asked.steps}
    print(json.dumps({"benchmark": "learning_rate", **asked_for, **summary(rows)}))


if __name__ == "__main__":
    main()
