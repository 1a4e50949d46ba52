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
from lib.music.chart import CHORD_DIM
from lib.music.note_windows import VALUES, WINDOW_NOTES, NoteWindows
from lib.music.piano_roll import CHUNK_FRAMES, NUM_PITCHES, WINDOW, PianoRoll
from lib.training.optimizers import make_optimizer

FLOAT_BYTES = 4
PIANISTS = 30  # of PiJAMA's benchmark
MASKED = 0.41  # latent frames of a step that are masked, after rounding up: mean of 200 steps
CODED = (
    12.6  # codes of a masked frame that are not implied: 12 always, the others where a note begins; mean of PiJAMA's
)
KINDS_OF_CODES = 3  # pattern, expression, pedal


@dataclass(frozen=True)
class StepWork:
    """One optimizer step.

    Attributes
    ----------
    flops : of the model, forward and back, and of the optimizer
    optimizer_flops : of `flops`, what Muon adds
    kernels : operations that a device is asked to start; optimizer_kernels : of them, the optimizer's
    chunks : examples of 10.24 s
    parameters : numbers that are trained
    optimizer_floats : numbers that the optimizer keeps
    saved_floats : activations that the backward pass needs, of one forward pass (batch_size)
    """

    flops: float
    optimizer_flops: float
    kernels: int
    optimizer_kernels: int
    chunks: int
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
    chunk = _work_of_a_chunk(stage, config.preset, sizes, codes if stage == "diffusion" else 0)
    passes = config.gradient_accumulation
    model_flops = (chunk.flops - chunk.optimizer_flops) * config.batch_size * passes
    return replace(
        chunk,
        flops=model_flops + chunk.optimizer_flops,
        kernels=(chunk.kernels - chunk.optimizer_kernels) * passes + chunk.optimizer_kernels,
        chunks=config.batch_size * passes,
        saved_floats=chunk.saved_floats * config.batch_size,
    )


@lru_cache(maxsize=64)
def _work_of_a_chunk(stage, preset, sizes, codes):
    """StepWork of a batch of one chunk, counted while it runs without numbers."""
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
    """(model, callable -> loss of a batch of one chunk), on the meta device where it can be."""
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
            model, compute_loss = dit.DiT.from_config(config, style_dim, vectors, vqvae.KINDS), _diffusion_loss

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
    chords, attributes = (torch.zeros(1, WINDOW, size) for size in (CHORD_DIM, dit.ATTRIBUTES_DIM))
    conditions = dit.Conditions(torch.zeros(1, model.embed_style.in_features), chords, attributes)
    context = model(music, torch.zeros(1, WINDOW, dtype=torch.bool), conditions)
    masked = round(MASKED * WINDOW)
    return model.nll(context[0, :masked], music[0, :masked])[0].sum()


class KernelCounter(TorchDispatchMode):
    """Counts kernels; on the meta device it also says how many values of a mask are true, as in real music."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += not function.is_view
        if arguments and getattr(arguments[0], "is_meta", False):
            if function is torch.ops.aten.nonzero.default:
                return _rows_of(arguments[0])
            if function is torch.ops.aten.index.Tensor:
                indices = (
                    [index] if index is None or index.dtype != torch.bool else _rows_of(index).unbind(1)
                    for index in arguments[1]
                )
                arguments = (arguments[0], [column for columns in indices for column in columns])
        return function(*arguments, **(options or {}))


def _rows_of(mask):
    """Its nonzero: of the codes of frames (M, G) those that are not implied, of a list of codes those of one kind."""
    share = CODED / mask.shape[1] if mask.ndim == 2 else 1 / KINDS_OF_CODES
    return torch.zeros(round(share * mask.numel()), mask.ndim, dtype=torch.int64, device="meta")
