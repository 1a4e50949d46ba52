"""The training loop: one for every stage, resumable at any step.

Run again with the same arguments, a run goes on from its newest valid checkpoint; because every batch is a function
of its step (stream.py), it goes on as if it had never stopped.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from lib import config as configs
from lib.progress import progress_bar
from lib.training import checkpoint as checkpoints
from lib.training.budget import stop_requested
from lib.training.devices import choose_device, make_accelerator
from lib.training.history import append_history, logging_to
from lib.training.sources import check_unchanged, find_sources, fingerprints
from lib.training.stages import STAGES

log = logging.getLogger("lib.training")
FINAL_LR_SHARE = 0.1  # of the peak, at the last step of a cosine
# what may differ when a run goes on: nothing that changes the weights' trajectory before the change
FREE = {"preset", "epochs", "steps", "device", "mixed_precision", "log_every", "validate_every", "save_every",
        "keep_checkpoints", "tracker", "validation_batches", "final_name"}  # fmt: skip


@dataclass(frozen=True)
class TrainResult:
    """How a call of train ended.

    Attributes
    ----------
    run : Path; step, total_steps : optimizer steps; finished : whether step == total_steps
    losses : the newest training and validation figures; seconds : of this call
    resumed_from_step : 0 for a new run; message : one sentence for people
    """

    run: Path
    step: int
    total_steps: int
    finished: bool
    losses: dict
    seconds: float
    resumed_from_step: int
    message: str


def train(config, data_dir, runs_dir, run=None, vqvae_run=None, style_encoder_run=None, diffusion_run=None,
          time_budget_s=None, wandb_project=None):  # fmt: skip
    """Train a stage, or go on training it.

    Parameters
    ----------
    config : a stage's config (lib.config.preset); its type says which stage
    data_dir, runs_dir : folders of note stores and of runs
    run : name of the run's folder in runs_dir; None: the stage's name
    vqvae_run, style_encoder_run, diffusion_run : runs this stage builds on; None: runs_dir/STAGE
    time_budget_s : stop and save at the first step boundary after so many seconds
    wandb_project : log to Weights & Biases as well

    Returns
    -------
    TrainResult

    Raises
    ------
    CheckpointError, ConfigError, CorpusError : nothing has been changed
    """
    began = time.monotonic()
    stage_name = configs.stage_of(config)
    choose_device(config.device)  # said before anything is written
    given = {"vqvae": vqvae_run, "style_encoder": style_encoder_run, "diffusion": diffusion_run}
    runs_dir = Path(runs_dir)
    sources = find_sources(stage_name, runs_dir, given)
    if stage_name == "fine_tune":
        source = checkpoints.require(sources["diffusion"], "diffusion")
        config = configs.inherit_model(config, configs.build(configs.DiffusionConfig, source.manifest["config"]))
    folder = runs_dir / (run or stage_name)
    resumed = _resumable(folder, config, stage_name)
    if resumed is not None:
        check_unchanged(resumed, sources)
    with torch.random.fork_rng(devices=[]):  # the first weights follow from the seed, and nothing else does
        torch.manual_seed(config.seed)
        stage = STAGES[stage_name](config, data_dir, folder if resumed else None, sources)
    with logging_to(folder):
        stage.keep(folder)
        return _Training(stage, stage_name, folder, sources, wandb_project).go(resumed, began, time_budget_s)


def _resumable(folder, config, stage_name):
    """The checkpoint to go on from, or None for a new run; CheckpointError where the run is another config's."""
    if not folder.exists():
        return None
    checkpoint = checkpoints.find(folder)
    if checkpoint is None:
        return None
    if checkpoint.manifest["stage"] != stage_name:
        raise checkpoints.CheckpointError(f"{folder} is a run of {checkpoint.manifest['stage']!r}; use another --run.")
    before, now = checkpoint.manifest["config"], json.loads(json.dumps(configs.as_values(config)))
    differing = [name for name in now if name not in FREE and before.get(name) != now[name]]
    if differing:
        changes = ", ".join(f"{name}: {before.get(name)} there, {now[name]} asked" for name in differing)
        raise checkpoints.CheckpointError(
            f"{folder} was trained with another config ({changes}). Go on with its own values, or name a new --run."
        )
    return checkpoint


class _Training:
    """One call of train: the state that its steps share."""

    def __init__(self, stage, stage_name, folder, sources, wandb_project):
        self.stage, self.stage_name, self.config, self.folder = stage, stage_name, stage.config, folder
        paths = {name: os.path.relpath(path, folder) for name, path in sources.items()}
        self.sources = {"sources": paths, "source_sha256": fingerprints(sources)}
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints.write_text(folder / "config.json", json.dumps(configs.as_values(self.config), indent=1))
        self.accelerator = make_accelerator(self.config, folder, wandb_project)
        model = stage.to(self.accelerator.device).model
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.plain = self.accelerator.unwrap_model(self.model)
        self.ema = {k: v.detach().clone() for k, v in self.plain.state_dict().items()} if self.config.ema_decay else None
        self.total = total_steps(self.config, stage.stream.num_chunks)
        self.best = math.inf
        self.newest = {}

    def go(self, resumed, began, time_budget_s):
        """Train from the checkpoint (or from nothing) to the last step, a stop signal or the end of the budget."""
        start = self._restore(resumed) if resumed is not None else 0
        steps = progress_bar(total=self.total, initial=start, desc=self.stage_name, unit="step")
        step, why = start, ""
        with stop_requested() as stop, steps:
            while step < self.total and not why:
                step += 1
                losses = self._step(step - 1)
                steps.update()
                over = time_budget_s is not None and time.monotonic() - began >= time_budget_s
                why = "stopped" if stop.is_set() else "time budget used up" if over else ""
                last = step == self.total or bool(why)
                improved = self._record(step, losses, steps, last)
                if last or improved or step % self.config.save_every == 0:
                    self._save(step, improved)
        self._finish(step)
        self.accelerator.end_training()
        seconds = time.monotonic() - began
        message = self._message(start, step, why, seconds)
        log.info(message)
        return TrainResult(self.folder, step, self.total, step >= self.total, self.newest, seconds, start, message)

    def _finish(self, step):
        """What the stage leaves behind, once for each last step."""
        done = self.folder / "finished"
        if step >= self.total and not (done.exists() and done.read_text(encoding="utf-8") == str(step)):
            self.stage.finish(self.folder)
            checkpoints.write_text(done, str(step))

    def _restore(self, checkpoint):
        self.plain.load_state_dict(checkpoint.weights(averaged=False))
        self.optimizer.load_state_dict(checkpoint.optimizer())
        if self.ema is not None:
            self.ema = {k: v.to(self.accelerator.device) for k, v in checkpoint.weights().items()}
        self.best, self.newest = checkpoint.manifest["best"], checkpoint.manifest["losses"]
        log.info("going on from step %d of %d (%s)", checkpoint.step, self.total, checkpoint.path.name)
        return checkpoint.step

    def _step(self, step):
        """One optimizer step over the global batch; returns its mean losses."""
        config, accelerator = self.config, self.accelerator
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * lr_share(config, step, self.total)
        rows, parts = [], config.gradient_accumulation
        for part in range(parts):
            last = part == parts - 1
            with nullcontext() if last else accelerator.no_sync(self.model):
                rows.append(self._backward(step, part))
        norm = accelerator.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        logged = self.stage.after_step(step, self._sum if accelerator.num_processes > 1 else None)
        self._average(step)
        losses = {name: sum(float(row[name]) for row in rows) / parts for name in rows[0]}
        return {**losses, **logged, "gradient_norm": float(norm)}

    def _backward(self, step, part):
        """Gradients of one micro-batch: this process's share of it."""
        size, processes = self.config.batch_size, self.accelerator.num_processes
        share = size // processes
        first = part * size + self.accelerator.process_index * share
        batch = self.stage.stream.batch(step, first, first + share, self.accelerator.device)
        with self.accelerator.autocast():
            losses = self.stage.losses(self.model, batch)
        self.accelerator.backward(losses["loss"] / self.config.gradient_accumulation)
        return {name: value.detach() for name, value in losses.items()}

    def _sum(self, tensor):
        return self.accelerator.reduce(tensor, "sum")

    def _average(self, step):
        if self.ema is None:
            return
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))  # follow fast while young
        for name, value in self.plain.state_dict().items():
            self.ema[name].lerp_(value.detach(), 1 - decay)

    def _record(self, step, losses, steps, last):
        """Progress line, train.log, history.jsonl and trackers; whether validation was better than ever before."""
        config = self.config
        if step % config.log_every == 0 or last:
            self._write(step, "train", {**losses, "lr": self.optimizer.param_groups[0]["lr"]})
            steps.set_postfix(epoch=self._epoch(step), **{k: f"{losses[k]:.3g}" for k in list(losses)[:3]})
        if step % config.validate_every == 0 or last:
            self._write(step, "validation", self._validate())
            newest = self.newest.get("validation/loss", math.inf)
            improved, self.best = newest < self.best, min(self.best, newest)
            return improved
        return False

    def _epoch(self, step):
        return 1 + step * self.config.batch_size * self.config.gradient_accumulation // self.stage.stream.num_chunks

    def _write(self, step, split, figures):
        if not self.accelerator.is_main_process:
            return
        figures = {name: float(f"{float(value):.6g}") for name, value in figures.items()}
        self.newest = {**self.newest, **{f"{split}/{name}": value for name, value in figures.items()}}
        line = {"step": step, "epoch": self._epoch(step), "time": round(time.time(), 3), "split": split, **figures}
        append_history(self.folder, line)
        self.accelerator.log({f"{split}/{name}": value for name, value in figures.items()}, step=step)
        log.info("step %d/%d %s %s", step, self.total, split, " ".join(f"{k} {v:.4g}" for k, v in figures.items()))

    @torch.no_grad()
    def _validate(self):
        """Figures of the averaged weights where there are any."""
        current = {k: v.detach().clone() for k, v in self.plain.state_dict().items()}
        if self.ema is not None:
            self.plain.load_state_dict(self.ema)
        self.plain.eval()
        figures = self.stage.validate(self.plain)
        self.plain.load_state_dict(current)
        self.plain.train()
        return figures

    def _save(self, step, improved):
        if not self.accelerator.is_main_process:
            return
        is_best = improved or not (self.folder / "best").exists()
        facts = {"stage": self.stage_name, "step": step, "config": configs.as_values(self.config), "best": self.best,
                 "losses": self.newest, **self.sources, **self.stage.facts()}  # fmt: skip
        state = (self.plain.state_dict(), self.optimizer.state_dict(), self.ema)
        checkpoints.save(self.folder, facts, *state, keep=self.config.keep_checkpoints, is_best=is_best)

    def _message(self, start, step, why, seconds):
        if start == step:
            return f"{self.stage_name}: all {step} steps were done before; nothing to do. Run: {self.folder}"
        done = f"{self.stage_name}: steps {start} to {step} of {self.total} in {seconds:.0f} s"
        if step < self.total:
            return f"{done}; {why} and saved. Run this again and it goes on. Run: {self.folder}"
        return f"{done}; finished. Run: {self.folder}"


def total_steps(config, num_chunks):
    """Optimizer steps of a whole training."""
    size = config.batch_size * config.gradient_accumulation
    by_epochs = math.ceil(config.epochs * num_chunks / size)
    return by_epochs if config.steps is None else min(config.steps, by_epochs)


def lr_share(config, step, total):
    """Learning rate at a step as a share of the peak: linear warm-up, then constant or cosine."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return 1.0
    progress = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
