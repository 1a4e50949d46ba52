"""The transformer: it listens to what it is told, draws by its posterior, learns one batch by heart; presets of its size."""

import numpy as np
import pytest
import torch
from untrained import has_gradients

from lib.config import preset
from lib.models.dit import KNOBS_DIM, Conditions, DiT, knobs
from lib.models.posterior import Posterior, pick
from lib.models.vqvae import CELLS, GROUPS, KINDS
from lib.music.chart import CHORD_DIM


def conditions(size, frames=16, style=6):
    told = (torch.rand(size, frames, width).round() for width in (CHORD_DIM, KNOBS_DIM))
    return Conditions(torch.randn(size, style), *told)


def dit(codes=16):
    """Two bands and a pedal: five codes a latent frame."""
    return DiT(preset("diffusion", "tiny"), 6, torch.randn(5, codes, 4), (0, 1, 0, 1, 2), (0, 0))


def frames(*shape, codes=16):
    """Random codes of latent frames in which a third of the bands are silent."""
    drawn = torch.randint(1, codes, (*shape, 5))
    silent = torch.rand(*shape, 2).repeat_interleave(2, -1) < 0.3
    silent = torch.nn.functional.pad(silent.unflatten(-1, (2, 2))[..., :1].expand(*shape, 2, 2).flatten(-2), (0, 1))
    return torch.where(silent, 0, drawn)


def test_dit_starts_uniform_and_learns_one_batch():
    torch.manual_seed(0)
    model = dit()
    codes, told = frames(2, 16), conditions(2)
    hidden = torch.rand(2, 16) < 0.5
    context = model(codes, hidden, told)
    nats, hit = model.nats(context[hidden], codes[hidden])
    assert context.shape == (2, 16, 64) and hit.shape == nats.shape == (int(hidden.sum()),)
    assert torch.allclose(nats, model.asked(codes[hidden]).sum(1) * np.log(16), atol=1e-4)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(150):
        loss = model.nats(model(codes, hidden, told)[hidden], codes[hidden])[0].mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    assert loss < 0.3
    assert has_gradients(model) == []
    drawn = Posterior(model, model(codes, hidden, told)[None]).draw(hidden, torch.full(codes.shape, 0.5))
    assert (drawn == codes[hidden]).float().mean() > 0.95


def shaken(codes=16):
    """A DiT without its zero start."""
    torch.manual_seed(0)
    model = dit(codes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_dit_listens_to_what_it_is_told_and_not_to_what_is_hidden():
    model = shaken()
    codes, hidden, told = frames(1, 16), torch.zeros(1, 16, dtype=torch.bool), conditions(1)
    hidden[:, 8:] = True
    plain = model(codes, hidden, told)
    chords, asked = told.chords.clone(), told.knobs.clone()
    chords[:, 3, 5], asked[:, 3, 2] = 2.0, 2.0
    for other in (Conditions(told.style + 1, told.chords, told.knobs), Conditions(told.style, chords, told.knobs),
                  Conditions(told.style, told.chords, asked)):  # fmt: skip
        assert not torch.allclose(model(codes, hidden, other), plain)
    assert not torch.allclose(model(codes.flip(1), hidden.flip(1), told).flip(1), plain)
    under = torch.where(hidden[..., None], (codes + 1) % 16, codes)
    assert torch.equal(model(under, hidden, told), plain)
    assert not torch.allclose(model((codes + 1) % 16, hidden, told), plain)


def test_the_second_code_of_a_silent_band_goes_without_saying():
    model, codes = shaken(), torch.tensor([[0, 0, 3, 4, 5], [2, 1, 0, 0, 5]])
    assert model.asked(codes).tolist() == [[True, False, True, True, True], [True, True, True, False, True]]
    context = torch.randn(1, 1, 500, 64)
    drawn = Posterior(model, context).draw(torch.ones(1, 500, dtype=torch.bool), torch.rand(1, 500, 5))
    silent = drawn[:, [0, 2]] == 0
    assert silent.any() and (drawn[:, [1, 3]][silent] == 0).all()


def test_drawn_codes_are_as_likely_as_the_posterior_says():
    model, where = shaken(codes=3), torch.ones(1, 20000, dtype=torch.bool)
    context = torch.randn(1, 1, 1, 64).expand(1, 1, 20000, 64)
    with torch.no_grad():
        kinds, counts = Posterior(model, context).draw(where, torch.rand(1, 20000, 5)).unique(dim=0, return_counts=True)
        likely = (-model.nats(context[0, 0, : len(kinds)], kinds)[0]).exp()
    assert len(kinds) > 50 and likely.sum() > 0.99
    assert ((counts / 20000 - likely).abs() < 0.001 + 5 * (likely / 20000).sqrt()).all()


def test_guidance_and_temperature_sharpen():
    model, where, uniform = shaken(), torch.ones(1, 500, dtype=torch.bool), torch.rand(1, 500, 5)
    context = torch.randn(2, 1, 1, 64).expand(2, 1, 500, 64)
    plain = Posterior(model, context[:1]).draw(where, uniform)
    assert torch.equal(plain, Posterior(model, context, 1.0).draw(where, uniform))  # a scale of 1 is no guidance
    for posterior in (Posterior(model, context, 4.0), Posterior(model, context[:1], 1.0, 0.3)):
        assert len(posterior.draw(where, uniform).unique(dim=0)) < len(plain.unique(dim=0))


def test_the_pedal_is_never_sharpened_and_guided_where_it_should_be():
    model, where, uniform = shaken(), torch.ones(1, 500, dtype=torch.bool), torch.rand(1, 500, 5)
    torch.nn.init.zeros_(model.head.from_codes)  # it hears nothing of the other codes
    contexts = torch.randn(2, 1, 500, 64)
    pedal = [Posterior(model, *way).draw(where, uniform)[:, -1] for way in
             ((contexts[:1],), (contexts[:1], 1.0, 0.3), (contexts, 4.0, 0.3, False), (contexts, 4.0, 0.3))]  # fmt: skip
    assert torch.equal(pedal[0], pedal[1]) and torch.equal(pedal[0], pedal[2]) and not torch.equal(pedal[0], pedal[3])


def test_pick_draws_by_probability():
    logits = torch.tensor([0.2, 0.5, 0.3]).log()
    codes = pick(logits.expand(1000, 3), torch.arange(1000) / 1000)
    assert torch.bincount(codes).tolist() == pytest.approx([200, 500, 300], abs=1)
    assert pick(logits, torch.tensor(1.0)) == 2


def test_knobs_tell_what_is_asked_and_that_something_is():
    told = knobs(torch.tensor([[9.0, torch.nan]]), torch.tensor([[torch.nan, 72.0]]))
    assert told.shape == (1, 2, KNOBS_DIM) and told[0, 0, 2:].tolist() == [1, 0] and told[0, 1, 2:].tolist() == [0, 1]
    assert told[0, 0, 1] == 0 and told[0, 1, :2].tolist() == [0, 1] and not told.isnan().any()


@pytest.mark.parametrize("name", ["laptop", "colab"])
def test_presets_can_be_built(name):
    config = preset("vqvae", name)
    with torch.device("meta"):
        model = DiT(preset("diffusion", name), 128, torch.zeros(GROUPS, config.codes, CELLS), KINDS, (0, 0))
    assert sum(p.numel() for p in model.parameters()) > 3e6


def test_large_preset_has_about_255_million_parameters():
    config = preset("vqvae", "large")
    with torch.device("meta"):
        model = DiT(preset("diffusion", "large"), 128, torch.zeros(GROUPS, config.codes, CELLS), KINDS, (0, 0))
    assert 245e6 < sum(p.numel() for p in model.parameters()) < 265e6
