"""The runs that a stage builds on: where they are, and that they are still what they were.

Codes and styles mean something only together with the very weights that made them: a manifest keeps their hashes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.hub import locate
from lib.storage.manifest import MANIFEST, verify

SOURCES = {
    "vqvae": (),
    "style_encoder": (),
    "diffusion": ("vqvae", "style_encoder"),
    "fine_tune": ("vqvae", "style_encoder", "diffusion"),
}
ALONE = "model.safetensors"  # of a stage that was exported alone
# what a finished improviser's folder calls the config of each stage that can be built on
FINISHED = {"vqvae": "vqvae", "style_encoder": "style_encoder", "diffusion": "dit"}


@dataclass(frozen=True)
class FinishedPart(checkpoints.Checkpoint):
    """A stage's weights in a finished improviser's folder, or exported alone, to build on as on the best checkpoint of a run."""

    stage: str

    @property
    def run(self):
        """The folder itself."""
        return self.path

    def tensors(self, name):
        """The stage's weights as `model`, the pianists' `styles` and `changes`; in single precision."""
        if name not in ("model", "styles", "changes"):
            return None
        alone = (self.path / ALONE).exists()
        path = self.path / (ALONE if alone and name == "model" else f"{self.stage if name == 'model' else name}.safetensors")
        tensors = load_file(path) if path.exists() else {}
        return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()} or None


def require(run, stage, name="best"):
    """`find`, where a checkpoint of `stage` is needed: of a run, part of a finished improviser's folder, or exported alone.

    `run` may be a name of the Hugging Face hub, see hub.locate.

    Raises
    ------
    CheckpointError : there is none; DamageError : a file of it is damaged
    """
    run = locate(run)
    if (run / MANIFEST).exists() and checkpoints.step_of(run) is None:
        return _finished_part(run, stage)
    checkpoint = checkpoints.find(run, name)
    if checkpoint is None:
        raise checkpoints.CheckpointError(f"{run} has no checkpoint yet: train it first (python -m lib train {stage}).")
    found = checkpoint.manifest.get("stage")
    if found != stage:
        raise checkpoints.CheckpointError(f"{run} is a run of {found!r}, but a {stage!r} run is needed.")
    return checkpoint


def _finished_part(folder, stage):
    finished = verify(folder)
    if finished.get("kind") == "stage" and finished.get("stage") == stage:
        return FinishedPart(folder, finished, stage)
    if finished.get("kind") != "improviser" or f"{stage}.safetensors" not in finished["sha256"]:
        raise checkpoints.CheckpointError(f"{folder} holds no weights of {stage!r} to build on.")
    sha256 = {part: finished["sha256"][f"{part}.safetensors"] for part in FINISHED if part == stage or part != "diffusion"}
    manifest = {"stage": stage, "step": 0, "config": finished["configs"][FINISHED[stage]],
                "pianists": finished["classes"], "styles": finished["pianists"],
                "sha256": {"model.safetensors": sha256[stage]},
                "sources": dict.fromkeys(SOURCES[stage], os.curdir),
                "source_sha256": {part: sha256[part] for part in SOURCES[stage]}}  # fmt: skip
    return FinishedPart(folder, manifest, stage)


def find_sources(stage, runs_dir, given):
    """The runs of a stage's sources.

    Parameters
    ----------
    stage : one of SOURCES
    runs_dir : where they are looked for
    given : dict stage -> a run, or a finished improviser's folder, to take instead, or None

    Returns
    -------
    dict stage -> Path; who begins with a diffusion model's weights (fine-tuning does, diffusion may) takes its codec and
    its ear where it is not told otherwise

    Raises
    ------
    CheckpointError : one is not there, not trained yet, or not what the diffusion run was trained with
    """
    wanted = SOURCES[stage]
    if stage == "diffusion" and given.get("diffusion"):
        wanted = (*wanted, "diffusion")
    found, base = {}, None
    for name in sorted(wanted, key=lambda name: name != "diffusion"):  # it knows where the others are
        known = resolve_source(base, name) if base is not None else Path(runs_dir) / name
        found[name] = locate(given.get(name) or known)
        checkpoint = require(found[name], name)
        base = checkpoint if name == "diffusion" else base
    if base is not None:  # but for the weights that it may have begun with itself
        check_unchanged(base, {name: run for name, run in found.items() if name != "diffusion"})
    return {name: found[name] for name in wanted}


def resolve_source(checkpoint, stage):
    """The folder of the run a checkpoint was trained on, written relative to its own run."""
    return (checkpoint.run / checkpoint.manifest["sources"][stage]).resolve()


def fingerprints(sources):
    """dict stage -> sha256 of the weights that are taken from its run."""
    return {name: _fingerprint(require(run, name)) for name, run in sources.items()}


def _fingerprint(checkpoint):
    files = checkpoint.manifest["sha256"]
    return files.get("ema.safetensors") or files["model.safetensors"]


def check_unchanged(checkpoint, sources):
    """CheckpointError where a run that a checkpoint was trained on has other weights by now."""
    before = checkpoint.manifest["source_sha256"]
    for name, sha256 in fingerprints({name: run for name, run in sources.items() if name in before}).items():
        if sha256 != before[name]:
            raise checkpoints.CheckpointError(
                f"{checkpoint.run} was trained on other weights than {sources[name]} has now. "
                f"Name the {name} run it was trained on, or train anew with another --run."
            )
