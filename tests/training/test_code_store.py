"""Codes on disk are what the codec makes of the music, once, in other keys; a window is where it should be."""

import numpy as np
import pytest
import torch

from lib.checkpoints import load
from lib.config import ConfigError, preset
from lib.data.corpora import gather_pieces
from lib.models.vqvae import GROUPS, VQVAE
from lib.music.chart import chord_features
from lib.music.chord_recognition import recognise_chords
from lib.music.piano_roll import LATENT_STRIDE, WINDOW, notes_to_piano_roll, sounding_roll
from lib.training.code_store import CodeStore
from lib.training.stream import AS_PLAYED, CodedStream, Example


@pytest.fixture
def pieces(demo_data):
    return gather_pieces(preset("diffusion", "tiny"), demo_data, "train")[:3]


@pytest.fixture(scope="module")
def frozen(tiny_runs):
    vqvae, _ = load.load_vqvae(tiny_runs / "vqvae")
    style_encoder, style_config, _ = load.load_style_encoder(tiny_runs / "style_encoder")
    return vqvae, style_encoder, style_config


@pytest.fixture
def encoded(pieces, frozen, tmp_path):
    """A function: a stream of the pieces, encoded so many times."""

    def encode(num_encodings=2, seed=0, models=frozen, bounds=None):
        stream = CodedStream(pieces, preset("diffusion", "tiny", seed=seed), num_encodings)
        stream.bounds = bounds or stream.bounds
        return CodeStore(tmp_path, *models).encode(stream)

    return encode


def test_as_played_the_codes_are_those_of_the_notes(encoded, frozen):
    stream = encoded(0)
    coded = stream.read([Example(1, stream.bounds[1][0] + 4.0)], epoch=5)
    notes = stream.pieces[1][0].piece_notes(stream.pieces[1][1])
    length = max(WINDOW, int(np.ceil(notes.end_s * 12.5)))
    whole = frozen[0].encode(notes_to_piano_roll(notes, length * LATENT_STRIDE))
    assert torch.equal(coded.codes, whole[:, 50 : 50 + WINDOW])
    first_s, last_s = 50 * 0.08, (50 + WINDOW) * 0.08
    assert coded.onsets.sum() == pytest.approx(len(notes.between(first_s, last_s)), abs=2)
    assert coded.keys.sum() / coded.onsets.sum() + 21 == pytest.approx(notes.between(first_s, last_s).pitch.mean(), abs=1)
    assert coded.chords.shape[:2] == (1, WINDOW) and list(stream.encodings) == [AS_PLAYED]


def test_each_encoding_is_in_another_key_and_they_take_turns(encoded):
    stream = encoded(2)
    ways = [stream.whole_piece(item, encoding) for item in range(3) for encoding in range(12)]
    assert [len({way.transpose for way in ways[first : first + 12]}) for first in (0, 12, 24)] == [12, 12, 12]
    assert len({round(way.tempo, 6) for way in ways}) == 36 and all(0.9 < way.tempo < 1.11 for way in ways)
    one, two, again = (stream.read([Example(0, 0.0)], epoch).codes for epoch in (0, 1, 2))
    assert not torch.equal(one, two) and torch.equal(one, again)


def test_nothing_is_made_twice_and_other_weights_have_their_own(encoded, frozen, tmp_path):
    stream = encoded()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert len(before) == 9  # two encodings and the styles of three pieces
    encoded()
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert encoded(seed=1).code_paths[0, 0] != stream.code_paths[0, 0]
    with torch.no_grad():
        changed = load.frozen(VQVAE.from_config(preset("vqvae", "tiny", seed=3)), frozen[0].state_dict())
        changed.encoder.last.bias += 1
    assert not set(encoded(models=(changed, *frozen[1:])).code_paths.values()) & set(stream.code_paths.values())


def test_a_window_at_the_very_end_and_a_piece_that_is_too_short(encoded, pieces):
    bounds = CodedStream(pieces, preset("diffusion", "tiny"), 0).bounds
    bounds[2] = (bounds[2][0], bounds[2][0] + 3.0)
    stream = encoded(0, bounds=bounds)
    for example in (Example(0, 1e6), Example(2, bounds[2][0])):
        assert stream.read([example], 0).codes.shape == (1, WINDOW, GROUPS)
    density, register = stream.read([Example(2, 0.0)], 0).density_and_register()
    assert density[0, 100] == 0 and register[0, 100].isnan() and (density[0, :10] > 0).all()


def test_styles_are_those_of_passages(encoded):
    vectors = encoded().styles([0, 0, 1], [0.0, 0.999, 0.0])
    assert vectors.shape == (3, 16) and torch.allclose(vectors.norm(dim=-1), torch.ones(3), atol=1e-2)
    assert not torch.equal(vectors[0], vectors[1])


def test_pianists_have_their_own_vector_and_the_unknown_none(encoded):
    stream = encoded()
    stream.pianists = ["Ann", "", "Ben"]
    stream.set_pianist_styles(("Ben", "Ann"), torch.eye(2))
    vectors, is_known = stream.pianist_styles([2, 1, 0])
    assert vectors.tolist() == [[1, 0], [0, 0], [0, 1]] and is_known.tolist() == [True, False, True]
    stream.set_pianist_styles((), torch.zeros(0, 2))
    assert stream.pianist_styles([0, 1])[1].tolist() == [False, False]


def test_damage_names_the_file(encoded):
    path = encoded(0).code_paths[0, AS_PLAYED]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match=f"{path.name}.*Delete it"):
        encoded(0).read([Example(0, 0.0)], 0)


def test_chords_are_those_of_the_moment(encoded):
    stream = encoded(0)
    coded = stream.read([Example(0, stream.bounds[0][0])], 0)
    notes = stream.pieces[0][0].piece_notes(stream.pieces[0][1])
    frames = recognise_chords(sounding_roll(notes_to_piano_roll(notes, 2 * WINDOW * LATENT_STRIDE)))
    features = chord_features(frames)[:, :WINDOW]
    assert (coded.chords == features).all(-1).float().mean() > 0.95 and len(coded.chords[0].unique(dim=0)) > 2
