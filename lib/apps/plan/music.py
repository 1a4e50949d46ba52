"""How much music a stage trains on: counted in the note stores where they are there, else as the corpora were when last counted.

Conventions: a chunk is 10.24 s; hours are those of the pieces, each encoded as often as the config says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lib import config as configs
from lib.config import ConfigError
from lib.data.corpora import gather_labelled, gather_pieces, in_published_test, pianists_of
from lib.data.note_store import CorpusError
from lib.training.stream import Stream

# chunks of training, hours of training and validation, and pianists by name of MAESTRO v3.0.0, PiJAMA and the demo corpus.
# Held against the note stores by tests/apps/plan/test_music.py
KNOWN = {
    ("vqvae", "maestro"): (55_512, 159.24, 19.43, 0),
    ("vqvae", "pijama"): (57_857, 167.62, 20.98, 110),
    ("style_encoder", "pijama"): (33_732, 97.70, 12.95, 30),
    ("diffusion", "maestro"): (55_512, 159.24, 19.43, 0),
    ("diffusion", "pijama"): (60_637, 175.69, 21.66, 110),
    ("fine_tune", "pijama"): (2_348, 6.77, 0.80, 1),
    ("vqvae", "demo"): (277, 0.85, 0.41, 6),
    ("style_encoder", "demo"): (277, 0.85, 0.41, 6),
    ("diffusion", "demo"): (277, 0.85, 0.41, 6),
    ("fine_tune", "demo"): (44, 0.13, 0.08, 1),
}


@dataclass(frozen=True)
class Music:
    """What a stage hears.

    Attributes
    ----------
    chunks : of its training pieces: an epoch
    train_hours, validation_hours : length of the pieces
    players : pianists that are known by name
    counted : whether the note stores were read; False: the corpora as we know them
    """

    chunks: int
    train_hours: float
    validation_hours: float
    players: int
    counted: bool


def music_of(config, data_dir=None):
    """The Music of a stage's config.

    Parameters
    ----------
    data_dir : folder of note stores; where one is missing, or with None, what is known of the corpora is taken

    Raises
    ------
    ConfigError : a corpus that is neither there nor known
    """
    try:
        return _counted(Wanted.of(config), Path(data_dir)) if data_dir is not None else _known(config)
    except CorpusError:
        return _known(config)


@dataclass(frozen=True)
class Wanted:
    """What decides which pieces a stage hears: all that counting them depends on."""

    stage: str
    corpora: tuple
    pianist: str | None
    benchmark: str | None

    @classmethod
    def of(cls, config):
        """Of a stage's config."""
        return cls(configs.stage_of(config), config.corpora, getattr(config, "pianist", None), getattr(config, "benchmark", None))


def _known(config):
    stage = configs.stage_of(config)
    for name in config.corpora:
        if (stage, name) not in KNOWN:
            way = f"python -m lib data ingest {name}"
            raise ConfigError(f"How much music is in {name!r}? Ingest it first ({way}), and give --data-dir.")
    rows = [KNOWN[stage, name] for name in config.corpora]
    return Music(*(sum(column) for column in zip(*rows, strict=True)), counted=False)


@lru_cache(maxsize=64)  # a plan asks for the same music again and again
def _counted(wanted, data_dir):
    train, held_out = (_pieces(wanted, data_dir, split) for split in ("train", "validation"))
    hours = [sum(store.pieces[i].seconds for store, i in pieces) / 3600 for pieces in (train, held_out)]
    players = len(set(filter(None, pianists_of(train))))
    return Music(Stream(train, None).num_chunks, *hours, players, counted=True)


def _pieces(wanted, data_dir, split):
    if wanted.stage == "style_encoder":
        return gather_labelled(wanted, data_dir, split)
    found = gather_pieces(wanted, data_dir, split, wanted.pianist)
    return [(s, i) for s, i in found if not in_published_test(s.pieces[i])] if wanted.stage == "vqvae" else found
