"""Machines to train on: devices with their peaks, places to rent them, and the machine at hand. The table is of NOTED.

Peaks are dense (no sparsity) with sums in single precision, as PyTorch multiplies half-precision matrices; `share` is
what is reached of them. For models of hundreds of millions of parameters a share of 0.3 to 0.5 is reported (Chowdhery
et al. 2022, PaLM, table 3: 0.21 to 0.46, https://arxiv.org/abs/2204.02311). Ours are smaller and their batches short,
so 0.25 is taken on GPUs, and never less time than it takes to start each kernel. No GPU has been measured by us yet:
`python -m lib plan --calibrate` on the machine itself does.

Prices move: each is an option (`--price NAME=USD`). Colab bills in compute units ($9.99 for 100,
https://colab.research.google.com/signup). How many an hour takes is shown under *Runtime > View resources* alone;
people have noted from 1.1 to 2.0 for a T4, 1.7 to 4.8 for an L4, 3.3 to 5.4 for a V100 and 5.4 to 12.3 for an A100
(https://mccormickml.com/2024/04/23/colab-gpus-features-and-pricing/ keeps a table). Runpod:
https://www.runpod.io/pricing; a volume also costs while the pod is stopped, some $10 a month for 100 GB.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from lib import config as configs
from lib import google_colab_shim as shim

NOTED = "2026-11-26"  # when prices and peaks were looked up last
USD_A_UNIT = 0.0999  # Colab's compute unit
RUNTIME_H = 12.0  # of a Colab runtime, at most (https://research.google.com/colaboratory/faq.html)
SHARE = 0.25  # of peak, on GPUs
FULL = 0.95  # share of the processors in use: the load then says how many programs want them
LAUNCH_S = 10e-6  # from one kernel to the next in eager PyTorch, Python included: 5 to 20 us on today's hosts


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

    def flops_per_s(self, half: bool = True) -> float:
        """What is reached."""
        return self.share * 1e12 * (self.half_tflops if half and self.half_tflops else self.single_tflops)

    def seconds(self, flops: float, optimizer_flops: float, half: bool = True) -> float:
        """Of a step's matrix products; Muon's are in bf16 in any precision, and slow where the device has none."""
        return (flops - optimizer_flops) / self.flops_per_s(half) + optimizer_flops / self.flops_per_s(self.bf16)


_PAPERS = "https://images.nvidia.com/aem-dam"
_AMPERE = f"{_PAPERS}/en-zz/Solutions/geforce/ampere/pdf/NVIDIA-ampere-GA102-GPU-Architecture-Whitepaper-V1.pdf"
_ADA = f"{_PAPERS}/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf"
_CARDS = (
    "cores and clock of https://www.nvidia.com/en-us/geforce/graphics-cards/compare/, by the rule of the larger ones"
)
_DATASHEETS = "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center"
_TURING = f"{_DATASHEETS}/tesla-t4/t4-tensor-core-datasheet-951643.pdf"
_VOLTA = "https://images.nvidia.com/content/technologies/volta/pdf/volta-v100-datasheet-update-us-1165301-r5.pdf"
_L4 = "https://www.nvidia.com/en-us/data-center/l4/"
_A100 = f"{_DATASHEETS}/a100/pdf/nvidia-a100-datasheet-nvidia-us-2188504-web.pdf"
_H100 = "https://www.nvidia.com/en-us/data-center/h100/"
_APPLE = "https://en.wikipedia.org/wiki/Apple_M1 and /Apple_M2, GPU"
_CPU = "32 multiply-adds a cycle and core at 2.6 GHz; 50 to 75 GFLOP/s a core were measured on an AMD EPYC (Zen 4)"

DEVICES = {
    "t4": Device("NVIDIA T4", "t4", 65, 8.1, 15, _TURING, launch_s=15e-6, bf16=False),
    "v100": Device("NVIDIA V100", "v100", 112, 14, 16, _VOLTA, bf16=False),
    "l4": Device("NVIDIA L4", "l4", 121, 30.3, 22.5, _L4),
    "a100": Device("NVIDIA A100 40 GB", "a100", 312, 19.5, 40, _A100),
    "h100": Device("NVIDIA H100 SXM", "h100", 989, 67, 80, _H100),
    "rtx3060": Device("NVIDIA RTX 3060", "rtx 3060", 25.5, 12.7, 12, _CARDS),
    "rtx3070": Device("NVIDIA RTX 3070", "rtx 3070", 40.6, 20.3, 8, _AMPERE),
    "rtx3080": Device("NVIDIA RTX 3080", "rtx 3080", 59.5, 29.8, 10, _AMPERE),
    "rtx3090": Device("NVIDIA RTX 3090", "rtx 3090", 71, 35.6, 24, _AMPERE),
    "rtx4070": Device("NVIDIA RTX 4070", "rtx 4070", 58.3, 29.1, 12, _CARDS),
    "rtx4090": Device("NVIDIA RTX 4090", "rtx 4090", 165.2, 82.6, 24, _ADA),
    "m1": Device("Apple M1", "apple m1", 0, 2.6, 8, _APPLE, 0.3, 30e-6, False),
    "m2": Device("Apple M2", "apple m2", 0, 3.6, 8, _APPLE, 0.3, 30e-6, False),
    "m2max": Device("Apple M2 Max", "apple m2 max", 0, 13.6, 32, _APPLE, 0.3, 30e-6, False),
    "cpu2": Device("2 CPU cores", "", 0, 0.332, 8, _CPU, 0.3, 4e-6, False),
    "cpu8": Device("8 CPU cores", "", 0, 1.331, 16, _CPU, 0.25, 4e-6, False),
}


@dataclass(frozen=True)
class Environment:
    """A machine to train on, and its price.

    Attributes
    ----------
    name : key; title : for people; device : Device
    usd_per_hour : while it runs; 0 where it is free or yours
    runtime_h : the longest that it lives at a time, None: as long as you like
    drive : whether checkpoints are copied to Google Drive by default
    others : share of the processors that other programs take now; of the machine at hand alone
    """

    name: str
    title: str
    device: Device
    usd_per_hour: float = 0.0
    runtime_h: float | None = None
    drive: bool = False
    others: float = 0.0


def _colab(name, device, units):
    title = f"Colab {DEVICES[device].name.split()[1]}"
    return Environment(name, title, DEVICES[device], round(units * USD_A_UNIT, 2), RUNTIME_H, True)


def _own(name, device):
    return Environment(name, DEVICES[device].name, DEVICES[device])


_OWN = ("rtx3060", "rtx3070", "rtx3080", "rtx3090", "rtx4070", "rtx4090", "m1", "m2", "m2max")
_ROWS = (
    Environment(
        "colab-free", "Colab T4, free", DEVICES["t4"], 0.0, RUNTIME_H, True
    ),  # a few hours a day, none promised
    _colab("colab-t4", "t4", 1.4),
    _colab("colab-v100", "v100", 5.0),  # seldom offered any more
    _colab("colab-l4", "l4", 2.4),
    _colab("colab-a100", "a100", 7.5),
    Environment("runpod-3090-spot", "Runpod RTX 3090, spot", DEVICES["rtx3090"], 0.34),  # may be taken away: until-done
    Environment("runpod-3090", "Runpod RTX 3090", DEVICES["rtx3090"], 0.44),
    Environment("runpod-4090-spot", "Runpod RTX 4090, spot", DEVICES["rtx4090"], 0.69),
    Environment("runpod-4090", "Runpod RTX 4090", DEVICES["rtx4090"], 0.79),
    *(_own(name, name) for name in _OWN),
    _own("cpu", "cpu2"),
    _own("cpu-8", "cpu8"),
)
ENVIRONMENTS = {row.name: row for row in _ROWS}


def environments(prices: Sequence[str] = ()) -> dict[str, Environment]:
    """The environments by name, with the user's own prices: texts "NAME=USD", dollars an hour.

    Raises
    ------
    ConfigError : an environment that does not exist, or no price
    """
    rows = dict(ENVIRONMENTS)
    for name, value in configs.parse_settings(prices).items():
        row = rows[configs.choose("environment", name, rows)]
        rows[name] = dataclasses.replace(row, usd_per_hour=_price(name, value))
    return rows


def _price(name, value):
    try:
        price = float(value)
    except (TypeError, ValueError):
        price = -1.0
    if not 0 <= price < 1000:
        raise configs.ConfigError(f"--price {name}={value}: dollars an hour, such as --price {name}=0.5.")
    return price


# --- The machine at hand -----------------------------------------------------------------------------------------


def at_hand(kind: str = "auto") -> Environment:
    """This machine: Colab's price for its device there, else your own; `kind` of devices.choose_device."""
    import torch

    from lib.devices import choose_device

    kind = choose_device(kind)
    if kind == "cuda":
        title, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    else:
        title = "Apple silicon" if kind == "mps" else f"{platform.machine()} CPU"
        memory = psutil.virtual_memory().total
    device = dataclasses.replace(like(kind, title, available_cores()), memory_gb=memory / 1e9)
    machine = Environment("here", title, device, others=others_share() if kind == "cpu" else 0.0)
    if not shim.on_colab():
        return machine
    rows = [row for row in ENVIRONMENTS.values() if row.drive and row.usd_per_hour and row.device.key == device.key]
    price = rows[0].usd_per_hour if rows else 0.0
    return dataclasses.replace(machine, title=f"Colab, {title}", usd_per_hour=price, runtime_h=RUNTIME_H, drive=True)


def available_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def like(kind: str, name: str, cores: int) -> Device:
    """The Device of the table that a driver's name means; an unknown GPU counts as the slowest one of its kind."""
    matches = [device for device in DEVICES.values() if device.key and re.search(rf"\b{device.key}\b", name.lower())]
    if matches:
        return max(matches, key=lambda device: len(device.key))
    if kind == "cpu":
        two, title = DEVICES["cpu2"], f"{cores} CPU core{'s' * (cores > 1)}"
        return dataclasses.replace(two, name=title, single_tflops=two.single_tflops * cores / 2)
    return DEVICES["rtx3060" if kind == "cuda" else "m1"]


def processor_times() -> tuple[float, float, float]:
    """Seconds since some time: of all processors together, of them idle, and those that this process has used."""
    times = psutil.cpu_times()._asdict()
    total = sum(seconds for name, seconds in times.items() if not name.startswith("guest"))  # guest is in user already
    return total, times["idle"] + times.get("iowait", 0.0), time.process_time()


def others_since(before: tuple[float, float, float]) -> float:
    """Share of the processors' time, in [0, 1], that other programs took since a call of `processor_times`."""
    total, idle, own = (now - then for now, then in zip(processor_times(), before, strict=True))
    return max(0.0, min(1.0, (total - idle - own) / total)) if total > 0 else 0.0


def others_share(seconds: float = 0.5) -> float:
    """Share of the processors that other programs would take beside a training here, watched for so long."""
    before, cores = processor_times(), psutil.cpu_count() or 1
    time.sleep(seconds)
    share = others_since(before)
    running = os.getloadavg()[0] if share > FULL and hasattr(os, "getloadavg") else share * cores
    return running / (running + cores)
