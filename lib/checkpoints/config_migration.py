"""Configs and weights of earlier versions: they load where they fit, and where not it is said exactly what differs.

A field that is gone since is left out, one that came since takes what the code did before it came (EARLIER), else its default;
whether the model is still the same the weights decide.
"""

from __future__ import annotations

import dataclasses
import logging

from lib import config as configs
from lib.checkpoints.checkpoint import CheckpointError

# stage -> what a config that lacks the field was trained with
ADAMW = {"optimizer": "adamw"}  # there was no other before there was Muon
EARLIER = {"vqvae": ADAMW, "style_encoder": {**ADAMW, "reads": "roll"}, "diffusion": ADAMW, "fine_tune": ADAMW}
SHOWN = 6  # tensors of a message
log = logging.getLogger("lib.training")


def config_from(stage, values, where):
    """The config of a stage from the values that a checkpoint holds, whichever version wrote them.

    Parameters
    ----------
    stage : one of lib.config.STAGES
    values : dict
    where : what messages call the checkpoint

    Raises
    ------
    CheckpointError : a value that this version can't have; the message names it
    """
    names = {field.name for field in dataclasses.fields(configs.STAGES[stage])}
    known = {name: value for name, value in values.items() if name in names}
    try:
        config = configs.build(configs.STAGES[stage], {**_meant(stage, values), **known})
    except configs.ConfigError as error:
        raise CheckpointError(f"{where} was made with a config that this version can't have: {error}") from None
    found = differences(stage, values)
    if found:
        log.warning("%s is of another version: %s", where, found)
    return config


def _meant(stage, values):
    """What the fields that a config lacks stood at when it was written, where that is known."""
    return {name: value for name, value in EARLIER.get(stage, {}).items() if name not in values}


def completed(stage, values):
    """A checkpoint's values with what its fields that came since stand for."""
    fields = dataclasses.fields(configs.STAGES[stage])
    return {**{field.name: field.default for field in fields}, **_meant(stage, values), **values}


def differences(stage, values):
    """Which fields of a checkpoint's config are gone, and which came since, with their values; "" where none."""
    fields = {field.name: field.default for field in dataclasses.fields(configs.STAGES[stage])}
    gone = [f"{name}={value!r}" for name, value in values.items() if name not in fields]
    new = [f"{name} ({value!r} is taken)" for name, value in {**fields, **_meant(stage, values)}.items() if name not in values]
    parts = [f"its config has {', '.join(gone)}, which this version does not know"] if gone else []
    parts += [f"it says nothing of {', '.join(new)}"] if new else []
    return "; ".join(parts)


def put_weights(model, weights, where="The checkpoint", differing=""):
    """Load a state dict whose every tensor fits.

    Parameters
    ----------
    model : Module; weights : dict name -> Tensor
    where : what messages call the checkpoint
    differing : of `differences`, said where the weights do not fit

    Raises
    ------
    CheckpointError : names the tensors that are missing, unknown, or of another shape
    """
    own = model.state_dict()
    wrong = [f"{name} is {tuple(weights[name].shape)} there and {tuple(own[name].shape)} here"
             for name in own if name in weights and weights[name].shape != own[name].shape]  # fmt: skip
    wrong += [f"{name} is not there" for name in own if name not in weights]
    wrong += [f"{name} is there only" for name in weights if name not in own]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        reason = f" Perhaps because {differing}." if differing else ""
        raise CheckpointError(f"{where} holds weights of another model: {', '.join(wrong[:SHOWN])}{more}.{reason}")
    model.load_state_dict(weights)
