"""Check what this machine has, and how to fix what it lacks. Bug reports end with it, so it names nothing personal."""

from __future__ import annotations

import getpass
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

from lib import google_colab_shim as shim
from lib.config import RELEASED, ROOT
from lib.storage.backends import open_storage

# of requirements.txt, what is of use to tests, to notebooks or with an option alone
OPTIONAL = {"playwright", "pytest", "ruff", "nbstripout", "wandb", "jupyter", "papermill"}
LEAST_FREE_GB = 5.0  # a run of preset colab with its checkpoints
INSTALL = "bash colab_setup.sh install"
INSTALL_SOUND = {
    "Linux": "sudo apt install libfluidsynth3",
    "Darwin": "brew install fluid-synth",
    "Windows": "choco install fluidsynth, or its zip on the PATH: https://www.fluidsynth.org/download/",
}


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: str  # "ok"; "note": works without it; "missing": something needed is not there
    says: str
    fix: str = ""  # what to type or click


def _check(name, is_fine, says, fix="", state="note"):
    """A Finding that is ok, or has a state and a fix."""
    return Finding(name, "ok", says) if is_fine else Finding(name, state, says, fix)


def examine(data_dir: Path, runs_dir: Path) -> list[Finding]:
    """All Findings of this machine, in an order that reads well."""
    state = _output("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--tags") or "without git"
    project = Finding("project", "ok", f"{state}, on {'Colab' if shim.on_colab() else 'a machine of your own'}")
    machine = [*look_at_packages(), *look_at_device(), look_at_memory(), look_at_disk(runs_dir), look_at_mirror()]
    return [project, *machine, look_at_sound(), look_at_ports(), *look_at_corpora(data_dir), look_at_weights()]


def _output(*command):
    """What a command prints; "" where it can't be run, or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def look_at_packages(root: Path = ROOT) -> list[Finding]:
    """Python, and one a requirements file: what of it is not as it says."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    says = f"{platform.python_version()} on {platform.system()} {platform.release()} {platform.machine()}"
    fix = f"install Python 3.11, 3.12 or 3.13, then: {INSTALL}"
    findings = [_check("Python", (3, 11) <= sys.version_info[:2] <= (3, 13), says, fix, "missing")]
    versions = {canonicalize_name(each.name): each.version for each in distributions()}
    for path in sorted(root.glob("requirements*.txt"), key=lambda path: (len(path.name), path)):
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
        rows = [(row, versions.get(canonicalize_name(row.name))) for row in map(Requirement, filter(None, lines))]
        wrong = {
            row.name: f"{row.name} {installed or 'is not installed'} (wanted {row.specifier})"
            for row, installed in rows
            if installed is None or not row.specifier.contains(installed, prereleases=True)
        }
        known = ", ".join(f"{row.name} {installed}" for row, installed in rows if row.name in ("torch", "numpy"))
        says = f"{len(wrong)} of {len(rows)}: {', '.join(wrong.values())}"
        says = says if wrong else f"{len(rows)} packages as asked" + f" ({known})" * bool(known)
        needed = path.name == "requirements.txt" and wrong.keys() - OPTIONAL
        fix = INSTALL if needed else f"where you want it: pip install -r {path.name}"
        findings.append(_check(path.name, not wrong, says, fix, "missing" if needed else "note"))
    return findings


def look_at_device() -> list[Finding]:
    """What training will run on, and in which precision."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Finding("device", "missing", f"torch can't be loaded: {error}", INSTALL)]
    card, built_for = graphics_card(), torch.version.cuda
    if torch.cuda.is_available():
        (major, minor), memory = torch.cuda.get_device_capability(), torch.cuda.get_device_properties(0).total_memory
        name = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, capability {major}.{minor}"
        driver = card.partition(", ")[2] or "unknown"
        bf16 = "in use by itself" if major >= 8 else "not on this card (capability below 8): fp16 is used instead"
        device = Finding("device", "ok", f"{name}, {memory / 1e9:.0f} GB, CUDA {built_for}, driver {driver}")
        return [device, _check("bf16", major >= 8, bf16)]
    if not card and torch.backends.mps.is_available():
        return [Finding("device", "ok", "Apple silicon (mps)"), Finding("bf16", "note", "not used here: fp32 instead")]
    device = Finding("device", "ok", f"CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    if card:
        says = f"{card}: but torch {torch.__version__} does not see it and would train on the CPU"
        way = "a newer driver (https://www.nvidia.com/drivers), or an older" if built_for else "for the driver: a"
        device = Finding("device", "missing", says, f"{way} CUDA build of torch: docs/LOCAL_NVIDIA.md")
    flags = sorted(cpu_flags() & {"avx512_bf16", "amx_bf16"})
    without = f"not in this CPU ({torch.backends.cpu.get_cpu_capability()}): training runs in fp32"
    bf16 = f"{', '.join(flags)}: --mixed-precision bf16 is faster here" if flags else without
    return [device, _check("bf16", flags, bf16)]


def graphics_card() -> str:
    """What nvidia-smi says: "name, driver", "" where there is no working one."""
    query = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    return next(iter(_output(*query).splitlines()), "")


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What the CPU says it can, as Linux lists it; empty elsewhere."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(flags[1].split()) if flags else set()


def look_at_memory() -> Finding:
    """The machine's memory."""
    try:
        import psutil
    except ImportError:
        return Finding("memory", "note", "unknown without psutil", INSTALL)
    gigabytes = psutil.virtual_memory().total / 1e9
    return _check("memory", gigabytes >= 4, f"{gigabytes:.0f} GB", "use the preset demo, or a smaller --batch-size")


def look_at_disk(folder: Path) -> Finding:
    """What is free where runs go."""
    folder = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    if not os.access(folder, os.W_OK):
        fix = "another --runs-dir, or change who owns it"
        return Finding("disk", "missing", "the folder of runs can't be written to", fix)
    free = shutil.disk_usage(folder).free / 1e9
    fix = "make room, give another --runs-dir, or keep fewer checkpoints: --set keep_checkpoints=1"
    return _check("disk", free >= LEAST_FREE_GB, f"{free:.1f} GB free for runs", fix)


def look_at_mirror() -> Finding:
    """Where checkpoints are copied to: Drive on Colab, MIRROR elsewhere."""
    mirror = os.environ.get("MIRROR", "")
    if mirror:
        kind, fix = open_storage(mirror).kind, "apt install rclone; rclone config"
        is_there = kind != "rclone" or shutil.which("rclone")
        says = f"MIRROR names a {kind}{'' if is_there else ', not installed'}"
        return _check("mirror", is_there, says, fix, "missing")
    if not shim.on_colab():
        return Finding("mirror", "ok", "none chosen (--mirror, or the variable MIRROR)")
    if (shim.DRIVE / "MyDrive").is_dir():
        return Finding("Drive", "ok", f"mounted, {shutil.disk_usage(shim.DRIVE).free / 1e9:.0f} GB free as it says")
    fix = "run the cell with shim.mount()"
    return Finding("Drive", "note", "not mounted: you lose what you train when the runtime ends", fix)


def look_at_sound() -> Finding:
    """FluidSynth and the piano's SoundFont."""
    from lib.music.audio import SoundFontError, find_soundfont

    try:
        find_soundfont()
        import fluidsynth  # noqa: F401
    except SoundFontError as error:
        return Finding("piano", "missing", str(error), "git checkout data/soundfont")
    except Exception as error:  # importing it fails in as many ways as there are systems
        fix = INSTALL_SOUND.get(platform.system(), "install libfluidsynth")
        says = f"plain sine waves instead of a grand: libfluidsynth can't be loaded ({error})"
        return Finding("fluidsynth", "note", says, fix)
    return Finding("fluidsynth", "ok", "the sampled piano plays")


def look_at_ports() -> Finding:
    """MIDI ports, for live playing alone; their names are left out."""
    from lib.apps.live.ports import PortError, list_ports

    try:
        inputs, outputs = map(len, list_ports())
    except PortError as error:
        return Finding("MIDI ports", "note", f"none; needed only for live playing: {error}", "docs/LIVE.md")
    says = f"{inputs} in, {outputs} out"
    return _check("MIDI ports", inputs and outputs, says, "live playing needs both: docs/LIVE.md")


def look_at_corpora(data_dir: Path) -> list[Finding]:
    """Which note stores can be opened, and have tempo maps."""
    from lib.data.corpora import CORPORA, open_corpus
    from lib.data.note_store import CorpusError
    from lib.data.tempo_maps import open_tempo_maps

    findings = []
    for name in [name for name in CORPORA if (Path(data_dir) / name / "notes.store").exists()]:
        says, fix, state = "", f"delete its folder, then: python -m lib data ingest {name}", "missing"
        try:
            store = open_corpus(name, data_dir)
            says, fix, state = f"{len(store.pieces):,} pieces", f"python -m lib data beats {name}", "note"
            open_tempo_maps(store)
            findings.append(Finding(name, "ok", says))
        except (CorpusError, OSError) as error:
            findings.append(Finding(name, state, f"{says}, without tempo maps" if says else str(error), fix))
    way = "python -m lib data demo, or: python -m lib data download pijama"
    return findings or [Finding("corpora", "note", "none yet", way)]


def look_at_weights(folder: Path = RELEASED) -> Finding:
    """Whether the released weights are whole."""
    from lib.storage.manifest import DamageError, verify

    try:
        verify(folder)
    except (DamageError, OSError) as error:
        return Finding("released weights", "missing", str(error), "git checkout data/released")
    return Finding("released weights", "ok", "whole")


def as_text(findings: Sequence[Finding]) -> str:
    """A line a finding, its fix below; last, whether anything needed is missing."""
    width, lines = max(len(finding.name) for finding in findings), []
    for name, state, says, fix in findings:
        lines.append(f"{state:<8}{name:<{width}}  {says}")
        lines += [f"{'':<8}{'':<{width}}  fix: {fix}"] if fix else []
    missing = [finding.name for finding in findings if finding.state == "missing"]
    verdict = f"Missing: {', '.join(missing)}." if missing else "Everything needed is installed."
    return without_names("\n".join([*lines, "", f"{verdict} Please add all of this to your bug report."]))


def as_values(findings: Sequence[Finding]) -> dict[str, list]:
    """For JSON."""
    rows = [{name: without_names(text) for name, text in finding._asdict().items()} for finding in findings]
    return {"findings": rows, "missing": [finding.name for finding in findings if finding.state == "missing"]}


def without_names(text: str) -> str:
    """The text without the project's folder, the user's home and the user's name."""
    for folder, short in ((str(ROOT), "."), (str(Path.home()), "~")):
        text = text.replace(folder, short) if len(folder) > 1 else text
    try:
        name = re.escape(getpass.getuser())
    except (OSError, KeyError, ImportError):  # a container may have no name for who runs it
        return text
    return re.sub(rf"(?<=[\\/]){name}(?=[\\/]|\b)", "USER", text)
