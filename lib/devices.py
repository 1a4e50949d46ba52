"""Chooses device and precision: as requested, or the best that this machine has."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from lib import config as configs

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(device: str) -> str:
    """ "cuda", "mps" or "cpu": the device, or for "auto" the best there is; ConfigError where this machine has none."""
    is_usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [name for name, yes in is_usable.items() if yes]
    if device == "auto":
        return usable[0]
    if not is_usable[configs.choose("device", device, is_usable)]:
        raise configs.ConfigError(f"Device {device!r} is not available here. Valid: auto, {', '.join(usable)}.")
    return device


def device_name(device: str) -> str:
    """What a device of `choose_device` is: "Tesla T4", "Apple silicon", "x86_64 CPU, 2 threads"."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return "Apple silicon" if device == "mps" else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def peak_bytes(device: str) -> int:
    """The most memory that this process has taken: of the GPU on "cuda" and "mps", else of the machine; 0: unknown."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    if device == "mps":
        return torch.mps.driver_allocated_memory()
    with suppress(ImportError):  # Windows
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 0


def choose_precision(config: configs.StageConfig) -> str:
    """ "no", "fp16" or "bf16"."""
    if config.mixed_precision != "auto":
        return config.mixed_precision
    if choose_device(config.device) != "cuda":
        return "no"
    return "bf16" if product_dtype(torch.device("cuda")) is torch.bfloat16 else "fp16"


def product_dtype(device: torch.device) -> torch.dtype:
    """The 16 bits that a device multiplies matrices in: bf16, but fp16 on an NVIDIA GPU of before capability 8.

    A T4 says that it knows bf16, and emulates it slowly.
    """
    is_old = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] < 8
    return torch.float16 if is_old else torch.bfloat16


def autocast_dtype(config: configs.StageConfig) -> torch.dtype | None:
    """Of a forward pass in the config's precision; None: single precision."""
    return DTYPES.get(choose_precision(config))


@contextmanager
def determinism(config: configs.StageConfig) -> Iterator[None]:
    """The same bits from the same step, each time (https://pytorch.org/docs/stable/notes/randomness.html)."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill, benchmark = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, and nothing here reads such memory
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark = fill, benchmark


def make_accelerator(config: configs.StageConfig, folder: Path, wandb_project: str | None = None):
    """accelerate's Accelerator: processes, devices and trackers, which write into the run's folder.

    Precision and gradients are the trainer's own: a step must not depend on how many processes share it.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import ProjectConfiguration

    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not distributed:  # a notebook may train again, with another precision or device
        AcceleratorState._reset_state(reset_partial_state=True)

    trackers = ["tensorboard"] if config.tracker == "tensorboard" else []
    trackers += ["wandb"] if wandb_project else []
    project = ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder))
    cpu = choose_device(config.device) == "cpu"
    accelerator = Accelerator(cpu=cpu, mixed_precision="no", log_with=trackers or None, project_config=project)
    if trackers:
        values = configs.as_values(config)
        plain = {name: value for name, value in values.items() if isinstance(value, (int, float, str))}
        accelerator.init_trackers(wandb_project or "tensorboard", plain, {"wandb": {"dir": str(folder)}})
    return accelerator


def processes(config: configs.StageConfig) -> tuple[bool, Callable[[], None]]:
    """(whether this is the process that writes, a function that waits until all processes have called it)."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return True, lambda: None
    from accelerate import PartialState

    state = PartialState(cpu=choose_device(config.device) == "cpu")
    return state.is_main_process, state.wait_for_everyone


def give_back_memory() -> None:
    """Return freed memory to the system: with tensors of varying size glibc keeps holes that it does not reuse.

    A training on a CPU grew by gigabytes in some hundred steps (malloc_trim(3); other systems have no such call).
    """
    with suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
