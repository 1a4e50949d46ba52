"""Building blocks of several models: norms, feed-forward and residual blocks, low-rank adaptation."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

DILATIONS, WIDENING = (1, 2, 4), 2


class RMSNorm(nn.RMSNorm):
    """Root-mean-square norm over the last dimension (Zhang & Sennrich 2019), in its weight's precision: no autocast."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(x.to(self.weight.dtype))


class FrameNorm(nn.Module):
    """Root-mean-square norm over channels, each frame for itself: (B, C, T) -> (B, C, T)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        scale = torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-6).to(x.dtype)
        return x * scale * self.weight[:, None].to(x.dtype)


def swiglu(x: Tensor, gate_and_value: nn.Linear, down: nn.Linear) -> Tensor:
    """Feed-forward of a transformer with a gate (Shazeer 2020): (..., W) -> (..., W)."""
    gate, value = gate_and_value(x).chunk(2, -1)
    return down(functional.silu(gate) * value)


class ResidualMLP(nn.Module):
    """Residual layers on vectors: (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs: int, width: int, blocks: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(RMSNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


class WideBlock(nn.Module):
    """Convolution over 3 frames into twice the channels, then back, added to the input: (B, C, T) -> (B, C, T).

    For models that have more to work out within a frame than between frames: after 300 steps of preset laptop the
    codec's loss was 2.55, with kernels of 5 and no widening 2.85 (at 0.8 of the time a step).
    """

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.norm = FrameNorm(channels)
        self.widen = nn.Conv1d(channels, WIDENING * channels, 3, padding=dilation, dilation=dilation)
        self.narrow = nn.Conv1d(WIDENING * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x + self.narrow(functional.gelu(self.widen(self.norm(x))))


def wide_stack(channels: int, blocks: int) -> nn.Sequential:
    """`blocks` wide blocks with dilations 1, 2, 4, 1, ..."""
    return nn.Sequential(*(WideBlock(channels, DILATIONS[i % len(DILATIONS)]) for i in range(blocks)))


class LowRank(nn.Module):
    """A matrix (out, in) plus up (out, R) @ down (R, in); up begins at 0, so that nothing changes at first."""

    def __init__(self, weight: Tensor, rank: int):
        super().__init__()
        outputs, inputs = weight.shape
        self.down = nn.Parameter(torch.randn(rank, inputs, device=weight.device) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:  # noqa: D102
        return weight + self.up @ self.down


def add_low_rank(model: nn.Module, rank: int) -> nn.Module:
    """LoRA (Hu et al. 2022): freeze a model but for additions to the linear layers that Muon may train; the model."""
    model.requires_grad_(False)
    for layer in _linear_layers(model):
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))
    return model


def merge_low_rank(model: nn.Module) -> nn.Module:
    """Add what was learned to the weights themselves; the model, as plain as before `add_low_rank`."""
    for layer in _linear_layers(model):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return model


def _linear_layers(model):
    names = muon_names(model, (name for name, part in model.named_modules() if isinstance(part, nn.Linear)))
    return [model.get_submodule(name) for name in names]


def muon_names(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Those of the names of parameters or modules that are inside model.MUON_MODULES, in their order.

    Raises
    ------
    ValueError : a prefix of MUON_MODULES is the beginning of no name
    """
    names = list(names)
    for prefix in model.MUON_MODULES:
        if not any(name.startswith(f"{prefix}.") for name in names):
            raise ValueError(f"{type(model).__name__}.MUON_MODULES: nothing trainable is named {prefix}.*")
    return [name for name in names if name.startswith(tuple(f"{prefix}." for prefix in model.MUON_MODULES))]
