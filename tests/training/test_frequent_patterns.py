"""The codec's dictionary of onset patterns, counted in note stores in beats."""

import torch

from lib.config import preset
from lib.data.corpora import open_corpus
from lib.data.tempo_maps import tempo_maps_of
from lib.models.vqvae import CELLS, to_bands
from lib.music.piano_roll import notes_to_piano_roll
from lib.music.tempo_map import in_beats
from lib.training.coded_stream import BeatStream
from lib.training.stages.vqvae import frequent_patterns


def test_the_dictionary_holds_the_most_frequent_patterns(demo_data):
    store = open_corpus("demo", demo_data)
    pieces = [(store, i) for i in range(5)]
    maps = tempo_maps_of(pieces)
    patterns = frequent_patterns(BeatStream(pieces, maps, preset("vqvae", "tiny")), 64)
    assert patterns.shape == (64, CELLS)
    assert patterns[0].sum() == 0 and patterns[1].sum() == 1  # single notes are the most frequent
    assert len(patterns[:30].unique(dim=0)) == 30
    rolls_of = [
        notes_to_piano_roll(in_beats(s.piece_notes(i), tempo_map))
        for (s, i), tempo_map in zip(pieces, maps, strict=True)
    ]
    cells = torch.cat([to_bands(roll)[..., :CELLS].flatten(0, 2) for roll in rolls_of])
    values, counts = cells.unique(dim=0, return_counts=True)
    order = counts.argsort(descending=True)
    assert torch.equal(values[order[:2]], patterns[:2])  # silence, then the most frequent
    of_pattern = {tuple(value.tolist()): int(count) for value, count in zip(values, counts, strict=True)}
    uses = [of_pattern.get(tuple(pattern.tolist()), 0) for pattern in patterns[1:30]]
    assert abs(uses[0] - int(counts[order[1]])) <= 1
    assert all(later <= earlier + 1 for earlier, later in zip(uses, uses[1:])), "the most frequent ones come first"
