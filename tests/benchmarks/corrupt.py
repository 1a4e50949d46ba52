"""Damage a run and its mirror at random, then go on: is the newest valid checkpoint found, and never a bad byte loaded?

    python tests/benchmarks/corrupt.py [--cases 1000] [--seed 0]

A real run with several checkpoints and its mirror are copied, damaged (truncated, zeroed block, flipped bit, missing
file, missing manifest, half a manifest, swapped files, another step's files, garbage or stale or future lease, clocks in
the future, damaged logs), and trained on by the real `train`. What it should have done is known from the bytes: the
newest checkpoint that is untouched, here or in the mirror. The last line is JSON: `cases`, `recovered`, `refused` (none
was valid: a clear error), `refused_with_valid`, `silent` (went on, but not to the very weights of an undamaged run),
`crashed` (any other exception).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("LIB_QUIET", "1")
torch.set_num_threads(1)

from lib.checkpoints import checkpoint as checkpoints  # noqa: E402
from lib.checkpoints import lease  # noqa: E402
from lib.config import ConfigError, preset  # noqa: E402
from lib.data.prepare import prepare  # noqa: E402
from lib.training.loop import train  # noqa: E402

STEPS, LAST = 8, 9
REMOTE = Path("runs/tiny/style_encoder")


def config(steps):
    return preset("style_encoder", "tiny", steps=steps, save_every=2, validate_every=4, decay="constant", log_every=100)


# --- Damage ----------------------------------------------------------------------------------------------------------


def truncate(path, rng):
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.truncate(rng.randrange(size) if size else 0)


def zero_block(path, rng):
    content = bytearray(path.read_bytes())
    first = rng.randrange(max(1, len(content)))
    last = min(len(content), first + rng.choice([1, 64, 4096]))
    content[first:last] = bytes(last - first)
    path.write_bytes(content)


def flip_bit(path, rng):
    content = bytearray(path.read_bytes() or b"\0")
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def remove(path, rng):
    path.unlink()


def half(path, rng):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def garbage(path, rng):
    path.write_bytes(rng.choice([b"", b"{}", b"[]", b"null", b"\xff\xfe\x00garbage", b'{"sha256": 3}', b"[" * 5000]))


def swap(path, rng):
    others = [other for other in path.parent.parent.glob("*/*") if other != path]
    other = rng.choice(others)
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def other_step(path, rng):
    folders = [folder for folder in path.parent.parent.glob("*") if folder != path.parent]
    if folders and path.parent.name != "best":
        shutil.rmtree(path.parent)
        shutil.copytree(rng.choice(folders), path.parent)


DAMAGE = {"truncated": truncate, "zeroed block": zero_block, "flipped bit": flip_bit, "missing file": remove,
          "garbage": garbage, "swapped": swap, "another step": other_step}  # fmt: skip
MANIFEST_DAMAGE = {"missing manifest": remove, "half a manifest": half, "garbage manifest": garbage, "flipped manifest": flip_bit}


def damage_checkpoint(folder, rng):
    """Damage one checkpoint folder; the name of what was done."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if not files:
        return "nothing left"
    manifest = folder / "manifest.json"
    if rng.random() < 0.4 and manifest.exists():
        name = rng.choice(sorted(MANIFEST_DAMAGE))
        MANIFEST_DAMAGE[name](manifest, rng)
        return name
    name = rng.choice(sorted(DAMAGE))
    DAMAGE[name](rng.choice(files), rng)
    return name


def damage_beside(run, rng):
    """Damage what lies beside the checkpoints: lease, logs, adjustments, clocks."""
    kind = rng.choice(["stale lease", "future lease", "garbage lease", "future clock", "logs", "adjustments"])
    old = {"owner": "x", "host": "colab-1", "boot": "elsewhere", "pid": 7, "counter": 3, "time": time.time() - 40}
    if kind == "stale lease":
        (run / "lease.json").write_text(json.dumps(old))
    elif kind == "future lease":
        (run / "lease.json").write_text(json.dumps({**old, "time": time.time() + 1e7}))
    elif kind == "garbage lease":
        garbage_file = run / "lease.json"
        garbage_file.write_text("{}")
        garbage(garbage_file, rng)
    elif kind == "future clock":
        for path in run.rglob("*"):
            os.utime(path, (time.time() + 1e8,) * 2)
    elif kind == "logs":
        for name in ("history.jsonl", "events.jsonl", "config.json"):
            if (run / name).exists():
                rng.choice([truncate, flip_bit, garbage, remove])(run / name, rng)
    else:
        garbage_file = run / "adjustments.json"
        garbage_file.write_text("{}")
        garbage(garbage_file, rng)
    return kind


# --- A case ----------------------------------------------------------------------------------------------------------


def pristine(folder):
    """name -> bytes of a folder's files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def checkpoint_folders(side):
    """A run's checkpoints, or those of its mirror; the slot of the best weights is none."""
    return sorted([*side.glob("checkpoints/*"), *side.glob("slots/[ab]")])


def untouched(side, truth):
    """Steps of the checkpoints that are still what they were; a slot may hold any of them, a folder its own alone."""
    slots = [pristine(slot) for slot in side.glob("slots/[ab]")]
    return {
        step
        for step, files in truth.items()
        if files in slots or files == pristine(side / "checkpoints" / f"step-{step:08d}")
    }


def one_case(base, folder, truth, reference, rng):
    """Damage a copy and go on with it: (outcome, what was done)."""
    shutil.copytree(base, folder)
    run, there = folder / "runs" / "style_encoder", folder / "mirror" / REMOTE
    done = []
    lost = rng.choice([None, None, None, run, there])
    if lost is not None:  # a new machine, or an empty mirror
        shutil.rmtree(lost)
    sides = [side for side in (run, there) if side.exists()]
    folders = [path for side in sides for path in (*checkpoint_folders(side), *side.glob("slots/best"))]
    count = rng.choice([1, 2, 4, 8, len(folders)])
    for path in rng.sample(folders, min(count, len(folders))):
        if path.is_dir():
            done.append(damage_checkpoint(path, rng))
    if rng.random() < 0.5:
        done.append(damage_beside(rng.choice(sides), rng))
    valid = untouched(run, truth) | untouched(there, truth)
    try:
        result = train(config(LAST), base.parent / "data", folder / "runs", mirror=folder / "mirror")
    except ConfigError as error:
        return ("refused_with_valid" if valid else "refused"), done, str(error)
    except BaseException as error:
        return "crashed", done, repr(error)
    if not valid or result.resumed_from_step != max(valid):
        return "silent", done, f"went on from {result.resumed_from_step}, valid were {sorted(valid)}"
    found = checkpoints.find(result.run).tensors("model")
    same = all(torch.equal(found[name], reference[name]) for name in reference)
    return ("recovered" if same else "silent"), done, ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    logging.getLogger("lib").setLevel(logging.CRITICAL)
    logging.disable(logging.CRITICAL)
    lease.BEAT_S = 0.01  # nobody wants to watch each stale lease for half a minute
    began, rng, counts, kinds = time.monotonic(), random.Random(asked.seed), Counter(), Counter()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        prepare(["demo"], scratch / "data")
        base = scratch / "base"
        train(config(STEPS), scratch / "data", base / "runs", mirror=base / "mirror")
        truth = {checkpoints.step_of(path): pristine(path) for path in checkpoints.step_folders(base / "runs" / "style_encoder")}
        slots = checkpoint_folders(base / "mirror" / REMOTE)
        (newest,) = (slot for slot in slots if pristine(slot) == truth[max(truth)])
        shutil.rmtree(newest)  # one behind, as it mostly is
        peace = train(config(LAST), scratch / "data", scratch / "peace")
        reference = checkpoints.find(peace.run).tensors("model")
        sys.stdout.flush()
        for number in range(asked.cases):
            case = scratch / f"case{number}"
            with open(os.devnull, "w") as nowhere:
                stdout, sys.stdout = sys.stdout, nowhere
                try:
                    outcome, done, text = one_case(base, case, truth, reference, rng)
                finally:
                    sys.stdout = stdout
            counts[outcome] += 1
            kinds.update(done)
            if outcome not in ("recovered", "refused"):
                print(f"case {number}: {outcome}, {done}: {text}", flush=True)
            shutil.rmtree(case)
    names = ("recovered", "refused", "refused_with_valid", "silent", "crashed")
    print(json.dumps({"cases": asked.cases, **{name: counts[name] for name in names}, "damage": dict(sorted(kinds.items())),
                      "seconds": round(time.monotonic() - began, 1), "seed": asked.seed}))  # fmt: skip
    sys.exit(0 if counts["recovered"] + counts["refused"] == asked.cases else 1)


if __name__ == "__main__":
    main()
