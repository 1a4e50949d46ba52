"""An improviser into the release: the base model, the one adapted to a pianist, styles and changes.

    python tests/benchmarks/release_improviser.py --run runs/fine_tune [--out data/released]

RUN is a finished run of fine_tune whose codec and style encoder are those of OUT, which stay. Of OUT the transformers, the
pianists' vectors, their changes and the manifest are written, in half precision, nothing else. The cards say what was
measured: write them by hand. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.checkpoints.load import load_improviser, save_improviser  # noqa: E402
from lib.checkpoints.run_dependencies import require, resolve_dependency  # noqa: E402
from lib.config import RELEASED  # noqa: E402
from lib.storage.manifest import read_manifest, verify, write_manifest  # noqa: E402

FROZEN = ("vqvae", "style_encoder")  # what runs are trained on: it stays, byte for byte


def main():
    """Print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RELEASED)
    words = parser.parse_args()
    checkpoint, facts = require(words.run, "fine_tune"), read_manifest(words.out)
    base = resolve_dependency(checkpoint, "diffusion")
    for name in FROZEN:
        if resolve_dependency(checkpoint, name).resolve() != words.out.resolve():
            raise SystemExit(f"{words.run} was trained on another {name} than that of {words.out}.")
    steps = {"base": require(base, "diffusion").step, "fine_tune": checkpoint.step}
    with tempfile.TemporaryDirectory() as scratch:
        made = save_improviser(load_improviser(words.run), scratch, None, torch.float16, load_improviser(base))
        new = read_manifest(made)
        for name in sorted(new["sha256"]):
            if Path(name).stem not in FROZEN:
                shutil.copyfile(made / name, words.out / name)
    kept = {key: value for key, value in facts.items() if key not in ("sha256", "manifest_sha256")}
    kept |= {key: new[key] for key in ("pianist", "pianists")}
    kept["configs"]["dit"] = new["configs"]["dit"]
    write_manifest(words.out, {**kept, "steps": steps})
    verify(words.out)
    parameters = sum(value.numel() for value in load_improviser(words.out).dit.parameters())
    print(json.dumps({"benchmark": "release_improviser", **steps, "parameters": parameters}))


if __name__ == "__main__":
    main()
