"""The interface of a stage for the trainer: a model, its data and its losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.config import StageConfig
from lib.storage.backends import Storage
from lib.training.stream import Batch, Stream


class Stage:
    """What all stages share: it knows nothing of processes, checkpoints or progress bars.

    A subclass sets `model`, and defines `losses`. Where it defines them, `after_step(step, reduce, share)` is called
    when the optimizer has stepped (see Codebook.update), and `forget()` instead where a step does not count: nothing
    that `losses` gathered may stay.

    Attributes
    ----------
    config : of the stage
    stream, validation : Stream
    device : where batches are made
    micro_batch : chunks in one forward pass
    tokens_per_example : what the model reads of an example, at most: codes of a latent frame, notes, or roll frames
    """

    model: nn.Module
    tokens_per_example: int
    in_bfloat16 = False  # whether the model computes with bfloat16 weights where bf16 is asked for
    after_step: Callable[[int, Callable | None, tuple[float, float]], dict] | None = None
    forget: Callable[[], None] | None = None

    def __init__(self, config: StageConfig, stream: Stream, validation: Stream):
        self.config, self.stream, self.validation = config, stream, validation
        self.device, self.micro_batch = torch.device("cpu"), config.batch_size

    def prepare(self, device: torch.device | str, mirror: Storage | None = None) -> None:
        """What must be done before the first step, on this device, such as encoding music that the mirror lacks."""

    def to(self, device: torch.device | str) -> Stage:
        """Move the model, and make batches on this device."""
        self.device = torch.device(device)
        self.model.to(device)
        return self

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Mean losses of a batch by name; "loss" is what is minimised."""
        raise NotImplementedError

    def validation_losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch of `validation`."""
        return self.losses(model, batch)

    def validation_batches(self) -> Iterator[Batch]:
        """The same chunks at every validation, as many at a time as training takes."""
        size = self.validation.global_batch
        for step in range(self.config.validation_batches):
            for first in range(0, size, self.micro_batch):
                yield self.validation.batch(step, first, min(first + self.micro_batch, size), self.device)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean losses over the validation batches; a lower "loss" is better."""
        totals, count = {}, 0
        for batch in self.validation_batches():
            count += len(batch)
            for name, value in self.validation_losses(model, batch).items():
                totals[name] = totals.get(name, 0.0) + len(batch) * float(value)
        return {name: total / count for name, total in totals.items()}

    def facts(self) -> dict:
        """What the manifest of a checkpoint says besides."""
        return {}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What else a checkpoint holds: tensors by the name of their file, NAME.safetensors."""
        return {}

    def finish(self, run: Path) -> Path | None:
        """Called when the last step is done; the folder that it has made, if any."""
