"""Which device and which precision: what is asked, or the best this machine has."""

from __future__ import annotations

import torch

from lib import config as configs


def choose_device(asked):
    """"cuda", "mps" or "cpu": what is asked, or the best there is; ConfigError where it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return next(name for name, usable in there.items() if usable)
    if not there[configs.choose("device", asked, there)]:
        usable = ", ".join(name for name, yes in there.items() if yes)
        raise configs.ConfigError(f"Device {asked!r} is not on this machine. There is: {usable}, or auto.")
    return asked


def choose_precision(config):
    """"no", "fp16" or "bf16" for accelerate."""
    if config.mixed_precision != "auto":
        return config.mixed_precision
    if choose_device(config.device) != "cuda":
        return "no"
    return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"  # a T4 says bf16, by slow emulation


def make_accelerator(config, folder, wandb_project=None):
    """accelerate's Accelerator for this config, its trackers writing into the run's folder."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import ProjectConfiguration

    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not distributed:  # a notebook may train again, with another precision or device
        AcceleratorState._reset_state(reset_partial_state=True)

    precision = choose_precision(config)
    trackers = ["tensorboard"] if config.tracker == "tensorboard" else []
    trackers += ["wandb"] if wandb_project else []
    place = ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder))
    cpu = choose_device(config.device) == "cpu"
    accelerator = Accelerator(cpu=cpu, mixed_precision=precision, log_with=trackers or None, project_config=place)
    if trackers:
        values = configs.as_values(config)
        plain = {name: value for name, value in values.items() if isinstance(value, (int, float, str))}
        accelerator.init_trackers(wandb_project or "tensorboard", plain, {"wandb": {"dir": str(folder)}})
    return accelerator
