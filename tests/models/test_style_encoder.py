"""The style encoder: embeddings on the sphere, and it learns one batch by heart."""

import numpy as np
import pytest
import torch
from untrained import has_gradients, rolls

from lib.config import preset
from lib.models.style_encoder import StyleEncoder
from lib.music.grouped_notes import grouped_values
from lib.music.note_windows import contexts, note_windows
from lib.music.notes import Notes


def note_passages(count):
    """Float (5, 40) each: random notes, in order."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        onset_s = np.sort(generator.uniform(0, 5, 40))
        others = (generator.uniform(0.05, 1, 40), generator.integers(30, 90, 40), generator.integers(20, 110, 40))
        yield np.stack([onset_s, *others, generator.integers(0, 2, 40)]).astype(np.float32)


def as_notes(passage):
    """Notes of such a passage, the pedal down in every other second."""
    return Notes.from_arrays(*passage[:4], np.arange(0, 5, 2.0)[:, None] + [0, 1])


READ = {
    "roll": lambda: rolls(4),
    "notes": lambda: note_windows(list(note_passages(4))),
    "chords": lambda: note_windows([grouped_values(as_notes(passage)) for passage in note_passages(4)]),
}


@pytest.mark.parametrize("reads", READ)
def test_style_encoder_embeds_on_the_sphere_and_learns_one_batch(reads):
    torch.manual_seed(0)
    model, target = StyleEncoder.from_config(preset("style_encoder", "tiny", reads=reads), 4), torch.arange(4)
    passages = READ[reads]()
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
    model = StyleEncoder.from_config(preset("style_encoder", "tiny", reads="notes"), 4).eval()
    short, longer = note_passages(2)
    alone, beside = model(note_windows([short[:, :20]]))[0], model(note_windows([short[:, :20], longer]))[0][:1]
    assert torch.allclose(alone, beside, atol=1e-5)
    transposed = short.copy()
    transposed[2] += 1  # the register alone tells
    changed = (contexts(note_windows([short]), 8) != contexts(note_windows([transposed]), 8)).float().mean((0, 1))
    assert (changed > 0).sum() == 1


def test_padding_of_chords_is_not_heard():
    model = StyleEncoder.from_config(preset("style_encoder", "tiny", reads="chords"), 4).eval()
    short, longer = (grouped_values(as_notes(passage)) for passage in note_passages(2))
    alone, beside = model(note_windows([short[:, :20]]))[0], model(note_windows([short[:, :20], longer]))[0][:1]
    assert torch.allclose(alone, beside, atol=1e-5)
