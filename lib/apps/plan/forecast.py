"""Hours, dollars, memory and disk of a stage, from its work and from what a machine does in a second.

Where the stage was measured on the machine, a step of another preset costs what the measured one did, plus the difference in
FLOPs at the measured rate; elsewhere the rates of machines.py are taken. The error bar says which it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lib import config as configs
from lib.apps.plan.machines import UNMEASURED
from lib.apps.plan.music import music_of
from lib.apps.plan.prices import RUNTIME_H
from lib.apps.plan.work import FLOAT_BYTES, step_work
from lib.data.corpora import CORPORA
from lib.music.piano_roll import LATENT_RATE_HZ
from lib.training.stream import FRAME
from lib.training.trainer import total_steps

SAME, OTHER = 1.15, 1.5  # hours may be so many times more or less: preset as measured; another one
START_S = 8.0  # of Python, torch and accelerate, before anything
# what one core of an AMD EPYC (Zen 4) needs besides the model
# a chunk of training, from the note store
CHUNK_S = {"vqvae": 0.8e-3, "style_encoder": 0.3e-3, "diffusion": 0.5e-3, "fine_tune": 0.5e-3}
# a chunk of validation; the codec decodes, and notes are matched
HELD_OUT_S = {"vqvae": 40e-3, "style_encoder": 0.3e-3, "diffusion": 0.5e-3, "fine_tune": 0.5e-3}
ENCODE_S = 10.0  # an hour of music, into codes and chords
SETUP_S = {"vqvae": 0.02, "style_encoder": 0.002}  # an hour of music
PLAYER_S = 0.2  # to hear a pianist's style
SAVE_S = 8e-9  # a byte of a checkpoint: copied, written, hashed, read again
SPARE_MINUTES = 10.0  # of each runtime: installing, copying, saving
RESIDENT_BYTES = 340e6  # of Python and its libraries
OWN_STORE_BYTES = 60e6  # of a corpus of the user's own that is not counted
ACTIVATIONS = 1.5  # what is held at the worst moment, of what the backward pass needs
HALF_ACTIVATIONS = 0.65  # of those where products are in 16 bit


@dataclass(frozen=True)
class Forecast:
    """A stage of a preset in an environment.

    Attributes
    ----------
    hours, low_hours, high_hours : of the machine, everything included; the bar
    usd : at the environment's price; high_usd : at the bar's end
    runtimes : of 12 h, 0 where the machine lives as long as you like
    memory_gb : of the device at its peak; fits : whether it has that
    disk_gb : runs, note stores and codes; drive_gb : what a mirror holds
    steps : optimizer steps; gflop : of a step; basis : "measured", "measured, other preset" or "table"
    """

    stage: str
    preset: str
    environment: str
    steps: int
    gflop: float
    hours: float
    low_hours: float
    high_hours: float
    usd: float
    high_usd: float
    runtimes: int
    memory_gb: float
    fits: bool
    disk_gb: float
    drive_gb: float
    basis: str


def forecast(config, environment, data_dir=None, measured=None, codes=None):
    """Forecast of a stage.

    Parameters
    ----------
    config : of the stage (work.of_preset for a whole preset)
    environment : prices.Environment
    data_dir : folder of note stores to count; None: the corpora as they are known
    measured : calibration.Measured of this environment's machine, None: the table of devices
    codes : see work.step_work

    Returns
    -------
    Forecast
    """
    music, work = music_of(config, data_dir), step_work(config, codes)
    steps = total_steps(config, music.chunks)
    seconds = sum(seconds_of(config, work, music, steps, environment.device, measured).values())
    bar, basis = _bar(config, measured)
    hours, memory = seconds / 3600, memory_bytes(config, work, music, environment.device, measured)
    spare_h = RUNTIME_H - SPARE_MINUTES / 60
    checkpoints = (config.keep_checkpoints + 1) * checkpoint_bytes(config, work)
    return Forecast(
        configs.stage_of(config), config.preset, environment.name, steps, round(work.flops / 1e9, 2),
        hours, hours / bar, hours * bar, hours * environment.usd_per_hour, hours * bar * environment.usd_per_hour,
        math.ceil(hours / spare_h) if environment.runtime_h else 0, memory / 1e9, memory / 1e9 <= environment.device.memory_gb,
        (checkpoints + checkpoint_bytes(config, work) + corpus_bytes(config) + codes_bytes(config, music)) / 1e9,
        (checkpoints + corpus_bytes(config)) / 1e9, basis,
    )  # fmt: skip


def _bar(config, measured):
    if measured is None:
        return UNMEASURED, "table"
    if measured.stage == configs.stage_of(config) and measured.preset == config.preset:
        return SAME, "measured"
    return OTHER, "measured, other preset"


# --- Time ------------------------------------------------------------------------------------------------------------


def seconds_of(config, work, music, steps, device, measured=None):
    """dict of seconds: start, setup, encode, steps, validate, save."""
    validations = math.ceil(steps / config.validate_every)
    saves = math.ceil(steps / max(1, config.save_every - config.save_every // 10)) + validations / 2  # where it was better
    return {
        "start": START_S if measured is None else measured.start_s,
        "setup": setup_seconds(config, music, measured),
        "encode": encode_seconds(config, music, measured),
        "steps": steps * step_seconds(config, work, device, measured),
        "validate": validations * validate_seconds(config, work, device, measured),
        "save": saves * save_seconds(config, work, measured),
    }


def step_seconds(config, work, device, measured=None):
    """Of one optimizer step."""
    if measured is not None:
        rate = measured_rate(measured)
        besides = (measured.step_s - measured.flops / rate) / measured.chunks
        return max(0.0, besides) * work.chunks + work.flops / rate
    compute = device.seconds(work.flops, work.optimizer_flops, config.mixed_precision != "no")
    return CHUNK_S[configs.stage_of(config)] * work.chunks + max(compute, work.kernels * device.launch_s)


def measured_rate(measured):
    """FLOPs a second that the machine adds for a larger model; at most as if a step were nothing else."""
    least_s = measured.flops / 1e15
    seconds = max(measured.step_s - measured.small_step_s, 0.1 * measured.step_s, least_s)
    return max((measured.flops - measured.small_flops) / seconds, measured.flops / measured.step_s)


def validate_seconds(config, work, device, measured=None):
    """Of one validation: forward passes, and what is done with their results."""
    chunks = config.validation_batches * work.chunks
    if measured is not None and _alike(config, measured):
        return measured.validate_s * chunks / (measured.chunks * config.validation_batches)
    forward_s = step_seconds(config, work, device, measured) / 3
    return chunks * HELD_OUT_S[configs.stage_of(config)] + config.validation_batches * forward_s


def _alike(config, measured):
    return measured.stage == configs.stage_of(config) and measured.preset == config.preset


def setup_seconds(config, music, measured=None):
    """Until the codes are asked for: dictionaries, or the styles of pianists."""
    stage = configs.stage_of(config)
    if stage in SETUP_S:
        return SETUP_S[stage] * music.train_hours
    return music.players * (measured.setup_s / measured.players if measured is not None else PLAYER_S)


def encode_seconds(config, music, measured=None):
    """Of encoding all pieces, as if nothing were encoded yet."""
    hours = music.train_hours * getattr(config, "encodings", 0)
    if not hours:
        return 0.0
    an_hour = measured.encode_s / measured.encoded_hours if measured is not None and measured.encoded_hours else ENCODE_S
    return an_hour * (hours + music.validation_hours)


def save_seconds(config, work, measured=None):
    """Of one checkpoint; it is written beside the training, but by the same processor."""
    if measured is not None and _alike(config, measured):
        return measured.save_s
    return SAVE_S * checkpoint_bytes(config, work)


# --- Room ------------------------------------------------------------------------------------------------------------


def checkpoint_bytes(config, work):
    """Of one checkpoint: weights, their average, the optimizer."""
    return FLOAT_BYTES * (work.parameters * (2 if config.ema_decay else 1) + work.optimizer_floats)


def corpus_bytes(config):
    """Of the note stores."""
    return sum(CORPORA[name].store_bytes if name in CORPORA else OWN_STORE_BYTES for name in config.corpora)


def codes_bytes(config, music):
    """Of the encoded pieces."""
    hours = music.train_hours * getattr(config, "encodings", 0)
    return FRAME.itemsize * LATENT_RATE_HZ * 3600 * (hours + music.validation_hours if hours else 0.0)


def memory_bytes(config, work, music, device, measured=None):
    """At the peak of training: as measured for the same preset, else weights, gradients, optimizer, averages and activations.

    In a machine's own memory note stores and codes count as well: they are mapped, and stay until others need the room.
    """
    known = measured is not None and measured.peak_bytes and _alike(config, measured)
    mapped = 0 if _on_gpu(device) else corpus_bytes(config) + codes_bytes(config, music)
    return mapped + (measured.peak_bytes if known else _memory(config, work, device))


def _on_gpu(device):
    return device.half_tflops > 0


def _memory(config, work, device):
    on_gpu = _on_gpu(device)
    half = HALF_ACTIVATIONS if on_gpu and config.mixed_precision != "no" else 1.0
    state = FLOAT_BYTES * work.parameters + 2 * checkpoint_bytes(config, work)  # gradients; what is, and the snapshot being saved
    if on_gpu:
        state -= checkpoint_bytes(config, work)  # the snapshot lies in the machine's own memory
    return state + ACTIVATIONS * half * FLOAT_BYTES * work.saved_floats + (0 if on_gpu else RESIDENT_BYTES)
