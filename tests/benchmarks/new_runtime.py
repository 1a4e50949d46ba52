"""How long until a new runtime trains: from the start of the command, with nothing here but the mirror, to its next step.

    python tests/benchmarks/new_runtime.py --data-dir DIR [--corpora maestro,pijama] [--preset laptop]

DIR holds the note stores. A first runtime trains some steps with a mirror; then all that it had is taken away, and the
same command starts in empty folders. The last line is JSON: `seconds_to_first_step`, `stores_mb`, `checkpoint_mb`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def start(folder, data_dir, asked, steps):
    """The training command of both runtimes."""
    command = [sys.executable, "-m", "lib", "train", "vqvae", "--preset", asked.preset, "--data-dir", data_dir, "--runs-dir",
               folder / "runs", "--mirror", folder.parent / "mirror", "--set", f"corpora={asked.corpora}", "--steps", str(steps),
               "--set", "validation_batches=1", "--set", "decay=constant", "--set", "tracker=none"]  # fmt: skip
    (folder / "step").write_text("")
    environment = {**os.environ, "LIB_QUIET": "1", "LIB_STEP_FILE": str(folder / "step")}
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def size_mb(folder):
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--corpora", default="maestro,pijama")
    parser.add_argument("--preset", default="laptop")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        old, new = Path(scratch) / "old", Path(scratch) / "new"
        old.mkdir(), new.mkdir()
        assert start(old, asked.data_dir.resolve(), asked, 3).wait() == 0
        shutil.rmtree(old)
        began = time.monotonic()
        process = start(new, new / "data", asked, 5)
        while process.poll() is None and not (new / "step").read_text().strip():
            time.sleep(0.01)
        seconds = time.monotonic() - began
        first = int((new / "step").read_text())
        assert process.wait() == 0 and first == 4, f"the new runtime began with step {first}"
        mirror = Path(scratch) / "mirror"
        print(json.dumps({"seconds_to_first_step": round(seconds, 1), "stores_mb": size_mb(mirror / "stores"),
                          "checkpoint_mb": round(size_mb(mirror / "runs") / 2, 1), "corpora": asked.corpora}))  # fmt: skip


if __name__ == "__main__":
    main()
