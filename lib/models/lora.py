"""Low-rank adaptation: the weights of a trained model stay, and a product of two thin matrices is added (Hu et al. 2022)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """A matrix (out, in) plus up (out, R) @ down (R, in); up begins at 0, so that nothing changes at first."""

    def __init__(self, weight, rank):
        super().__init__()
        outputs, inputs = weight.shape
        self.down = nn.Parameter(torch.randn(rank, inputs, device=weight.device) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank, device=weight.device))

    def forward(self, weight):  # noqa: D102
        return weight + self.up @ self.down


def add_low_rank(model, rank):
    """Freeze a model but for low-rank additions to the linear layers of its blocks; the model."""
    model.requires_grad_(False)
    for layer in _layers(model):
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))
    return model


def merge_low_rank(model):
    """Add what was learned to the weights themselves; the model, as plain as before `add_low_rank`."""
    for layer in _layers(model):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return model


def _layers(model):
    return [part for name, part in model.named_modules() if isinstance(part, nn.Linear) and name.startswith(model.HIDDEN)]
