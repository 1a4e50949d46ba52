"""What an optimizer step has to do: counted by torch while it runs on the meta device, without numbers.

Conventions: a multiply and an add are two FLOPs; a step is one optimizer step over the global batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lib import config as configs
from lib.config import StageConfig
from lib.models import dit, style_encoder, vqvae
from lib.music.note_windows import VALUES, WINDOW_NOTES, NoteWindows
from lib.music.piano_roll import CHUNK_FRAMES, NUM_PITCHES, WINDOW, PianoRoll
from lib.training.coded_stream import SHORT_SHARE, SHORT_WINDOWS
from lib.training.optimizers import make_optimizer

FLOAT_BYTES = 4
PIANISTS = 30  # of PiJAMA's benchmark
MASKED = 0.41  # latent frames of a step that are masked, after rounding up: mean of 200 steps
STRUCK = 0.75  # bands of a latent frame in which something begins; mean of PiJAMA's
# of the longest window's latent frames, on average over steps
WINDOW_SHARE = 1 - SHORT_SHARE + SHORT_SHARE * sum(SHORT_WINDOWS) / len(SHORT_WINDOWS) / WINDOW


@dataclass(frozen=True)
class StepWork:
    """One optimizer step.

    Attributes
    ----------
    flops : of the model, forward and back, and of the optimizer
    optimizer_flops : of `flops`, what Muon adds
    kernels : operations that a device is asked to start; optimizer_kernels : of them, the optimizer's
    examples : windows of 32 beats and, of some steps, shorter ones; of a style encoder 10.24 s
    parameters : numbers that are trained
    optimizer_floats : numbers that the optimizer keeps
    saved_floats : activations that the backward pass needs, of one forward pass (batch_size), of the longest windows
    """

    flops: float
    optimizer_flops: float
    kernels: int
    optimizer_kernels: int
    examples: int
    parameters: int
    optimizer_floats: int
    saved_floats: float


SIZES = {
    "vqvae": ("channels", "blocks", "codes", "code_dim", "optimizer"),
    "style_encoder": ("channels", "blocks", "style_dim", "lags", "reads", "optimizer"),
    "diffusion": ("width", "depth", "heads", "optimizer"),
}


def step_work(config: StageConfig, codes: int | None = None) -> StepWork:
    """The StepWork of a config.

    Parameters
    ----------
    config : of a stage; fine-tuning with the sizes of the model that it adapts
    codes : patterns of the codec that a diffusion model speaks; None: of the codec of the same preset
    """
    stage = "diffusion" if configs.stage_of(config) == "fine_tune" else configs.stage_of(config)
    sizes = tuple((name, getattr(config, name)) for name in SIZES[stage])
    codes = codes or configs.preset("vqvae", config.preset).codes
    one = _work_of_an_example(stage, config.preset, sizes, codes if stage == "diffusion" else 0)
    passes, share = config.gradient_accumulation, WINDOW_SHARE if stage == "diffusion" else 1.0
    model_flops = (one.flops - one.optimizer_flops) * share * config.batch_size * passes
    return replace(
        one,
        flops=model_flops + one.optimizer_flops,
        kernels=(one.kernels - one.optimizer_kernels) * passes + one.optimizer_kernels,
        examples=config.batch_size * passes,
        saved_floats=one.saved_floats * config.batch_size,
    )


@lru_cache(maxsize=64)
def _work_of_an_example(stage, preset, sizes, codes):
    """StepWork of a batch of one example, counted while it runs without numbers."""
    config = configs.preset(stage, preset, **dict(sizes))
    with torch.random.fork_rng(devices=()):  # whoever estimates draws nothing
        model, compute_loss = _model_and_loss(config, codes)
    weights = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers()]}
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage  # kept, or its address is used again
        return tensor

    optimizer = make_optimizer(model, config)
    parts = (optimizer.muon, optimizer.adamw) if config.optimizer == "muon" else (optimizer,)
    for group in parts[-1].param_groups if next(model.parameters()).is_meta else ():
        group.update(fused=False, foreach=True)  # the meta device knows no fused AdamW
    with FlopCounterMode(display=False) as counted, KernelCounter() as kernels:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = compute_loss()
        loss.backward()
    with FlopCounterMode(display=False) as optimizer_counted, KernelCounter() as optimizer_kernels:
        optimizer.step()
    states = [value for part in parts for state in part.state.values() for value in state.values()]
    return StepWork(
        counted.get_total_flops() + optimizer_counted.get_total_flops(),
        optimizer_counted.get_total_flops(),
        kernels.count + optimizer_kernels.count,
        optimizer_kernels.count,
        1,
        sum(parameter.numel() for parameter in model.parameters()),
        sum(value.numel() for value in states if torch.is_tensor(value)),
        sum(storage.nbytes() for storage in saved.values()) / FLOAT_BYTES,
    )


def _model_and_loss(config, codes):
    """(model, callable -> loss of a batch of one example), on the meta device where it can be."""
    stage = configs.stage_of(config)
    if stage == "vqvae":  # small, and its codebook's autocast knows no meta device
        model = vqvae.VQVAE.from_config(config)
        return model, lambda: _vqvae_loss(model)
    with torch.device("meta"):
        if stage == "style_encoder":
            model, compute_loss = style_encoder.StyleEncoder.from_config(config, PIANISTS), _style_loss
        else:
            style_dim = configs.preset("style_encoder", config.preset).style_dim
            vectors = torch.zeros(vqvae.GROUPS, codes, vqvae.CELLS)
            model, compute_loss = dit.DiT.from_config(config, style_dim, vectors, vqvae.PEDALS), _diffusion_loss

    def on_meta():
        with torch.device("meta"):
            return compute_loss(model, config)

    return model, on_meta


def _vqvae_loss(model):
    bands = torch.zeros(1, vqvae.TRAINED_ROWS, vqvae.CELLS + 2 * vqvae.BAND_KEYS)
    quantised, logits = model(bands)
    return sum(vqvae.reconstruction_loss(logits, bands).values()) + quantised.commitment_loss


def _style_loss(model, config):
    passage = NoteWindows(torch.zeros(1, len(VALUES), WINDOW_NOTES), torch.ones(1, WINDOW_NOTES, dtype=torch.bool))
    if config.reads == "roll":
        passage = PianoRoll(torch.zeros(1, 3, NUM_PITCHES, CHUNK_FRAMES), torch.zeros(1, 1, CHUNK_FRAMES))
    target = torch.zeros(1, dtype=torch.int64)
    margin = model.log_scale.exp() * functional.one_hot(target, PIANISTS)
    return functional.cross_entropy(model(passage)[1] - margin, target)


def _diffusion_loss(model, config):
    music = torch.zeros(1, WINDOW, vqvae.GROUPS, dtype=torch.int64)
    sizes = (dit.CHORDS_DIM, dit.ATTRIBUTES_DIM, dit.TEMPO_DIM, dit.FEEL_DIM)
    chords, attributes, tempo, feel = (torch.zeros(1, WINDOW, size) for size in sizes)
    clock, given = torch.zeros(1, WINDOW, 3, dtype=torch.int64), torch.zeros(1, WINDOW, dtype=torch.bool)
    style = torch.zeros(1, model.embed_style.in_features)
    conditions = dit.Conditions(style, chords, attributes, clock, tempo, feel, music, given)
    context = model(music, given, conditions)
    masked = round(MASKED * WINDOW)
    return model.nll(context[0, :masked], music[0, :masked])[0].sum()


class KernelCounter(TorchDispatchMode):
    """Counts kernels; on the meta device something begins in as many bands of a latent frame as in real music."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += not function.is_view
        if function is torch.ops.aten.nonzero.default and arguments[0].is_meta:
            struck = arguments[0]  # bool (M, bands)
            return torch.zeros(round(STRUCK * len(struck)), struck.ndim, dtype=torch.int64, device="meta")
        return function(*arguments, **(options or {}))
