"""Checkpoints: a folder per step, written beside and renamed, never changed again.

    RUN/checkpoints/step-00000250/{model,ema}.safetensors  optimizer.pt  scaler.json  manifest.json

The manifest (lib/storage/manifest.py) holds step, stage, config, schedule, the step of the best validation so far and
the sha256 of each file, and is written last. `latest` and `best` are names, not files: they are read off the manifests,
so that no pointer can point at something that was lost. Loading takes the newest checkpoint whose every hash fits.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from lib.config import ConfigError, nearest
from lib.storage.atomic_write import PARTIAL, sync
from lib.storage.kill_points import kill_point
from lib.storage.manifest import DamageError, read_manifest, verify, write_manifest

SPARE_BYTES = 32 * 2**20  # left free beside a checkpoint: logs and manifests must still fit
NAMES = ("latest", "best")
log = logging.getLogger(__name__)


class CheckpointError(ConfigError):
    """A run or checkpoint that is not there, is damaged, or belongs to another config."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its folder, and its manifest as the version that wrote it did."""

    path: Path
    manifest: dict

    def __str__(self):
        return str(self.path)

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.manifest["step"]

    @property
    def run(self) -> Path:
        """Folder of its run."""
        return self.path.parent.parent

    def tensors(self, name: str) -> dict[str, Tensor] | None:
        """Tensors of NAME.safetensors by the keys in the file; None where the checkpoint has no such file."""
        path = self.path / f"{name}.safetensors"
        return load_file(path) if path.exists() else None

    def weights(self, averaged: bool = True) -> dict[str, Tensor]:
        """State dict of the model: the moving average if `averaged` and there is one."""
        return (self.tensors("ema") if averaged else None) or self.tensors("model")

    def optimizer(self) -> dict:
        """State dict of the optimizer."""
        return torch.load(self.path / "optimizer.pt", weights_only=True, map_location="cpu")

    def scaler(self) -> dict:
        """State dict of the gradient scaler; {} where none was in use."""
        return json.loads((self.path / "scaler.json").read_text(encoding="utf-8"))


def snapshot(value: Any) -> Any:
    """A state dict's tensors copied to the CPU, so that training can continue while they are written."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True).contiguous()
    if isinstance(value, dict):
        return {name: snapshot(part) for name, part in value.items()}
    return [snapshot(part) for part in value] if isinstance(value, list | tuple) else value


def serialised(tensors: Mapping[str, Mapping[str, Tensor]], optimizer: dict, scaler: dict) -> dict[str, bytes]:
    """The files of a checkpoint as bytes.

    Parameters
    ----------
    tensors : dict NAME -> dict of CPU tensors, for NAME.safetensors
    optimizer, scaler : state dicts
    """
    files = {f"{name}.safetensors": tensor_bytes(part) for name, part in tensors.items()}
    buffer = io.BytesIO()
    torch.save(optimizer, buffer)
    return {**files, "optimizer.pt": buffer.getbuffer(), "scaler.json": json.dumps(scaler).encode()}


def save(run: Path | str, facts: Mapping, files: Mapping[str, bytes], keep: int = 5) -> Path:
    """Write RUN/checkpoints/step-N, read it back, then remove what is too old.

    Parameters
    ----------
    run : Path
    facts : dict for the manifest, with `step` and `best_step`
    files : dict name -> bytes, of `serialised`
    keep : how many of the newest stay; the best stays besides

    Returns
    -------
    Path : of the checkpoint; a valid one of that step is left as it is

    Raises
    ------
    OSError, DamageError : it could not be written; the earlier ones are untouched
    """
    kill_point("save.begin")
    folder = step_folder(run, facts["step"])
    if is_valid(folder):
        _prune(run, keep, facts["best_step"])
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    _make_room(run, sum(len(content) for content in files.values()), facts["best_step"])
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    hashes = {name: _write(partial / name, content) for name, content in files.items()}
    kill_point("save.manifest")
    write_manifest(partial, facts, hashes)
    kill_point("save.rename")
    shutil.rmtree(folder, ignore_errors=True)  # at most a damaged one of the same step
    partial.rename(folder)
    sync(folder.parent)
    verify(folder)
    _prune(run, keep, facts["best_step"], known_good=True)
    return folder


def _write(path, content):
    """Write bytes to the disk; the sha256 is of what was meant, so that reading back detects what was lost."""
    with open(path, "wb") as file:
        half = len(content) // 2
        file.write(content[:half])
        kill_point("save.files")
        file.write(content[half:])
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def _make_room(run, size, best_step):
    """Remove older checkpoints if the disk is too full for one of `size` bytes; OSError(ENOSPC) if it still is."""
    needed = size + SPARE_BYTES
    if shutil.disk_usage(run).free < needed:
        _prune(run, 1, best_step)
    if (free := shutil.disk_usage(run).free) < needed:
        text = f"{needed / 2**20:.0f} MB are needed for a checkpoint, {free / 2**20:.0f} MB are free"
        raise OSError(errno.ENOSPC, text, str(run))


def _prune(run, keep, best_step, known_good=False):
    """Remove older checkpoints, never the last valid one; `known_good`: the newest has just been read back."""
    folders = step_folders(run)
    old = [folder for folder in folders[keep:] if step_of(folder) != best_step]
    if old and not known_good and not any(is_valid(folder) for folder in folders if folder not in old):
        return
    for folder in old:
        kill_point("save.prune")
        removed = folder.with_name(folder.name + ".gone")  # renamed first: half a folder is no checkpoint
        shutil.rmtree(removed, ignore_errors=True)
        folder.rename(removed)
    for removed in (Path(run) / "checkpoints").glob("step-*.gone"):
        shutil.rmtree(removed, ignore_errors=True)


def is_valid(folder: Path | str) -> bool:
    """Whether a folder holds a whole checkpoint: every file is read and hashed."""
    try:
        check(folder)
    except DamageError:
        return False
    return True


def has_weights_alone(folder: Path | str) -> bool:
    """Whether a checkpoint folder holds weights to use, and nothing to continue from; so says its manifest."""
    try:
        return bool(read_manifest(folder).get("weights_alone"))
    except DamageError:
        return False


def check(folder: Path | str) -> dict:
    """The manifest of a checkpoint folder whose every file was hashed; DamageError says what is wrong with it."""
    manifest = verify(folder)
    if manifest.get("step") != step_of(folder):
        raise DamageError(f"{folder} holds another step's checkpoint ({manifest.get('step')}).")
    return manifest


def step_folder(run: Path | str, step: int) -> Path:
    """Where a run keeps the checkpoint of a step."""
    return Path(run) / "checkpoints" / f"step-{step:08d}"


def step_of(folder: Path | str) -> int | None:
    """The step in a checkpoint folder's name; None where there is none."""
    digits = Path(folder).name.removeprefix("step-")
    return int(digits) if digits.isdigit() else None


def step_folders(run: Path | str) -> list[Path]:
    """Folders of checkpoints, newest first; damaged ones too."""
    return sorted((p for p in (Path(run) / "checkpoints").glob("step-*") if step_of(p) is not None), reverse=True)


def best_step(run: Path | str) -> int | None:
    """The step that the newest readable manifest calls the best so far; None where no manifest names one."""
    for folder in step_folders(run):
        with contextlib.suppress(DamageError):
            return read_manifest(folder).get("best_step")
    return None


def find(run: Path | str, name: str = "latest") -> Checkpoint | None:
    """The checkpoint that a run continues from, or is used with.

    Parameters
    ----------
    run : a run folder, the folder of one checkpoint, or RUN/latest, RUN/best, RUN/step-00000250
    name : "latest" or "best"; damaged ones are skipped, with a warning, for the newest valid one; weights alone, as a
        mirror keeps them of the best, are never the latest

    Returns
    -------
    Checkpoint; None where the run has none yet

    Raises
    ------
    CheckpointError : there is no such run, or all its checkpoints are damaged
    DamageError : `run` is one checkpoint, and it is damaged
    """
    run = Path(run)
    if not run.is_dir() and run.name in NAMES:
        run, name = run.parent, run.name
    if step_of(run) is not None:
        run = run if run.parent.name == "checkpoints" else run.parent / "checkpoints" / run.name
        return Checkpoint(run, check(run))
    if not run.is_dir():
        names = [p.name for p in run.parent.iterdir() if p.is_dir()] if run.parent.is_dir() else []
        hint = nearest(run.name, names) if names else " `python -m lib runs` lists what there is."
        raise CheckpointError(f"There is no run folder {run}.{hint}")
    return _first_valid(run, best_step(run) if name == "best" else None)


def _first_valid(run, best):
    """The checkpoint of the step `best`, where one is named, else the newest; where damaged, the newest valid one."""
    folders, error = [folder for folder in step_folders(run) if not has_weights_alone(folder)], None
    for folder in folders if best is None else dict.fromkeys([step_folder(run, best), *folders]):
        try:
            return Checkpoint(folder, check(folder))
        except DamageError as damage:
            log.warning("skipped %s: %s", "the best checkpoint" if best == step_of(folder) else "a damaged one", damage)
            error = damage if error is None or folder == folders[0] else error
    if folders:
        raise CheckpointError(
            f"All {len(folders)} checkpoints of {run} are damaged. The last one: {error} Start again with a new --run."
        )
    return None


# --- Where a training starts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """Where a training starts.

    Attributes
    ----------
    folder : of the run that is trained
    checkpoint : what it continues from; None for a new run
    run_id : of the run, the same in all its checkpoints wherever they are copied
    """

    folder: Path
    checkpoint: Checkpoint | None
    run_id: str


def run_folder(stage: str, runs_dir: Path | str, run: str | None = None, resume: str | None = None) -> Path:
    """The folder of the run that `--run` and `--resume` mean; it need not exist yet."""
    if run or not resume:
        return Path(runs_dir) / (run or stage)
    return _run_of(_below(runs_dir, Path(resume)))


def _run_of(path):
    if path.name in NAMES or step_of(path) is not None:
        path = path.parent
    return path.parent if path.name == "checkpoints" else path


def _below(runs_dir, path):
    """A name is looked for among the runs first, then as a path."""
    below = Path(runs_dir) / path
    return path if _run_of(path).is_dir() and not _run_of(below).is_dir() else below


def find_origin(folder: Path, runs_dir: Path | str, resume: str | None = None) -> Origin:
    """Where the run `folder` continues from.

    Parameters
    ----------
    folder : of `run_folder`
    runs_dir : folder of runs
    resume : None: continue if the run exists, else begin it. Otherwise a run (a name in runs_dir, or a folder) or a
        checkpoint (RUN/checkpoints/step-00000250, RUN/best), which must exist; another run's begins a new run.

    Raises
    ------
    CheckpointError : it does not exist, is damaged, or would rewrite the history of a run
    """
    if resume is None:
        checkpoint = find(folder) if step_folders(folder) else None
        return Origin(folder, checkpoint, checkpoint.manifest["run_id"] if checkpoint else uuid.uuid4().hex)
    checkpoint = resumed_checkpoint(runs_dir, resume)
    if folder.resolve() != checkpoint.run.resolve():
        if step_folders(folder):
            raise CheckpointError(f"{folder} is already a run. To begin another from {resume}, give a new --run.")
        return Origin(folder, checkpoint, uuid.uuid4().hex)
    newest = find(folder).step
    if checkpoint.step != newest:
        raise CheckpointError(
            f"{checkpoint.path} is not the newest of its run (step {newest} is). To take another way from there, "
            f"name a new run: --run NAME --resume {resume}."
        )
    return Origin(folder, checkpoint, checkpoint.manifest["run_id"])


def resumed_checkpoint(runs_dir: Path | str, resume: str) -> Checkpoint:
    """The checkpoint that `--resume` names; CheckpointError where there is none."""
    checkpoint = find(_below(runs_dir, Path(resume)))
    if checkpoint is None:
        raise CheckpointError(f"--resume {resume}: the run has no checkpoint yet. Leave --resume out to begin it.")
    if checkpoint.manifest.get("weights_alone"):
        raise CheckpointError(f"--resume {resume} holds only the best weights: continue from the run itself.")
    return checkpoint


def newest_step(run: Path | str) -> int:
    """Step of a run's newest valid checkpoint; 0 where there is none."""
    try:
        checkpoint = find(run)
    except CheckpointError:
        return 0
    return checkpoint.step if checkpoint else 0
