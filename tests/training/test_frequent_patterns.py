"""The codec's dictionary of onset patterns, counted in note stores."""

import torch

from lib.data.corpora import open_corpus
from lib.models.vqvae import CELLS, to_bands
from lib.music.piano_roll import notes_to_piano_roll
from lib.training.stages.vqvae import frequent_patterns


def test_the_dictionary_holds_the_most_frequent_patterns(demo_data):
    store = open_corpus("demo", demo_data)
    pieces = [(store, i) for i in range(5)]
    patterns = frequent_patterns(pieces, 64)
    assert patterns.shape == (64, CELLS)
    assert patterns[0].sum() == 0 and patterns[1].sum() == 1  # single notes are the most frequent
    assert len(patterns[:30].unique(dim=0)) == 30
    rolls_of = [notes_to_piano_roll(s.piece_notes(i)) for s, i in pieces]
    cells = torch.cat([to_bands(roll)[..., :CELLS].flatten(0, 2) for roll in rolls_of])
    values, counts = cells.unique(dim=0, return_counts=True)
    assert torch.equal(values[counts.argsort(descending=True)[:2]], patterns[:2])  # silence, then the most frequent
