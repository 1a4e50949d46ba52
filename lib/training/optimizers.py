"""AdamW, or Muon for the matrices inside a model with AdamW for the rest (Jordan et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from lib.config import StageConfig
from lib.models.blocks import muon_names


def make_optimizer(model: nn.Module, config: StageConfig) -> torch.optim.Optimizer | MuonAdamW:
    """The optimizer of a config, over all parameters of a model."""
    settings = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), **settings)
    matrices = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    return MuonAdamW([matrices[name] for name in muon_names(model, matrices)], model.parameters(), settings)


class MuonAdamW:
    """Muon and AdamW as one optimizer; a convolution counts as a matrix (channels out, the rest).

    Parameters
    ----------
    inside : parameters for Muon, scaled so that AdamW's learning rate fits them too (Liu et al. 2025)
    parameters : all of the model's
    settings : lr, weight_decay
    """

    def __init__(self, inside: list[nn.Parameter], parameters: Iterable[nn.Parameter], settings: dict[str, float]):
        self.inside, taken = inside, {id(p) for p in inside}
        self.matrices = [p.detach().flatten(1) for p in inside]  # the same memory
        self.muon = torch.optim.Muon(self.matrices, adjust_lr_fn="match_rms_adamw", **settings)
        self.adamw = torch.optim.AdamW([p for p in parameters if id(p) not in taken], **settings)

    @property
    def param_groups(self) -> list[dict]:
        """Of both, for learning rates and for a scaler."""
        self._share_gradients()
        return [*self.muon.param_groups, *self.adamw.param_groups]

    def _share_gradients(self):
        """A matrix's gradient is its parameter's, in the same memory: scaled and clipped there, it is so here."""
        for parameter, matrix in zip(self.inside, self.matrices, strict=True):
            if parameter.grad is not None:
                parameter.grad = parameter.grad.contiguous()
            matrix.grad = None if parameter.grad is None else parameter.grad.view_as(matrix)

    def step(self) -> None:
        """One step of both."""
        self._share_gradients()
        self.muon.step(), self.adamw.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.adamw.zero_grad()
        for tensor in (*self.inside, *self.matrices):
            tensor.grad = None

    def state_dict(self) -> dict[str, dict]:
        """Of both."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        """Of both."""
        self.muon.load_state_dict(state["muon"]), self.adamw.load_state_dict(state["adamw"])
