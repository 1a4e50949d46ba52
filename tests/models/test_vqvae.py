"""The codec: onsets come back, silence costs nothing, errors cost by what the ear lets pass, and it learns."""

import numpy as np
import pytest
import torch
from untrained import has_gradients, rolls

from lib.checkpoints.load import load_vqvae
from lib.config import RELEASED, preset
from lib.models.vqvae import (
    BAND_KEYS,
    BANDS,
    CELLS,
    GROUPS,
    PEDALS,
    SILENT,
    TRAINED_ROWS,
    VQVAE,
    from_bands,
    reconstruction_loss,
    struck_bands,
    to_bands,
)
from lib.music.piano_roll import PianoRoll, duration_tolerance


def patterns(piano_roll, codes=128):
    """A dictionary of a roll's own patterns, the empty one first."""
    cells = to_bands(piano_roll).flatten(0, 2)[:, :CELLS].unique(dim=0)[:codes]  # sorted: zeros come first
    return torch.nn.functional.pad(cells, (0, 0, 0, codes - len(cells)))


def codec(piano_roll):
    return VQVAE.from_config(preset("vqvae", "tiny"), patterns(piano_roll))


def test_vqvae_shapes_and_gradients():
    piano_roll = rolls(2, density=0.002)
    model = codec(piano_roll)
    bands = struck_bands(piano_roll)
    quantised, logits = model(bands)
    assert bands.shape == (2, TRAINED_ROWS, CELLS + 2 * BAND_KEYS) and logits.shape == (2, TRAINED_ROWS, 2 * BAND_KEYS)
    assert quantised.indices.shape == (2, TRAINED_ROWS) and quantised.indices.max() < 128
    (sum(reconstruction_loss(logits, bands).values()) + quantised.commitment_loss).backward()
    assert has_gradients(model) == []


def test_onsets_in_the_dictionary_and_the_pedal_come_back_as_they_were():
    piano_roll = rolls(3, density=0.001)
    model = codec(piano_roll).eval()
    indices = model.encode(piano_roll)
    assert indices.shape == (3, 16, GROUPS) and indices.dtype == torch.int64 and int(indices[..., -1].max()) < PEDALS
    decoded = model.decode(indices)
    assert torch.equal(decoded.onset, piano_roll.onset) and torch.equal(decoded.pedal, piano_roll.pedal)
    assert torch.equal(model.encode(decoded)[..., :-1:2], indices[..., :-1:2])


def probabilities_of_919adb3(model, indices):
    """The codec's decoding as it was at that commit: lanes of a band in every frame, onsets to be decided."""
    pairs = indices[..., :-1].unflatten(-1, (BANDS, 2))
    onsets, struck = model.patterns[pairs[..., 0]], pairs[..., 0] > 0
    held = onsets.new_zeros(*onsets.shape[:-1], 2 * BAND_KEYS)
    how = model.codebook.embedding[0, pairs[struck][:, 1]]
    held[struck] = model.decoder(torch.cat([onsets[struck], how], -1)).float().sigmoid()
    pedal = ((indices[..., -1:] >> torch.arange(4)) & 1).to(onsets.dtype)
    onset = onsets.unflatten(-1, (BAND_KEYS, 4)).permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)
    lanes = held.unflatten(-1, (2, BAND_KEYS)).permute(0, 3, 2, 4, 1).flatten(2, 3).repeat_interleave(4, -1)
    return PianoRoll(torch.cat([onset[:, None], lanes], 1), pedal.flatten(1)[:, None])


def decided_as_in_919adb3(piano_roll):
    """The decode rule of that commit: onsets are peaks in time, the other lanes are zero elsewhere."""
    onset = piano_roll.onset
    padded = torch.nn.functional.pad(onset, (1, 1), value=-1.0)
    before, after = padded[..., :-2], padded[..., 2:]
    peak = ((onset > before) & (onset >= after)) | (onset >= 1)
    onset = (peak & (onset >= 0.5)).to(piano_roll.roll.dtype)
    lanes = piano_roll.roll[:, 1:].clamp(0, 1) * onset[:, None]
    pedal = (piano_roll.pedal >= 0.5).to(piano_roll.pedal.dtype)
    return PianoRoll(torch.cat([onset[:, None], lanes], 1), pedal)


@pytest.mark.parametrize("released", [True, False])
def test_decoding_gives_a_finished_roll(released):
    model = load_vqvae(RELEASED)[0] if released else codec(rolls(3, density=0.001)).eval()
    shape, draw = (2, 64, 1), lambda: torch.Generator().manual_seed(1)
    what, how, pedal = (torch.randint(size, shape, generator=draw()) for size in (128, 128, 16))
    codes = torch.cat([torch.cat([what, how], -1).repeat(1, 1, BANDS), pedal], -1)
    decoded, wanted = model.decode(codes), decided_as_in_919adb3(probabilities_of_919adb3(model, codes))
    assert torch.equal(decoded.roll, wanted.roll) and torch.equal(decoded.pedal, wanted.pedal)
    onset = decoded.onset
    assert set(onset.unique().tolist()) == {0.0, 1.0} and set(decoded.pedal.unique().tolist()) == {0.0, 1.0}
    assert (decoded.roll[:, 1:] * (1 - onset)[:, None]).abs().sum() == 0
    assert (decoded.roll[:, 1:].amin(1) > 0).equal(onset > 0)


def test_other_onsets_take_the_pattern_most_like_them():
    known = torch.zeros(4, CELLS)
    known[1, :2], known[2, :5], known[3, 20] = 1.0, 1.0, 1.0
    model = VQVAE(width=64, blocks=1, codes=4, code_dim=4, patterns=known)
    asked = torch.zeros(3, CELLS)
    asked[0, :3], asked[1, :4], asked[2, [20, 31]] = 1.0, 1.0, 1.0
    assert model.nearest_pattern(asked).tolist() == [1, 2, 3]


def test_nothing_is_coded_by_silent_codes_and_decodes_to_nothing():
    silent = PianoRoll(torch.zeros(1, 3, 88, 32), torch.zeros(1, 1, 32))
    model = codec(rolls(1)).eval()
    indices = model.encode(silent)
    assert (indices[..., :-1] == SILENT).all() and (indices[..., -1] == 0).all()
    assert model.decode(indices).roll.abs().sum() == 0
    assert struck_bands(silent).abs().sum() == 0


def test_a_frame_is_coded_for_itself():
    piano_roll = rolls(1, 64)
    model = codec(piano_roll).eval()
    whole, part = model.encode(piano_roll), model.encode(piano_roll.crop(16, 32))
    assert torch.equal(whole[:, 4:8], part)
    assert torch.equal(model.decode(whole).crop(16, 32).roll, model.decode(part).roll)


def test_bands_keep_every_onset_and_its_values():
    piano_roll = rolls(2, density=0.002)
    again = from_bands(to_bands(piano_roll), piano_roll.pedal[:, 0].unflatten(-1, (-1, 4)))
    assert torch.equal(again.onset, piano_roll.onset) and torch.equal(again.pedal, piano_roll.pedal)
    # of two onsets of a key within a latent frame the larger value is taken
    assert (again.roll - piano_roll.roll).abs().max() < 1
    assert (again.roll == piano_roll.roll).float().mean() > 0.999


def test_all_struck_bands_are_trained_on():
    piano_roll = rolls(2, density=0.001)
    bands = struck_bands(piano_roll)
    for row in range(2):
        own = to_bands(piano_roll)[row].flatten(0, 1)
        own = own[own[:, :CELLS].sum(-1) > 0]
        assert torch.equal(bands[row].unique(dim=0), own.unique(dim=0)) and len(own) < TRAINED_ROWS


def test_an_error_costs_by_what_the_ear_lets_pass():
    bands = struck_bands(rolls(1, density=0.001))
    wanted = bands[..., CELLS:].clamp(0.02, 0.9)
    bands = torch.cat([bands[..., :CELLS], wanted], -1)
    right = wanted.logit()
    assert sum(reconstruction_loss(right, bands).values()) < 1e-3
    durations, velocities = wanted.split(BAND_KEYS, -1)
    off = wanted + torch.cat([duration_tolerance(durations), torch.full_like(velocities, 0.05)], -1)
    losses = reconstruction_loss(off.logit(), bands)
    losses = {name: float(loss) for name, loss in losses.items()}
    assert losses == pytest.approx({"duration": np.log(2), "velocity": np.log(2)})


def test_vqvae_learns_how_notes_are_played():
    torch.manual_seed(0)
    piano_roll = rolls(4, density=0.001)
    model, optimizer = codec(piano_roll), None
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    bands = struck_bands(piano_roll)
    for step in range(150):
        quantised, logits = model(bands)
        loss = sum(reconstruction_loss(logits, bands).values()) + quantised.commitment_loss
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        model.codebook.update(np.random.default_rng(step))
    decoded = model.eval().decode(model.encode(piano_roll))
    onset = piano_roll.onset > 0
    assert (decoded.roll[:, 2] - piano_roll.roll[:, 2]).abs()[onset].mean() < 0.1
    assert (decoded.roll[:, 1] - piano_roll.roll[:, 1]).abs()[onset].mean() < 0.1
