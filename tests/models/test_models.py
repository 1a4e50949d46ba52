"""Shapes, gradients, and that each model can learn one batch by heart."""

import threading

import numpy as np
import pytest
import torch

from lib.config import preset
from lib.data.corpora import open_corpus
from lib.models.codebook import Codebook, perplexity
from lib.models.dit import KNOBS_DIM, Conditions, DiT, knobs
from lib.models.posterior import Posterior, pick
from lib.models.style_encoder import StyleEncoder
from lib.models.vqvae import (
    BAND_KEYS,
    CELLS,
    GROUPS,
    KINDS,
    TRAINED_ROWS,
    VQVAE,
    fold,
    frequent_patterns,
    reconstruction_loss,
    struck_bands,
    unfold,
)
from lib.music.chords import CHORD_DIM
from lib.music.note_windows import contexts, note_windows
from lib.music.piano_roll import PianoRoll, decide, duration_tolerance, notes_to_piano_roll


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


def patterns(piano_roll, codes=128):
    """A dictionary of a roll's own patterns, the empty one first."""
    cells = fold(piano_roll).flatten(0, 2)[:, :CELLS].unique(dim=0)[: codes]  # sorted: zeros come first
    return torch.nn.functional.pad(cells, (0, 0, 0, codes - len(cells)))


def codec(piano_roll):
    return VQVAE(preset("vqvae", "tiny"), patterns(piano_roll))


def test_vqvae_shapes_and_gradients():
    piano_roll = rolls(2, density=0.002)
    model = codec(piano_roll)
    bands = struck_bands(piano_roll)
    logits, codes = model(bands)
    assert bands.shape == (2, TRAINED_ROWS, CELLS + 2 * BAND_KEYS) and logits.shape == (2, TRAINED_ROWS, 2 * BAND_KEYS)
    assert codes.indices.shape == (2, TRAINED_ROWS, 1) and codes.indices.max() < 128
    (sum(reconstruction_loss(logits, bands).values()) + codes.commitment_loss).backward()
    assert has_gradients(model) == []


def test_onsets_in_the_dictionary_and_the_pedal_come_back_as_they_were():
    piano_roll = rolls(3, density=0.001)
    model = codec(piano_roll).eval()
    indices = model.encode(piano_roll)
    assert indices.shape == (3, 16, GROUPS) and indices.dtype == torch.int64 and len(KINDS) == GROUPS
    decoded = model.decode(indices)
    assert torch.equal(decoded.onset, piano_roll.onset) and torch.equal(decoded.pedal, piano_roll.pedal)
    assert torch.equal(model.encode(decide(decoded))[..., :-1:2], indices[..., :-1:2])


def test_other_onsets_take_the_pattern_most_like_them():
    known = torch.zeros(4, CELLS)
    known[1, :2], known[2, :5], known[3, 20] = 1.0, 1.0, 1.0
    model = VQVAE(preset("vqvae", "tiny", codes=4), known)
    asked = torch.zeros(3, CELLS)
    asked[0, :3], asked[1, :4], asked[2, [20, 31]] = 1.0, 1.0, 1.0
    assert model.nearest_pattern(asked).tolist() == [1, 2, 3]


def test_nothing_is_coded_by_silent_codes_and_decodes_to_nothing():
    silent = PianoRoll(torch.zeros(1, 3, 88, 32), torch.zeros(1, 1, 32))
    model = codec(rolls(1)).eval()
    indices = model.encode(silent)
    assert (indices == 0).all() and model.silent().tolist() == [0, 0] and model.decode(indices).roll.abs().sum() == 0
    assert struck_bands(silent).abs().sum() == 0


def test_a_frame_is_coded_for_itself():
    piano_roll = rolls(1, 64)
    model = codec(piano_roll).eval()
    whole, part = model.encode(piano_roll), model.encode(piano_roll.crop(16, 32))
    assert torch.equal(whole[:, 4:8], part)
    assert torch.equal(model.decode(whole).crop(16, 32).roll, model.decode(part).roll)


def test_fold_and_unfold_keep_every_onset_and_its_values():
    piano_roll = rolls(2, density=0.002)
    again = unfold(fold(piano_roll), piano_roll.pedal[:, 0].unflatten(-1, (-1, 4)))
    assert torch.equal(again.onset, piano_roll.onset) and torch.equal(again.pedal, piano_roll.pedal)
    at_onsets = decide(again)  # of two onsets of a key within a latent frame the lanes take the larger value
    assert (at_onsets.roll - piano_roll.roll).abs().max() < 1 and (at_onsets.roll == piano_roll.roll).float().mean() > 0.999


def test_all_struck_bands_are_trained_on():
    piano_roll = rolls(2, density=0.001)
    bands = struck_bands(piano_roll)
    for row in range(2):
        own = fold(piano_roll)[row].flatten(0, 1)
        own = own[own[:, :CELLS].sum(-1) > 0]
        assert torch.equal(bands[row].unique(dim=0), own.unique(dim=0)) and len(own) < TRAINED_ROWS


def test_an_error_costs_by_what_the_ear_lets_pass():
    bands = struck_bands(rolls(1, density=0.001))
    wanted = bands[..., CELLS:].clamp(0.02, 0.9)
    bands = torch.cat([bands[..., :CELLS], wanted], -1)
    right = wanted.logit()
    assert sum(reconstruction_loss(right, bands).values()) < 1e-3
    off = wanted + torch.cat([duration_tolerance(wanted[..., :BAND_KEYS]), torch.full_like(wanted[..., BAND_KEYS:], 0.05)], -1)
    losses = reconstruction_loss(off.logit(), bands)
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx({"duration": np.log(2), "velocity": np.log(2)})


def test_vqvae_learns_how_notes_are_played():
    torch.manual_seed(0)
    piano_roll = rolls(4, density=0.001)
    model, optimizer = codec(piano_roll), None
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    bands = struck_bands(piano_roll)
    for step in range(150):
        logits, codes = model(bands)
        loss = sum(reconstruction_loss(logits, bands).values()) + codes.commitment_loss
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        model.codebook.update(np.random.default_rng(step))
    decoded = decide(model.eval().decode(model.encode(piano_roll)))
    onset = piano_roll.onset > 0
    assert (decoded.roll[:, 2] - piano_roll.roll[:, 2]).abs()[onset].mean() < 0.1
    assert (decoded.roll[:, 1] - piano_roll.roll[:, 1]).abs()[onset].mean() < 0.1


def test_the_dictionary_holds_what_comes_most_often(demo_data):
    store = open_corpus("demo", demo_data)
    pieces = [(store, i) for i in range(5)]
    found = frequent_patterns(pieces, 64)
    assert found.shape == (64, CELLS) and found[0].sum() == 0 and found[1].sum() == 1  # single notes are the most frequent
    assert len(found[:30].unique(dim=0)) == 30
    rolls_of = [notes_to_piano_roll(s.piece_notes(i)) for s, i in pieces]
    counts = torch.cat([fold(roll)[..., :CELLS].flatten(0, 2) for roll in rolls_of]).unique(dim=0, return_counts=True)
    order = counts[1].argsort(descending=True)
    assert torch.equal(counts[0][order[:2]], found[:2])  # silence, then the most frequent


def test_codebook_keeps_unit_variance_and_finds_its_own_codes():
    codebook = Codebook(3, 32, 4, 0.9, 0.5).eval()
    indices = torch.randint(0, 32, (2, 5, 3))
    latent = codebook.look_up(indices)
    assert torch.equal(codebook(latent * 7).indices, indices)  # length does not matter
    assert torch.allclose(latent.unflatten(-1, (3, 4)).square().mean(-1), torch.ones(2, 5, 3), atol=1e-5)


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
    drawn, certainty = Posterior(model, model(codes, hidden, told)[None]).draw(hidden, torch.full(codes.shape, 0.5))
    assert (drawn == codes[hidden]).float().mean() > 0.95 and (certainty > -2).all()


def shaken():
    """A DiT without its zero start."""
    torch.manual_seed(0)
    model = dit()
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
    drawn, _ = Posterior(model, context).draw(torch.ones(1, 500, dtype=torch.bool), torch.rand(1, 500, 5))
    silent = drawn[:, [0, 2]] == 0
    assert silent.any() and (drawn[:, [1, 3]][silent] == 0).all()


def test_drawn_codes_are_as_likely_as_the_posterior_says():
    model, where = shaken(), torch.ones(1, 4000, dtype=torch.bool)
    context = torch.randn(1, 1, 1, 64).expand(1, 1, 4000, 64)
    codes, certainty = Posterior(model, context).draw(where, torch.rand(1, 4000, 5))
    assert torch.allclose(-model.nats(context[0, 0], codes)[0], certainty, atol=1e-3)
    share = (codes == codes[0]).all(1).float().mean()
    assert share == pytest.approx(float(certainty[0].detach().exp()), abs=0.02)


def test_guidance_and_temperature_sharpen():
    model, where, uniform = shaken(), torch.ones(1, 500, dtype=torch.bool), torch.rand(1, 500, 5)
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
        model = DiT(preset("diffusion", name), 128, torch.zeros(GROUPS, config.codes, CELLS), KINDS, (0, 0))
    assert sum(p.numel() for p in model.parameters()) > 3e6


def test_large_preset_has_about_255_million_parameters():
    config = preset("vqvae", "large")
    with torch.device("meta"):
        model = DiT(preset("diffusion", "large"), 128, torch.zeros(GROUPS, config.codes, CELLS), KINDS, (0, 0))
    assert 245e6 < sum(p.numel() for p in model.parameters()) < 265e6
