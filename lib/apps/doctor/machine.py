"""The machine: device, precision, memory, disk, Drive."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from lib import google_colab_shim as shim
from lib.apps.doctor.findings import Finding
from lib.storage.backends import open_storage

LEAST_FREE_GB = 5.0  # a run of preset colab with its checkpoints
DRIVERS = "https://www.nvidia.com/drivers"


def look_at_machine(folder):
    """Findings; `folder` is where runs are to go."""
    return [*look_at_device(), look_at_memory(), look_at_disk(folder), look_at_mirror()]


# --- Device ------------------------------------------------------------------------------------------------------------


def look_at_device():
    """What training will run on, and in which precision."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Finding("device", "missing", f"torch can't be loaded: {error}", "bash colab_setup.sh install")]
    if torch.cuda.is_available():
        return _cuda(torch)
    card = graphics_card()
    if card:
        return [_card_not_in_use(torch, card), _cpu_precision(torch)]
    if torch.backends.mps.is_available():
        return [Finding("device", "ok", "Apple silicon (mps)"), Finding("bf16", "note", "not used here: training runs in fp32")]
    return [Finding("device", "ok", f"CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads"), _cpu_precision(torch)]


def graphics_card():
    """What nvidia-smi says: "name, driver", "" where there is no working one."""
    binary = shutil.which("nvidia-smi")
    if not binary:
        return ""
    words = [binary, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else ""


def _cuda(torch):
    capability, memory = torch.cuda.get_device_capability(), torch.cuda.get_device_properties(0).total_memory
    count, driver = torch.cuda.device_count(), graphics_card().partition(", ")[2] or "unknown"
    says = (f"{count} x {torch.cuda.get_device_name()}, capability {capability[0]}.{capability[1]}, {memory / 1e9:.0f} GB, "
            f"CUDA {torch.version.cuda}, driver {driver}")  # fmt: skip
    if capability[0] >= 8:
        return [Finding("device", "ok", says), Finding("bf16", "ok", "in use by itself")]
    return [Finding("device", "ok", says), Finding("bf16", "note", "not on this card (capability below 8): fp16 is used instead")]


def _card_not_in_use(torch, card):
    says = f"{card}: but torch {torch.__version__} does not see it, and trains on the CPU"
    if "+cpu" in torch.__version__ or not torch.version.cuda:
        return Finding("device", "missing", says, "a CUDA build of torch: docs/LOCAL_NVIDIA.md says which fits the driver")
    return Finding("device", "missing", says, f"a newer driver ({DRIVERS}), or an older CUDA build: docs/LOCAL_NVIDIA.md")


def _cpu_precision(torch):
    found = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in cpu_flags()]
    if found:
        return Finding("bf16", "ok", f"{', '.join(found)}: --mixed-precision bf16 is faster here")
    return Finding("bf16", "note", f"not in this CPU ({torch.backends.cpu.get_cpu_capability()}): training runs in fp32")


def cpu_flags(path=Path("/proc/cpuinfo")):
    """What the CPU says it can, as Linux lists it; empty elsewhere."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


# --- Room --------------------------------------------------------------------------------------------------------------


def look_at_memory():
    """The machine's memory."""
    try:
        gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, AttributeError, OSError):
        return Finding("memory", "note", f"{platform.system()} does not say")
    state = ("ok", "") if gigabytes >= 4 else ("note", "take the preset demo, or a smaller --batch-size")
    return Finding("memory", state[0], f"{gigabytes:.0f} GB", state[1])


def look_at_disk(folder):
    """What is free where runs go."""
    folder = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free / 1e9
    if not os.access(folder, os.W_OK):
        return Finding("disk", "missing", "the folder of runs can't be written to", "another --runs-dir, or change who owns it")
    if free >= LEAST_FREE_GB:
        return Finding("disk", "ok", f"{free:.0f} GB free for runs")
    fix = "make room, give another --runs-dir, or keep fewer checkpoints: --set keep_checkpoints=1"
    return Finding("disk", "note", f"{free:.1f} GB free for runs", fix)


def look_at_mirror():
    """Where checkpoints are copied to: Drive on Colab, MIRROR elsewhere."""
    mirror = os.environ.get("MIRROR", "")
    if mirror:
        kind = open_storage(mirror).kind
        return _rclone() if kind == "rclone" else Finding("mirror", "ok", f"MIRROR names a {kind}")
    if not shim.on_colab():
        rclone = "rclone is there" if shutil.which("rclone") else "rclone is not installed"
        return Finding("mirror", "ok", f"none is asked for (--mirror, or the variable MIRROR); {rclone}")
    if (shim.DRIVE / "MyDrive").is_dir():
        free = shutil.disk_usage(shim.DRIVE).free / 1e9
        return Finding("Drive", "ok", f"mounted, {free:.0f} GB free as it says")
    return Finding("Drive", "note", "not mounted: what is trained is lost with the runtime", "run the cell with shim.mount()")


def _rclone():
    if shutil.which("rclone"):
        return Finding("mirror", "ok", "MIRROR names an rclone remote; rclone is there")
    return Finding("mirror", "missing", "MIRROR is an rclone remote, but rclone is not there", "apt install rclone; rclone config")
