"""Every batch is a function of (seed, step, place in the global batch)."""

import dataclasses

import pytest
import torch

from lib.config import preset
from lib.data.corpora import in_published_test, open_corpus
from lib.data.note_store import Piece
from lib.training.stream import Stream


@pytest.fixture(scope="module")
def pieces(demo_data):
    store = open_corpus("demo", demo_data)
    return [(store, i) for i in store.select(split="train")]


@pytest.fixture
def config():
    return preset("vqvae", "tiny", batch_size=6)


def same(a, b):
    return torch.equal(a.roll, b.roll) and torch.equal(a.pedal, b.pedal)


def test_micro_batches_make_up_the_global_batch(pieces, config):
    stream = Stream(pieces, config)
    whole = stream.batch(4)
    parts = [stream.batch(4, first, first + 2) for first in (0, 2, 4)]
    assert torch.equal(whole.piano_roll.roll, torch.cat([part.piano_roll.roll for part in parts]))
    assert whole.items == [item for part in parts for item in part.items]
    accumulated = Stream(pieces, dataclasses.replace(config, batch_size=3, gradient_accumulation=2))
    assert same(accumulated.batch(4).piano_roll, whole.piano_roll)


def test_another_stream_object_gives_the_same_batch(pieces, config):
    assert same(Stream(pieces, config).batch(9).piano_roll, Stream(pieces, config).batch(9).piano_roll)
    assert not same(Stream(pieces, config).batch(9).piano_roll, Stream(pieces, config).batch(10).piano_roll)


def test_an_epoch_visits_every_chunk_once(pieces, config):
    stream = Stream(pieces, config, augment=False)
    size = stream.num_chunks
    seen = set()
    for position in range(size):
        example = stream.example(*divmod(position, config.batch_size))
        seen.add((example.item, example.start_s))
    assert len(seen) == size


def test_augmentation_stays_in_its_ranges(pieces, config):
    stream = Stream(pieces, config)
    examples = [stream.example(step, index) for step in range(40) for index in range(6)]
    assert {e.transpose for e in examples} == set(range(-5, 7))
    assert all(1 / 1.1 - 1e-9 <= e.tempo <= 1.1 + 1e-9 for e in examples)
    assert all(0.85 <= e.loudness <= 1.15 for e in examples)
    assert len({e.tempo > 1 for e in examples}) == 2
    for e in examples:
        assert stream.bounds[e.item][0] <= e.start_s <= stream.bounds[e.item][1]


def test_transposed_and_stretched_rolls_hold_the_same_notes(pieces, config):
    stream = Stream(pieces, config, augment=False)
    plain = stream.example(0, 0)
    up, slow = dataclasses.replace(plain, transpose=3), dataclasses.replace(plain, tempo=0.5)
    a, b, c = (stream.piano_roll([e]) for e in (plain, up, slow))
    assert torch.equal(a.roll[:, :, 20:60], b.roll[:, :, 23:63])
    assert 0 < c.onset.sum() < a.onset.sum()  # half as fast: the first half of the notes, spread out
    assert torch.equal(c.onset.any(-1), a.crop(0, 256).onset.any(-1))


def test_balance_gives_every_label_its_turn(pieces, config):
    players = [store.pieces[i].pianist for store, i in pieces]
    stream = Stream(pieces, config, balance=players)
    labels = sorted(set(players))
    heard = [players[stream.example(step, index).item] for step in range(len(labels)) for index in range(6)]
    assert all(heard.count(label) == 6 for label in labels)


def test_no_piece_is_an_error(config):
    with pytest.raises(ValueError, match="no piece to train on"):
        Stream([], config)


def test_what_the_corpora_themselves_test_on():
    """The benchmark's first album split where it has the piece, else the corpus's own table."""
    maestro = [Piece("maestro", "a.mid", split=split, official_split=split) for split in ("train", "test")]
    assert [in_published_test(piece) for piece in maestro] == [False, True]
    benchmark = Piece("pijama", "b.mid", official_split="test", album_splits=("train", "test", "test"))
    other = Piece("pijama", "c.mid", split="train", official_split="test")
    assert [in_published_test(piece) for piece in (benchmark, other)] == [False, True]
