"""Trained weights as a folder for others: safetensors, config.json and a card (README.md), in the hub's layout.

What is exported loads back wherever a run can be named, by its folder or by its name on the hub
(run_dependencies.locate).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lib.apps.export.model_card import card
from lib.checkpoints.checkpoint import CheckpointError, find
from lib.checkpoints.history import validation_figures
from lib.checkpoints.load import is_finished, load_improviser, save_improviser
from lib.checkpoints.run_dependencies import STAGE_FILE, locate, resolve_dependency
from lib.config import ConfigError
from lib.storage.atomic_write import write_text
from lib.storage.manifest import MANIFEST, DamageError, read_manifest, verify, write_manifest

LIBRARY = "library"  # the gallery of recordings beside a style encoder's weights
CONFIG, CARD = "config.json", "README.md"
MODEL_TYPE = "brad-mehldau-ai"


def export(run, to, half=False, base=False, name="", figures=None):
    """Write a run, or a finished improviser, as a folder for others.

    Parameters
    ----------
    run : of any stage (its best checkpoint), or a finished folder; with what diffusion and fine_tune build on
    to : folder, new or an earlier export, which is replaced
    half : weights in half precision
    base : of a fine_tune run, take the model before it was adapted along
    name : what the card calls it; "": the folder's name
    figures : dict name -> number that the card is to give; None: those of the run's validation, where they are known

    Returns
    -------
    Path

    Raises
    ------
    CheckpointError : nothing to export there; ConfigError : `to` is a folder with something else in it
    """
    run, to = locate(run), Path(to)
    _check_target(run, to)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch)
        what, facts, config, measured = _gather(run, made, base)
        if half:
            for path in made.glob("*.safetensors"):
                _halve(path)
        _replace(made, to)
    write_text(
        to / CONFIG,
        json.dumps({"model_type": MODEL_TYPE, "architectures": [what], **config}, indent=1, ensure_ascii=False),
    )
    text = card(what, _corpora(config), _rows(to, facts), figures or measured, facts.get("pianist"), name or to.name)
    write_text(to / CARD, text)
    write_manifest(to, facts)
    verify(to)
    return to


def _check_target(run, to):
    """ConfigError where something would be lost."""
    if to.resolve() == run.resolve() or run.resolve() in to.resolve().parents:
        raise ConfigError(f"--to {to} is the run itself: name another folder.")
    if to.exists() and (not to.is_dir() or any(to.iterdir())) and not _is_export(to):
        raise ConfigError(f"--to {to} holds something that is no export: name a new folder.")


def _is_export(folder):
    try:
        return CONFIG in read_manifest(folder)["sha256"]
    except DamageError:  # of an export that was cut short, its card and config are there
        return (folder / CONFIG).is_file() and json.loads((folder / CONFIG).read_text("utf-8")).get(
            "model_type"
        ) == MODEL_TYPE


def _gather(run, made, base):
    """(what, facts for the manifest, configs, validation figures); the weights are written into `made`."""
    library = run / LIBRARY
    if library.is_dir():
        shutil.copytree(library, made / LIBRARY)
    if is_finished(run):
        return _gather_finished(run, made)
    checkpoint = find(run, "best")
    if checkpoint is None:
        raise CheckpointError(f"{run} has no checkpoint yet: there is nothing to export.")
    if checkpoint.manifest["stage"] in ("diffusion", "fine_tune"):
        return _gather_improviser(checkpoint, made, base)
    return _gather_stage(checkpoint, made)


def _gather_finished(folder, made):
    manifest = verify(folder)
    for file in manifest["sha256"]:
        if file.endswith(".safetensors"):
            shutil.copyfile(folder / file, made / file)
    facts = {key: value for key, value in manifest.items() if key != "sha256"}
    return (
        "improviser",
        facts,
        {"configs": manifest["configs"], "pianist": manifest["pianist"]},
        facts.get("figures", {}),
    )


def _gather_improviser(checkpoint, made, base):
    improviser, before = load_improviser(checkpoint.path), None
    if base and checkpoint.manifest["stage"] == "fine_tune":
        before = load_improviser(resolve_dependency(checkpoint, "diffusion"), base=True)
    save_improviser(improviser, made, {"step": checkpoint.step}, base=before)
    manifest = read_manifest(made)
    (made / MANIFEST).unlink()
    facts = {key: value for key, value in manifest.items() if key != "sha256"}
    figures = validation_figures(checkpoint.run, checkpoint.step)
    return "improviser", facts, {"configs": facts["configs"], "pianist": facts["pianist"]}, figures


def _gather_stage(checkpoint, made):
    stage = checkpoint.manifest["stage"]
    file = next(name for name in ("ema", "model") if (checkpoint.path / f"{name}.safetensors").exists())
    shutil.copyfile(checkpoint.path / f"{file}.safetensors", made / STAGE_FILE)  # the same bytes: runs check their hash
    kept = ("stage", "step", "config", "pianists", "sources", "source_sha256")
    facts = {"kind": "stage", **{key: checkpoint.manifest[key] for key in kept if key in checkpoint.manifest}}
    return stage, facts, {"configs": {stage: facts["config"]}}, validation_figures(checkpoint.run, checkpoint.step)


def _halve(path):
    tensors = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in load_file(path).items()}
    save_file(tensors, path)


def _replace(made, to):
    """Replace the target's files by those in `made`; the manifest comes last."""
    to.mkdir(parents=True, exist_ok=True)
    (to / MANIFEST).unlink(missing_ok=True)
    for old in [*to.glob("*.safetensors"), *to.glob("*.json")]:
        old.unlink()
    shutil.rmtree(to / LIBRARY, ignore_errors=True)
    for path in made.iterdir():
        shutil.move(path, to / path.name)


def _corpora(config):
    return sorted({corpus for values in config["configs"].values() for corpus in values["corpora"]})


def _rows(folder, facts):
    """What a card says of the weights."""
    sizes = {
        path.stem: sum(tensor.numel() for tensor in load_file(path).values())
        for path in sorted(folder.glob("*.safetensors"))
    }
    dtype = {tensor.dtype for path in folder.glob("*.safetensors") for tensor in load_file(path).values()}
    numbers = {f"numbers in {name}": f"{size:,}" for name, size in sizes.items()}
    step = {"steps": f"{facts['step']:,}"} if facts.get("step") else {}
    return {**step, **numbers, "precision": "half" if torch.float16 in dtype else "single"}
