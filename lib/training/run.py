"""A run during training: started or resumed, with its lease, logs, mirror and saves."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch

from lib import config as configs
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.checkpoint import Origin, find_origin
from lib.checkpoints.config_migration import config_from, continued_config
from lib.checkpoints.history import append_event, read_events
from lib.checkpoints.interim_weights import InterimWeights
from lib.checkpoints.lease import NAME as LEASE
from lib.checkpoints.lease import Lease, LeaseError
from lib.checkpoints.mirror import Mirror
from lib.checkpoints.run_dependencies import check_unchanged, find_dependencies, remote_name, require, weights_sha256
from lib.devices import peak_bytes
from lib.storage.atomic_write import write_text
from lib.storage.backends import FolderStorage
from lib.training.budget import StopReason
from lib.training.run_log import RunLog
from lib.training.stages import STAGES
from lib.training.stages.stage import Stage
from lib.training.trainer import Adjustments, Trainer, total_steps

log = logging.getLogger("lib.training")
VERIFY_REMOTE_S = 3600.0  # reading back from a remote costs as much as writing: hourly
FLUSH_S = {None: 600.0, StopReason.CTRL_C: 60.0, StopReason.SIGTERM: 20.0}  # the longest wait for the mirror at the end


class SaveError(OSError):
    """The last checkpoint could not be written; the one before it is there."""


class Run:
    """What one call of train works with, and how far it is: made as its checkpoint left it, ready for the next step.

    Parameters
    ----------
    stage_name, stage, origin : what is trained, from which checkpoint
    sources : the runs that it builds on, by stage
    accelerator : of devices.make_accelerator
    lease, mirror : None where there is none
    initial : InterimWeights that a new run begins with; None: random weights at step 0

    Attributes
    ----------
    sources : for manifests: the paths of those runs, and their hashes
    trainer, log, saver : its tools
    start, step, total : optimizer steps at the beginning of this call, by now, and of the whole training
    skipped : steps left out in a row, as their loss was not finite
    best, best_step : the lowest validation loss so far, and its step
    """

    def __init__(
        self,
        stage_name: str,
        stage: Stage,
        origin: Origin,
        sources: dict[str, Path],
        accelerator,
        lease: Lease | None,
        mirror: Mirror | None,
        initial: InterimWeights | None = None,
    ):
        self.stage_name, self.stage, self.origin, self.lease, self.mirror = stage_name, stage, origin, lease, mirror
        self.folder, checkpoint = origin.folder, origin.checkpoint
        paths = {name: os.path.relpath(path, self.folder) for name, path in sources.items()}
        self.sources = {"sources": paths, "source_sha256": weights_sha256(sources)}
        self.total = total_steps(stage.config, stage.stream.num_chunks)
        start_from = checkpoint or initial
        self.start = self.step = start_from.step if start_from else 0
        self.skipped, self.best, self.best_step, self._saved_s = 0, math.inf, None, time.monotonic()
        self.log = RunLog(self.folder, stage_name, stage, accelerator, self.step, self.total)
        self.saver = AsyncSaver(self.step)
        known = checkpoint.manifest["adjustments"] if checkpoint else None
        adjustments = Adjustments(self.folder, stage.config.batch_size, known, self.log.writes)
        if not self.is_done:  # a finished run on a new machine has nothing to encode
            stage.prepare(accelerator.device, mirror.storage if mirror else None)
        self.trainer = Trainer(stage, accelerator, adjustments, self.total, self.log.event)
        if checkpoint is not None:
            self.restore(checkpoint)
        elif initial is not None:
            self.trainer.begin_with(initial.weights, initial.path)
        if mirror is not None:
            print(mirror.announce(*self.trainer.checkpoint_bytes()), flush=True)

    @property
    def is_done(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self.total

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take over weights, optimizer and the best loss of a checkpoint."""
        self.trainer.restore(checkpoint)
        facts = checkpoint.manifest
        self.best = math.inf if facts["best"] is None else facts["best"]
        self.best_step, self.log.newest = facts["best_step"], facts["losses"]

    def save_is_due(self) -> bool:
        """Whether to save after this step: by minutes, and a tenth of save_every before it is over."""
        every, minutes = self.stage.config.save_every, self.stage.config.save_minutes
        by_time = time.monotonic() - self._saved_s >= 60 * minutes
        return by_time or self.step % max(1, every - max(1, every // 10)) == 0

    def save(self) -> None:
        """Write a checkpoint of this step while training continues."""
        self._saved_s = time.monotonic()
        if not self.log.writes:
            self.saver.durable = self.step
            return
        config = self.stage.config
        facts = {
            "stage": self.stage_name,
            "step": self.step,
            "run_id": self.origin.run_id,
            "saved_at": round(time.time(), 3),
            "config": configs.as_values(config),
            "schedule": {"lr": config.lr, "total_steps": self.total},
            "best": None if math.isinf(self.best) else self.best,
            "best_step": self.best_step,
            "losses": self.log.newest,
            "adjustments": self.trainer.adjustments.values(),
            **self.sources,
            **self.stage.facts(),
        }
        self.saver.wait()  # one snapshot at a time in memory
        state = self.trainer.snapshot()
        self.saver.start(self.step, lambda: self._write_checkpoint(facts, state))

    def _write_checkpoint(self, facts, state):
        step = facts["step"]
        try:
            checkpoints.save(self.folder, facts, checkpoints.serialised(*state), self.stage.config.keep_checkpoints)
        except Exception as error:
            self.log.event("save_failed", step, f"{error}; training continues", reason=str(error))
            raise
        self.log.event("saved", step)
        if self.mirror:
            self.mirror.notify()

    def end(self, reason: StopReason | None) -> None:
        """The last checkpoint, what the stage leaves behind, and the mirror brought up to date if there is time.

        Raises
        ------
        LeaseError : another runtime has taken the run over: nothing was saved
        SaveError : the last checkpoint could not be written
        """
        self.saver.wait()
        if self.lease and self.lease.lost:
            text = f"stopped at step {self.step} without saving. Training continues there."
            raise LeaseError(f"{self.lease.lost}: {text}")
        if self.log.writes and self.skipped == 0 and self.saver.durable != self.step:
            self.save()
            self.saver.wait()
            if self.saver.error:
                text = f"The last checkpoint of {self.folder} could not be written: {self.saver.error}."
                text = f"{text} Step {self.saver.durable} is safe. Make room and run the same command again."
                raise SaveError(text) from self.saver.error
        self.trainer.accelerator.wait_for_everyone()
        if self.log.writes:
            self._finish()
            figures = {"total": self.total, "peak_bytes": peak_bytes(self.trainer.device.type)}
            if reason is None:
                self.log.event("finished", self.step, **figures)
            else:
                self.log.event("stopped", self.step, reason.text, reason=reason.value, **figures)
        if self.mirror and not self.mirror.flush(FLUSH_S.get(reason, FLUSH_S[None])):
            log.warning("the mirror is behind: %s", self.mirror.state)
            print(f"The mirror is behind ({self.mirror.state}): the newest checkpoint is here only.", flush=True)

    def _finish(self):
        """What the stage leaves behind, once for each last step."""
        done = self.folder / "finished"
        if not self.is_done or (done.exists() and done.read_text(encoding="utf-8") == str(self.step)):
            return
        folder = self.stage.finish(self.folder)
        if folder and self.mirror:
            self.mirror.finish(folder)
        write_text(done, str(self.step))


class AsyncSaver:
    """One save at a time, in a thread of its own: a snapshot of a step is written while the next ones are done.

    Attributes
    ----------
    durable : the newest step that is on disk
    seconds : how long the last save took
    error : the exception of the last save, None where it went well
    """

    def __init__(self, durable: int = 0):
        self.durable, self.seconds, self.error = durable, 0.0, None
        self._thread = None

    def start(self, step: int, write: Callable[[], object]) -> None:
        """Wait for the last save, then call `write` in the background: it returns when checkpoint `step` is on disk."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(step, write), name="save")
        try:
            self._thread.start()
        except RuntimeError:  # no memory is left for a thread's stack: training waits for this one
            self._thread = None
            self._run(step, write)

    def _run(self, step, write):
        began = time.monotonic()
        try:
            write()
            self.durable, self.error = step, None
        except Exception as error:  # a full disk must not end the training: the caller reports it
            self.error = error
        self.seconds = time.monotonic() - began

    def wait(self) -> None:
        """Return when nothing is being written."""
        if self._thread is not None:
            self._thread.join()


# --- Before the first step ---------------------------------------------------------------------------------------


def make_stage(config, stage_name: str, data_dir, folder: Path, runs_dir: Path, resume, sources: dict):
    """(Stage, Origin, its sources), everything checked; nothing is written."""
    origin = find_origin(folder, runs_dir, resume)
    sources = find_dependencies(stage_name, runs_dir, sources)
    if "diffusion" in sources:
        source = require(sources["diffusion"], "diffusion")
        config = configs.inherit_model(config, config_from("diffusion", source.manifest["config"], source.path))
    config = continued_config(origin, config, stage_name)
    if origin.checkpoint is not None:
        check_unchanged(origin.checkpoint, sources)
    with torch.random.fork_rng(devices=[]):  # the first weights follow from the seed, and nothing else does
        torch.manual_seed(config.seed)
        return STAGES[stage_name](config, data_dir, origin.checkpoint, sources), origin, sources


def name_other_commit(folder: Path) -> None:
    """Say at which commit a run was begun, where this is another one."""
    begun_at = next((event["commit"] for event in read_events(folder) if event.get("commit")), None)
    if begun_at and (commit := configs.commit()) and commit != begun_at:
        way = "if results differ, use that commit: VERSION in a notebook's first cell, or git checkout"
        text = f"This run began at commit {begun_at}, and this is {commit[:12]}; {way}."
        log.info(text)
        print(text, flush=True)


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """A run that could not even begin leaves no folder behind."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def take_lease(folder: Path, storage, preset: str, take_over: bool, stack: ExitStack) -> Lease:
    """The run's lease, here and in the mirror, beating until the stack ends."""
    spots = [(FolderStorage(folder, marked=False), LEASE)]
    spots += [(storage, f"{remote_name(preset, folder)}/{LEASE}")] if storage else []
    lease = Lease(spots)
    lease.acquire(take_over)
    lease.start()
    stack.callback(lease.release)
    return lease


def start_mirror(storage, config, folder: Path, data_dir, stack: ExitStack) -> Mirror | None:
    """The thread that copies checkpoints, None without a mirror."""
    if storage is None:
        return None
    minutes = config.mirror_verify_minutes
    every_s = 60 * minutes if minutes is not None else VERIFY_REMOTE_S if storage.kind != "folder" else None
    report = partial(append_event, folder)
    name, data = remote_name(config.preset, folder), (data_dir, config.corpora)
    mirror = Mirror(storage, name, folder, 60 * config.mirror_minutes, every_s, report, data)
    mirror.start()
    stack.callback(mirror.close)
    return mirror
