"""What a training has to do, by formula: FLOPs, kernels, parameters and saved activations of a step, and bytes on the disk.

Conventions: a multiply and an add are two FLOPs; a step is one optimizer step over the global batch; backward costs twice the
forward pass where inputs need gradients, once where they do not. The formulas are held against torch's FlopCounterMode and the
models themselves by tests/apps/plan/test_work.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from lib import config as configs
from lib.models.blocks import WIDENING
from lib.models.dit import ATTRIBUTES_DIM
from lib.models.frame_head import HEAD_BLOCKS
from lib.models.vqvae import BAND_KEYS, CELLS, GROUPS, TRAINED_ROWS
from lib.music import grouped_notes
from lib.music.chart import CHORD_DIM
from lib.music.note_windows import WINDOW_NOTES
from lib.music.piano_roll import WINDOW

NEWTON_SCHULZ_STEPS = 5  # of torch.optim.Muon
KINDS = 3  # outputs of the head: what, how, pedal
ASKED = 12.6  # codes of a masked latent frame that are not implied: 12 always, the others where something begins; mean of PiJAMA's
PLACES = 0.41  # latent frames of a step that are named, after rounding up: mean of 200 steps
PIANISTS = 30  # of PiJAMA's benchmark; a class is 128 numbers
FLOAT_BYTES = 4


@dataclass(frozen=True)
class StepWork:
    """One optimizer step.

    Attributes
    ----------
    flops : of the model, forward and back, and of the optimizer
    kernels : operations that a device is asked to start
    chunks : examples of 10.24 s
    parameters : numbers that are trained
    optimizer_flops : of `flops`, what Muon adds
    optimizer_floats : numbers that the optimizer keeps
    saved_floats : activations that the backward pass needs, of one forward pass (batch_size)
    """

    flops: float
    kernels: int
    chunks: int
    parameters: int
    optimizer_flops: float
    optimizer_floats: int
    saved_floats: float


def step_work(config, codes=None):
    """The StepWork of a config.

    Parameters
    ----------
    config : of a stage; fine-tuning with the sizes of the model that it adapts
    codes : patterns of the codec that a diffusion model speaks; None: of the codec of the same preset
    """
    counts = {"vqvae": _vqvae, "style_encoder": _style_encoder}.get(configs.stage_of(config), _diffusion)
    if counts is _diffusion:
        return _diffusion(config, codes or configs.preset("vqvae", config.preset).codes)
    return counts(config)


def newton_schulz_share(config):
    """Of a step's FLOPs, what Muon adds."""
    work = step_work(config)
    return work.optimizer_flops / work.flops


def of_preset(stage, name, **overrides):
    """A stage's config as a whole preset trains it: fine-tuning has the sizes of the preset's diffusion model."""
    config = configs.preset(stage, name, **overrides)
    return configs.inherit_model(config, configs.preset("diffusion", name)) if stage == "fine_tune" else config


def _put_together(config, forward, once, matrices, kernels, parameters, saved):
    """StepWork; `forward` FLOPs of a chunk cost three times as much in training, `once` those whose inputs need no gradient."""
    chunks = config.batch_size * config.gradient_accumulation
    muon = config.optimizer == "muon"
    orthogonal = sum(map(newton_schulz_flops, *zip(*matrices))) if muon else 0
    inside = sum(rows * columns for rows, columns in matrices) if muon else 0
    passes = (3 * forward + 2 * once) * chunks
    floats = 2 * parameters - inside  # Muon keeps one number a weight, AdamW two
    return StepWork(passes + orthogonal, kernels * config.gradient_accumulation, chunks, parameters, orthogonal, floats,
                    saved * config.batch_size)  # fmt: skip


def newton_schulz_flops(rows, columns):
    """FLOPs by which Muon makes a matrix's step orthogonal (Jordan et al. 2024)."""
    small, large = min(rows, columns), max(rows, columns)
    return NEWTON_SCHULZ_STEPS * (4 * small**2 * large + 2 * small**3)


def _vqvae(config):
    width, blocks, size, held = config.channels, config.blocks, config.code_dim, 2 * BAND_KEYS
    first = CELLS + held
    inside = blocks * 8 * width**2  # of each perceptron, a row
    forward = TRAINED_ROWS * 2 * (2 * inside // 2 + width * size + (CELLS + size) * width + width * held)
    once = TRAINED_ROWS * 2 * (first * width + config.codes * size)  # the codebook looks up, then adds up
    matrices = [(width, 2 * width)] * (4 * blocks)
    parameters = (first + 1 + size) * width + size + (CELLS + size + 1 + held) * width + held
    parameters += 2 * blocks * (4 * width**2 + 4 * width)
    saved = TRAINED_ROWS * (13.35 * width * blocks + 2 * width + 150)
    return _put_together(config, forward, once, matrices, 251 + 216 * blocks, parameters, saved)


def _style_encoder(config):
    width, blocks = config.channels, config.blocks
    wide = WIDENING * width
    a_note = blocks * (3 * width * wide + wide * width) + width**2
    forward = 2 * (WINDOW_NOTES * a_note + 2 * width * config.style_dim + config.style_dim * PIANISTS)
    measured = grouped_notes.soft_size(config.lags)
    once = 2 * WINDOW_NOTES * measured * width
    matrices = [(wide, 3 * width), (width, wide)] * blocks
    parameters = (sum(grouped_notes.hard_sizes(config.lags)) + measured) * width
    parameters += blocks * (8 * width**2 + 4 * width) + 2 * width + width**2
    parameters += (2 * width + 1) * config.style_dim + PIANISTS * config.style_dim + 1
    saved = WINDOW_NOTES * (7 * width * blocks + 6.3 * width + 40 + measured)
    return _put_together(config, forward, once, matrices, 426 + 104 * blocks, parameters, saved)


def _diffusion(config, codes):
    width, depth = config.width, config.depth
    inner = 8 * round(width * 8 / 3 / 8)
    spelled = GROUPS * CELLS * width  # the codes of a latent frame as a vector
    style = configs.preset("style_encoder", config.preset).style_dim
    rows = WINDOW * PLACES * ASKED
    block = 4 * width**2 + 3 * width * inner + 2 * WINDOW * width
    head = WINDOW * PLACES * width**2 + rows * (HEAD_BLOCKS * 3 * width**2 + width * codes)
    forward = 2 * (WINDOW * depth * block + head + 6 * width**2)
    once = 2 * (WINDOW * (spelled + (CHORD_DIM + ATTRIBUTES_DIM) * width) + WINDOW * PLACES * spelled + style * width)
    matrices = [(3 * width, width), (width, width), (2 * inner, width), (width, inner)] * depth
    matrices += [(2 * width, width), (width, width)] * HEAD_BLOCKS
    parameters = depth * (4 * width**2 + 3 * width * inner + 2 * inner + 8 * width + 2 * width // config.heads)
    parameters += 2 * spelled + (CHORD_DIM + ATTRIBUTES_DIM + style + GROUPS + 6) * width + 6 * width**2 + 6 * width + width**2
    parameters += HEAD_BLOCKS * (3 * width**2 + 5 * width) + KINDS * (width + 1) * codes + GROUPS * codes + width
    saved = WINDOW * depth * 27.7 * width + rows * (15.2 * width + 2.4 * codes)
    return _put_together(config, forward, once, matrices, 720 + 297 * depth, round(parameters), saved)
