"""Devices: what they could do at best, what of it a training gets, and how much they hold.

Peaks are dense (no sparsity) with sums in single precision, as PyTorch multiplies half-precision matrices; `share` is what is
reached of them. For models of hundreds of millions of parameters a share of 0.3 to 0.5 is reported (Chowdhery et al. 2022, PaLM,
table 3: 0.21 to 0.46, https://arxiv.org/abs/2204.02311; nanoGPT's own print-out, https://github.com/karpathy/nanoGPT). Ours are
smaller and their batches short, so 0.25 is taken on GPUs, and never less time than it takes to start each kernel. No GPU has been
measured by us yet: `python -m lib plan --calibrate` on the machine itself does.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
from dataclasses import dataclass

SHARE = 0.25  # of peak, on GPUs
LAUNCH_S = 10e-6  # from one kernel to the next in eager PyTorch, Python included: 5 to 20 us on today's hosts
UNMEASURED = 2.0  # hours of a device that was never measured may be so many times more, or less


@dataclass(frozen=True)
class Device:
    """A device to train on.

    Attributes
    ----------
    name : for people; key : part of the name that the driver gives, lower case
    half_tflops, single_tflops : peak of matrix products in 16 bit and in 32 bit; half is 0 where `auto` does not use it
    memory_gb : of the device; of the machine where they share it
    source : where the peaks are from
    share : of the peak that is reached
    launch_s : from one kernel to the next
    bf16 : whether it multiplies in bf16 (capability 8 and later)
    """

    name: str
    key: str
    half_tflops: float
    single_tflops: float
    memory_gb: float
    source: str
    share: float = SHARE
    launch_s: float = LAUNCH_S
    bf16: bool = True

    def flops_per_s(self, half=True):
        """What is reached."""
        return self.share * 1e12 * (self.half_tflops if half and self.half_tflops else self.single_tflops)

    def seconds(self, flops, optimizer_flops, half=True):
        """Of a step's matrix products; Muon's are in bf16 whatever the precision is, and slow where the device has none."""
        return (flops - optimizer_flops) / self.flops_per_s(half) + optimizer_flops / self.flops_per_s(self.bf16)


_AMPERE = "https://images.nvidia.com/aem-dam/en-zz/Solutions/geforce/ampere/pdf/NVIDIA-ampere-GA102-GPU-Architecture-Whitepaper-V1.pdf"
_ADA = "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf"
_BY_CORES = "cores and clock of https://www.nvidia.com/en-us/geforce/graphics-cards/compare/, by the rule of the larger ones"
_TURING = "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/tesla-t4/t4-tensor-core-datasheet-951643.pdf"
_VOLTA = "https://images.nvidia.com/content/technologies/volta/pdf/volta-v100-datasheet-update-us-1165301-r5.pdf"
_L4 = "https://www.nvidia.com/en-us/data-center/l4/"
_A100 = "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-nvidia-us-2188504-web.pdf"
_H100 = "https://www.nvidia.com/en-us/data-center/h100/"
_APPLE = "https://en.wikipedia.org/wiki/Apple_M1 and /Apple_M2, GPU"
_CPU = "32 multiply-adds a cycle and core at 2.6 GHz; 50 to 75 GFLOP/s a core were measured on an AMD EPYC (Zen 4)"

DEVICES = {
    "t4": Device("NVIDIA T4", "t4", 65, 8.1, 15, _TURING, launch_s=15e-6, bf16=False),
    "v100": Device("NVIDIA V100", "v100", 112, 14, 16, _VOLTA, bf16=False),
    "l4": Device("NVIDIA L4", "l4", 121, 30.3, 22.5, _L4),
    "a100": Device("NVIDIA A100 40 GB", "a100", 312, 19.5, 40, _A100),
    "h100": Device("NVIDIA H100 SXM", "h100", 989, 67, 80, _H100),
    "rtx3060": Device("NVIDIA RTX 3060", "rtx 3060", 25.5, 12.7, 12, _BY_CORES),
    "rtx3070": Device("NVIDIA RTX 3070", "rtx 3070", 40.6, 20.3, 8, _AMPERE),
    "rtx3080": Device("NVIDIA RTX 3080", "rtx 3080", 59.5, 29.8, 10, _AMPERE),
    "rtx3090": Device("NVIDIA RTX 3090", "rtx 3090", 71, 35.6, 24, _AMPERE),
    "rtx4070": Device("NVIDIA RTX 4070", "rtx 4070", 58.3, 29.1, 12, _BY_CORES),
    "rtx4090": Device("NVIDIA RTX 4090", "rtx 4090", 165.2, 82.6, 24, _ADA),
    "m1": Device("Apple M1", "apple m1", 0, 2.6, 8, _APPLE, 0.3, 30e-6, False),
    "m2": Device("Apple M2", "apple m2", 0, 3.6, 8, _APPLE, 0.3, 30e-6, False),
    "m2max": Device("Apple M2 Max", "apple m2 max", 0, 13.6, 32, _APPLE, 0.3, 30e-6, False),
    "cpu2": Device("2 CPU cores", "", 0, 0.332, 8, _CPU, 0.3, 4e-6, False),
    "cpu8": Device("8 CPU cores", "", 0, 1.331, 16, _CPU, 0.25, 4e-6, False),
}


@dataclass(frozen=True)
class Here:
    """The machine at hand.

    Attributes
    ----------
    kind : "cuda", "mps" or "cpu"; name : as the driver says it; cores : CPU cores it may use
    device : the Device it is most like, with the memory that it has
    """

    kind: str
    name: str
    cores: int
    device: Device


def here(kind=None):
    """The machine at hand; `kind` of devices.choose_device, None: the best there is."""
    from lib.devices import choose_device

    kind, cores = choose_device(kind or "auto"), available_cores()
    name = _name(kind)
    device = like(kind, name, cores)
    return Here(kind, name, cores, dataclasses.replace(device, memory_gb=_memory_gb(kind) or device.memory_gb))


def available_cores():
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gb(kind):
    """Of the GPU, or of the machine; 0 where the system does not say."""
    if kind == "cuda":
        import torch

        return torch.cuda.get_device_properties(0).total_memory / 1e9
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, AttributeError, OSError):
        return 0.0


def _name(kind):
    if kind == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return "Apple silicon" if kind == "mps" else f"{platform.machine()} CPU"


def like(kind, name, cores):
    """The Device of the table that a name means; an unknown GPU counts as the slowest one of its kind."""
    found = [device for device in DEVICES.values() if device.key and re.search(rf"\b{device.key}\b", name.lower())]
    if found:
        return max(found, key=lambda device: len(device.key))
    if kind == "cpu":
        few = DEVICES["cpu2"]
        return Device(f"{cores} CPU core{'s' * (cores > 1)}", "", 0, few.single_tflops * cores / 2, few.memory_gb, few.source,
                      few.share, few.launch_s, few.bf16)  # fmt: skip
    return DEVICES["rtx3060" if kind == "cuda" else "m1"]
