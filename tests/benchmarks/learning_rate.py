"""Which peak learning rate learns faster: a stage trained a little at each, judged by its validation loss.

    python tests/benchmarks/learning_rate.py STAGE --data-dir data --runs-dir runs [--lrs 1e-4,1e-3] [--steps 150]

Runs go into a temporary folder beside the sources of the stage (RUNS/vqvae, RUNS/style_encoder). Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.checkpoints.run_dependencies import DEPENDENCIES  # noqa: E402
from lib.config import preset  # noqa: E402
from lib.training.loop import train  # noqa: E402


def main():
    """The same steps, seed and data at each rate; a short warm-up, then constant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--runs-dir", type=Path, required=True)
    parser.add_argument("--lrs", default="1e-4,1e-3")
    parser.add_argument("--steps", type=int, default=150)
    words = parser.parse_args()
    sources = {f"{name}_run": words.runs_dir / name for name in DEPENDENCIES.get(words.stage, ())}
    rows = []
    for lr in map(float, words.lrs.split(",")):
        config = preset(words.stage, words.preset, lr=lr, steps=words.steps, warmup_steps=20, decay="constant", tracker="none",
                        validate_every=words.steps, save_every=words.steps, ema_decay=0.0)  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            result = train(config, words.data_dir, folder, **sources)
        rows.append({"lr": lr, **{k: v for k, v in result.losses.items() if k.startswith("validation/")}})
        print(json.dumps(rows[-1]), flush=True)
    asked = {"stage": words.stage, "preset": words.preset, "steps": words.steps}
    print(json.dumps({"benchmark": "learning_rate", **asked, "rows": rows}))


if __name__ == "__main__":
    main()
