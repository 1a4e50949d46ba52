"""Shapes, gradients, and that each model can learn one batch by heart."""

import threading

import numpy as np
import pytest
import torch

from lib.config import preset
from lib.models.codebook import Codebook, perplexity
from lib.models.dit import KNOBS_DIM, Conditions, DiT, Posterior, knobs, pick
from lib.models.style_encoder import StyleEncoder
from lib.models.vqvae import VQVAE, fold, reconstruction_loss, unfold
from lib.music.chords import CHORD_DIM
from lib.music.note_windows import contexts, note_windows
from lib.music.piano_roll import PianoRoll, decide, duration_tolerance


def rolls(size, frames=64, density=0.01, seed=0):
    """Random rolls with onsets, durations and velocities."""
    generator = torch.Generator().manual_seed(seed)
    onset = (torch.rand(size, 88, frames, generator=generator) < density).float()
    lanes = torch.rand(size, 2, 88, frames, generator=generator).clamp(min=0.1) * onset[:, None]
    pedal = (torch.rand(size, 1, frames, generator=generator) < 0.5).float()
    return PianoRoll(torch.cat([onset[:, None], lanes], 1), pedal)


def conditions(size, frames=16, style=6):
    told = (torch.rand(size, frames, width).round() for width in (CHORD_DIM, KNOBS_DIM))
    return Conditions(torch.randn(size, style), *told)


def has_gradients(model):
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_vqvae_shapes_and_gradients():
    config = preset("vqvae", "tiny")
    model, piano_roll = VQVAE(config), rolls(2)
    logits, codes = model(piano_roll)
    assert logits.roll.shape == (2, 3, 88, 64) and logits.pedal.shape == (2, 1, 64)
    assert codes.indices.shape == (2, 16, 4) and codes.indices.dtype == torch.int64
    assert codes.z_q.shape == (2, 16, 16)
    assert codes.indices.min() >= 0 and codes.indices.max() < 32
    (sum(reconstruction_loss(logits, piano_roll, 4.0).values()) + codes.commitment_loss).backward()
    assert has_gradients(model) == []


def test_vqvae_takes_any_whole_number_of_latent_frames():
    model = VQVAE(preset("vqvae", "tiny")).eval()
    for frames in (4, 36, 600):
        assert model(rolls(1, frames))[0].num_frames == frames


def test_fold_and_unfold_keep_every_onset_and_its_values():
    piano_roll = rolls(2, density=0.002)
    again = unfold(fold(piano_roll))
    assert torch.equal(again.onset, piano_roll.onset) and torch.equal(again.pedal, piano_roll.pedal)
    at = piano_roll.onset.bool()
    alone = at.unflatten(-1, (-1, 4)).sum(-1).repeat_interleave(4, -1) == 1
    for lane in (1, 2):
        assert torch.equal(again.roll[:, lane][at & alone], piano_roll.roll[:, lane][at & alone])


def test_a_piece_in_one_pass_is_coded_as_its_chunks_are():
    """Nothing depends on what is farther away than the convolutions hear."""
    model, piano_roll = VQVAE(preset("vqvae", "tiny")).eval(), rolls(1, 1024)
    whole = model.encode(piano_roll).indices
    reach = 4  # latent frames; one block of kernel 3, in the tiny preset, hears 1 each way
    part = model.encode(piano_roll.crop(256, 768)).indices
    assert torch.equal(whole[:, 64 + reach : 192 - reach], part[:, reach:-reach])
    z_q = model.codebook.look_up(whole)
    decoded = model.decode(z_q).onset[..., 256 + 4 * reach : 768 - 4 * reach]
    cut = model.decode(z_q[:, 64:192]).onset[..., 4 * reach : -4 * reach]
    assert torch.allclose(decoded, cut, atol=1e-5)


def test_a_duration_within_what_mir_eval_allows_costs_less_than_log_2():
    exact = rolls(1, density=0.002)
    tolerance = duration_tolerance(exact.roll[:, 1])
    near = exact.roll.clone()
    near[:, 1] = (near[:, 1] + 0.99 * tolerance).clamp(max=1)
    near = PianoRoll(torch.logit(near, 1e-6), torch.logit(exact.pedal, 1e-6))
    typical = exact.onset.sum() / 100
    assert reconstruction_loss(near, exact, 4.0)["duration"] < np.log(2) * typical
    assert reconstruction_loss(near, exact, 4.0)["velocity"] < 1e-3


def test_vqvae_learns_one_batch():
    torch.manual_seed(0)
    config = preset("vqvae", "tiny", channels=64, codes=64, groups=4)
    model, piano_roll = VQVAE(config), rolls(2, density=0.003)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(200):
        logits, codes = model(piano_roll)
        loss = sum(reconstruction_loss(logits, piano_roll, 4.0).values()) + 0.25 * codes.commitment_loss
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        model.codebook.update(np.random.default_rng(step))
    decoded = decide(model.eval().decode_latents(model.latents(model.encode(piano_roll).indices)))
    right = (decoded.onset * piano_roll.onset).sum()
    assert 2 * right / (decoded.onset.sum() + piano_roll.onset.sum()) > 0.9


def test_codebook_keeps_unit_variance_and_finds_its_own_codes():
    codebook = Codebook(3, 32, 4, 0.9, 0.5).eval()
    indices = torch.randint(0, 32, (2, 5, 3))
    latent = codebook.look_up(indices)
    assert torch.equal(codebook(latent * 7).indices, indices)  # length does not matter
    assert torch.allclose(latent.unflatten(-1, (3, 4)).square().mean(-1), torch.ones(2, 5, 3), atol=1e-5)


def test_latents_have_mean_0_and_deviation_1_as_their_codes_are_used():
    model = VQVAE(preset("vqvae", "tiny")).eval()
    codebook = model.codebook
    codebook.mean_use.copy_(torch.rand(codebook.mean_use.shape, generator=torch.Generator().manual_seed(0)) ** 4)
    rows = [torch.multinomial(use, 40_000, replacement=True) for use in codebook.mean_use]
    indices = torch.stack(rows, -1)[None]  # (1, N, G)
    latents = model.latents(indices)
    assert latents.mean(1).abs().max() < 0.03 and (latents.std(1) - 1).abs().max() < 0.03
    assert torch.equal(model.nearest(latents), indices)
    z_q = codebook.look_up(indices[:, :16])
    assert torch.allclose(model.decode_latents(latents[:, :16]).roll, model.decode(z_q).roll.sigmoid(), atol=1e-4)
    certain = torch.nn.functional.one_hot(indices[:, :16], codebook.codes).float()
    assert torch.allclose(model.expected(certain), latents[:, :16], atol=1e-5)


def test_codebook_expected_code_of_a_certain_posterior_is_the_code():
    codebook = Codebook(2, 8, 4, 0.9, 0.5)
    indices = torch.randint(0, 8, (1, 3, 2))
    certain = torch.nn.functional.one_hot(indices, 8).float()
    assert torch.allclose(codebook.expected(certain), codebook.look_up(indices))


def test_codebook_restarts_do_not_depend_on_processes_or_micro_batches():
    """Dead codes move to vectors of the whole global batch, wherever they are."""
    torch.manual_seed(0)
    data = torch.randn(6, 5, 8)
    whole = Codebook(2, 16, 4, 0.9, 0.5)
    for part in (data[:4], data[4:]):
        whole(part)
    whole.update(np.random.default_rng(0))
    assert (whole.mean_use == 1).any()  # some were dead
    ranks, slices = [Codebook(2, 16, 4, 0.9, 0.5) for _ in range(2)], ((0, 2), (2, 6))
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
    latent = torch.randn(1, 4, 8, requires_grad=True)
    Codebook(2, 8, 4, 0.9, 0.5)(latent).z_q.sum().backward()
    assert latent.grad.abs().sum() > 0


def test_codebook_update_does_not_depend_on_micro_batches():
    data = torch.randn(8, 10, 8, generator=torch.Generator().manual_seed(1))
    whole, parts = (Codebook(2, 16, 4, 0.9, 0.0) for _ in range(2))
    whole(data), parts(data[:4]), parts(data[4:])
    for codebook in (whole, parts):
        codebook.update(np.random.default_rng(0))
    assert torch.allclose(whole.embedding, parts.embedding, atol=1e-5)


def test_dead_codes_restart_on_data():
    codebook = Codebook(1, 16, 4, 0.9, 0.5)
    data = torch.ones(2, 5, 4) + 0.01 * torch.randn(2, 5, 4)
    codebook(data)
    codebook.update(np.random.default_rng(0))
    towards_data = codebook.embedding[0] @ torch.ones(4)
    assert (towards_data > 3.9).all()  # all 16 sat elsewhere at random; each length is 2, so 4 is the most


def test_perplexity_of_even_and_single_use():
    assert perplexity(torch.ones(2, 8)) == pytest.approx(8)
    assert perplexity(torch.tensor([[5.0, 0, 0]])) == pytest.approx(1)


def note_passages(count):
    """Float (5, 40) each: random notes, in order."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        onset_s = np.sort(generator.uniform(0, 5, 40))
        others = (generator.uniform(0.05, 1, 40), generator.integers(30, 90, 40), generator.integers(20, 110, 40))
        yield np.stack([onset_s, *others, generator.integers(0, 2, 40)]).astype(np.float32)


@pytest.mark.parametrize("reads", ["notes", "roll"])
def test_style_encoder_embeds_on_the_sphere_and_learns_one_batch(reads):
    torch.manual_seed(0)
    model, target = StyleEncoder(preset("style_encoder", "tiny", reads=reads), 4), torch.arange(4)
    passages = rolls(4) if reads == "roll" else note_windows(list(note_passages(4)))
    style, logits = model(passages)
    assert style.shape == (4, 16) and logits.shape == (4, 4)
    assert torch.allclose(style.norm(dim=-1), torch.ones(4), atol=1e-5)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(passages)[1], target)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    assert has_gradients(model) == []
    assert (model(passages)[1].argmax(-1) == target).all()


def test_padding_is_not_heard_and_keys_hardly_are():
    model = StyleEncoder(preset("style_encoder", "tiny"), 4).eval()
    short, longer = note_passages(2)
    alone, beside = model(note_windows([short[:, :20]]))[0], model(note_windows([short[:, :20], longer]))[0][:1]
    assert torch.allclose(alone, beside, atol=1e-5)
    transposed = short.copy()
    transposed[2] += 1  # the register alone tells
    changed = (contexts(note_windows([short]), 8) != contexts(note_windows([transposed]), 8)).float().mean((0, 1))
    assert (changed > 0).sum() == 1


def dit(size=16):
    return DiT(preset("diffusion", "tiny"), 6, torch.randn(2, size, 4))


def test_dit_starts_uniform_and_learns_one_batch():
    torch.manual_seed(0)
    model = dit()
    codes, told = torch.randint(0, 16, (2, 16, 2)), conditions(2)
    hidden = torch.rand(2, 16) < 0.5
    context = model(codes, hidden, told)
    assert context.shape == (2, 16, 64) and model.posterior(context[hidden], codes[hidden]).abs().max() == 0
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(150):
        logits = model.posterior(model(codes, hidden, told)[hidden], codes[hidden])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), codes[hidden].flatten())
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    assert loss < 0.1
    assert has_gradients(model) == []
    drawn, certainty = Posterior(model, model(codes, hidden, told)[None]).draw(hidden, torch.full(codes.shape, 0.5))
    assert (drawn == codes[hidden]).float().mean() > 0.95 and (certainty > -1).all()


def shaken():
    """A DiT without its zero start."""
    torch.manual_seed(0)
    model = dit()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_dit_listens_to_what_it_is_told_and_not_to_what_is_hidden():
    model = shaken()
    codes, hidden, told = torch.randint(0, 16, (1, 16, 2)), torch.zeros(1, 16, dtype=torch.bool), conditions(1)
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


def test_each_code_of_a_frame_depends_on_those_before_it_alone():
    model = shaken()
    context, codes = torch.randn(5, 64), torch.randint(0, 16, (5, 2))
    plain, changed = model.posterior(context, codes), model.posterior(context, (codes + torch.tensor([0, 1])) % 16)
    assert torch.equal(plain, changed)
    changed = model.posterior(context, (codes + torch.tensor([1, 0])) % 16)
    assert torch.equal(plain[:, 0], changed[:, 0]) and not torch.allclose(plain[:, 1], changed[:, 1])


def test_drawn_codes_are_distributed_as_the_posterior_says():
    model, where = shaken(), torch.ones(1, 4000, dtype=torch.bool)
    context = torch.randn(1, 1, 1, 64).expand(1, 1, 4000, 64)
    codes, certainty = Posterior(model, context).draw(where, torch.rand(1, 4000, 2))
    said = model.posterior(context[0, 0], codes).log_softmax(-1).gather(-1, codes[..., None])[..., 0]
    assert torch.allclose(said.sum(-1), certainty, atol=1e-4)
    first = model.posterior(context[0, 0, :1], codes[:1])[0, 0].softmax(-1)
    assert torch.allclose(torch.bincount(codes[:, 0], minlength=16) / 4000, first, atol=0.03)


def test_guidance_and_temperature_sharpen():
    model, where, uniform = shaken(), torch.ones(1, 500, dtype=torch.bool), torch.rand(1, 500, 2)
    context = torch.randn(2, 1, 1, 64).expand(2, 1, 500, 64)
    plain = Posterior(model, context[:1]).draw(where, uniform)[0]
    assert torch.equal(plain, Posterior(model, context, 1.0).draw(where, uniform)[0])  # a scale of 1 is no guidance
    for posterior in (Posterior(model, context, 4.0), Posterior(model, context[:1], 1.0, 0.3)):
        assert len(posterior.draw(where, uniform)[0].unique(dim=0)) < len(plain.unique(dim=0))


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
        model = DiT(preset("diffusion", name), 128, torch.zeros(config.groups, config.codes, config.code_dim))
    assert sum(p.numel() for p in model.parameters()) > 3e6


def test_large_preset_has_about_255_million_parameters():
    config = preset("vqvae", "large")
    with torch.device("meta"):
        model = DiT(preset("diffusion", "large"), 128, torch.zeros(config.groups, config.codes, config.code_dim))
    assert 245e6 < sum(p.numel() for p in model.parameters()) < 265e6
