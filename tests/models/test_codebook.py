"""Codes: their variance, restarts that know nothing of processes, gradients."""

import threading

import numpy as np
import pytest
import torch

from lib.models.codebook import Codebook, perplexity


def test_codebook_keeps_unit_variance_and_finds_its_own_codes():
    codebook = Codebook(32, 4, 0.9, 0.5).eval()
    indices = torch.randint(0, 32, (2, 5))
    latent = codebook.embedding[0, indices]
    assert torch.equal(codebook(latent * 7).indices, indices)  # length does not matter
    assert torch.allclose(latent.square().mean(-1), torch.ones(2, 5), atol=1e-5)


def test_codebook_restarts_do_not_depend_on_processes_or_micro_batches():
    """Dead codes move to vectors of the whole global batch, wherever they are."""
    torch.manual_seed(0)
    data = torch.randn(6, 5, 4)
    whole = Codebook(16, 4, 0.9, 0.5)
    for part in (data[:4], data[4:]):
        whole(part)
    whole.update(np.random.default_rng(0))
    assert (whole.mean_use == 1).any()  # some were dead
    ranks, slices = [Codebook(16, 4, 0.9, 0.5) for _ in range(2)], ((0, 2), (2, 6))
    box, both = {}, threading.Barrier(2, timeout=20)

    def work(rank):
        first, last = slices[rank]

        def reduce(tensor):
            box[rank] = tensor.clone()
            both.wait()
            total = box[0] + box[1]
            both.wait()
            return total

        ranks[rank](data[first:last])
        ranks[rank].update(np.random.default_rng(0), reduce, (first / 6, (last - first) / 6))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    for codebook in ranks:
        assert torch.allclose(codebook.embedding, whole.embedding, atol=1e-6)
        assert torch.equal(codebook.mean_use, whole.mean_use)


def test_codebook_gradient_passes_straight_through():
    latent = torch.randn(1, 4, 4, requires_grad=True)
    Codebook(8, 4, 0.9, 0.5)(latent).z_q.sum().backward()
    assert latent.grad.abs().sum() > 0


def test_codebook_update_does_not_depend_on_micro_batches():
    data = torch.randn(8, 10, 4, generator=torch.Generator().manual_seed(1))
    whole, parts = (Codebook(16, 4, 0.9, 0.0) for _ in range(2))
    whole(data), parts(data[:4]), parts(data[4:])
    for codebook in (whole, parts):
        codebook.update(np.random.default_rng(0))
    assert torch.allclose(whole.embedding, parts.embedding, atol=1e-5)


def test_dead_codes_restart_on_data():
    codebook = Codebook(16, 4, 0.9, 0.5)
    data = torch.ones(2, 5, 4) + 0.01 * torch.randn(2, 5, 4)
    codebook(data)
    codebook.update(np.random.default_rng(0))
    towards_data = codebook.embedding[0] @ torch.ones(4)
    assert (towards_data > 3.9).all()  # all 16 sat elsewhere at random; each length is 2, so 4 is the most


def test_perplexity_of_even_and_single_use():
    assert perplexity(torch.ones(8)) == pytest.approx(8)
    assert perplexity(torch.tensor([5.0, 0, 0])) == pytest.approx(1)
