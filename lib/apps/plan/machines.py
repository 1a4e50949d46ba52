"""Devices and prices as of NOTED; this machine, with the speeds that trainings on it have logged.

Peaks are dense (no sparsity) with sums in single precision, as PyTorch multiplies half-precision matrices. Of large
models 0.21 to 0.46 of the peak is reported (Chowdhery et al. 2022, PaLM, table 3, https://arxiv.org/abs/2204.02311);
ours are smaller and their batches short: see REACHED. No GPU has been measured by us yet.

Prices move: each is an option. Colab bills compute units ($9.99 for 100, https://colab.research.google.com/signup); how
many an hour takes, *Runtime > View resources* alone shows. People note 1.1 to 2.0 for a T4, 1.7 to 4.8 for an L4, 3.3
to 5.4 for a V100, 5.4 to 12.3 for an A100 (https://mccormickml.com/2024/04/23/colab-gpus-features-and-pricing/).
Runpod: https://www.runpod.io/pricing; a volume of 100 GB costs some $10 a month besides.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from lib import config as configs
from lib import google_colab_shim as shim
from lib.checkpoints import history
from lib.checkpoints.checkpoint import CheckpointError
from lib.checkpoints.config_migration import config_of_run
from lib.config import EXIT_STOPPED_EARLY, RELEASED, ROOT, ConfigError, StageConfig
from lib.devices import choose_device, device_name

NOTED = "2026-11-26"
REACHED = {"cuda": 0.25, "mps": 0.3, "cpu": 0.3}  # fraction of the peak
LAUNCH_S = {"cuda": 10e-6, "mps": 30e-6, "cpu": 4e-6}  # from one kernel to the next in eager PyTorch
PROBES = ROOT / ".cache" / "plan"  # runs of some seconds
PROBED = ("vqvae", "style_encoder", "diffusion")  # fine-tuning is the diffusion model again
PROBE_SETTINGS = ("corpora=demo", "tracker=none", "epochs=1000000", "log_every=1", "validate_every=4")
BUSY = 0.1  # from this share of the processors on, other programs are mentioned, and no probe is kept beside them


@dataclass(frozen=True)
class Machine:
    """A device to train on, of your own or for rent."""

    title: str
    kind: str  # "cuda", "mps" or "cpu"
    half_tflops: float  # peak of matrix products in 16 bit; 0: not used
    single_tflops: float  # in 32 bit
    memory_gb: float  # of the device; of the computer where they share it
    source: str  # where the peaks are from
    usd_per_hour: float = 0.0  # 0: free, or yours
    on_colab: bool = False  # a runtime of 12 hours, whose checkpoints go to Google Drive
    others: float = 0.0  # how many processors other programs want, as a share of all; known of this machine alone

    def flops_per_s(self, half: bool = True) -> float:
        """What is reached."""
        return REACHED[self.kind] * 1e12 * (self.half_tflops if half and self.half_tflops else self.single_tflops)


_PDF = "https://images.nvidia.com/aem-dam"
_AMPERE = f"{_PDF}/en-zz/Solutions/geforce/ampere/pdf/NVIDIA-ampere-GA102-GPU-Architecture-Whitepaper-V1.pdf"
_ADA = f"{_PDF}/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf"
_CARDS = "cores and clock of https://www.nvidia.com/en-us/geforce/graphics-cards/compare/, reckoned as Ampere's"
_SHEETS = "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center"
_TURING = f"{_SHEETS}/tesla-t4/t4-tensor-core-datasheet-951643.pdf"
_VOLTA = "https://images.nvidia.com/content/technologies/volta/pdf/volta-v100-datasheet-update-us-1165301-r5.pdf"
_A100 = f"{_SHEETS}/a100/pdf/nvidia-a100-datasheet-nvidia-us-2188504-web.pdf"
_APPLE = "https://en.wikipedia.org/wiki/Apple_M1 and /Apple_M2, GPU"
_CPU = "32 multiply-adds a cycle and core at 2.6 GHz; 50 to 75 GFLOP/s a core were measured on an AMD EPYC (Zen 4)"

DEVICES = {  # a GPU's key is the word for it in the driver's name
    "t4": Machine("NVIDIA T4", "cuda", 65, 8.1, 15, _TURING),
    "v100": Machine("NVIDIA V100", "cuda", 112, 14, 16, _VOLTA),
    "l4": Machine("NVIDIA L4", "cuda", 121, 30.3, 22.5, "https://www.nvidia.com/en-us/data-center/l4/"),
    "a100": Machine("NVIDIA A100 40 GB", "cuda", 312, 19.5, 40, _A100),
    "h100": Machine("NVIDIA H100 SXM", "cuda", 989, 67, 80, "https://www.nvidia.com/en-us/data-center/h100/"),
    "rtx3060": Machine("NVIDIA RTX 3060", "cuda", 25.5, 12.7, 12, _CARDS),
    "rtx3070": Machine("NVIDIA RTX 3070", "cuda", 40.6, 20.3, 8, _AMPERE),
    "rtx3080": Machine("NVIDIA RTX 3080", "cuda", 59.5, 29.8, 10, _AMPERE),
    "rtx3090": Machine("NVIDIA RTX 3090", "cuda", 71, 35.6, 24, _AMPERE),
    "rtx4070": Machine("NVIDIA RTX 4070", "cuda", 58.3, 29.1, 12, _CARDS),
    "rtx4090": Machine("NVIDIA RTX 4090", "cuda", 165.2, 82.6, 24, _ADA),
    "m1": Machine("Apple M1", "mps", 0, 2.6, 8, _APPLE),
    "m2": Machine("Apple M2", "mps", 0, 3.6, 8, _APPLE),
    "m2max": Machine("Apple M2 Max", "mps", 0, 13.6, 32, _APPLE),
    "cpu": Machine("2 CPU cores", "cpu", 0, 0.332, 8, _CPU),
    "cpu-8": Machine("8 CPU cores", "cpu", 0, 1.331, 16, _CPU),
}
_RENTED_USD = {  # Colab: units an hour, at 10 cents
    ("colab-free", "t4"): 0.0,
    ("colab-t4", "t4"): 0.14,
    ("colab-v100", "v100"): 0.5,
    ("colab-l4", "l4"): 0.24,
    ("colab-a100", "a100"): 0.75,
    ("runpod-3090-spot", "rtx3090"): 0.34,  # may be taken away: until-done
    ("runpod-3090", "rtx3090"): 0.44,
    ("runpod-4090-spot", "rtx4090"): 0.69,
    ("runpod-4090", "rtx4090"): 0.79,
}
ENVIRONMENTS = {
    name: replace(DEVICES[device], usd_per_hour=usd, on_colab=name.startswith("colab"))
    for (name, device), usd in _RENTED_USD.items()
} | DEVICES


def environments(prices: Sequence[str] = ()) -> dict[str, Machine]:
    """ENVIRONMENTS with the user's own prices, texts "NAME=USD"; ConfigError names a wrong one."""
    machines = dict(ENVIRONMENTS)
    for name, value in configs.parse_settings(prices).items():
        machine = machines[configs.choose("environment", name, machines)]
        if not re.fullmatch(r"\d{1,3}(\.\d*)?|\.\d+", value or ""):
            raise ConfigError(f"--price {name}={value}: dollars an hour, such as --price {name}=0.5.")
        machines[name] = replace(machine, usd_per_hour=float(value))
    return machines


def at_hand() -> Machine:
    """This machine; on Colab at Colab's price for its device."""
    kind, on_colab = choose_device("auto"), shim.on_colab()
    title = device_name(kind)
    device = like(kind, title, torch.get_num_threads())
    rented = [row for row in ENVIRONMENTS.values() if on_colab and row.on_colab and row.title == device.title]
    usd = max((row.usd_per_hour for row in rented), default=0.0)
    memory = torch.cuda.get_device_properties(0).total_memory if kind == "cuda" else psutil.virtual_memory().total
    facts = {"title": title, "memory_gb": memory / 1e9, "usd_per_hour": usd, "on_colab": on_colab}
    return replace(device, **facts, others=others_now() if kind == "cpu" else 0.0)


def like(kind: str, title: str, threads: int) -> Machine:
    """The row of DEVICES that a driver's name means; an unknown GPU counts as the slowest one of its kind."""
    if kind == "cpu":
        return replace(DEVICES["cpu"], single_tflops=DEVICES["cpu"].single_tflops * threads / 2)
    words, unknown = title.lower().replace("rtx ", "rtx"), DEVICES["rtx3060" if kind == "cuda" else "m1"]
    return next((device for key, device in DEVICES.items() if re.search(rf"\b{key}\b", words)), unknown)


def others_now() -> float:
    """How many processors other programs want, as a share of all: beside them a training takes 1 + so long."""
    share = psutil.cpu_percent(0.5) / 100
    return max(share, psutil.getloadavg()[0] / psutil.cpu_count()) if share > 0.95 else share


class Logged(NamedTuple):
    """What a training has logged; 0 or "" where that is unknown."""

    config: StageConfig
    device: str  # of devices.device_name
    step_s: float  # median
    peak_bytes: int  # of memory


def logged(run: Path) -> Logged | None:
    """Of a run's folder; None where no step was logged, or by a version whose steps were others."""
    with suppress(CheckpointError):
        config, facts = config_of_run(run), {"device": "", "peak_bytes": 0}
        for event in history.read_events(run):
            facts |= {name: event[name] for name in facts if name in event}
        rows = [row for row in history.read_rows(run) if row.get("split") == "train" and "ms_per_step" in row]
        if config and rows:
            median = statistics.median(row["ms_per_step"] for row in rows[1:] or rows)  # the first one warms up
            return Logged(config, step_s=median / 1000, **facts)
    return None


def measurements(machine: Machine, runs_dir: Path | str) -> list[Logged]:
    """Of probes and of the runs in a folder, as far as they ran on this machine; the newest first."""
    logs = [path for folder in (PROBES, Path(runs_dir)) for path in folder.glob(f"**/{history.NAME}")]
    rows = [logged(path.parent) for path in sorted(logs, key=lambda path: path.stat().st_mtime, reverse=True)]
    return [row for row in rows if row and row.device == machine.title]


def probe(stage: str, preset: str, seconds: float, others: float = 0.0) -> Logged:
    """Train a stage here on the demo corpus for about so long, with `python -m lib train`; what its run logged.

    The log is kept in PROBES, unless other programs compute: then the step is what it would be without them.
    ConfigError says why the stage could not be trained.
    """
    run = PROBES / stage
    shutil.rmtree(run, ignore_errors=True)
    words = [stage, "--preset", preset, "--runs-dir", PROBES, "--time-budget", f"{seconds:.0f}s"]
    words += ["--data-dir", PROBES / "data", "--vqvae-run", RELEASED, "--style-encoder-run", RELEASED]
    words += [word for setting in PROBE_SETTINGS for word in ("--set", setting)]
    command = [sys.executable, "-m", "lib", "train", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode not in (0, EXIT_STOPPED_EARLY):
        reason = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise ConfigError(
            f"{stage} of preset {preset} can't be measured here: {reason}\n--no-calibrate plans without."
        )
    measured = logged(run)
    shutil.rmtree(run if others > BUSY else run / "checkpoints")
    return measured._replace(step_s=measured.step_s / (1 + others))
