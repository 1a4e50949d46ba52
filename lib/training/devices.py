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
