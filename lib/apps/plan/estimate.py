"""Estimates for a stage on a machine: hours, dollars, memory and disk.

torch counts the work of an optimizer step on the meta device, without numbers (a multiply and an add are two FLOPs). A
machine of the table does so much of it in a second; where the stage was trained on it before, the table's time of a
step is scaled by the logged one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from lib import config as configs
from lib.apps.plan.machines import BUSY, LAUNCH_S, Logged, Machine
from lib.config import ConfigError, StageConfig
from lib.data.corpora import CORPORA, gather_labelled, gather_pieces, in_published_test
from lib.data.note_store import CorpusError
from lib.models import conditions, dit, style_encoder, vqvae
from lib.music.note_windows import VALUES, WINDOW_NOTES, NoteWindows
from lib.music.piano_roll import CHUNK_FRAMES, NUM_PITCHES, WINDOW, PianoRoll
from lib.storage.slots import SLOTS
from lib.training.coded_stream import FRAME, SHORT_SHARE, SHORT_WINDOWS
from lib.training.optimizers import make_optimizer
from lib.training.trainer import total_steps

# hours of training music where its note store is not here; windows an hour: of 32 beats, of a style encoder 10.24 s
HOURS = {
    "maestro": {"vqvae": 159.2, "diffusion": 159.2},
    "pijama": {"vqvae": 167.6, "style_encoder": 97.7, "diffusion": 175.7, "fine_tune": 6.8},
    "demo": {"vqvae": 0.85, "style_encoder": 0.85, "diffusion": 0.85, "fine_tune": 0.13},
}
ENCODED = 1.12  # of the training music, with what is held out
WINDOWS_AN_HOUR = {"vqvae": 225, "style_encoder": 345, "diffusion": 223}
PIANISTS = 30  # of PiJAMA's benchmark
MASKED, STRUCK = 0.41, 0.75  # means: latent frames of a step that are masked, their bands in which something begins
MEAN_WINDOW = 1 - SHORT_SHARE + SHORT_SHARE * sum(SHORT_WINDOWS) / len(SHORT_WINDOWS) / WINDOW  # of the longest one

# seconds on a core of an AMD EPYC (Zen 4) besides the model
START_S = 8.0  # of Python, torch and accelerate
EXAMPLE_S = {"vqvae": 0.8e-3, "style_encoder": 0.3e-3, "diffusion": 0.5e-3}  # from the note store
HELD_OUT_S = {**EXAMPLE_S, "vqvae": 40e-3}  # of validation, where the codec decodes and notes are matched
ENCODE_S, ENCODE_KEY_S = 3.1, 1.2  # an hour of music, into chords and styles; and into the codes of a key
SAVE_S = 8e-9  # a byte of a checkpoint: copied, written, hashed, read again

RANGE = {"table": 2.0, "measured, other preset": 1.5, "measured": 1.15}  # hours may be so many times more or less
RUNTIME_H = 12 - 1 / 6  # of a Colab runtime, less what installing, copying and saving take
DAY_S, FLOAT_BYTES, CODE_BYTES = 86400, 4, 2
ZIPPED_FRAMES, ZIPPED_CODES = 0.26, 0.1  # of what lies here, in a mirror; measured on PiJAMA
ACTIVATIONS, HALF_ACTIVATIONS = 1.5, 0.65  # of what the backward pass needs, at the worst moment; of it in 16 bit
RESIDENT_BYTES = 340e6  # of Python and its libraries
OWN_STORE_BYTES = 60e6  # of a corpus of the user's own


def of_preset(stage: str, preset: str, **settings) -> StageConfig:
    """A stage's config as a whole preset trains it: fine-tuning has the sizes of the preset's diffusion model."""
    config = configs.preset(stage, preset, **settings)
    return configs.inherit_model(config, configs.preset("diffusion", preset)) if stage == "fine_tune" else config


def model_of(config: StageConfig) -> str:
    """The stage whose model a config trains: fine-tuning trains the diffusion model again."""
    return "diffusion" if isinstance(config, configs.DiffusionConfig) else configs.stage_of(config)


def music_hours(config: StageConfig, data_dir: Path | str) -> float:
    """Hours of training music, counted or of HOURS; ConfigError names a corpus that is neither there nor known."""
    stage = configs.stage_of(config)
    try:
        if stage == "style_encoder":
            rows = gather_labelled(config, data_dir, "train")
        else:
            rows = gather_pieces(config, data_dir, "train", getattr(config, "pianist", None))
    except CorpusError:  # not ingested here
        for name in config.corpora:
            if stage not in HOURS.get(name, {}):
                way = f"Ingest it first (python -m lib data ingest {name}), and give --data-dir."
                raise ConfigError(f"How much music is in {name!r}? {way}") from None
        return sum(HOURS[name][stage] for name in config.corpora)
    pieces = [store.pieces[index] for store, index in rows]
    return sum(piece.seconds for piece in pieces if stage != "vqvae" or not in_published_test(piece)) / 3600


class StepWork(NamedTuple):
    """One optimizer step."""

    model_flops: float  # forward and back
    muon_flops: float  # of the optimizer
    kernels: int  # operations that a device is asked to start
    parameters: int
    optimizer_floats: int  # numbers that it keeps
    saved_floats: float  # activations that the backward pass of one forward pass needs, of the longest windows

    @property
    def flops(self) -> float:
        """Of all."""
        return self.model_flops + self.muon_flops


@lru_cache(maxsize=64)
def step_work(config: StageConfig) -> StepWork:
    """The StepWork of a config, counted with a batch of one; a fine-tuning's has the sizes of the model it adapts."""
    name, saved = model_of(config), {}

    def keep(tensor):
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.random.fork_rng(devices=()), torch.device("meta"):
        model, compute_loss = _MODELS[name](config)
        with FlopCounterMode(display=False) as model_flops, _Kernels() as kernels:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                loss = compute_loss()
            loss.backward()
            optimizer = make_optimizer(model, config)
            for group in optimizer.param_groups:
                group.update(fused=False, foreach=True)  # the meta device knows no fused AdamW
            with FlopCounterMode(display=False) as muon_flops:
                optimizer.step()
    for tensor in [*model.parameters(), *model.buffers()]:
        saved.pop(tensor.untyped_storage()._cdata, None)
    examples, passes = config.batch_size * getattr(config, "views", 1), config.gradient_accumulation
    window = MEAN_WINDOW if name == "diffusion" else 1.0
    return StepWork(
        (model_flops.get_total_flops() - muon_flops.get_total_flops()) * examples * passes * window,
        muon_flops.get_total_flops(),
        kernels.count * passes,
        sum(parameter.numel() for parameter in model.parameters()),
        sum(leaf.numel() for leaf in tree_leaves(optimizer.state_dict()) if torch.is_tensor(leaf)),
        sum(storage.nbytes() for storage in saved.values()) / FLOAT_BYTES * examples,
    )


def _vqvae(config):
    """Without its codebook, which takes little and knows no meta device."""
    model = vqvae.VQVAE.from_config(config)
    bands = torch.zeros(1, vqvae.TRAINED_ROWS, vqvae.CELLS + 2 * vqvae.BAND_KEYS)
    return model, lambda: model.decoder(torch.cat([bands[..., : vqvae.CELLS], model.encoder(bands)], -1)).sum()


def _style_encoder(config):
    model = style_encoder.StyleEncoder.from_config(config, PIANISTS)
    if config.reads == "roll":
        passage = PianoRoll(torch.zeros(1, 3, NUM_PITCHES, CHUNK_FRAMES), torch.zeros(1, 1, CHUNK_FRAMES))
    else:
        passage = NoteWindows(torch.zeros(1, len(VALUES), WINDOW_NOTES), torch.ones(1, WINDOW_NOTES, dtype=torch.bool))
    return model, lambda: model(passage)[1].sum()


def _diffusion(config):
    codec, styles = configs.preset("vqvae", config.preset), configs.preset("style_encoder", config.preset)
    vectors = torch.zeros(vqvae.GROUPS, codec.codes, vqvae.CELLS)
    model = dit.DiT.from_config(config, styles.style_dim, vectors, vqvae.PEDALS)
    music, clock = (torch.zeros(1, WINDOW, size, dtype=torch.int64) for size in (vqvae.GROUPS, 3))
    given, masked = torch.zeros(1, WINDOW, dtype=torch.bool), slice(round(MASKED * WINDOW))
    style = torch.zeros(1, styles.style_dim)
    sizes = (conditions.CHORDS_DIM, conditions.ATTRIBUTES_DIM, conditions.TEMPO_DIM, conditions.FEEL_DIM)
    chords, attributes, tempo, feel = (torch.zeros(1, WINDOW, size) for size in sizes)
    conditioned = conditions.Conditions(style, chords, attributes, clock, tempo, feel, music, given)
    return model, lambda: model.nll(model(music, given, conditioned)[0, masked], music[0, masked])[0].sum()


_MODELS = {"vqvae": _vqvae, "style_encoder": _style_encoder, "diffusion": _diffusion}


class _Kernels(TorchDispatchMode):
    """Counts kernels; on the meta device something begins in as many bands of a latent frame as in real music."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += not function.is_view
        if function is torch.ops.aten.nonzero.default and arguments[0].is_meta:
            struck = arguments[0]  # bool (M, bands)
            return torch.zeros(round(STRUCK * len(struck)), struck.ndim, dtype=torch.int64, device="meta")
        return function(*arguments, **(options or {}))


def estimate(
    config: StageConfig,
    machine: Machine,
    data_dir: Path | str,
    measured: Sequence[Logged] = (),
    steps: int | None = None,
) -> dict[str, Any]:
    """What so many optimizer steps of a stage (None: the whole training) take on a machine. Of what was measured on it
    the first one of the same work counts, or else the first one of the same model.

    Returns
    -------
    dict : stage, preset, steps, gflop and step_s (of a step), basis (of RANGE), parts_s (name -> seconds), hours, usd;
        low_hours (without other programs), high_hours and high_usd (beside those of now); runtimes (of Colab, else 0);
        memory_gb (of the device, at the peak), fits (whether it has that), disk_gb (runs, note stores and codes),
        drive_gb (what a mirror holds, of which nothing goes to its bin), daily_upload_gb (to it, while this trains)
    """
    name, work, hours = model_of(config), step_work(config), music_hours(config, data_dir)
    steps = steps or total_steps(config, round(hours * WINDOWS_AN_HOUR[name]))
    measured = [row for row in measured if model_of(row.config) == name]
    precise = [row for row in measured if row.config.mixed_precision == config.mixed_precision]
    same = next((row for row in precise if step_work(row.config) == work), None)
    best = same or next(iter(measured), None)
    basis = "measured" if same else "measured, other preset" if best else "table"
    step_s = _table_step_s(config, machine) * (best.step_s / _table_step_s(best.config, machine) if best else 1)

    weights = FLOAT_BYTES * work.parameters * (2 if config.ema_decay else 1)
    checkpoint = weights + FLOAT_BYTES * work.optimizer_floats
    keys, validations = getattr(config, "encodings", 0), math.ceil(steps / config.validate_every)
    examples = config.batch_size * config.gradient_accumulation
    save_every = max(1, min(0.9 * config.save_every, 60 * config.save_minutes / step_s))  # steps
    parts_s = {
        "start": START_S,
        "encode": ENCODED * hours * (ENCODE_S + keys * ENCODE_KEY_S) if keys else 0.0,
        "steps": steps * step_s,
        "validate": validations * config.validation_batches * (HELD_OUT_S[name] * examples + step_s / 3),
        "save": (steps / save_every + validations / 2) * SAVE_S * checkpoint,  # the best one besides
    }
    total_h = sum(parts_s.values()) / 3600
    factor = RANGE["table" if machine.others > BUSY else basis]
    high_h = total_h * factor * (1 + machine.others)

    stores = sum(CORPORA[corpus].store_bytes if corpus in CORPORA else OWN_STORE_BYTES for corpus in config.corpora)
    latents = ENCODED * hours * WINDOWS_AN_HOUR[name] * WINDOW
    frame_bytes, code_bytes = (latents * FRAME.itemsize, latents * keys * CODE_BYTES * vqvae.GROUPS) if keys else (0, 0)
    codes, zipped = frame_bytes + code_bytes, ZIPPED_FRAMES * frame_bytes + ZIPPED_CODES * code_bytes
    memory = same.peak_bytes if same and same.peak_bytes else _memory_bytes(config, machine, work, checkpoint)
    if machine.kind == "cpu" and not (same and same.config.corpora == config.corpora):
        memory += stores + codes  # mapped, and there until others need the memory
    kept = (config.keep_checkpoints + 2) * checkpoint  # the best one, and the one that is being written
    return {
        "stage": configs.stage_of(config),
        "preset": config.preset,
        "steps": steps,
        "gflop": round(work.flops / 1e9, 2),
        "step_s": step_s,
        "basis": basis,
        "parts_s": parts_s,
        "hours": total_h,
        "low_hours": total_h / factor,
        "high_hours": high_h,
        "usd": total_h * machine.usd_per_hour,
        "high_usd": high_h * machine.usd_per_hour,
        "runtimes": math.ceil(total_h / RUNTIME_H) if machine.on_colab else 0,
        "memory_gb": memory / 1e9,
        "fits": memory <= 1e9 * machine.memory_gb,
        "disk_gb": (kept + stores + codes) / 1e9,
        "drive_gb": (len(SLOTS) * checkpoint + weights + stores + zipped) / 1e9,
        "daily_upload_gb": checkpoint * DAY_S / max(60 * config.mirror_minutes, save_every * step_s) / 1e9,
    }


def _table_step_s(config, machine):
    """Seconds of a step by the table. Muon's products are in 16 bits in any precision."""
    work, examples = step_work(config), config.batch_size * config.gradient_accumulation
    compute_s = work.model_flops / machine.flops_per_s(config.mixed_precision != "no")
    compute_s += work.muon_flops / machine.flops_per_s()
    return EXAMPLE_S[model_of(config)] * examples + max(compute_s, work.kernels * LAUNCH_S[machine.kind])


def _memory_bytes(config, machine, work, checkpoint):
    """At the peak: gradients, weights, averages, optimizer, activations; off a GPU the snapshot that is being saved."""
    on_gpu = machine.half_tflops > 0
    half = HALF_ACTIVATIONS if on_gpu and config.mixed_precision != "no" else 1.0
    state = FLOAT_BYTES * work.parameters + (1 if on_gpu else 2) * checkpoint + (0 if on_gpu else RESIDENT_BYTES)
    return state + ACTIVATIONS * half * FLOAT_BYTES * work.saved_floats
