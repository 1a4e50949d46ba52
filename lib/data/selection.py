"""Which pieces a stage trains on."""

from __future__ import annotations

from lib import config as configs
from lib.data.corpora import open_corpus
from lib.data.splits import BENCHMARK_NAMES


def gather_pieces(config, data_dir, split, pianist=None):
    """[(store, piece index)] of a config's corpora.

    Raises
    ------
    CorpusError : a corpus is not there; ConfigError : nobody of that name plays in them
    """
    stores = [open_corpus(name, data_dir) for name in config.corpora]
    if pianist is not None:
        configs.choose("pianist", pianist, {piece.pianist for store in stores for piece in store.pieces})
    return [(s, i) for s in stores for i in s.select(pianist=pianist, split=split, duets=pianist is None)]


def gather_labelled(config, data_dir, split):
    """[(store, piece index)] by known pianists playing alone; a corpus with a benchmark split gives that alone."""
    found = []
    for store in (open_corpus(name, data_dir) for name in config.corpora):
        pieces = [(i, store.pieces[i]) for i in store.select(duets=False) if store.pieces[i].pianist]
        benchmark = [(i, piece) for i, piece in pieces if piece.album_splits]
        if config.benchmark == "none" or not benchmark:
            found += [(store, i) for i, piece in pieces if piece.split == split]
        else:
            found += [(store, i) for i, piece in benchmark if benchmark_split(piece, config.benchmark) == split]
    return found


def benchmark_split(piece, name):
    """train, validation or test: what one of PiJAMA's benchmark splits (album_0, album_1, album_2, song) says of its piece."""
    return BENCHMARK_NAMES[piece.song_split if name == "song" else piece.album_splits[int(name[-1])]]


def in_published_test(piece):
    """Whether its corpus's own tables test on it: the benchmark's first album split where it has the piece, else theirs.

    Our `split` is by album and differs from PiJAMA's own, which is by song; the codec keeps clear of both tests.
    """
    if piece.corpus == "maestro" or not piece.album_splits:
        return piece.official_split == "test"
    return piece.album_splits[0] == "test"


def pianists_of(pieces):
    """The pianist of each piece, "" where unknown."""
    return [store.pieces[i].pianist for store, i in pieces]
