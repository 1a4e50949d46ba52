"""Windows in beats: where they begin, how long they are, and that they depend on (seed, step, index) alone."""

import dataclasses

import numpy as np
import pytest
import torch

from lib.config import preset
from lib.data.corpora import open_corpus
from lib.data.tempo_maps import tempo_maps_of
from lib.music.piano_roll import LATENT_STRIDE, LATENTS_PER_BEAT, WINDOW, WINDOW_FRAMES, notes_to_piano_roll
from lib.music.tempo_map import clock_frames, in_beats, window_starts
from lib.training.coded_stream import SHORT_WINDOWS, BeatStream, CodedStream, Excerpt


@pytest.fixture(scope="module")
def pieces(demo_data):
    store = open_corpus("demo", demo_data)
    return [(store, i) for i in store.select(split="train")]


@pytest.fixture(scope="module")
def maps(pieces):
    return tempo_maps_of(pieces)


@pytest.fixture
def config():
    return preset("vqvae", "tiny", batch_size=6)


def same(a, b):
    return torch.equal(a.roll, b.roll) and torch.equal(a.pedal, b.pedal)


def test_micro_batches_make_up_the_global_batch(pieces, maps, config):
    stream = BeatStream(pieces, maps, config)
    whole = stream.batch(4)
    parts = [stream.batch(4, first, first + 2) for first in (0, 2, 4)]
    assert whole.piano_roll.roll.shape == (6, 3, 88, WINDOW_FRAMES)
    assert torch.equal(whole.piano_roll.roll, torch.cat([part.piano_roll.roll for part in parts]))
    accumulated = BeatStream(pieces, maps, dataclasses.replace(config, batch_size=3, gradient_accumulation=2))
    assert same(accumulated.batch(4).piano_roll, whole.piano_roll)
    again, later = (BeatStream(pieces, maps, config).batch(step) for step in (4, 5))
    assert again.examples == whole.examples and later.examples != whole.examples


def test_windows_begin_on_bars_where_these_are_known_else_on_beats(pieces, maps, config):
    for augment in (True, False):
        stream = BeatStream(pieces, maps, config, augment=augment)
        windows = [stream.example(step, index) for step in range(60) for index in range(6)]
        known = 0
        for window in windows:
            clock = clock_frames(maps[window.item], stream.lengths[window.item])
            assert window.first in window_starts(clock, WINDOW) and window.length == WINDOW
            assert window.first + WINDOW <= stream.lengths[window.item]
            in_beat, in_bar, length = clock[window.first].tolist()
            known += length > 0
            assert in_bar == 0 if length else in_beat in (0, LATENTS_PER_BEAT)
        assert known > len(windows) / 3


def test_an_epoch_visits_every_part_of_every_piece_once(pieces, maps, config):
    stream = BeatStream(pieces, maps, config, augment=False)
    windows = [stream.example(*divmod(position, config.batch_size)) for position in range(stream.num_chunks)]
    counts = np.bincount([window.item for window in windows], minlength=len(pieces))
    assert counts.tolist() == [max(1, length // WINDOW) for length in stream.lengths]
    first = sorted(window.first for window in windows if window.item == int(counts.argmax()))
    assert len(set(first)) > 1 and np.abs(np.array(first) - WINDOW * np.arange(len(first))).max() < 48


def test_keys_and_loudness_vary_and_the_tempo_does_not(pieces, maps, config):
    stream = BeatStream(pieces, maps, config)
    windows = [stream.example(step, index) for step in range(40) for index in range(6)]
    assert {window.transpose for window in windows} == set(range(-5, 7))
    assert len({window.loudness for window in windows}) > 200
    assert all(0.85 <= window.loudness <= 1.15 for window in windows) and not hasattr(windows[0], "tempo")
    plain = [BeatStream(pieces, maps, config, augment=False).example(0, index) for index in range(6)]
    assert {(window.transpose, window.loudness) for window in plain} == {(0, 1.0)}


def test_a_window_holds_the_notes_of_its_beats_changed_as_it_says(pieces, maps, config):
    stream = BeatStream(pieces, maps, config)
    store, index = pieces[3]
    whole = notes_to_piano_roll(in_beats(store.piece_notes(index), maps[3]), stream.lengths[3] * LATENT_STRIDE)
    window = Excerpt(3, 96, transpose=3, loudness=0.5)
    plain, changed = (stream.piano_roll([w]) for w in (Excerpt(3, 96), window))
    part = whole.crop(96 * LATENT_STRIDE, (96 + WINDOW) * LATENT_STRIDE)
    assert plain.onset.sum() > 50 and (plain.onset != part.onset).sum() <= 4  # a note a hair before the border
    assert torch.equal(plain.pedal, part.pedal)
    assert torch.equal(changed.onset[:, 20:60], plain.onset[:, 17:57])
    loud, soft = plain.roll[0, 2, 17:57], changed.roll[0, 2, 20:60]
    assert torch.allclose(soft[loud > 0.1], loud[loud > 0.1] / 2, atol=1e-6)


def test_some_steps_have_shorter_windows_and_validation_none(pieces, maps):
    config = preset("diffusion", "tiny")
    training, validation = (CodedStream(pieces, maps, config, 2, augment) for augment in (True, False))
    lengths = [training.window_length(step) for step in range(400)]
    assert set(lengths) == {*SHORT_WINDOWS, WINDOW} and 60 < sum(length < WINDOW for length in lengths) < 140
    assert lengths == [training.window_length(step) for step in range(400)]
    assert {validation.window_length(step) for step in range(50)} == {WINDOW}


def test_a_piece_is_as_long_as_its_music_and_a_window_at_least(pieces, maps, config):
    stream = BeatStream(pieces, maps, config)
    for item in range(0, len(pieces), 5):
        store, index = pieces[item]
        end = in_beats(store.piece_notes(index), maps[item]).onset.max()
        assert stream.lengths[item] >= max(WINDOW, end * LATENTS_PER_BEAT)
