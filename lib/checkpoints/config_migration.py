"""Names from earlier versions, in files and options: one table that all readers use.

Manifests, config.json, order.json, sweep files, `--set`, JSON requests and state dicts keep the names of the version
that wrote them. To rename a setting, a field of a request or a part of a model, rename it in the code and add a row to
RENAMED; to remove one, add it to REMOVED. A name that is neither known nor in the table is an error: it is never
silently replaced by a default. A field that came since takes what the code did before it (EARLIER), else its default.

Generators (diffusion, fine_tune) that were trained on music in seconds are refused: see `completed`. The codec of
before is the same network and serves in beats as it is: it codes a latent frame by itself, however long that lasts.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from lib import config as configs
from lib.checkpoints.checkpoint import CheckpointError, Origin
from lib.config import ConfigError

# owner -> {name in earlier versions: name now}. An owner is a class of settings (its subclasses inherit the rows), a
# model (parts of the keys of its state dict: "blocks.0.old.weight" has the part "old"; several are joined by dots),
# "Verifier" (tensors of its file), a notebook ("06_listen": its parameters) or "sweep" (keys of a sweep file).
RENAMED: dict[str, dict[str, str]] = {
    "DiffusionConfig": {"hidden": "width", "layers": "depth", "drop_knobs": "drop_attributes"},
    "GenerateRequest": {"told": "condition_model", "beats_per_bar": "metre"},
    "Verifier": {"usual": "mean_std"},
}
# owner -> {name in earlier versions: what became of it, a sentence without its full stop}
REMOVED: dict[str, dict[str, str]] = {
    "VQVAEConfig": {
        "groups": "the codec has two codes a frame and band",
        "kernel": "its perceptrons see one frame",
        "latent_noise": "nothing is added to the codes in training",
        "onset_weight": "onsets are looked up in a table of patterns",
    },
    "StyleEncoderConfig": {"consistency_from": "two views of a passage are compared from the first step on"},
    "GenerateRequest": {"order": "codes are unmasked in random order"},
}
# owner -> {field that came since: what a config without it was trained with}, where the default is another
EARLIER = {
    "StageConfig": {"optimizer": "adamw"},
    "StyleEncoderConfig": {"reads": "roll", "ema_decay": 0.0, "augmentation": 0.0, "views": 1, "consistency": 0.0},
}
_STYLE = {"reads": "notes", "ema_decay": 0.0, "augmentation": 0.0, "views": 1, "consistency": 0.0}
_COLAB = {"batch_size": 8, "lr": 1e-4}
# stage -> preset -> what it had in earlier versions: a run that was begun with that keeps it, unless told otherwise
EARLIER_PRESETS = {
    "vqvae": {"colab": _COLAB},
    "style_encoder": {
        **dict.fromkeys(("tiny", "demo", "large"), _STYLE),
        "laptop": {**_STYLE, "batch_size": 32},
        "colab": {**_STYLE, **_COLAB},
    },
    "diffusion": {"colab": _COLAB},
    "fine_tune": {"colab": {"batch_size": 8}},
}
# what may differ when a run continues: nothing that changes the path of the weights up to there
FREE_SETTINGS = {
    *("preset", "epochs", "steps", "decay", "device", "mixed_precision", "log_every", "validate_every", "save_every"),
    *("save_minutes", "mirror_minutes"),
    *("keep_checkpoints", "tracker", "validation_batches", "final_name", "mirror_verify_minutes", "deterministic"),
    "encodings",  # the keys of later epochs
    "skips_in_a_row",
}
BATCH_SETTINGS = ("batch_size", "gradient_accumulation")  # may differ if their product, the global batch, does not
IN_BEATS = "drop_clock"  # the config of every generator has it since music is coded in beats
SHOWN = 6  # tensors of a message
UPDATE = "A newer version may have written it: update this one (git pull)"
log = logging.getLogger("lib.training")


# --- The table ---------------------------------------------------------------------------------------------------


def rows(table: Mapping, owner: type | str) -> dict[str, str]:
    """The rows of RENAMED or REMOVED for an owner: a name, or a class, with those of its base classes."""
    names = [owner] if isinstance(owner, str) else [base.__name__ for base in reversed(owner.__mro__)]
    return {old: new for name in names for old, new in table.get(name, {}).items()}


def renamed(owner: type | str, values: Mapping, source: str) -> dict:
    """What a user wrote, with this version's names; an earlier name is accepted, and a printed line gives the new one.

    Parameters
    ----------
    owner : of RENAMED
    values : name -> value
    source : what messages put before a name, such as "--set "

    Raises
    ------
    ConfigError : a setting was removed, or is given by both its names
    """
    new_names, reasons, current = rows(RENAMED, owner), rows(REMOVED, owner), {}
    for name, value in values.items():
        if name in reasons:
            reason = f"is no longer a setting: {reasons[name]}. Remove it."
            raise ConfigError(f"{source}{name} {reason}", {name: reason})
        new = new_names.get(name, name)
        if new != name:
            _announce(f"{source}{name} is now called {new}; the old name is accepted in this release, not in the next.")
        if new in current:
            reason = f"{new} is given twice, by its old and its new name. Leave one out."
            raise ConfigError(f"{source}{name}: {reason}", {name: reason})
        current[new] = value
    return current


@functools.cache
def _announce(line):
    """Print a line once a process."""
    print(line, flush=True)


def renamed_settings(stage: str, values: Mapping, source: str = "--set ") -> dict:
    """Settings of a stage that a user wrote, with this version's names: see `renamed`."""
    return renamed(configs.STAGES[configs.choose("stage", stage, configs.STAGES)], values, source)


def _sorted_out(owner, values):
    """What a file holds, as four dicts: by this version's names, removed since, unknown; and what came since."""
    new_names, reasons = rows(RENAMED, owner), rows(REMOVED, owner)
    since = {field.name: field.default for field in dataclasses.fields(owner)} | rows(EARLIER, owner)
    known, removed, unknown = {}, {}, {}
    for name, value in values.items():
        new = new_names.get(name, name)
        if name in reasons:
            removed[name] = value
        elif new in since:
            known[new] = value
        else:
            unknown[new] = value
    return known, removed, unknown, {name: value for name, value in since.items() if name not in known}


def known_values(owner: type, values: Mapping, where: object) -> dict:
    """What a file holds, by this version's names; CheckpointError names what is unknown."""
    known, _, unknown, _ = _sorted_out(owner, values)
    if unknown:
        raise CheckpointError(f"{where} has {_settings(unknown)}, which this version does not know. {UPDATE}.")
    return known


def _settings(values):
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


# --- Configs and requests ----------------------------------------------------------------------------------------


def config_from(stage: str, values: Mapping, where: object) -> configs.StageConfig:
    """The config of a stage from the values that a checkpoint holds, whichever version wrote them.

    Parameters
    ----------
    stage : one of lib.config.STAGES
    values : name -> plain value
    where : what messages call the checkpoint

    Raises
    ------
    CheckpointError : a field that is neither known nor in the table, or a value that this version can't have
    """
    current = completed(stage, values, where)
    try:
        config = configs.build(configs.STAGES[stage], current)
    except ConfigError as error:
        raise CheckpointError(f"{where} was made with a config that this version does not accept: {error}") from None
    known_of_earlier = rows(EARLIER, configs.STAGES[stage])  # how it was trained, beyond doubt
    if differing := differences(stage, {**known_of_earlier, **values}):
        log.warning("%s is of another version: %s", where, differing)
    return config


def config_of_run(run: Path | str) -> configs.StageConfig | None:
    """The config in a run's config.json, of the stage whose fields it has; None where there is none.

    Raises
    ------
    CheckpointError : a field of it is neither known nor in the table, or a value can't be had
    """
    path = Path(run) / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    fields = {stage: len(dataclasses.fields(kind)) for stage, kind in configs.STAGES.items() if _covers(kind, values)}
    if not fields:
        raise CheckpointError(f"{path} belongs to no stage that this version knows. {UPDATE}.")
    return config_from(min(fields, key=fields.get), values, path)


def _covers(kind, values):
    names = {field.name for field in dataclasses.fields(kind)} | rows(RENAMED, kind).keys() | rows(REMOVED, kind).keys()
    return values.keys() <= names


def completed(stage: str, values: Mapping, where: object) -> dict:
    """A checkpoint's values with this version's names, and with what its fields that came since stand for.

    Raises
    ------
    CheckpointError : a name that is neither known nor in the table, or a generator of music in seconds
    """
    if issubclass(configs.STAGES[stage], configs.DiffusionConfig) and IN_BEATS not in values:
        raise CheckpointError(
            f"{where} was made in seconds, before music was coded in beats. Train it again (its codec and style "
            f"encoder may stay) with another --run, or rename its folder, in the mirror too; or use it with commit "
            f"{configs.LAST_COMMIT_IN_SECONDS}."
        )
    known = known_values(configs.STAGES[stage], values, f"{where}: its config")
    return {**_sorted_out(configs.STAGES[stage], values)[3], **known}


def differences(stage: str, values: Mapping) -> str:
    """Which fields of a checkpoint's config are gone, unknown, or came since, with their values; "" where none."""
    _, removed, unknown, new = _sorted_out(configs.STAGES[stage], values)
    parts = [f"its config has {_settings(removed)}, removed since"] if removed else []
    parts += [f"its config has {_settings(unknown)}, which this version does not know"] if unknown else []
    defaults = ", ".join(f"{name} ({value!r} is taken)" for name, value in new.items() if name not in FREE_SETTINGS)
    return "; ".join([*parts, f"it says nothing of {defaults}"] if defaults else parts)


def continued_config(origin: Origin, config: configs.StageConfig, stage: str) -> configs.StageConfig:
    """A config for a training that continues a checkpoint: its preset is what it was when the run was begun.

    Raises
    ------
    CheckpointError : the checkpoint is another stage's, or of another config
    """
    if origin.checkpoint is None:
        return config
    manifest = origin.checkpoint.manifest
    if manifest["stage"] != stage:
        raise CheckpointError(f"{origin.checkpoint.run} is a run of {manifest['stage']!r}; use another --run.")
    before = completed(stage, manifest["config"], origin.checkpoint.path)
    if kept := _of_earlier_preset(config, stage, before):
        text = f"{origin.folder.name} keeps what preset {config.preset} was when it was begun: {_settings(kept)}"
        print(text, flush=True)
        config = dataclasses.replace(config, **kept)
    now = json.loads(json.dumps(configs.as_values(config)))
    free = FREE_SETTINGS | (set(BATCH_SETTINGS) if _global_batch(before) == _global_batch(now) else set())
    differing = [name for name in now if name not in free and before.get(name) != now[name]]
    if differing:
        changes = ", ".join(f"{name}: {before.get(name)} in the run, {now[name]} requested" for name in differing)
        raise CheckpointError(
            f"{origin.folder} was trained with another config ({changes}). "
            f"Continue with its own values, or name a new --run."
        )
    return config


def _of_earlier_preset(config, stage, before):
    """Settings of EARLIER_PRESETS that a run was begun with, where the config has those of its preset today."""
    earlier = EARLIER_PRESETS[stage].get(config.preset)
    if earlier is None or before["preset"] != config.preset:
        return {}
    today = configs.preset(stage, config.preset)
    return {
        name: value
        for name, value in earlier.items()
        if before[name] == value != getattr(config, name) == getattr(today, name)
    }


def _global_batch(values):
    return values[BATCH_SETTINGS[0]] * values[BATCH_SETTINGS[1]]


# --- State dicts -------------------------------------------------------------------------------------------------


def renamed_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of `model` that any version wrote, with this version's keys."""
    new_names = rows(RENAMED, type(model))
    return {_with_parts(key, new_names.items()): tensor for key, tensor in tensors.items()}


def original_key(model: nn.Module, key: str) -> str:
    """What the first version called a tensor of `model`: fingerprints are made of these names."""
    return _with_parts(key, ((new, old) for old, new in rows(RENAMED, type(model)).items()))


def _with_parts(key, renamings):
    """A key with its parts (what stands between dots) renamed."""
    dotted = f".{key}."
    for before, after in renamings:
        dotted = dotted.replace(f".{before}.", f".{after}.")
    return dotted[1:-1]


def put_weights(
    model: nn.Module, weights: Mapping[str, Tensor], where: object = "The checkpoint", differing: str = ""
) -> None:
    """Load a state dict that any version wrote and whose every tensor fits.

    Parameters
    ----------
    model : Module; weights : name -> Tensor
    where : what messages call the checkpoint
    differing : of `differences`, said where the weights do not fit

    Raises
    ------
    CheckpointError : names the tensors that are missing, unknown, or of another shape
    """
    own, weights = model.state_dict(), renamed_tensors(model, weights)
    wrong = [
        f"{name} is {tuple(weights[name].shape)} there and {tuple(own[name].shape)} here"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    wrong += [f"{name} is not there" for name in own if name not in weights]
    wrong += [f"{name} is there only" for name in weights if name not in own]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        reason = f" Perhaps because {differing}." if differing else ""
        raise CheckpointError(f"{where} holds weights of another model: {', '.join(wrong[:SHOWN])}{more}.{reason}")
    model.load_state_dict(weights)
