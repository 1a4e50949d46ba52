"""Muon for the matrices inside, AdamW for the rest, as one optimizer."""

import copy

import pytest
import torch

from lib.config import preset
from lib.models.dit import DiT
from lib.models.frame_head import HEAD_BLOCKS
from lib.models.vqvae import VQVAE
from lib.training import optimizers
from lib.training.optimizers import MuonAdamW, Share, make_optimizer


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VQVAE.from_config(preset("vqvae", "tiny"))


def with_gradients(model, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return model


def test_which_parameters_it_takes(model):
    optimizer = make_optimizer(model, preset("vqvae", "tiny"))
    assert isinstance(optimizer, MuonAdamW)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    taken = {names[id(parameter)] for parameter in optimizer.inside}
    assert taken == {f"{part}.blocks.0.{layer}.weight" for part in ("encoder", "decoder") for layer in (1, 3)}
    rest = {names[id(parameter)] for parameter in optimizer.adamw.param_groups[0]["params"]}
    assert taken | rest == set(names.values()) and not taken & rest
    assert isinstance(make_optimizer(model, preset("vqvae", "tiny", optimizer="adamw")), torch.optim.AdamW)
    config = preset("diffusion", "tiny", optimizer="muon")
    dit = DiT.from_config(config, 6, torch.zeros(3, 8, 4), 2)
    assert len(make_optimizer(dit, config).inside) == 4 * config.depth + 2 * HEAD_BLOCKS


def test_a_prefix_of_muons_modules_that_matches_nothing_is_an_error(model, monkeypatch):
    monkeypatch.setattr(VQVAE, "MUON_MODULES", ("encoder.blocks", "decoder.layers"))
    with pytest.raises(ValueError, match=r"VQVAE.MUON_MODULES: nothing trainable is named decoder.layers\.\*"):
        make_optimizer(model, preset("vqvae", "tiny"))


def test_a_step_moves_every_parameter_and_muon_evens_out_its_matrices(model):
    optimizer = make_optimizer(model, preset("vqvae", "tiny", lr=0.01, weight_decay=0.0))
    before = copy.deepcopy(model.state_dict())
    with_gradients(model)
    optimizer.step(), optimizer.zero_grad()
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]) and parameter.grad is None
    moved = model.encoder.blocks[0][1].weight - before["encoder.blocks.0.1.weight"]
    sizes = torch.linalg.svdvals(moved.detach())
    assert sizes.max() / sizes.min() < 3  # a random gradient's: 4.6
    assert float(moved.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.3)  # about AdamW's


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_products_in_fp16_are_nearer_than_in_bf16(monkeypatch, size):
    """For GPUs without bf16; gradients that fp16 itself can't hold are no matter."""
    generator = torch.Generator().manual_seed(0)
    wide, low_rank = torch.randn(2, 64, 128, generator=generator), torch.randn(2, 64, 4, generator=generator)
    matrices = size * torch.cat([wide, low_rank @ low_rank.mT @ wide + 0.1 * wide])
    group = {"ns_coefficients": (3.4445, -4.775, 2.0315), "ns_steps": 5, "eps": 1e-7}
    exact = matrices.double() / matrices.double().norm(dim=(1, 2), keepdim=True)
    a, b, c = group["ns_coefficients"]
    for _ in range(group["ns_steps"]):
        gram = exact @ exact.mT
        exact = a * exact + (b * gram + c * gram @ gram) @ exact
    errors = {}
    for dtype in (torch.bfloat16, torch.float16):
        monkeypatch.setattr(optimizers, "product_dtype", lambda device, dtype=dtype: dtype)
        found = optimizers._orthogonal(matrices, group)
        assert found.dtype is dtype
        errors[dtype] = float((found - exact).norm() / exact.norm())
    assert errors[torch.float16] < 0.05 and errors[torch.float16] < 0.5 * errors[torch.bfloat16]


def test_what_is_done_to_the_gradients_reaches_both(model):
    """Unscaling and clipping happen in place."""
    optimizer = make_optimizer(with_gradients(model), preset("vqvae", "tiny"))
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad.mul_(0.5)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        assert torch.equal(parameter.grad, 0.5 * torch.randn(parameter.shape, generator=generator))


def test_going_on_from_its_state_is_the_same(model):
    config = preset("vqvae", "tiny")
    optimizer = make_optimizer(model, config)
    for seed in (1, 2):
        with_gradients(model, seed), optimizer.step()
    twin = copy.deepcopy(model)
    other = make_optimizer(twin, config)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, its in ((model, optimizer), (twin, other)):
        with_gradients(one, 3), its.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_processes_share_the_matrices_and_agree(model):
    """Each of two orthogonalises every second matrix; with the sum of both, each steps as one would have alone."""
    config, parts = preset("vqvae", "tiny"), {}

    def stepped(share):
        twin = with_gradients(copy.deepcopy(model))
        make_optimizer(twin, config, share).step()
        return list(twin.parameters())

    for rank in range(2):
        stepped(Share(rank, 2, lambda own, rank=rank: parts.setdefault(rank, own)))
    assert parts[0].any() and parts[1].any() and not ((parts[0] != 0) & (parts[1] != 0)).any()
    alone = stepped(Share())
    for rank in range(2):
        together = stepped(Share(rank, 2, lambda own: parts[0] + parts[1]))
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(alone, together, strict=True))
