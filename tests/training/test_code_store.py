"""Codes on disk are what the codec makes of the music, once, in other keys; a window is where it should be."""

import dataclasses

import numpy as np
import pytest
import torch

from lib.checkpoints import load
from lib.config import ConfigError, preset
from lib.data.selection import gather_pieces
from lib.models.vqvae import GROUPS
from lib.music.chart import chord_features
from lib.music.chord_recognition import recognise_chords
from lib.music.piano_roll import LATENT_STRIDE, notes_to_piano_roll, sounding_roll
from lib.training.code_store import PLAIN, WINDOW, CodeStore
from lib.training.stream import Example, Stream


@pytest.fixture
def stream(demo_data):
    config = preset("diffusion", "tiny")
    return Stream(gather_pieces(config, demo_data, "train")[:3], config)


@pytest.fixture(scope="module")
def frozen(tiny_runs):
    vqvae, _ = load.load_vqvae(tiny_runs / "vqvae")
    style_encoder, style_config, _ = load.load_style_encoder(tiny_runs / "style_encoder")
    return vqvae, style_encoder, style_config


def make(stream, folder, frozen, encodings=2):
    return CodeStore(stream, folder, *frozen, encodings)


def test_as_played_the_codes_are_those_of_the_notes(stream, tmp_path, frozen):
    store, start_s = make(stream, tmp_path, frozen, 0).build(), stream.bounds[1][0]
    coded = store.read([Example(1, start_s + 4.0)], epoch=5)
    notes = stream.pieces[1][0].piece_notes(stream.pieces[1][1])
    length = max(WINDOW, int(np.ceil(notes.end_s * 12.5)))
    whole = frozen[0].encode(notes_to_piano_roll(notes, length * LATENT_STRIDE))
    assert torch.equal(coded.codes, whole[:, 50 : 50 + WINDOW])
    first_s, last_s = 50 * 0.08, (50 + WINDOW) * 0.08
    assert coded.onsets.sum() == pytest.approx(len(notes.between(first_s, last_s)), abs=2)
    assert coded.keys.sum() / coded.onsets.sum() + 21 == pytest.approx(notes.between(first_s, last_s).pitch.mean(), abs=1)
    assert coded.chords.shape[:2] == (1, WINDOW) and store.turn_of(5) == PLAIN


def test_each_encoding_is_in_another_key_and_they_take_turns(stream, tmp_path, frozen):
    store = make(stream, tmp_path, frozen, 2).build()
    ways = [store.variation(item, turn) for item in range(3) for turn in range(12)]
    assert [len({way.transpose for way in ways[first : first + 12]}) for first in (0, 12, 24)] == [12, 12, 12]
    assert len({round(way.tempo, 6) for way in ways}) == 36 and all(0.9 < way.tempo < 1.11 for way in ways)
    one, two, again = (store.read([Example(0, 0.0)], epoch).codes for epoch in (0, 1, 2))
    assert not torch.equal(one, two) and torch.equal(one, again)


def test_nothing_is_made_twice_and_other_weights_have_their_own(stream, tmp_path, frozen):
    store = make(stream, tmp_path, frozen).build()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert len(before) == 9  # two encodings and the styles of three pieces
    make(stream, tmp_path, frozen).build()
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    other = Stream(stream.pieces, dataclasses.replace(stream.config, seed=1))
    assert make(other, tmp_path, frozen)._path(0, 0) != store._path(0, 0)
    with torch.no_grad():
        changed = load.frozen(type(frozen[0]).from_config(preset("vqvae", "tiny", seed=3)), frozen[0].state_dict())
        changed.encoder.last.bias += 1
    assert make(stream, tmp_path, (changed, *frozen[1:])).folder != store.folder


def test_a_window_at_the_very_end_and_a_piece_that_is_too_short(stream, tmp_path, frozen):
    stream.bounds[2] = (stream.bounds[2][0], stream.bounds[2][0] + 3.0)
    store = make(stream, tmp_path, frozen, 0).build()
    for example in (Example(0, 1e6), Example(2, stream.bounds[2][0])):
        assert store.read([example], 0).codes.shape == (1, WINDOW, GROUPS)
    density, register = store.read([Example(2, 0.0)], 0).density_and_register()
    assert density[0, 100] == 0 and register[0, 100].isnan() and (density[0, :10] > 0).all()


def test_styles_are_those_of_passages(stream, tmp_path, frozen):
    store = make(stream, tmp_path, frozen).build()
    vectors = store.styles([0, 0, 1], [0.0, 0.999, 0.0])
    assert vectors.shape == (3, 16) and torch.allclose(vectors.norm(dim=-1), torch.ones(3), atol=1e-2)
    assert not torch.equal(vectors[0], vectors[1])


def test_damage_names_the_file(stream, tmp_path, frozen):
    store = make(stream, tmp_path, frozen, 0).build()
    path = store._path(0, PLAIN)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match=f"{path.name}.*Delete it"):
        make(stream, tmp_path, frozen, 0).build().read([Example(0, 0.0)], 0)


def test_chords_are_those_of_the_moment(stream, tmp_path, frozen):
    store = make(stream, tmp_path, frozen, 0).build()
    coded = store.read([Example(0, stream.bounds[0][0])], 0)
    notes = stream.pieces[0][0].piece_notes(stream.pieces[0][1])
    heard = recognise_chords(sounding_roll(notes_to_piano_roll(notes, 2 * WINDOW * LATENT_STRIDE)))
    told = chord_features(heard)[:, :WINDOW]
    assert (coded.chords == told).all(-1).float().mean() > 0.95 and len(coded.chords[0].unique(dim=0)) > 2
