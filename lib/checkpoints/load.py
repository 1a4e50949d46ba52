"""Trained models, ready to use: from a stage's run, or from a finished improviser's folder.

An improviser's folder (`brad_final/`, `data/released/`) holds vqvae, style_encoder, styles and a transformer
(fine_tune, diffusion where it is the base model, or both) as safetensors and a manifest with their configs and hashes;
it needs no run beside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from lib import config as configs
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.checkpoint import Checkpoint, CheckpointError
from lib.checkpoints.config_migration import config_from, differences, original_key, put_weights
from lib.checkpoints.run_dependencies import (
    FINISHED,
    check_unchanged,
    finished_part,
    locate,
    require,
    resolve_dependency,
)
from lib.models.blocks import add_low_rank, merge_low_rank
from lib.models.dit import DiT
from lib.models.style_encoder import StyleEncoder
from lib.models.vqvae import PEDALS, VQVAE
from lib.music.harmony import NOTHING
from lib.storage.manifest import MANIFEST, verify, write_manifest

TRANSFORMERS = ("fine_tune", "diffusion")  # the adapted one comes first
STAGE_OF = {part: stage for stage, part in FINISHED.items()}  # part of an improviser -> the stage of its config


@dataclass(frozen=True)
class Styles:
    """A vector for each pianist, as a transformer knows them.

    Attributes
    ----------
    names : P strings
    vectors : (P, S), of length 1
    projection : (S, S), takes vectors of the style encoder to the space of these, where the transformer was trained
        with an earlier encoder; None: it is the same space
    unusable : name of a style of the user's own -> why it can't be used, and the way out
    """

    names: tuple[str, ...]
    vectors: Tensor
    projection: Tensor | None = None
    unusable: Mapping[str, str] = field(default_factory=dict)

    def project(self, vectors: Tensor) -> Tensor:
        """Vectors (N, S) of the style encoder in the space of these, of length 1."""
        if self.projection is None:
            return vectors
        return functional.normalize(vectors @ self.projection.to(vectors), dim=-1)

    def vector(self, text: str) -> Tensor:
        """(S,), of length 1, of a name or mix (parse_mix); ConfigError names the nearest pianist to an unknown one."""
        if text in self.names:
            return self.vectors[self.names.index(text)]
        if text in self.unusable:
            raise configs.ConfigError(self.unusable[text], {"style": self.unusable[text]})
        names = (*self.names, *self.unusable)
        parts = [(share, configs.choose("pianist", name, names)) for name, share in parse_mix(text)]
        return functional.normalize(sum(share * self.vector(name) for share, name in parts), dim=-1)


def parse_mix(text: str) -> list[tuple[str, float]]:
    """ "Brad Mehldau:0.7,Bill Evans:0.3" as [(name, weight)]; a name alone weighs 1. ConfigError says what is wrong."""
    parts = []
    for part in text.split(","):
        name, colon, weight = part.strip().rpartition(":")
        if not colon:
            name, weight = weight, "1"
        try:
            value = float(weight)
        except ValueError:
            raise _mix_error(text, f"{weight!r} is not a number; a mix is NAME:SHARE,NAME:SHARE.") from None
        if not name.strip() or not 0 <= value < float("inf"):
            raise _mix_error(text, "each part needs a name and a share of 0 or more.")
        parts.append((name.strip(), value))
    if not any(weight for _, weight in parts):
        raise _mix_error(text, "the shares are all 0.")
    return parts


def _mix_error(text, reason):
    message = f"style {text!r}: {reason}"
    return configs.ConfigError(message, {"style": message})


@dataclass(frozen=True)
class Improviser:
    """Everything needed to play: frozen models in eval mode, and their data.

    Attributes
    ----------
    styles : the pianists' vectors
    pianist : the pianist that the transformer was adapted to; None for a base model
    configs : "vqvae", "style_encoder" and "dit" -> config that it was trained with
    classes : names of the style encoder's classes
    changes : pianist -> chord changes, rows of lib.music.harmony
    """

    vqvae: VQVAE
    style_encoder: StyleEncoder
    dit: DiT
    styles: Styles
    pianist: str | None
    configs: dict[str, configs.StageConfig]
    classes: tuple[str, ...]
    changes: dict[str, np.ndarray]

    @property
    def device(self) -> torch.device:
        """Where its models are."""
        return self.styles.vectors.device

    def style(self, text: str | None) -> Tensor:
        """(1, S): the style of a name or a mix, else of the pianist that it was adapted to, else none."""
        if text is None and self.pianist is None:
            return torch.zeros(1, self.styles.vectors.shape[1], device=self.device)
        return self.styles.vector(text or self.pianist)[None]

    def fingerprint(self) -> str:
        """Hex sha256 that identifies what it plays: of transformer, codec and pianist."""
        parts = [fingerprint(self.dit), fingerprint(self.vqvae), str(self.pianist)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def fingerprint(model: nn.Module) -> str:
    """Hex sha256 that identifies a model's weights, independent of stored precision and version."""
    digest = hashlib.sha256()
    for name, tensor in sorted((original_key(model, key), tensor) for key, tensor in model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
    return digest.hexdigest()


# --- Models of one stage -----------------------------------------------------------------------------------------


def frozen(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    device: str | torch.device = "cpu",
    where: object = "The checkpoint",
    differing: str = "",
) -> nn.Module:
    """The model with these weights, in eval mode, without gradients; CheckpointError where they don't fit."""
    put_weights(model, {name: tensor.float() for name, tensor in weights.items()}, where, differing)
    return model.to(device).eval().requires_grad_(False)


def frozen_of(checkpoint: Checkpoint, model: nn.Module, device: str | torch.device = "cpu") -> nn.Module:
    """The model with a checkpoint's weights; CheckpointError says what differs where they don't fit."""
    differing = differences(checkpoint.manifest["stage"], checkpoint.manifest["config"])
    return frozen(model, checkpoint.weights(), device, checkpoint, differing)


def config_of(checkpoint: Checkpoint) -> configs.StageConfig:
    """The config that a checkpoint was trained with, whichever version wrote it; CheckpointError as of config_from."""
    return config_from(checkpoint.manifest["stage"], checkpoint.manifest["config"], checkpoint)


def make_dit(config: configs.DiffusionConfig, style_config: configs.StyleEncoderConfig, vqvae: VQVAE) -> DiT:
    """An untrained DiT for these styles and a codec's codes."""
    return DiT.from_config(config, style_config.style_dim, vqvae.code_vectors(), PEDALS)


def load_vqvae(run: Path | str | Checkpoint, device: str | torch.device = "cpu") -> tuple[VQVAE, configs.VQVAEConfig]:
    """The VQVAE of a run (its best checkpoint) or of a Checkpoint, and its config; errors as of `require`."""
    checkpoint = require(run, "vqvae")
    config = config_of(checkpoint)
    return frozen_of(checkpoint, VQVAE.from_config(config), device), config


def load_style_encoder(
    run: Path | str | Checkpoint, device: str | torch.device = "cpu"
) -> tuple[StyleEncoder, configs.StyleEncoderConfig, list[str]]:
    """The StyleEncoder of a run (its best checkpoint) or Checkpoint, its config, its classes; errors: `require`."""
    checkpoint = require(run, "style_encoder")
    config, names = config_of(checkpoint), checkpoint.manifest["pianists"]
    return frozen_of(checkpoint, StyleEncoder.from_config(config, len(names)), device), config, names


def load_styles(checkpoint: Checkpoint, device: str | torch.device = "cpu") -> Styles:
    """The pianists' vectors that a checkpoint of diffusion or fine_tune was trained with."""
    tensors = {name: tensor.to(device) for name, tensor in checkpoint.tensors("styles").items()}
    return Styles(tuple(checkpoint.manifest["styles"]), tensors["styles"], tensors.get("projection"))


def styles_tensors(styles: Styles) -> dict[str, Tensor]:
    """What `load_styles` reads."""
    projection = {} if styles.projection is None else {"projection": styles.projection}
    return {"styles": styles.vectors, **projection}


def load_changes(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """The pianists' chord changes that a checkpoint of diffusion or fine_tune holds; an older one holds none."""
    names, tensors = checkpoint.manifest["styles"], checkpoint.tensors("changes")
    if tensors is None:
        return dict.fromkeys(names, NOTHING)
    return dict(zip(names, np.split(tensors["rows"].numpy(), tensors["ends"].numpy()[:-1])))


def changes_tensors(changes: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """What `load_changes` reads."""
    ends = np.cumsum([len(rows) for rows in changes.values()], dtype=np.int64)
    return {"rows": torch.from_numpy(np.concatenate([NOTHING, *changes.values()])), "ends": torch.from_numpy(ends)}


# --- Improvisers -------------------------------------------------------------------------------------------------


def is_finished(folder: Path | str) -> bool:
    """Whether a folder holds a finished improviser."""
    return (Path(folder) / MANIFEST).exists() and any(_has(Path(folder), name) for name in TRANSFORMERS)


def _has(folder, name):
    return (folder / f"{name}.safetensors").exists()


def load_improviser(folder: Path | str, device: str | torch.device = "cpu", base: bool = False) -> Improviser:
    """Improviser from a finished folder, or from a run of diffusion or fine_tune whose dependencies are still there.

    Parameters
    ----------
    folder : or a name of the Hugging Face hub, see run_dependencies.locate
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
        raise _no_improviser(folder)
    checkpoint = checkpoints.find(folder, "best")
    if checkpoint is None or checkpoint.manifest["stage"] not in ("diffusion", "fine_tune"):
        wanted = "a finished improviser (brad_final) or a run of diffusion or fine_tune"
        raise CheckpointError(f"{folder} is not {wanted}, or has no checkpoint yet.")
    dependencies = {name: resolve_dependency(checkpoint, name) for name in ("vqvae", "style_encoder")}
    check_unchanged(checkpoint, dependencies)
    return _improviser(checkpoint, dependencies["vqvae"], dependencies["style_encoder"], device)


def _no_improviser(folder):
    """CheckpointError that says what a folder with a manifest, but without a transformer of this version, holds."""
    manifest = verify(folder)
    if manifest.get("kind") != "improviser":
        return CheckpointError(f"{folder} holds no improviser, but {manifest.get('stage') or manifest.get('kind')!r}.")
    texts = {name: differences(STAGE_OF[name], values) for name, values in manifest["configs"].items()}
    differing = [f"{name}: {text}" for name, text in texts.items() if text]
    files = ", ".join(sorted(manifest["sha256"]))
    return CheckpointError(
        f"{folder} is an improviser of another version: it holds {files}; this version wants one of "
        f"{', '.join(f'{name}.safetensors' for name in TRANSFORMERS)}. {'. '.join(differing)}".strip()
    )


def _load_finished(folder, device, base):
    manifest = verify(folder)
    transformer = next((name for name in TRANSFORMERS[base:] if _has(folder, name)), None)
    if transformer is None:
        raise CheckpointError(f"{folder} holds no base model, only one that is adapted to {manifest['pianist']}.")
    part, *others = (
        finished_part(folder, manifest, stage, file)
        for stage, file in (("diffusion", transformer), ("vqvae", None), ("style_encoder", None))
    )
    pianist = manifest["pianist"] if transformer == "fine_tune" else None
    return dataclasses.replace(_improviser(part, *others, device), pianist=pianist)


def _improviser(checkpoint, vqvae_run, style_encoder_run, device):
    config = config_of(checkpoint)
    vqvae, vqvae_config = load_vqvae(vqvae_run, device)
    style_encoder, style_config, classes = load_style_encoder(style_encoder_run, device)
    dit = make_dit(config, style_config, vqvae)
    dit = add_low_rank(dit, config.lora_rank) if getattr(config, "lora_rank", 0) else dit
    return Improviser(
        vqvae=vqvae,
        style_encoder=style_encoder,
        dit=merge_low_rank(frozen_of(checkpoint, dit, device)).requires_grad_(False),
        styles=load_styles(checkpoint, device),
        pianist=getattr(config, "pianist", None),
        configs={"vqvae": vqvae_config, "style_encoder": style_config, "dit": config},
        classes=tuple(classes),
        changes=load_changes(checkpoint),
    )


def save_improviser(
    improviser: Improviser,
    folder: Path | str,
    facts: Mapping | None = None,
    dtype: torch.dtype = torch.float32,
    base: Improviser | None = None,
) -> Path:
    """Write a finished folder: weights, configs, hashes.

    Parameters
    ----------
    facts : go into the manifest too
    dtype : of the weights
    base : what was adapted to become this one, where the folder is to hold both

    Returns
    -------
    Path : the folder
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: getattr(improviser, name).state_dict() for name in ("vqvae", "style_encoder")}
    tensors |= {"styles": styles_tensors(improviser.styles), "changes": changes_tensors(improviser.changes)}
    for each in filter(None, (improviser, base)):
        tensors["diffusion" if each.pianist is None else "fine_tune"] = each.dit.state_dict()
    for name, state in tensors.items():
        save_file({key: _plain(value, dtype) for key, value in state.items()}, folder / f"{name}.safetensors")
    values = {name: configs.as_values(config) for name, config in improviser.configs.items()}
    base_fields = {field.name for field in dataclasses.fields(configs.DiffusionConfig)}  # without those of fine-tuning
    values["dit"] = {name: value for name, value in values["dit"].items() if name in base_fields}
    manifest = {
        "kind": "improviser",
        "pianist": improviser.pianist,
        "pianists": list(improviser.styles.names),
        "classes": list(improviser.classes),
        "configs": values,
    }
    write_manifest(folder, {**manifest, **(facts or {})})
    return folder


def _plain(tensor, dtype):
    """A tensor as a file holds it."""
    return tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
