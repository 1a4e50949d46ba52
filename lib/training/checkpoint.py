"""Checkpoints: a folder per step, written beside and renamed, never changed again.

    RUN/checkpoints/step-00000250/{model,ema}.safetensors  optimizer.pt  manifest.json
    RUN/latest, RUN/best      text files that name a checkpoint

The manifest holds step, stage, config and the sha256 of each file, and is written last: a tensor full of zeros loads
without complaint, only a hash tells. Loading takes the newest checkpoint whose every hash fits.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lib.config import ConfigError, nearest

MANIFEST = "manifest.json"
log = logging.getLogger(__name__)


class CheckpointError(ConfigError):
    """A run or checkpoint that is not there, is damaged, or belongs to another config."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its folder and its manifest."""

    path: Path
    manifest: dict

    @property
    def step(self):
        """Optimizer steps done."""
        return self.manifest["step"]

    def weights(self, averaged=True):
        """State dict of the model: the moving average where there is one and it is asked for."""
        ema = self.path / "ema.safetensors"
        return load_file(ema if averaged and ema.exists() else self.path / "model.safetensors")

    def optimizer(self):
        """State dict of the optimizer."""
        return torch.load(self.path / "optimizer.pt", weights_only=True, map_location="cpu")


def write_text(path, text):
    """Replace a small file whole."""
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def file_sha256(path):
    """Hex sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_tensors(tensors, path):
    """A state dict as safetensors: contiguous, on the CPU."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def write_manifest(folder, facts):
    """The manifest of a folder's files: `facts` and the sha256 of each."""
    kept = [path for path in sorted(folder.iterdir()) if path.name != MANIFEST and path.suffix != ".md"]  # a card may change
    files = {path.name: file_sha256(path) for path in kept}
    write_text(folder / MANIFEST, json.dumps({**facts, "sha256": files}, indent=1, ensure_ascii=False))


def save(run, facts, model, optimizer, ema=None, keep=5, is_best=False):
    """Write RUN/checkpoints/step-N and move `latest` (and `best`) to it.

    Parameters
    ----------
    run : Path
    facts : dict for the manifest, with `step`
    model, ema : state dicts; optimizer : its state dict
    keep : how many of the newest stay; the best stays besides
    """
    folder = Path(run) / "checkpoints" / f"step-{facts['step']:08d}"
    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_tensors(model, partial / "model.safetensors")
    if ema is not None:
        save_tensors(ema, partial / "ema.safetensors")
    torch.save(optimizer, partial / "optimizer.pt")
    for path in partial.iterdir():
        _sync(path)
    write_manifest(partial, facts)
    _sync(partial)
    shutil.rmtree(folder, ignore_errors=True)  # only a damaged one of the same step can be there
    partial.rename(folder)
    _sync(folder.parent)
    write_text(Path(run) / "latest", folder.name)
    if is_best:
        write_text(Path(run) / "best", folder.name)
    _prune(Path(run), keep)
    return folder


def _sync(path):
    """Force a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prune(run, keep):
    best = _named(run, "best")
    for folder in step_folders(run)[keep:]:
        if folder.name != best:
            shutil.rmtree(folder)


def step_folders(run):
    """Folders of checkpoints, newest first."""
    return sorted((p for p in (Path(run) / "checkpoints").glob("step-*") if p.name[5:].isdigit()), reverse=True)


def _named(run, name):
    pointer = Path(run) / name
    return pointer.read_text().strip() if pointer.exists() else None


def verify(folder):
    """The manifest of a checkpoint folder whose every file fits its hash.

    Raises
    ------
    CheckpointError : says what is wrong with it
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        expected = manifest["sha256"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} has no readable manifest ({type(error).__name__}).") from None
    for name, sha256 in expected:
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise CheckpointError(f"{folder}: {name} is missing.")
        if file_sha256(path) != sha256:
            raise CheckpointError(f"{folder}: {name} is damaged (its sha256 differs).")
    return manifest


def find(run, name="latest"):
    """The checkpoint a run goes on from, or is used with.

    Parameters
    ----------
    run : a run folder, or the folder of one checkpoint
    name : "latest" or "best"; damaged ones are skipped, with a warning, for the newest valid one

    Returns
    -------
    Checkpoint, or None where the run has none yet

    Raises
    ------
    CheckpointError : there is no such run, or all its checkpoints are damaged
    """
    run = Path(run)
    if (run / MANIFEST).exists():
        return Checkpoint(run, verify(run))
    if not run.is_dir():
        names = [p.name for p in run.parent.iterdir() if p.is_dir()] if run.parent.is_dir() else []
        raise CheckpointError(f"There is no run folder {run}.{nearest(run.name, names) if names else ''}")
    folders, wanted = step_folders(run), _named(run, name)
    if name == "best":  # latest is simply the newest
        folders.sort(key=lambda folder: folder.name != wanted)
    for folder in folders:
        try:
            return Checkpoint(folder, verify(folder))
        except CheckpointError as error:
            log.warning("skipped a damaged checkpoint: %s", error)
            newest_error = error
    if folders:
        raise CheckpointError(f"All {len(folders)} checkpoints of {run} are damaged, the last so: {newest_error} Start afresh.")
    return None


def require(run, stage, name="best"):
    """`find`, where a checkpoint of `stage` is needed."""
    checkpoint = find(run, name)
    if checkpoint is None:
        raise CheckpointError(f"{run} has no checkpoint yet: train it first (python -m lib train {stage}).")
    found = checkpoint.manifest.get("stage")
    if found != stage:
        raise CheckpointError(f"{run} is a run of {found!r}, but a {stage!r} run is needed.")
    return checkpoint


def run_of(folder):
    """The run folder of a run or of one of its checkpoints."""
    folder = Path(folder)
    return folder.parent.parent if (folder / MANIFEST).exists() and folder.parent.name == "checkpoints" else folder
