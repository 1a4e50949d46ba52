"""AdamW, or Muon for the matrices inside a model with AdamW for the rest (Jordan et al. 2024)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.config import StageConfig
from lib.devices import product_dtype
from lib.models.blocks import muon_names


@dataclass(frozen=True)
class Share:
    """Which process this is, and how tensors are summed over all of them."""

    rank: int = 0
    processes: int = 1
    reduce: Callable[[Tensor], Tensor] = lambda tensor: tensor


def make_optimizer(
    model: nn.Module, config: StageConfig, share: Share | None = None
) -> torch.optim.Optimizer | MuonAdamW:
    """The optimizer of a config, over all parameters of a model; processes share the work of Muon."""
    settings = {"lr": config.lr, "weight_decay": config.weight_decay}
    trained = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(trained, **settings)
    matrices = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    inside = [matrices[name] for name in muon_names(model, matrices)]
    return MuonAdamW(inside, model.parameters(), settings, share or Share())


class SharedMuon(torch.optim.Muon):
    """Muon whose matrices are orthogonalised by turns of the processes, those of one shape together.

    Its state is the same in every process, and that of torch.optim.Muon.

    Parameters
    ----------
    matrices, settings : as of torch.optim.Muon
    share : Share
    """

    def __init__(self, matrices: list[Tensor], share: Share, **settings):
        super().__init__(matrices, **settings)
        self.share = share

    @torch.no_grad()
    def step(self) -> None:
        """One step; matrices without a gradient stay."""
        for group in self.param_groups:
            matrices, gradients, momenta = [], [], []
            self._init_group(group, matrices, gradients, momenta)
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            updates = torch._foreach_lerp(gradients, momenta, group["momentum"])
            self._orthogonalise(updates, group)
            torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
            for matrix, update in zip(matrices, updates, strict=True):  # scaled so that AdamW's learning rate fits
                matrix.add_(update, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)

    def _orthogonalise(self, updates, group):
        """In place: each process its own, then all of them the sum."""
        by_shape, share = defaultdict(list), self.share
        for number, update in enumerate(updates):
            if number % share.processes == share.rank:
                by_shape[update.shape].append(update)
            else:
                update.zero_()
        for alike in by_shape.values():
            for update, orthogonal in zip(alike, _orthogonal(torch.stack(alike), group), strict=True):
                update.copy_(orthogonal)
        if share.processes > 1:
            flat = share.reduce(torch.cat([update.flatten() for update in updates]))
            for update, part in zip(updates, flat.split([update.numel() for update in updates]), strict=True):
                update.copy_(part.view_as(update))


def _orthogonal(matrices, group):
    """(k, A, B) -> the nearest matrices with equal singular values, by Newton and Schulz's iteration in 16 bits."""
    a, b, c = group["ns_coefficients"]
    dtype = product_dtype(matrices.device)
    x = matrices if dtype is torch.float16 else matrices.to(dtype)  # fp16 would lose small ones before they are scaled
    is_tall = x.shape[1] > x.shape[2]
    x = x.mT.contiguous() if is_tall else x
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp(min=group["eps"])).to(dtype)
    for _ in range(group["ns_steps"]):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


class MuonAdamW:
    """Muon and AdamW as one optimizer; a convolution counts as a matrix (channels out, the rest).

    Parameters
    ----------
    inside : parameters for Muon, scaled so that AdamW's learning rate fits them too (Liu et al. 2025)
    parameters : all of the model's
    settings : lr, weight_decay
    share : Share
    """

    def __init__(
        self,
        inside: list[nn.Parameter],
        parameters: Iterable[nn.Parameter],
        settings: dict[str, float],
        share: Share,
    ):
        self.inside, taken = inside, {id(p) for p in inside}
        self.matrices = [p.detach().flatten(1) for p in inside]  # the same memory
        self.muon = SharedMuon(self.matrices, share, **settings)
        self.adamw = torch.optim.AdamW([p for p in parameters if id(p) not in taken], fused=True, **settings)

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
