"""Kill a training again and again; does it end on the very weights of one that was never interrupted?

    python tests/benchmarks/kill_resume.py --kills 10 [--stage diffusion] [--seed 1] [--device auto]

Every stage is trained once in peace, keeping all its checkpoints, then again by the same command under SIGKILL: at a
random moment, at a point in the middle of a save, or in the middle of a copy to the mirror (lib/storage/kill_points.py),
in turn; now and then the machine is lost too (the run folder is deleted, the mirror has to bring it back). Every
checkpoint of the tormented run is compared, tensor by tensor, with that of the same step in peace. The last line is
JSON: `kills`, `identical` (kills of runs all of whose checkpoints, the last included, are identical), `lost` (steps
repeated beyond save_every, summed over kills), `kills_in_save`, `kills_in_mirror`, `machines_lost`, `seconds`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.checkpoints import checkpoint as checkpoints  # noqa: E402
from lib.checkpoints.history import read_events  # noqa: E402
from lib.data.prepare import prepare  # noqa: E402
from lib.storage.manifest import DamageError  # noqa: E402

SAVE_EVERY = 6
STAGES = {  # what each is trained with: precision and accumulation are covered too
    "vqvae": ["steps=72"],
    "style_encoder": ["steps=72", "mixed_precision=bf16", "batch_size=2", "gradient_accumulation=2"],
    "diffusion": ["steps=60", "mixed_precision=bf16"],
    "fine_tune": ["steps=60", "batch_size=2", "gradient_accumulation=2"],
}
POINTS = {
    "save": ["save.begin", "save.files", "save.manifest", "save.rename", "save.prune"],
    "mirror": ["mirror.begin", "mirror.file", "mirror.manifest", "mirror.verify", "mirror.prune"],
}
TIMEOUT_S = 300


class Torment:
    """One benchmark run: its folders, its random moments, its counts."""

    def __init__(self, folder, seed, device):
        self.folder, self.random, self.device = folder, random.Random(seed), device
        self.counts, self.points, self.repeated, self.seen = Counter(), Counter(), [], set()
        prepare(["demo"], folder / "data")

    def start(self, stage, runs, kill_at=None):
        """The training of a stage as a process of its own, as a user starts it."""
        words = [sys.executable, "-m", "lib", "train", stage, "--preset", "tiny", "--data-dir", self.folder / "data",
                 "--runs-dir", self.folder / runs, "--device", self.device]  # fmt: skip
        knobs = [*STAGES[stage], f"save_every={SAVE_EVERY}", "validate_every=15", "log_every=5", "lr=0.002"]
        knobs.append(f"keep_checkpoints={2 if runs == 'torment' else 1000}")
        words += [part for knob in knobs for part in ("--set", knob)]
        if runs == "torment":
            words += ["--mirror", self.folder / "mirror"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "LIB_QUIET": "1", "LIB_KILL_LOG": str(self.folder / "deaths"),
                       "LIB_STEP_FILE": str(self.folder / "step")}  # fmt: skip
        environment.pop("LIB_KILL_AT", None)
        if kill_at:
            environment["LIB_KILL_AT"] = kill_at
        (self.folder / "step").write_text("")
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(list(map(str, words)), cwd=ROOT, env=environment, stdout=log, stderr=log)

    def step(self):
        """The step that the process has reached."""
        return int((self.folder / "step").read_text() or 0)

    def in_peace(self, stage):
        code = self.start(stage, "peace").wait(TIMEOUT_S)
        assert code == 0, f"{stage} in peace ended with {code}:\n" + (self.folder / "log").read_text()[-3000:]

    def kill_once(self, stage, kind):
        """Start the stage and kill it; returns False where it was done before it could be killed."""
        run = self.folder / "torment" / stage
        kill_at = None if kind == "moment" else f"{self.random.choice(POINTS[kind])} {self.random.randint(1, 6)}"
        process = self.start(stage, "torment", kill_at)
        if kind == "moment":
            self._kill_at_a_moment(process)
        code = process.wait(TIMEOUT_S)
        self._note_repeated(run)
        if code == 0:
            return False
        if code != -signal.SIGKILL:
            raise SystemExit(f"{stage} ended with {code}:\n" + (self.folder / "log").read_text()[-3000:])
        if self.step() or self.killed_at is None:  # one that died before it began leaves the last death to be made up for
            self.killed_at = self.step() or self.began_at
        self.counts[kind] += 1
        self.points[kill_at.split()[0] if kill_at else "moment"] += 1
        return True

    def _kill_at_a_moment(self, process):
        """Some steps after it began, somewhere within a step; some die while they are still starting."""
        if self.random.random() < 0.1:
            time.sleep(self.random.uniform(0, 4))
        else:
            began, steps, limit = None, self.random.randint(1, 20), time.monotonic() + TIMEOUT_S
            while process.poll() is None and time.monotonic() < limit:
                here = self.step()
                began = here if began is None and here else began
                if began is not None and here >= began + steps:
                    break
                time.sleep(0.002)
            time.sleep(self.random.uniform(0, 0.05))
        process.kill()

    began_at, killed_at, machine_lost = 0, None, False

    def _note_repeated(self, run):
        """How many steps this start had to repeat after the last kill."""
        new = [event for event in read_events(run) if event["event"] == "start" and event["runtime"] not in self.seen]
        self.seen |= {event["runtime"] for event in new}
        starts = [event["step"] for event in new]
        if not starts:
            return  # killed before it began: the kill before counts on
        if self.killed_at is not None:
            repeated = self.killed_at - starts[-1]
            self.repeated.append((repeated, self.machine_lost))
        self.began_at, self.killed_at, self.machine_lost = starts[-1], None, False

    def lose_machine(self, stage):
        """Everything of this run that is not in the mirror is gone, and so is the process."""
        shutil.rmtree(self.folder / "torment" / stage, ignore_errors=True)
        self.machine_lost = True
        self.counts["machines_lost"] += 1

    def compare(self, stage, compared):
        """Whether the checkpoints that are there now are those of the same step in peace."""
        same = True
        for folder in checkpoints.step_folders(self.folder / "torment" / stage):
            try:
                checkpoints.check(folder)
            except DamageError:
                continue  # it is not loaded either
            if folder.name not in compared:
                same &= identical(folder, self.folder / "peace" / stage / "checkpoints" / folder.name)
                compared.add(folder.name)
        return same


def identical(one, other):
    """Whether every tensor and number of two checkpoints is the same, bit for bit."""
    names = sorted(path.name for path in one.iterdir() if path.suffix != ".json")
    if names != sorted(path.name for path in other.iterdir() if path.suffix != ".json"):
        return False
    for name in names:
        load = load_file if name.endswith(".safetensors") else lambda path: torch.load(path, weights_only=True)
        if not _same(load(one / name), load(other / name)):
            print(f"{one / name} differs from the run in peace", flush=True)
            return False
    return (one / "scaler.json").read_bytes() == (other / "scaler.json").read_bytes()


def _same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def torment_stage(torment, stage, kills, kinds):
    """Kill a stage so often, beginning it anew whenever it has come to its end; returns how many kills ended identical."""
    good = done = 0
    while done < kills:
        shutil.rmtree(torment.folder / "torment" / stage, ignore_errors=True)
        shutil.rmtree(torment.folder / "mirror" / "runs" / "tiny" / stage, ignore_errors=True)
        torment.began_at, torment.killed_at, torment.machine_lost = 0, None, False
        here, same, compared = 0, True, set()
        while done + here < kills and torment.kill_once(stage, kinds[0]):
            kinds.append(kinds.pop(0))
            here += 1
            same &= torment.compare(stage, compared)
            if torment.random.random() < 0.1:
                torment.lose_machine(stage)
        code = torment.start(stage, "torment").wait(TIMEOUT_S)  # to the end
        assert code == 0, (torment.folder / "log").read_text()[-3000:]
        torment._note_repeated(torment.folder / "torment" / stage)
        same &= torment.compare(stage, compared)
        assert f"step-{checkpoints.find(torment.folder / 'peace' / stage).step:08d}" in compared, "the last step is missing"
        good += here if same else 0
        done += here
        print(f"{stage}: {done} kills, {good} identical, {dict(torment.points)}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--stage", choices=STAGES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    began, good = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        torment = Torment(Path(folder), asked.seed, asked.device)
        wanted = [asked.stage] if asked.stage else list(STAGES)
        shares = {stage: asked.kills // len(wanted) + (i < asked.kills % len(wanted)) for i, stage in enumerate(wanted)}
        kinds = ["moment", "save", "mirror"]
        for stage in list(STAGES)[: list(STAGES).index(wanted[-1]) + 1]:
            torment.in_peace(stage)
            good += torment_stage(torment, stage, shares.get(stage, 0), kinds)
            if stage not in wanted:  # still needed by the stages after it
                assert torment.start(stage, "torment").wait(TIMEOUT_S) == 0
        lost = sum(max(0, repeated - SAVE_EVERY) for repeated, machine in torment.repeated if not machine)
        with_machine = [repeated for repeated, machine in torment.repeated if machine]
    counts = torment.counts
    kills = counts["moment"] + counts["save"] + counts["mirror"]
    print(json.dumps({
        "kills": kills, "identical": good, "lost": lost, "kills_in_save": counts["save"], "kills_in_mirror": counts["mirror"],
        "seconds": round(time.monotonic() - began, 1), "machines_lost": counts["machines_lost"],
        "most_steps_repeated": max((r for r, machine in torment.repeated if not machine), default=0), "save_every": SAVE_EVERY,
        "most_steps_repeated_after_machine_loss": max(with_machine, default=0), "points": dict(torment.points),
        "stages": wanted, "seed": asked.seed, "device": asked.device}))  # fmt: skip
    sys.exit(0 if kills == good == asked.kills and lost == 0 else 1)


if __name__ == "__main__":
    main()
