"""Four stages of a preset on a Drive that counts its bin: how full it gets, what is uploaded, what a released runtime loses.

    python tests/benchmarks/drive.py [--preset colab] [--environment colab-t4] [--hours 12]

The stages run end to end at the planner's speeds: steps pass on a clock of the benchmark's own, while checkpoints, mirror,
lease and storage are the real ones, with files scaled 1:1000. The simulated Drive is a folder whose deletes move to a
bin that counts, with a quota of 15 GB and an upload that takes its time; a rename over a file bins what was there. Each
runtime ends after `--hours`: the mirror is flushed, Drive is flushed and unmounted, the runtime goes; the next one
restores what has reached the cloud. The last line is JSON:

- `peak_gb`: of all files and the bin; `peak_gb_truncation_frees_nothing`: where emptying a file bins what it held
- `uploaded_gb_per_day`; `seconds_to_flush`: the longest wait for Drive at a release
- `lost_steps_at_release`: newest step less the newest that had reached the cloud before the runtime went, summed
- `lost_minutes_when_killed`: training that is lost at most where a runtime dies without a word
- `training_stalls`: steps that took more than three times the median because of saving; `saves`, `copies`, `runtimes`
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib import config as configs  # noqa: E402
from lib.apps.plan.estimate import SAVE_S, estimate, of_preset, step_work  # noqa: E402
from lib.apps.plan.machines import environments  # noqa: E402
from lib.checkpoints import checkpoint as checkpoints  # noqa: E402
from lib.checkpoints.lease import Lease  # noqa: E402
from lib.checkpoints.mirror import Mirror, restore_run  # noqa: E402
from lib.storage.backends import FolderStorage  # noqa: E402
from lib.storage.slots import stored_checkpoints  # noqa: E402

SCALE = 1000
QUOTA_BYTES, UPLOAD_BYTES_S = 15e9 / SCALE, 5e6 / SCALE  # free Drive; a Colab mount's upload, on the slow side
SNAPSHOT_BYTES_S = 5e9 / SCALE  # from a GPU to the machine's memory, between two steps


class SimulatedDrive(FolderStorage):
    """A Drive: what is deleted, replaced or (if `frees` is False) emptied lies in its bin; uploads wait for each other."""

    def __init__(self, root, clock, frees=True):
        super().__init__(root)
        self.clock, self.frees = clock, frees
        self.binned = self.uploaded = self.peak = 0.0
        self.busy_until = 0.0
        self.reached = {}  # path -> (when its newest contents have reached the cloud)

    @contextlib.contextmanager
    def _overwritten(self, path):
        target = self.root / path
        before = target.stat() if target.exists() else None
        with super()._overwritten(path) as file:
            yield file
        after = target.stat()
        if before is not None and (after.st_ino != before.st_ino or after.st_size < before.st_size and not self.frees):
            self.binned += before.st_size
        self._count(path, after.st_size)

    def _count(self, path, size):
        used = self.size("") + self.binned
        self.peak = max(self.peak, used)
        if used > QUOTA_BYTES:
            raise OSError(errno.EDQUOT, "the storage quota is used up")
        self.uploaded += size
        self.busy_until = max(self.busy_until, self.clock()) + size / UPLOAD_BYTES_S
        self.reached[path] = self.busy_until

    def delete(self, path):
        before = self.size(path) or ((self.root / path).stat().st_size if (self.root / path).is_file() else 0)
        super().delete(path)
        self.binned += 0 if self.frees else before

    def free(self):
        return max(0.0, QUOTA_BYTES - self.size("") - self.binned) * SCALE  # as the mirror's spare gigabyte is no smaller

    def newest_reached(self, run, now):
        """The newest step whose every file has reached the cloud by a time; 0 where none has."""
        stored, _ = stored_checkpoints(self, run)
        steps = [one.step for one in stored if not one.has_weights_alone]
        paths = {one.step: one.path for one in stored}
        whole = [step for step in steps if all(t <= now for path, t in self.reached.items() if path.startswith(paths[step]))]
        return max(whole, default=0)


class Stage:
    """A stage that is trained on a clock, in one runtime after another."""

    def __init__(self, name, preset, machine, drive, clock, folder):
        self.config, self.drive, self.clock, self.folder, self.name = of_preset(name, preset), drive, clock, folder, name
        row, work = estimate(self.config, machine, ROOT / "data"), step_work(self.config)
        self.steps, self.step_s, weights = row["steps"], row["step_s"], 4 * work.parameters
        self.validate_s = row["parts_s"]["validate"] / max(1, math.ceil(self.steps / self.config.validate_every))
        copies = {"model": weights, **({"ema": weights} if self.config.ema_decay else {})}
        self.files = {f"{part}.safetensors": size for part, size in copies.items()} | {"optimizer.pt": 4 * work.optimizer_floats}
        self.bytes = sum(self.files.values())
        self.remote = f"runs/{preset}/{name}"
        self.saves = self.copies = self.stalls = self.lost = 0
        self.flush_s, self.exposed_s = 0.0, 0.0

    def save(self, step, best):
        """A real checkpoint of random bytes, a thousandth of the size."""
        random = np.random.default_rng(step)
        files = {name: random.bytes(max(1, int(size / SCALE))) for name, size in self.files.items()}
        facts = {"stage": self.name, "step": step, "best_step": best, "run_id": "x"}
        checkpoints.save(self.run, facts, files, self.config.keep_checkpoints)
        self.saves += 1

    def train(self, runtime_s):
        """All steps; runtimes come and go."""
        step, best, number = 0, None, 0
        while step < self.steps:
            number += 1
            self.run = self.folder / f"runtime-{number}" / self.name
            (self.run / "checkpoints").mkdir(parents=True)
            (self.run / "config.json").write_text(json.dumps(configs.as_values(self.config)))
            restored = restore_run(self.drive, self.remote, self.run) if number > 1 else []
            assert number == 1 or restored[0] == step, "the next runtime continues where the last one was released"
            step = self._runtime(step, best, runtime_s)
            best = checkpoints.best_step(self.run)
            shutil.rmtree(self.run)
        return number

    def _runtime(self, step, best, runtime_s):
        mirror = Mirror(self.drive, self.remote, self.run, 60 * self.config.mirror_minutes, clock=self.clock)
        lease = Lease([(self.drive, f"{self.remote}/lease.json")], clock=self.clock, sleep=lambda seconds: None)
        lease.acquire(take_over=True)
        began, last_copy, last_beat = self.clock(), self.clock(), self.clock()
        every = max(1, math.floor(0.9 * self.config.save_every))
        saved_until = 0.0
        while step < self.steps and self.clock() - began < runtime_s:
            by_time = max(1, math.ceil(60 * self.config.save_minutes / self.step_s))
            count = min(every - step % every, by_time, self.steps - step)
            validated = (step + count) // self.config.validate_every - step // self.config.validate_every
            self.clock.now += count * self.step_s + validated * self.validate_s
            step += count
            while self.clock() - last_beat > 60:  # as the lease's thread would
                last_beat += 60
                lease.files[0].write(lease._lease())
            stall = self.bytes / SCALE / SNAPSHOT_BYTES_S + max(0.0, saved_until - self.clock())
            self.stalls += self.step_s + stall > 3 * self.step_s
            self.clock.now += stall
            saved_until = self.clock() + SAVE_S * self.bytes
            best = step if validated or best is None else best
            self.save(step, best)
            if self.clock() - last_copy >= 60 * self.config.mirror_minutes:
                self.exposed_s = max(self.exposed_s, self.clock() - last_copy)
                assert mirror._round(), mirror.state
                self.copies, last_copy = self.copies + 1, self.clock()
        lease.release()
        self.save(step, best)
        assert mirror.flush(600), mirror.state
        waited = max(0.0, self.drive.busy_until - self.clock())  # flush_and_unmount
        self.flush_s, self.clock.now = max(self.flush_s, waited), self.clock() + waited
        self.lost += step - self.drive.newest_reached(self.remote, self.clock())
        return step


class Clock:
    """Seconds of the simulated world."""

    now = 0.0

    def __call__(self):
        return self.now


def simulate(preset, machine, hours, frees=True):
    """(SimulatedDrive, its Clock, stages, runtimes) after all stages."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        drive = SimulatedDrive(Path(folder) / "drive", clock, frees)
        drive.open()
        stages = [Stage(name, preset, machine, drive, clock, Path(folder)) for name in configs.STAGES]
        runtimes = sum(stage.train(3600 * hours) for stage in stages)
    return drive, clock, stages, runtimes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="colab")
    parser.add_argument("--environment", default="colab-t4")
    parser.add_argument("--hours", type=float, default=11.5)
    words = parser.parse_args()
    os.environ["LIB_QUIET"] = "1"
    machine = environments()[words.environment]
    drive, clock, stages, runtimes = simulate(words.preset, machine, words.hours)
    for stage in stages:
        print(f"{stage.name}: {stage.steps:,} steps of {stage.step_s:.2f} s, a checkpoint has {stage.bytes / 1e9:.2f} GB")
    worst, *_ = simulate(words.preset, machine, words.hours, frees=False)
    days = clock() / 86400
    figures = {
        "peak_gb": drive.peak * SCALE / 1e9,
        "peak_gb_truncation_frees_nothing": worst.peak * SCALE / 1e9,
        "uploaded_gb_per_day": drive.uploaded * SCALE / 1e9 / days,
        "seconds_to_flush": max(stage.flush_s for stage in stages),
        "lost_steps_at_release": sum(stage.lost for stage in stages),
        "lost_minutes_when_killed": max(stage.exposed_s for stage in stages) / 60,
        "training_stalls": sum(stage.stalls for stage in stages),
        "saves": sum(stage.saves for stage in stages),
        "copies": sum(stage.copies for stage in stages),
        "runtimes": runtimes,
        "days": days,
    }
    print(json.dumps({"benchmark": "drive", **{name: round(value, 3) for name, value in figures.items()}}))


if __name__ == "__main__":
    main()
