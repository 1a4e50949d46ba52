"""Training of a stage's model: forward and backward, clipping, update, averages, validation, state.

The global batch of a step is cut twice: into a contiguous slice a process, and into micro-batches that fit the memory.
Each part's loss is weighted by its share of the global batch and the gradients are summed over all of them, so that the
cut changes nothing but the order of additions. A step that runs out of memory is repeated with half the micro-batch.
"""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from lib.checkpoints.checkpoint import Checkpoint, snapshot
from lib.checkpoints.config_migration import put_weights, renamed_tensors
from lib.config import ConfigError, StageConfig
from lib.devices import autocast_dtype, give_back_memory
from lib.storage.atomic_write import write_text
from lib.storage.manifest import DamageError, sealed, unsealed
from lib.training.optimizers import Share, make_optimizer
from lib.training.stages.stage import Stage

ADJUSTMENTS = "adjustments.json"
MOST_DETOURS = 3  # from the same checkpoint
GIVE_BACK_EVERY = 10  # steps; it takes a tenth of a second
FINAL_LR_SHARE = 0.1  # of the peak, at the last step of a cosine
DECAY_SHARE = 0.2  # of the steps, in which a stable learning rate falls to nothing
# of plain RuntimeErrors: torch's MPS backend, its CPU allocator, cuBLAS, and oneDNN, which names no cause; a step that
# fails so for another reason fails at every size, in the end with this very error
MEMORY_MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "ALLOC_FAILED",
    "could not create a primitive",
)


class MemoryUsedUp(ConfigError):
    """One chunk at a time is still too much for this device."""


class Adjustments:
    """What a run had to change on its way, kept in RUN/adjustments.json so that resuming repeats it.

    Smaller micro-batches since a step (memory ran out there), and detours: where the loss was no longer finite,
    training went back to a checkpoint and took other music from there on (Chowdhery et al. 2022, PaLM, section 5.1).

    Parameters
    ----------
    run : the run's folder
    batch_size : of the config: the micro-batch where nothing was changed
    values : dict of lists as `values` returns it, for where the run's file is lost; None: nothing was changed
    writes : whether to write the file: one of several processes does
    """

    def __init__(self, run: Path, batch_size: int, values: dict | None = None, writes: bool = True):
        self.path, self.batch_size, self.writes = Path(run) / ADJUSTMENTS, batch_size, writes
        with suppress(OSError, UnicodeDecodeError, DamageError):
            values = unsealed(self.path.read_text(encoding="utf-8"), self.path) or values
        values = values or {}
        self.micro_batches = list(values.get("micro_batches", []))  # of [from step, size]
        self.detours = list(values.get("detours", []))  # of [from step, steps of music left out]

    def values(self) -> dict[str, list]:
        """As plain lists, for a manifest."""
        return {"micro_batches": list(self.micro_batches), "detours": list(self.detours)}

    def micro_batch(self, step: int) -> int:
        """Chunks in one forward pass at a step."""
        return min([self.batch_size, *(size for first, size in self.micro_batches if first <= step)])

    def data_step(self, step: int) -> int:
        """The step whose music, noise and dropout a step gets."""
        return step + sum(left_out for first, left_out in self.detours if first <= step)

    def halve(self, step: int) -> int:
        """From this step on half the micro-batch; returns its size, 0 where it was 1 already."""
        size = self.micro_batch(step) // 2
        if size:
            self.micro_batches.append([step, size])
            self._write()
        return size

    def leave_out(self, step: int, failed_at: int) -> bool:
        """Continue from `step` with the music that comes after `failed_at`; False where that was tried often enough."""
        if sum(first == step for first, _ in self.detours) >= MOST_DETOURS:
            return False
        self.detours.append([step, failed_at + 1 - step])
        self._write()
        return True

    def _write(self):
        if self.writes:
            write_text(self.path, sealed(self.values()))


class Trainer:
    """A stage's model, its optimizer and averaged weights, on this process's device.

    Parameters
    ----------
    stage : of stages; prepared
    accelerator : of devices.make_accelerator: which process this is, and sums over processes
    adjustments : Adjustments
    total_steps : of the whole training
    report : callable(event, step, text), for what happens on the way

    Raises
    ------
    ConfigError : more processes than chunks in a global batch
    """

    def __init__(self, stage: Stage, accelerator, adjustments: Adjustments, total_steps: int, report: Callable):
        self.stage, self.config, self.accelerator = stage, stage.config, accelerator
        self.adjustments, self.total_steps, self.report = adjustments, total_steps, report
        self.device = accelerator.device
        self.model = stage.to(self.device).model
        rank, processes = accelerator.process_index, accelerator.num_processes
        self.optimizer = make_optimizer(self.model, self.config, Share(rank, processes, self._sum))
        self.autocast_dtype = autocast_dtype(self.config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.autocast_dtype is torch.float16)
        self.worker = self.model
        if stage.in_bfloat16 and self.autocast_dtype == torch.bfloat16:  # quicker than casting in each layer
            self.worker, self.autocast_dtype = copy.deepcopy(self.model).bfloat16(), None
        self.gradients = _gradient_buffer(self.model)
        self.ema = copied(self.model.state_dict()) if self.config.ema_decay else None
        self.global_batch = stage.stream.global_batch
        self.first, self.last = rank * self.global_batch // processes, (rank + 1) * self.global_batch // processes
        if self.global_batch < processes:
            raise ConfigError(f"{processes} processes share a global batch of {self.global_batch}: raise batch_size.")

    # --- The parts of a step, see loop.optimizer_step -----------------------------------------------------------

    def set_learning_rate(self, step: int) -> None:
        """The learning rate of optimizer step `step` (from 0)."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * lr_share(self.config, step, self.total_steps)

    def forward_backward(self, step: int) -> dict[str, float]:
        """Gradients of the global batch; its mean losses by name.

        Raises
        ------
        MemoryUsedUp : out of memory with micro-batches of 1
        """
        self.worker.train()

        def all_parts(micro_batch):
            firsts = range(self.first, self.last, micro_batch)
            return [self._part(step, first, min(first + micro_batch, self.last)) for first in firsts]

        return self._summed(self._within_memory(step, all_parts))

    def _part(self, step, first, last):
        """Gradients of one micro-batch, its losses by their share of the global batch."""
        batch = self.stage.stream.batch(self.adjustments.data_step(step), first, last, self.device)
        with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
            losses = self.stage.losses(self.worker, batch)
        share = (last - first) / self.global_batch
        self.scaler.scale(losses["loss"] * share).backward()
        self._collect_gradients()
        return {name: value.detach().float() * share for name, value in losses.items()}

    def _collect_gradients(self):
        """Add those of the working copy to the model's, in full precision."""
        if self.worker is self.model:
            return
        for parameter, own in zip(self.worker.parameters(), self.model.parameters(), strict=True):
            if parameter.grad is not None:
                own.grad.add_(parameter.grad)
                parameter.grad = None

    def clip_gradients(self) -> float:
        """Clip them to max_grad_norm; the norm that they had."""
        self.scaler.unscale_(self.optimizer)
        norm = torch.linalg.vector_norm(self.gradients)
        self.gradients.mul_((self.config.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        return float(norm)

    def update(self, step: int) -> dict[str, float]:
        """Step the optimizer, the codebook where the stage has one, and the averaged weights; what there is to log."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.gradients.zero_()
        self._refresh_worker()
        logged = {}
        if self.stage.after_step is not None:
            share = (self.first / self.global_batch, (self.last - self.first) / self.global_batch)
            logged = self.stage.after_step(step, self._sum if self.accelerator.num_processes > 1 else None, share)
        if self.ema is not None:
            decay = min(self.config.ema_decay, (1 + step) / (10 + step))  # follow fast while young
            for name, value in self.model.state_dict().items():
                self.ema[name].lerp_(value.detach(), 1 - decay)
        if self.device.type == "cpu" and step % GIVE_BACK_EVERY == GIVE_BACK_EVERY - 1:
            give_back_memory()
        return logged

    def leave_out(self, losses: dict[str, float]) -> bool:
        """Drop a step whose loss or gradient is not finite; False where that is no fault: fp16's scale was too high."""
        is_fault = True
        if self.scaler.is_enabled() and math.isfinite(losses["loss"]):
            self.scaler.step(self.optimizer), self.scaler.update()
            is_fault = self.scaler.get_scale() < 1
        self._forget()
        return is_fault

    @torch.no_grad()
    def _refresh_worker(self):
        if self.worker is not self.model:
            torch._foreach_copy_(list(self.worker.parameters()), list(self.model.parameters()))

    def _forget(self):
        self.gradients.zero_()
        for parameter in self.worker.parameters() if self.worker is not self.model else ():
            parameter.grad = None
        if self.stage.forget is not None:
            self.stage.forget()

    # --- Memory --------------------------------------------------------------------------------------------------

    def _within_memory(self, step, work):
        """`work(micro-batch)`; again with half of it where memory runs out, in whichever process."""
        while True:
            self.stage.micro_batch, result, is_short = self.adjustments.micro_batch(step), None, False
            try:
                result = work(self.stage.micro_batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                is_short = True
            if not self.agree(is_short):
                return result
            self._forget()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            size = self.adjustments.halve(step)
            if not size:
                raise MemoryUsedUp(
                    "Out of memory with one chunk at a time: use a smaller --preset, or a device with more memory."
                )
            passes = math.ceil((self.last - self.first) / size)
            text = f"{self.stage.micro_batch} chunks at a time did not fit; now {size}, {passes} forward passes a step"
            self.report("out_of_memory", step, text)

    # --- Processes -----------------------------------------------------------------------------------------------

    def _summed(self, rows):
        """Sums over micro-batches and processes of losses, over processes of gradients; the losses as floats."""
        totals = torch.stack([torch.stack([row[name] for row in rows]).sum() for name in rows[0]])
        if self.accelerator.num_processes > 1:
            totals = self._sum(totals)
            self.gradients.copy_(self._sum(self.gradients))
        return dict(zip(rows[0], totals.tolist(), strict=True))

    def _sum(self, tensor):
        return self.accelerator.reduce(tensor, "sum")

    def agree(self, flag: bool) -> bool:
        """Whether a condition holds in any process, for example a request to stop, so that all processes act alike."""
        if self.accelerator.num_processes == 1:
            return bool(flag)
        return bool(self._sum(torch.tensor(float(bool(flag)), device=self.device)) > 0)

    # --- Validation and state ------------------------------------------------------------------------------------

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        """Figures of the averaged weights where there are any, after optimizer step `step`."""
        current = copied(self.model.state_dict())
        if self.ema is not None:
            self.model.load_state_dict(self.ema)
        self.model.eval()
        figures = self._within_memory(step, lambda micro_batch: self.stage.validate(self.model))
        self.model.load_state_dict(current)
        self.model.train()
        return figures

    def snapshot(self) -> tuple[dict[str, dict[str, Tensor]], dict, dict]:
        """(tensors by file, optimizer's state, scaler's state), copied to the CPU: see checkpoint.serialised."""
        tensors = {"model": self.model.state_dict(), **self.stage.tensors()}
        if self.ema is not None:
            tensors["ema"] = self.ema
        return snapshot(tensors), snapshot(self.optimizer.state_dict()), self.scaler.state_dict()

    def checkpoint_bytes(self) -> tuple[int, int]:
        """Sizes of a checkpoint, at most, and of its weights alone."""
        model = sum(tensor.nbytes for tensor in self.model.state_dict().values())
        weights = model if self.ema is None else 2 * model
        return weights + 2 * model, weights  # AdamW keeps two numbers a weight, Muon one

    def begin_with(self, weights: dict[str, Tensor], where: object) -> None:
        """Take over weights alone; ConfigError, which names where they are from, if they are of another model."""
        put_weights(self.model, weights, where)
        self._refresh_worker()
        self.ema = None if self.ema is None else copied(self.model.state_dict())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over weights, optimizer, scaler and averages of a checkpoint."""
        put_weights(self.model, checkpoint.tensors("model"), checkpoint.path)
        self._refresh_worker()
        self.optimizer.load_state_dict(checkpoint.optimizer())
        if self.scaler.is_enabled() and (state := checkpoint.scaler()):  # none of a GPU that trained in bf16
            self.scaler.load_state_dict(state)
        if self.ema is not None:
            averages = renamed_tensors(self.model, checkpoint.weights())
            self.ema = {name: tensor.to(self.device) for name, tensor in averages.items()}


def _gradient_buffer(model):
    """Memory for the gradients of all trained parameters, one behind the other; each is a view into it."""
    trained = [p for p in model.parameters() if p.requires_grad]
    buffer = torch.zeros(sum(p.numel() for p in trained), device=trained[0].device)
    for parameter, part in zip(trained, buffer.split([p.numel() for p in trained]), strict=True):
        parameter.grad = part.view_as(parameter)
    return buffer


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict that training does not change."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine has run out of memory: by type, and by words where torch has no type for it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in MEMORY_MESSAGES)


def total_steps(config: StageConfig, num_chunks: int) -> int:
    """Optimizer steps of a whole training."""
    by_epochs = math.ceil(config.epochs * num_chunks / (config.batch_size * config.gradient_accumulation))
    return by_epochs if config.steps is None else min(config.steps, by_epochs)


def lr_share(config: StageConfig, step: int, total: int) -> float:
    """Learning rate at a step as a share of the peak: linear warm-up, then constant, cosine or stable."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return 1.0
    if config.decay == "stable":
        return min(1.0, (total - step) / max(1.0, DECAY_SHARE * total))
    progress = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
