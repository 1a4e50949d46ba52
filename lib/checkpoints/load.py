"""Trained models, ready to use: from a stage's run, or from a finished improviser's folder.

An improviser's folder (`brad_final/`, `data/released/`) holds vqvae, style_encoder, styles and a transformer (fine_tune,
diffusion where it is the base model, or both) as safetensors and a manifest with their configs and hashes; it needs no run
beside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lib import config as configs
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.config_migration import config_from, differences, original_key, put_weights
from lib.checkpoints.hub import locate
from lib.checkpoints.run_dependencies import check_unchanged, require, resolve_source
from lib.models.blocks import add_low_rank, merge_low_rank
from lib.models.dit import DiT
from lib.models.style_encoder import StyleEncoder
from lib.models.vqvae import KINDS, VQVAE
from lib.music.harmony import Changes
from lib.storage.manifest import MANIFEST, verify, write_manifest

BASE_KNOBS = {field.name for field in dataclasses.fields(configs.DiffusionConfig)}
WEIGHTS = ("vqvae", "style_encoder", "styles")
TRANSFORMERS = ("fine_tune", "diffusion")  # the adapted one comes first


@dataclass(frozen=True)
class Styles:
    """A vector for each pianist: names, and vectors (P, S) of length 1."""

    names: tuple
    vectors: Tensor

    def vector(self, name):
        """(S,); ConfigError naming the nearest pianist where the name is unknown."""
        return self.vectors[self.names.index(configs.choose("pianist", name, self.names))]


@dataclass(frozen=True)
class Improviser:
    """All that is needed to play: frozen models in eval mode, their configs, the pianists' styles and changes, whom it plays
    like."""

    vqvae: VQVAE
    style_encoder: StyleEncoder
    dit: DiT
    styles: Styles
    pianist: str | None
    configs: dict
    changes: Changes


def fingerprint(model):
    """Hex sha256 that tells a model's weights from others, in whatever precision and by whatever version they were stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted((original_key(model, key), tensor) for key, tensor in model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
    return digest.hexdigest()


def frozen(model, weights, device="cpu", where="The checkpoint", differing=""):
    """The model with these weights, in eval mode, without gradients; CheckpointError (put_weights) where they don't fit."""
    put_weights(model, {name: tensor.float() for name, tensor in weights.items()}, where, differing)
    return model.to(device).eval().requires_grad_(False)


def make_dit(config, style_config, vqvae):
    """An untrained DiT for these styles and a codec's codes."""
    return DiT.from_config(config, style_config.style_dim, vqvae.code_vectors(), KINDS)


def config_of(checkpoint):
    """The config a checkpoint was trained with, by whichever version."""
    return config_from(checkpoint.manifest["stage"], checkpoint.manifest["config"], checkpoint.path)


def frozen_of(checkpoint, model, device="cpu"):
    """The model with a checkpoint's weights; CheckpointError says what differs where they don't fit."""
    differing = differences(checkpoint.manifest["stage"], checkpoint.manifest["config"])
    return frozen(model, checkpoint.weights(), device, checkpoint.path, differing)


def load_vqvae(run, device="cpu"):
    """The VQVAE of a run (its best checkpoint), and its config."""
    checkpoint = require(run, "vqvae")
    config = config_of(checkpoint)
    return frozen_of(checkpoint, VQVAE.from_config(config), device), config


def load_style_encoder(run, device="cpu"):
    """The StyleEncoder of a run (its best checkpoint), its config, the names of its classes."""
    checkpoint = require(run, "style_encoder")
    config, names = config_of(checkpoint), checkpoint.manifest["pianists"]
    return frozen_of(checkpoint, StyleEncoder.from_config(config, len(names)), device), config, names


def is_finished(folder):
    """Whether a folder holds a finished improviser."""
    return (Path(folder) / MANIFEST).exists() and any(
        (Path(folder) / f"{name}.safetensors").exists() for name in TRANSFORMERS
    )


def load_improviser(folder, device="cpu", base=False):
    """Improviser from a finished folder, or from a run of diffusion or fine_tune whose sources are still there.

    Parameters
    ----------
    folder : or a name of the Hugging Face hub, see hub.locate
    base : of a finished folder the model before it was adapted to a pianist

    Raises
    ------
    CheckpointError : nothing to load there, or what another version has made and does not fit; says what differs
    DamageError : a file is missing or damaged
    """
    folder = locate(folder)
    if is_finished(folder):
        return _load_finished(folder, device, base)
    if (folder / MANIFEST).exists() and checkpoints.step_of(folder) is None:
        raise _other_folder(folder)
    checkpoint = checkpoints.find(folder, "best")
    if checkpoint is None or checkpoint.manifest["stage"] not in ("diffusion", "fine_tune"):
        wanted = "a finished improviser (brad_final) or a run of diffusion or fine_tune"
        raise checkpoints.CheckpointError(f"{folder} is not {wanted}, or has no checkpoint yet.")
    return _load_from_runs(checkpoint, device)


def _other_folder(folder):
    """CheckpointError that says what a folder with a manifest, but without a transformer of this version, holds."""
    manifest = verify(folder)
    if manifest.get("kind") != "improviser":
        return checkpoints.CheckpointError(
            f"{folder} holds no improviser, but {manifest.get('stage') or manifest.get('kind')!r}."
        )
    differing = [f"{name}: {text}" for name, values in manifest["configs"].items()
                 if (text := differences("diffusion" if name == "dit" else name, values))]  # fmt: skip
    files = ", ".join(sorted(manifest["sha256"]))
    return checkpoints.CheckpointError(
        f"{folder} is an improviser of another version: it holds {files}; this version wants one of "
        f"{', '.join(f'{name}.safetensors' for name in TRANSFORMERS)}. {'. '.join(differing)}".strip()
    )


def _load_finished(folder, device, base):
    manifest = verify(folder)
    found = [name for name in TRANSFORMERS[base:] if (folder / f"{name}.safetensors").exists()]
    if not found:
        raise checkpoints.CheckpointError(
            f"{folder} holds no base model, only one that is adapted to {manifest['pianist']}."
        )
    stages = {"vqvae": "vqvae", "style_encoder": "style_encoder", "dit": "diffusion"}
    made = {name: config_from(stage, manifest["configs"][name], f"{folder}: {name}") for name, stage in stages.items()}
    weights = {name: load_file(folder / f"{name}.safetensors") for name in (*WEIGHTS, found[0])}

    def part(model, file, name):
        differing = differences(stages[name], manifest["configs"][name])
        return frozen(model, weights[file], device, folder / f"{file}.safetensors", differing)

    vqvae = part(VQVAE.from_config(made["vqvae"]), "vqvae", "vqvae")
    return Improviser(
        vqvae,
        part(
            StyleEncoder.from_config(made["style_encoder"], len(manifest["classes"])), "style_encoder", "style_encoder"
        ),
        part(make_dit(made["dit"], made["style_encoder"], vqvae), found[0], "dit"),
        Styles(tuple(manifest["pianists"]), weights["styles"]["styles"].float().to(device)),
        manifest["pianist"] if found[0] == "fine_tune" else None,
        {**made, "classes": manifest["classes"]},
        _changes(manifest["pianists"], _tensors_if_there(folder / "changes.safetensors")),
    )


def _load_from_runs(checkpoint, device):
    sources = {name: resolve_source(checkpoint, name) for name in ("vqvae", "style_encoder")}
    check_unchanged(checkpoint, sources)
    vqvae, vqvae_config = load_vqvae(sources["vqvae"], device)
    style_encoder, style_config, classes = load_style_encoder(sources["style_encoder"], device)
    config = config_of(checkpoint)
    dit = make_dit(config, style_config, vqvae)
    dit = add_low_rank(dit, config.lora_rank) if getattr(config, "lora_rank", 0) else dit
    dit = merge_low_rank(frozen_of(checkpoint, dit, device)).requires_grad_(False)
    styles = load_styles(checkpoint, device)
    made = {"vqvae": vqvae_config, "style_encoder": style_config, "dit": config, "classes": classes}
    return Improviser(
        vqvae, style_encoder, dit, styles, getattr(config, "pianist", None), made, load_changes(checkpoint)
    )


def load_styles(checkpoint, device="cpu"):
    """The pianists' vectors that a checkpoint of diffusion or fine_tune was trained with."""
    return Styles(tuple(checkpoint.manifest["styles"]), checkpoint.tensors("styles")["styles"].to(device))


def load_changes(checkpoint):
    """The pianists' Changes that a checkpoint of diffusion or fine_tune holds; an older one holds none."""
    return _changes(checkpoint.manifest["styles"], checkpoint.tensors("changes"))


def _changes(names, tensors):
    if tensors is None:
        return Changes.of(dict.fromkeys(names, ()))
    return Changes(tuple(names), tensors["rows"].numpy(), tensors["ends"].numpy())


def _tensors_if_there(path):
    return load_file(path) if path.exists() else None


def changes_tensors(changes):
    """What `load_changes` reads."""
    return {"rows": torch.from_numpy(changes.rows), "ends": torch.from_numpy(changes.ends)}


def save_improviser(improviser, folder, facts=None, dtype=torch.float32, base=None):
    """Write a finished folder: weights in `dtype`, configs, hashes; `facts` go into the manifest too.

    Parameters
    ----------
    base : Improviser that was adapted to become this one, where the folder is to hold both
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: getattr(improviser, name).state_dict() for name in WEIGHTS[:2]}
    tensors |= {"styles": {"styles": improviser.styles.vectors}, "changes": changes_tensors(improviser.changes)}
    for one in filter(None, (improviser, base)):
        tensors["diffusion" if one.pianist is None else "fine_tune"] = one.dit.state_dict()
    for name, state in tensors.items():
        plain = {key: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()
                 for key, value in state.items()}  # fmt: skip
        save_file(plain, folder / f"{name}.safetensors")
    made = dict(improviser.configs)
    dit = {k: v for k, v in configs.as_values(made["dit"]).items() if k in BASE_KNOBS}
    made_from = {"vqvae": configs.as_values(made["vqvae"]), "style_encoder": configs.as_values(made["style_encoder"])}
    described = {"kind": "improviser", "pianist": improviser.pianist, "pianists": list(improviser.styles.names),
                 "classes": list(made["classes"]), "configs": {**made_from, "dit": dit}, **(facts or {})}  # fmt: skip
    write_manifest(folder, described)
    return folder
