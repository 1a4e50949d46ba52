"""PiJAMA's solo recordings, as the benchmarks of the style encoder take them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from lib.data.corpora import benchmark_split, open_corpus  # noqa: E402

CLIP_S, FEWEST_NOTES = 30.0, 20


class Corpus:
    """PiJAMA's solo recordings and their notes."""

    def __init__(self, data_dir):
        self.store = open_corpus("pijama", data_dir)
        self.pieces = self.store.pieces
        solo = {i: self.store.piece_notes(i) for i in self.store.select(duets=False)}
        self.notes = {i: notes for i, notes in solo.items() if len(notes) >= FEWEST_NOTES and notes.end_s > CLIP_S / 2}
        self.benchmark = [i for i in self.notes if self.pieces[i].album_splits]

    def part(self, name, split):
        """Recordings of a benchmark split's train, validation or test."""
        return [i for i in self.benchmark if benchmark_split(self.pieces[i], name) == split]

    def who(self, recordings):
        """Their pianists."""
        return np.array([self.pieces[i].pianist for i in recordings])
