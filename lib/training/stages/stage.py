"""What a stage is, for loop.py, which drives it: it knows nothing of processes, checkpoints or progress bars.

Each has: config, model, stream, micro_batch, losses(model, batch) -> dict with "loss", validate(model) -> dict with "loss" (lower
is better), after_step(step, reduce, share) -> dict to log, forget() where a step does not count, facts() and tensors() for a
checkpoint, finish(run).
"""

from __future__ import annotations


class Stage:
    """What the four stages share."""

    def __init__(self, config, stream, validation):
        self.config, self.stream, self.validation = config, stream, validation
        self.device, self.micro_batch = "cpu", config.batch_size

    def to(self, device):
        """Where batches are made and frozen models live."""
        self.device = device
        return self

    def validation_batches(self):
        """The same chunks at every validation, as many at a time as training takes."""
        size, most = self.config.batch_size * self.config.gradient_accumulation, self.micro_batch
        for step in range(self.config.validation_batches):
            for first in range(0, size, most):
                yield self.validation.batch(step, first, min(first + most, size), self.device)

    def validate(self, model):
        """Mean losses over the validation batches."""
        totals, count = {}, 0
        for batch in self.validation_batches():
            count += len(batch)
            for name, value in self.held_out_losses(model, batch).items():
                totals[name] = totals.get(name, 0.0) + len(batch) * float(value)
        return {name: total / count for name, total in totals.items()}

    def held_out_losses(self, model, batch):
        """Losses of a validation batch."""
        return self.losses(model, batch)

    def after_step(self, step, reduce=None, share=(0, 1)):
        """Called when the optimizer has stepped; `share`: what this process has of the global batch, see Codebook.update."""
        return {}

    def forget(self):
        """Called instead where the step does not count: nothing that `losses` gathered may stay."""

    def facts(self):
        """For the manifest of a checkpoint."""
        return {}

    def tensors(self):
        """What else a checkpoint holds: dict NAME -> dict of tensors, for NAME.safetensors."""
        return {}

    def finish(self, run):
        """Called when the last step is done; returns the folder it has made, or None."""
