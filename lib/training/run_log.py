"""Logging of a training: figures and speed in history.jsonl, train.log and trackers; events; a progress bar."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from lib.checkpoints.history import SPEEDS, append_event, append_history
from lib.progress import progress_bar
from lib.training.stages.stage import Stage

log = logging.getLogger("lib.training")
SHOWN_LOSSES = 3  # in the progress bar


class Speed:
    """How fast the steps are: every row of a history has these figures.

    Of the steps since the row before, validation and logging left out: `ms_per_step` is wall time, `tokens_per_s`
    counts what the model reads of the global batch (Stage.tokens_per_example: codes of latent frames, or notes), and
    `seconds_left` is what the remaining steps take at this speed.
    """

    def __init__(self, tokens_per_step: int, clock=time.perf_counter):
        self.tokens_per_step, self.clock = tokens_per_step, clock
        self._began, self._steps, self._seconds, self._step_s = clock(), 0, 0.0, None

    def begin(self) -> None:
        """A step begins."""
        self._began = self.clock()

    def end(self) -> None:
        """It has ended."""
        self._steps += 1
        self._seconds += self.clock() - self._began

    def figures(self, steps_left: int) -> dict[str, float]:
        """Of the steps since the last call, or of those before where there were none since."""
        if self._steps:
            self._step_s = self._seconds / self._steps
            self._steps, self._seconds = 0, 0.0
        if self._step_s is None:
            return {}
        ms_per_step, tokens_per_s = 1000 * self._step_s, self.tokens_per_step / self._step_s
        seconds_left = steps_left * self._step_s
        figures = zip(SPEEDS, (ms_per_step, tokens_per_s, seconds_left), strict=True)
        return {name: float(f"{value:.4g}") for name, value in figures}


def speed_text(speed: dict[str, float]) -> str:
    """'120 ms/step 24,500 tokens/s 1:05:20 left', of `Speed.figures`."""
    if not speed:
        return ""
    left = timedelta(seconds=round(speed["seconds_left"]))
    return f"{speed['ms_per_step']:.4g} ms/step {speed['tokens_per_s']:,.0f} tokens/s {left} left"


class RunLog:
    """The logs of one call of train; of several processes one writes.

    Parameters
    ----------
    folder : of the run
    name : of the stage, for the progress bar
    stage : whose stream knows the epoch of a step
    accelerator : of devices.make_accelerator: whether this process writes, and trackers
    start, total : steps done, and of the whole training

    Attributes
    ----------
    writes : whether this process does
    speed : of its steps
    newest : dict "SPLIT/NAME" -> the newest figure, for manifests
    """

    def __init__(self, folder: Path, name: str, stage: Stage, accelerator, start: int, total: int):
        self.folder, self.stream, self.accelerator, self.total = folder, stage.stream, accelerator, total
        self.writes, self.newest = accelerator.is_main_process, {}
        self.speed = Speed(stage.stream.global_batch * stage.tokens_per_example)
        self.bar = progress_bar(total=total, initial=start, desc=name, unit="step")

    def event(self, event: str, step: int, text: str = "", **fields) -> None:
        """What happened: see history.append_event."""
        if self.writes:
            append_event(self.folder, event, step, text, **fields)

    def row(self, step: int, split: str, figures: dict[str, float]) -> None:
        """Figures of a split at a step: history.jsonl, train.log and trackers."""
        figures = {name: float(f"{float(value):.6g}") for name, value in figures.items()}
        self.newest = {**self.newest, **{f"{split}/{name}": value for name, value in figures.items()}}
        if not self.writes:
            return
        speed = self.speed.figures(self.total - step)
        line = {"step": step, "epoch": self.epoch(step), "time": round(time.time(), 3), "split": split}
        append_history(self.folder, {**line, **figures, **speed})
        self.accelerator.log({f"{split}/{name}": value for name, value in {**figures, **speed}.items()}, step=step)
        text = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
        log.info("step %d/%d %s %s %s", step, self.total, split, text, speed_text(speed))

    def epoch(self, step: int) -> int:
        """Of the next step, from 1."""
        return 1 + self.stream.epoch(step)

    def show(self, step: int, losses: dict[str, float], mirror_state: str | None) -> None:
        """Losses behind the progress bar."""
        shown = {name: f"{losses[name]:.3g}" for name in list(losses)[:SHOWN_LOSSES]}
        mirror = {} if mirror_state is None else {"mirror": mirror_state}
        self.bar.set_postfix(epoch=self.epoch(step), **shown, **mirror)

    def advance(self, step: int) -> None:
        """A step is done: the progress bar, and the file in which until_done.py looks for it."""
        self.bar.update(step - self.bar.n)
        path = os.environ.get("LIB_STEP_FILE")
        if path and self.writes:
            with suppress(OSError), open(path, "r+b", buffering=0) as file:
                file.write(f"{step:12d}".encode())
