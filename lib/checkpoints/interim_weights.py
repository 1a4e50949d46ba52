"""Interim weights in one small file (8 bits a number, one scale a row), to continue a long training on another machine.

Matrices are int8 with a float32 scale for each row (name.scale), all else is float16. Optimizer and run are not kept:
`train` with `from_weights` and `first_step` continues the schedule and the music, with a fresh optimizer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lib.checkpoints.checkpoint import Checkpoint, CheckpointError
from lib.storage.atomic_write import write_bytes

SCALE = ".scale"
LEVELS = 127


def write_interim_weights(checkpoint: Checkpoint, path: Path | str) -> Path:
    """Write the averaged weights of a checkpoint; the file at path is replaced whole."""
    tensors = {}
    for name, value in checkpoint.weights().items():
        if value.is_floating_point() and value.ndim > 1:
            rows = value.float().flatten(0, -2)
            scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / LEVELS
            tensors[name] = (rows / scale).round().to(torch.int8).view_as(value)
            tensors[name + SCALE] = scale[:, 0].contiguous()
        else:
            tensors[name] = value.half() if value.is_floating_point() else value
    manifest = checkpoint.manifest
    facts = {"stage": manifest["stage"], "step": str(checkpoint.step), "config": json.dumps(manifest["config"])}
    return write_bytes(path, save({name: value.contiguous() for name, value in tensors.items()}, facts))


@dataclass(frozen=True)
class InterimWeights:
    """Weights of a model in full precision, the optimizer step that training continues at, and the file they are of."""

    weights: dict[str, Tensor]
    step: int
    path: Path


def read_interim_weights(path: Path | str, stage: str, first_step: int | None = None) -> InterimWeights:
    """The weights of a stage's model; `first_step` None: the step that they were taken after.

    Raises
    ------
    CheckpointError : no such file, not one of these, or of another stage
    """
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            facts, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        reason = f"{path} holds no interim weights ({error})"
        raise CheckpointError(f"{reason}. Give a file of `export --interim`.") from error
    if facts.get("stage") != stage:
        raise CheckpointError(f"{path} holds weights of {facts.get('stage', 'nothing')}, not of {stage}.")
    weights = {}
    for name, value in tensors.items():
        if not name.endswith(SCALE):
            scale = tensors.get(name + SCALE)
            rows = value.float() if scale is None else value.float().flatten(0, -2) * scale[:, None]
            weights[name] = rows.view_as(value)
    return InterimWeights(weights, int(facts["step"]) if first_step is None else first_step, Path(path))
