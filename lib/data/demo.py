"""The embedded corpus: an hour of jazz piano written by a seeded program, free of any licence.

It exists so that the demo and the tests need no download. Nothing measured on it says anything about real
pianists. The same seed gives the same bytes on every machine.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np

from lib.data.demo_hands import Dice
from lib.data.demo_performance import perform
from lib.data.demo_players import PLAYERS, PLAYERS_BY_HABIT
from lib.data.demo_tunes import TUNES
from lib.music.notes import write_midi

__all__ = ["PLAYERS", "demo_pieces", "write_demo_corpus"]

CORPUS = "demo"
PIECES_PER_ALBUM = (4, 3, 3)  # every player plays each tune once


def write_demo_corpus(data_dir, seed=0, pieces_per_album=None):
    """Write DIR/demo/midi/PLAYER/ALBUM/TITLE.mid and ingest it; nothing where the store is there already.

    Parameters
    ----------
    data_dir : path
    seed : int, what the players make of it
    pieces_per_album : int or None; fewer pieces for a quick test, None: about 60 pieces in all

    Returns
    -------
    NoteStore of the corpus "demo"
    """
    from lib.data.corpora import ingest, open_corpus

    folder = Path(data_dir) / CORPUS
    if not (folder / "notes.store").exists():
        write_demo_midi(folder / "midi", seed, pieces_per_album)
        ingest(CORPUS, data_dir, folder=folder / "midi")
    return open_corpus(CORPUS, data_dir)


def write_demo_midi(folder, seed=0, pieces_per_album=None):
    """Write the performances as FOLDER/PLAYER/ALBUM/TITLE.mid; what an earlier call left there goes."""
    shutil.rmtree(folder, ignore_errors=True)
    paths = []
    for player, album, title, tune in demo_pieces(seed, pieces_per_album):
        notes, tempo_bpm = perform(player, tune, dice_for(seed, player.name, album, title))
        paths.append(write_midi(notes, Path(folder) / player.name / album / f"{title}.mid", tempo_bpm))
    return paths


def demo_pieces(seed=0, pieces_per_album=None):
    """The programme: a list of (Player, album, title, Tune), each player's tunes in their own order."""
    sizes = PIECES_PER_ALBUM if pieces_per_album is None else (pieces_per_album,) * 3
    pieces = []
    for player in PLAYERS_BY_HABIT:
        order = np.argsort([dice_for(seed, player.name, tune.title).between(0, 1) for tune in TUNES])
        albums = [album for album, size in zip(player.albums, sizes, strict=True) for _ in range(size)]
        for index, album in enumerate(albums):
            tune, again = TUNES[order[index % len(TUNES)]], index // len(TUNES)
            title = tune.title + (f" (take {again + 1})" if again else "")
            pieces.append((player, album, title, tune))
    return pieces


def dice_for(seed, *names):
    """Dice whose throws depend on the seed and the names alone, not on what was thrown before."""
    digest = hashlib.sha256("\n".join([str(seed), *names]).encode()).digest()
    return Dice(np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little"))))
