"""The transformer: it depends on its conditions, samples by its posterior, learns one batch; sizes of presets."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from untrained import has_gradients

from lib.config import preset
from lib.models.conditions import (
    ATTRIBUTES_DIM,
    CHORDS_DIM,
    FEEL_DIM,
    TEMPO_DIM,
    Conditions,
    attributes,
    feel_condition,
    harmony,
    tempo,
)
from lib.models.dit import CLOCK_SIZES, DiT, Posterior, classifier_free, pick, typical_logits
from lib.models.frame_head import TYPICAL_LOGIT
from lib.models.vqvae import CELLS, GROUPS, PEDALS
from lib.music.chart import CHORD_DIM

PEDAL_CODES = 6


def conditions(size, length=16, style=6, codes=16):
    widths = (CHORDS_DIM, ATTRIBUTES_DIM, TEMPO_DIM, FEEL_DIM)
    chords, given, bpm, feeling = (torch.rand(size, length, width).round() for width in widths)
    clock = torch.stack([torch.randint(count, (size, length)) for count in CLOCK_SIZES], -1)
    reference, referred = frames(size, length, codes=codes), torch.rand(size, length) < 0.6
    return Conditions(torch.randn(size, style), chords, given, clock, bpm, feeling, reference, referred)


def dit(codes=16):
    """Two bands and a pedal: five codes a latent frame."""
    pedals = min(PEDAL_CODES, codes)
    return DiT(torch.randn(5, codes, 4), pedals, width=64, depth=1, heads=2, style_dim=6)


def frames(*shape, codes=16):
    """Random codes of latent frames in which a third of the bands are silent."""
    drawn = torch.randint(1, codes, (*shape, 5))
    silent = torch.rand(*shape, 2).repeat_interleave(2, -1) < 0.3
    drawn[..., :-1][silent] = 0
    drawn[..., -1] %= min(PEDAL_CODES, codes)
    return drawn


def test_dit_starts_uniform_and_learns_one_batch():
    torch.manual_seed(0)
    model = dit()
    codes, given = frames(2, 16), conditions(2)
    mask = torch.rand(2, 16) < 0.5
    context = model(codes, mask, given)
    nll_nats, accuracy = model.nll(context[mask], codes[mask])
    assert context.shape == (2, 16, 64) and accuracy.shape == nll_nats.shape == (int(mask.sum()),)
    struck = (codes[mask][:, [0, 2]] > 0).sum(1)  # of two bands: uniform, but for how rare onsets are
    silence = np.log1p(np.exp(TYPICAL_LOGIT))
    expected = 2 * silence + struck * (np.log(15) + np.log(16) - TYPICAL_LOGIT) + np.log(PEDAL_CODES)
    assert torch.allclose(nll_nats, expected.float(), atol=1e-4)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(150):
        loss = model.nll(model(codes, mask, given)[mask], codes[mask])[0].mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    assert loss < 0.3
    assert has_gradients(model) == []
    sampled = Posterior(model, model(codes, mask, given)[None]).sample(mask, torch.full(codes.shape, 0.5))
    assert (sampled == codes[mask]).float().mean() > 0.95


def shaken(codes=16):
    """A DiT without its zero start."""
    torch.manual_seed(0)
    model = dit(codes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_dit_depends_on_its_conditions_and_not_on_what_is_masked():
    model = shaken()
    codes, mask, given = frames(1, 16), torch.zeros(1, 16, dtype=torch.bool), conditions(1)
    mask[:, 8:] = True
    plain = model(codes, mask, given)
    for name, value in vars(given).items():
        changed = ~value if value.dtype == torch.bool else (value + 1) % 7 if name == "clock" else value + 1
        changed = (value + 1) % 6 if name == "reference" else changed
        other = dataclasses.replace(given, **{name: changed})
        assert not torch.allclose(model(codes, mask, other), plain), name
    unseen = dataclasses.replace(given, reference=torch.where(given.referred[..., None], given.reference, 1))
    assert torch.equal(model(codes, mask, unseen), plain)  # frames of the reference that are not given
    assert not torch.allclose(model(codes.flip(1), mask.flip(1), given).flip(1), plain)
    under = torch.where(mask[..., None], (codes + 1) % 16, codes)
    assert torch.equal(model(under, mask, given), plain)
    assert not torch.allclose(model((codes + 1) % 16, mask, given), plain)


def test_the_second_code_of_a_silent_band_is_implied():
    model = shaken()
    context = torch.randn(1, 1, 500, 64)
    sampled = Posterior(model, context).sample(torch.ones(1, 500, dtype=torch.bool), torch.rand(1, 500, 5))
    silent = sampled[:, [0, 2]] == 0
    assert silent.any() and (sampled[:, [1, 3]][silent] == 0).all()


def test_sampled_codes_are_as_likely_as_the_posterior_says():
    model, mask = shaken(codes=3), torch.ones(1, 20000, dtype=torch.bool)
    context = torch.randn(1, 1, 1, 64).expand(1, 1, 20000, 64)
    with torch.no_grad():
        sampled = Posterior(model, context).sample(mask, torch.rand(1, 20000, 5))
        kinds, counts = sampled.unique(dim=0, return_counts=True)
        likely = (-model.nll(context[0, 0, : len(kinds)], kinds)[0]).exp()
    assert len(kinds) > 50 and likely.sum() > 0.99
    assert ((counts / 20000 - likely).abs() < 0.001 + 5 * (likely / 20000).sqrt()).all()


def test_guidance_and_temperature_sharpen():
    model, mask, uniform = shaken(), torch.ones(1, 500, dtype=torch.bool), torch.rand(1, 500, 5)
    context = torch.randn(2, 1, 1, 64).expand(2, 1, 500, 64)
    plain = Posterior(model, context[:1]).sample(mask, uniform)
    assert torch.equal(plain, Posterior(model, context, 1.0).sample(mask, uniform))  # a scale of 1 is no guidance
    for posterior in (Posterior(model, context, 4.0), Posterior(model, context[:1], 1.0, 0.3)):
        assert len(posterior.sample(mask, uniform).unique(dim=0)) < len(plain.unique(dim=0))


def test_onsets_are_sharpened_around_what_is_typical_of_frames_so_long():
    at_125, unknown, at_half = (
        typical_logits(dataclasses.replace(conditions(1, 6), tempo=tempo(torch.full((1, 6), bpm))))
        for bpm in (125.0, math.nan, 62.5)
    )
    assert torch.allclose(at_125, torch.tensor(TYPICAL_LOGIT)) and (unknown - at_125).abs().max() < 0.03
    assert torch.allclose(at_half - at_125, torch.tensor(math.log(2)))
    model, mask, uniform = shaken(), torch.ones(1, 500, dtype=torch.bool), torch.rand(1, 500, 5)
    contexts, higher = torch.randn(1, 1, 500, 64), torch.full((1, 500), TYPICAL_LOGIT + math.log(2))
    plain, sharp = ({"temperature": temperature} for temperature in (1.0, 0.3))
    onsets = [
        (Posterior(model, contexts, **way, typical_logits=typical).sample(mask, uniform)[:, 0] > 0).sum()
        for way in (plain, sharp)
        for typical in (None, higher)
    ]
    assert onsets[0] == onsets[1] and onsets[3] < onsets[2], "where nothing is sharpened nothing changes"


def test_the_pedal_is_never_sharpened_and_guided_where_it_should_be():
    model, mask, uniform = shaken(), torch.ones(1, 500, dtype=torch.bool), torch.rand(1, 500, 5)
    torch.nn.init.zeros_(model.head.from_codes)  # the other codes do not matter
    contexts = torch.randn(2, 1, 500, 64)
    ways = (contexts[:1],), (contexts[:1], 1.0, 0.3), (contexts, 4.0, 0.3, False), (contexts, 4.0, 0.3)
    pedal = [Posterior(model, *way).sample(mask, uniform)[:, -1] for way in ways]
    assert torch.equal(pedal[0], pedal[1]) and torch.equal(pedal[0], pedal[2]) and not torch.equal(pedal[0], pedal[3])


def test_pick_draws_by_probability():
    logits = torch.tensor([0.2, 0.5, 0.3]).log()
    codes = pick(logits.expand(1000, 3), torch.arange(1000) / 1000)
    assert torch.bincount(codes).tolist() == pytest.approx([200, 500, 300], abs=1)
    assert pick(logits, torch.tensor(1.0)) == 2


def test_the_winner_alone_is_predicted_without_conditions_again():
    """With the parent's posterior, its context without conditions stands for that of every candidate."""
    model, given, codes = shaken(), conditions(2), frames(2, 16)
    predict, unguided = (classifier_free(model, given, scale) for scale in (3.0, 1.0))
    mask = torch.ones(2, 16, dtype=torch.bool)
    parent, later = predict(codes, mask), (frames(8, 16), torch.zeros(8, 16, dtype=torch.bool))
    ahead, full = predict(*later, parent), predict(*later)
    assert torch.equal(ahead.contexts[1], parent.contexts[1].repeat(4, 1, 1))
    assert torch.allclose(ahead.contexts[0], full.contexts[0], atol=1e-4) and ahead.guidance_scale == 3.0
    assert not torch.allclose(full.contexts[1], ahead.contexts[1], atol=1e-2)
    assert torch.equal(unguided(*later, unguided(codes, mask)).contexts, unguided(*later).contexts)


def test_attributes_say_what_is_given_and_that_something_is():
    given = attributes(torch.tensor([[4.5, torch.nan]]), torch.tensor([[torch.nan, 72.0]]))
    assert given.shape == (1, 2, ATTRIBUTES_DIM) and given[0, :, 2:].tolist() == [[1, 0], [0, 1]]
    assert given[0, 0, 1] == 0 and given[0, 1, :2].tolist() == [0, 1] and not given.isnan().any()


def test_chords_tempo_and_feel_as_the_model_reads_them():
    chords = torch.eye(CHORD_DIM)[None, :2]
    read = harmony(chords, chords.flip(1), torch.tensor([[0.0, torch.inf]]))
    assert read.shape == (1, 2, CHORDS_DIM) and read[0, :, -1].tolist() == [1, 0] and read[0, 0, CHORD_DIM + 1] == 1
    bpm = tempo(torch.tensor([[75.0, 170.0, torch.nan]]))
    assert -3 < bpm[0, 0, 0] < -2 and 1 < bpm[0, 1, 0] < 2 and bpm[0, 2].tolist() == [0, 0] and (bpm[0, :2, 1] == 1).all()
    feeling = feel_condition(torch.tensor([[-1.0, 0.1, 0.3], [torch.nan] * 3]))
    assert feeling[0, -1] == 1 and feeling[1].tolist() == [0, 0, 0, 0]


def test_the_empty_branch_keeps_the_clock():
    given = conditions(2)
    bare, styled = given.dropped(), given.dropped(keep_style=True)
    for name in ("clock", "tempo"):
        assert torch.equal(getattr(bare, name), getattr(given, name))
    for name in ("style", "chords", "attributes", "feel", "referred"):
        assert not getattr(bare, name).any()
    assert torch.equal(styled.style, given.style) and not styled.chords.any()


def test_bfloat16_weights_predict_about_the_same():
    model, codes, given = shaken(), frames(2, 16), conditions(2)
    mask = torch.rand(2, 16) < 0.5
    exact = model.nll(model(codes, mask, given)[mask], codes[mask])[0].mean()
    half = copy.deepcopy(model).bfloat16()
    rounded = half.nll(half(codes, mask, given)[mask], codes[mask])[0]
    assert rounded.dtype == torch.float32 and rounded.mean().item() == pytest.approx(exact.item(), rel=0.05)


def parameters(name):
    """How many a preset's transformer has."""
    codes = preset("vqvae", name).codes
    with torch.device("meta"):
        model = DiT.from_config(preset("diffusion", name), 128, torch.zeros(GROUPS, codes, CELLS), PEDALS)
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ["laptop", "colab"])
def test_presets_can_be_built(name):
    assert parameters(name) > 3e6


def test_large_preset_has_about_255_million_parameters():
    assert 245e6 < parameters("large") < 265e6
