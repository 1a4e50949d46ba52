"""One optimizer step, the same whatever happens around it.

The global batch of a step is cut twice: into a contiguous slice a process, and into micro-batches that fit the memory.
Each part's loss is weighted by its share of the global batch and the gradients are summed over all of them, so that
the cut changes nothing but the order of additions. A step that runs out of memory is repeated with half the
micro-batch; one whose loss is no number is left out.
"""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass

import torch

from lib.checkpoints.checkpoint import snapshot
from lib.checkpoints.config_migration import put_weights, renamed_tensors
from lib.config import ConfigError
from lib.devices import autocast, give_back_memory, make_scaler
from lib.training.optimizers import make_optimizer

GIVE_BACK_EVERY = 10  # steps; it takes a tenth of a second
FINAL_LR_SHARE = 0.1  # of the peak, at the last step of a cosine
# the last is oneDNN's, which names no cause; a step that fails so for another reason fails at every size, in the end aloud
WORDS_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED", "could not create a primitive")


class MemoryUsedUp(ConfigError):
    """One chunk at a time is still too much for this device."""


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Attributes
    ----------
    losses : means over the global batch by name, and "gradient_norm"
    done : False where the step was left out: a loss or gradient was no number
    counts : whether that is a fault; the scaler of fp16 leaves steps out by design
    """

    losses: dict
    done: bool = True
    counts: bool = True


class Trainer:
    """A stage's model, its optimizer and averaged weights, on this process's device.

    Parameters
    ----------
    stage : of stages.py
    accelerator : of devices.py: which process we are, and sums over processes
    adjustments : of adjustments.py
    total : steps of the whole training
    say : callable(event, step, text), for what happens on the way
    """

    def __init__(self, stage, accelerator, adjustments, total, say):
        self.stage, self.config, self.accelerator = stage, stage.config, accelerator
        self.adjustments, self.total, self.say = adjustments, total, say
        self.device = accelerator.device
        self.model = stage.to(self.device).model.to(self.device)
        self.optimizer = make_optimizer(self.model, self.config)
        self.scaler = make_scaler(self.config, self.device)
        self.ema = {k: v.detach().clone() for k, v in self.model.state_dict().items()} if self.config.ema_decay else None
        rank, processes = accelerator.process_index, accelerator.num_processes
        self.size = self.config.batch_size * self.config.gradient_accumulation
        self.first, self.last = rank * self.size // processes, (rank + 1) * self.size // processes
        if self.size < processes:
            raise ConfigError(f"{processes} processes share a global batch of {self.size}: raise batch_size.")

    # --- One step ----------------------------------------------------------------------------------------------

    def step(self, step):
        """Do optimizer step `step` (from 0) over the global batch: Outcome.

        Raises
        ------
        MemoryUsedUp : out of memory with micro-batches of 1
        """
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * lr_share(self.config, step, self.total)
        losses = self._gradients(step)
        self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm))
        losses["gradient_norm"] = norm
        if not (math.isfinite(losses["loss"]) and math.isfinite(norm)):
            return self._leave_out(losses)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        share = (self.first / self.size, (self.last - self.first) / self.size)
        logged = self.stage.after_step(step, self._sum if self.accelerator.num_processes > 1 else None, share)
        self._average(step)
        if self.device.type == "cpu" and step % GIVE_BACK_EVERY == 0:
            give_back_memory()
        return Outcome({**losses, **logged})

    def _leave_out(self, losses):
        counts = True
        if self.scaler.is_enabled() and math.isfinite(losses["loss"]):  # too large for fp16: the scale was too high
            self.scaler.step(self.optimizer), self.scaler.update()
            counts = self.scaler.get_scale() < 1
        self._forget()
        return Outcome(losses, done=False, counts=counts)

    def _forget(self):
        self.optimizer.zero_grad()
        self.stage.forget()

    def _gradients(self, step):
        """Gradients and mean losses of the global batch."""
        return self._gathered(self._within_memory(step, lambda micro: [
            self._backward(step, first, min(first + micro, self.last)) for first in range(self.first, self.last, micro)
        ]))  # fmt: skip

    def _within_memory(self, step, work):
        """`work(micro-batch)`; again with half of it where memory runs out, in whichever process."""
        while True:
            self.stage.micro_batch, done, short = self.adjustments.micro_batch(step), None, False
            try:
                done = work(self.stage.micro_batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                short = True
            if not self._any(short):
                return done
            self._forget()
            self._smaller(step)

    def _backward(self, step, first, last):
        """Gradients of one micro-batch, its losses by their share of the global batch."""
        batch = self.stage.stream.batch(self.adjustments.data_step(step), first, last, self.device)
        with autocast(self.config, self.device):
            losses = self.stage.losses(self.model, batch)
        share = (last - first) / self.size
        self.scaler.scale(losses["loss"] * share).backward()
        return {name: value.detach().float() * share for name, value in losses.items()}

    def _smaller(self, step):
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        before, size = self.adjustments.micro_batch(step), self.adjustments.halve(step)
        if not size:
            raise MemoryUsedUp("Out of memory with one chunk at a time: take a smaller --preset, or a device with more.")
        parts = math.ceil((self.last - self.first) / size)
        self.say("out_of_memory", step, f"{before} chunks at a time did not fit; now {size}, {parts} forward passes a step")

    def _gathered(self, rows):
        """Sums over processes of gradients and losses; the losses as floats."""
        totals = torch.stack([torch.stack([row[name] for row in rows]).sum() for name in rows[0]])
        if self.accelerator.num_processes > 1:
            totals = self._sum(totals)
            with torch.no_grad():
                for parameter in self.model.parameters():
                    if parameter.requires_grad:
                        own = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
                        parameter.grad = self._sum(own)
        return dict(zip(rows[0], totals.tolist(), strict=True))

    def _sum(self, tensor):
        return self.accelerator.reduce(tensor, "sum")

    def _any(self, flag):
        """Whether it is so in any process: they must not part ways."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self._sum(torch.tensor(float(flag), device=self.device)) > 0)

    def agree(self, flag):
        """Whether any process wants it, such as to stop here."""
        return self._any(bool(flag))

    def _average(self, step):
        if self.ema is None:
            return
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))  # follow fast while young
        for name, value in self.model.state_dict().items():
            self.ema[name].lerp_(value.detach(), 1 - decay)

    # --- Validation and state ----------------------------------------------------------------------------------

    @torch.no_grad()
    def validate(self, step):
        """Figures of the averaged weights where there are any, after optimizer step `step`."""
        current = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        if self.ema is not None:
            self.model.load_state_dict(self.ema)
        self.model.eval()
        figures = self._within_memory(step, lambda micro: self.stage.validate(self.model))
        self.model.load_state_dict(current)
        self.model.train()
        return figures

    def snapshot(self):
        """(tensors by file, optimizer's state, scaler's state), copied to the CPU: see checkpoint.serialised."""
        tensors = {"model": self.model.state_dict(), **self.stage.tensors()}
        if self.ema is not None:
            tensors["ema"] = self.ema
        return snapshot(tensors), snapshot(self.optimizer.state_dict()), self.scaler.state_dict()

    def restore(self, checkpoint):
        """Take over weights, optimizer, scaler and averages of a checkpoint."""
        put_weights(self.model, checkpoint.tensors("model"), checkpoint.path)
        self.optimizer.load_state_dict(checkpoint.optimizer())
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(checkpoint.scaler())
        if self.ema is not None:
            averages = renamed_tensors(self.model, checkpoint.weights())
            self.ema = {key: tensor.to(self.device) for key, tensor in averages.items()}


def is_out_of_memory(error):
    """Whether a device or the machine has run out of memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in WORDS_OF_MEMORY)


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
