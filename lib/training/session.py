"""One call of train: steps, and all that goes on around them: figures, checkpoints, mirror, faults, an orderly end."""

from __future__ import annotations

import logging
import math
import os
import time
from contextlib import suppress
from datetime import timedelta

from lib import config as configs
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.async_saver import AsyncSaver
from lib.checkpoints.history import append_event, append_history
from lib.checkpoints.lease import LeaseError
from lib.checkpoints.run_dependencies import weights_sha256
from lib.config import ConfigError
from lib.progress import progress_bar
from lib.storage.atomic_write import write_text
from lib.training.adjustments import MOST_DETOURS, Adjustments
from lib.training.budget import stop_requested
from lib.training.trainer import Trainer, total_steps

log = logging.getLogger("lib.training")
FLUSH_S = {"": 600.0, "Ctrl-C": 60.0, "SIGTERM": 20.0}  # the longest wait for the mirror at the end, by who asked


class NotLearning(ConfigError):
    """The loss has not been a number for too long."""


class SaveError(OSError):
    """The last checkpoint could not be written; the one before it is there."""


class Session:
    """The state that the steps of one call of train share.

    Parameters
    ----------
    stage, stage_name : of stages.py
    origin : of checkpoint.py
    sources : dict stage -> run it builds on
    accelerator, budget : of devices.py, budget.py
    lease, mirror : of lease.py, mirror.py; None where there is none
    """

    def __init__(self, stage, stage_name, origin, sources, accelerator, budget, lease=None, mirror=None):
        self.stage, self.stage_name, self.config, self.folder = stage, stage_name, stage.config, origin.folder
        self.origin, self.accelerator, self.budget, self.lease, self.mirror = origin, accelerator, budget, lease, mirror
        self.is_main = accelerator.is_main_process
        paths = {name: os.path.relpath(path, self.folder) for name, path in sources.items()}
        self.sources = {"sources": paths, "source_sha256": weights_sha256(sources)}
        self.total = total_steps(self.config, stage.stream.num_chunks)
        found = origin.checkpoint
        known = found.manifest["adjustments"] if found else None
        self.adjustments = Adjustments(self.folder, self.config.batch_size, known, self.is_main)
        self.trainer = Trainer(stage, accelerator, self.adjustments, self.total, self._event)
        self.best, self.best_step, self.newest, self.start = math.inf, None, {}, 0
        if found is not None:
            self._restore(found)
            self.start = found.step
        self.step, self.skipped = self.start, 0
        self.saver = AsyncSaver(self.start)
        margin = max(1, self.config.save_every // 10)  # a save takes a while: begun so much earlier
        self.save_every = max(1, self.config.save_every - margin)

    def go(self):
        """Train to the last step, a stop signal or the end of the budget; why it stopped, "" where all is done."""
        self._event("start", self.start, f"of {self.total}")
        steps = progress_bar(total=self.total, initial=self.start, desc=self.stage_name, unit="step")
        why = ""
        with stop_requested() as stop, steps:
            while self.step < self.total and not why:
                self._one_step(steps)
                why = self._why(stop)
            self.saver.wait()
            self._end(stop, why)
        return why

    def _why(self, stop):
        if self.step >= self.total:
            return ""
        size = self.trainer.size
        cost = self.saver.seconds + (self.mirror.seconds if self.mirror else 0.0)
        over = self.budget.over(cost, self.step, self.stage.stream.num_chunks / size, self.start)
        why = (self.lease.lost if self.lease else None) or stop.why or over
        return why or "stopped by another process" if self.trainer.agree(why) else ""

    # --- Steps -------------------------------------------------------------------------------------------------

    def _one_step(self, steps):
        outcome = self.trainer.step(self.step)
        if not outcome.done and outcome.counts and self._skip(outcome, steps):
            return
        self.skipped = 0 if outcome.done else self.skipped
        self.step += 1
        steps.update()
        self._leave_step()
        improved = self._record(outcome, steps)
        if self.skipped == 0 and (improved or self.step % self.save_every == 0):
            self._save()
        if self.step - self.saver.durable >= self.config.save_every:
            self.saver.wait()  # so that a restart never repeats more than save_every steps

    def _leave_step(self):
        """The step where until_done.py looks for it."""
        path = os.environ.get("LIB_STEP_FILE")
        if path and self.is_main:
            with suppress(OSError), open(path, "r+b", buffering=0) as file:
                file.write(f"{self.step:12d}".encode())

    def _skip(self, outcome, steps):
        """Count a step whose loss is no number; after too many in a row go back: True then."""
        self.skipped += 1
        shown = f"loss {outcome.losses['loss']}, gradient norm {outcome.losses['gradient_norm']}; {self.skipped} in a row"
        self._event("skipped", self.step + 1, shown)
        if self.skipped < self.config.skips_in_a_row:
            return False
        self.saver.wait()
        self.accelerator.wait_for_everyone()
        checkpoint = checkpoints.find(self.folder) or self.origin.checkpoint
        if checkpoint is None or not self.adjustments.leave_out(checkpoint.step, self.step):
            tries = f"after {MOST_DETOURS} tries with other music" if checkpoint else "from the first steps on"
            raise NotLearning(f"{self.stage_name}: the loss is no number ({tries}, at step {self.step}). "
                              "Try a smaller --lr or --mixed-precision no, with a new --run.")  # fmt: skip
        self._restore(checkpoint)
        said = f"from step {self.step + 1} to {checkpoint.step}: {self.skipped} losses in a row were no numbers; other music now"
        steps.update(checkpoint.step - self.step)
        self.step, self.skipped = checkpoint.step, 0
        self._event("went_back", self.step, said)
        return True

    def _restore(self, checkpoint):
        self.trainer.restore(checkpoint)
        facts = checkpoint.manifest
        self.best, self.best_step, self.newest = facts["best"], facts["best_step"], facts["losses"]
        self.best = math.inf if self.best is None else self.best

    # --- Figures -----------------------------------------------------------------------------------------------

    def _record(self, outcome, steps):
        """Progress line, train.log, history.jsonl and trackers; whether validation was better than ever before."""
        config, step, last = self.config, self.step, self.step == self.total
        if outcome.done and (step % config.log_every == 0 or last):
            losses = outcome.losses
            self._write("train", {**losses, "lr": self.trainer.optimizer.param_groups[0]["lr"]})
            shown = {name: f"{losses[name]:.3g}" for name in list(losses)[:3]}
            mirror = {"mirror": self.mirror.state} if self.mirror else {}
            steps.set_postfix(epoch=self._epoch(), **shown, **mirror)
        if step % config.validate_every and not last:
            return False
        self._write("validation", self.trainer.validate(step))
        newest = self.newest.get("validation/loss", math.inf)
        improved = newest < self.best
        if improved:
            self.best, self.best_step = newest, step
        return improved

    def _epoch(self):
        return 1 + self.step * self.trainer.size // self.stage.stream.num_chunks

    def _write(self, split, figures):
        figures = {name: float(f"{float(value):.6g}") for name, value in figures.items()}
        self.newest = {**self.newest, **{f"{split}/{name}": value for name, value in figures.items()}}
        if not self.is_main:
            return
        line = {"step": self.step, "epoch": self._epoch(), "time": round(time.time(), 3), "split": split, **figures}
        append_history(self.folder, line)
        self.accelerator.log({f"{split}/{name}": value for name, value in figures.items()}, step=self.step)
        shown = " ".join(f"{k} {v:.4g}" for k, v in figures.items())
        log.info("step %d/%d %s %s", self.step, self.total, split, shown)

    def _event(self, event, step, text=""):
        if self.is_main:
            append_event(self.folder, event, step, text)

    # --- Saving ------------------------------------------------------------------------------------------------

    def _save(self):
        """Write a checkpoint of this step while training goes on."""
        if not self.is_main:
            self.saver.durable = self.step
            return
        step, config = self.step, self.config
        facts = {"stage": self.stage_name, "step": step, "run_id": self.origin.run_id, "saved_at": round(time.time(), 3),
                 "config": configs.as_values(config), "schedule": {"lr": config.lr, "total_steps": self.total},
                 "best": None if math.isinf(self.best) else self.best, "best_step": self.best_step, "losses": self.newest,
                 "adjustments": self.adjustments.values(), **self.sources, **self.stage.facts()}  # fmt: skip
        self.saver.wait()  # one snapshot at a time in memory
        state = self.trainer.snapshot()
        self.saver.start(step, lambda: self._write_checkpoint(facts, state))

    def _write_checkpoint(self, facts, state):
        step = facts["step"]
        try:
            checkpoints.save(self.folder, facts, checkpoints.serialised(*state), self.config.keep_checkpoints)
        except Exception as error:
            self._event("save_failed", step, f"{error}; training goes on")
            raise
        self._event("saved", step)
        if self.mirror:
            self.mirror.notify()

    def _end(self, stop, why):
        """The last checkpoint, what the stage leaves behind, and the mirror brought up to date if there is time."""
        if self.lease and self.lease.lost:
            raise LeaseError(f"{self.lease.lost}: stopped at step {self.step} without saving. That one goes on.")
        if self.is_main and self.skipped == 0 and self.saver.durable != self.step:
            self._save()
            self.saver.wait()
            if self.saver.error:
                raise SaveError(f"The last checkpoint of {self.folder} could not be written: {self.saver.error}. Step "
                                f"{self.saver.durable} is safe; make room and run this again.") from self.saver.error  # fmt: skip
        self.accelerator.wait_for_everyone()
        if self.is_main:
            self._finish()
            self._event("stopped" if why else "finished", self.step, why)
        if self.mirror:
            self._flush(FLUSH_S.get(why.removeprefix("stopped by "), FLUSH_S[""]))

    def _finish(self):
        """What the stage leaves behind, once for each last step."""
        done = self.folder / "finished"
        if self.step < self.total or (done.exists() and done.read_text(encoding="utf-8") == str(self.step)):
            return
        made = self.stage.finish(self.folder)
        if made and self.mirror:
            self.mirror.finish(made)
        write_text(done, str(self.step))

    def _flush(self, seconds):
        if not self.mirror.flush(seconds):
            log.warning("the mirror is behind: %s", self.mirror.state)
            print(f"The mirror is behind ({self.mirror.state}): the newest checkpoint is on this machine only.", flush=True)

    def message(self, why, seconds):
        """What happened and what to do, in one line."""
        if self.start == self.step:
            return f"{self.stage_name}: all {self.step} steps were done before; nothing to do. Run: {self.folder}"
        done = f"{self.stage_name}: steps {self.start} to {self.step} of {self.total} in {timedelta(seconds=round(seconds))}"
        if self.step < self.total:
            return f"{done}; {why} and saved. Run this cell (or command) again and it goes on. Run: {self.folder}"
        return f"{done}; finished. Run: {self.folder}"
