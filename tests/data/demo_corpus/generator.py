"""The demo corpus, data/demo_corpus.zip: an hour of jazz piano written by this seeded program, free of any licence.

It exists so that the demo and the tests need no download. Nothing measured on it says anything about real
pianists. The same seed gives the same music on every machine: python tests/data/demo_corpus --out FILE.zip writes it anew.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from demo_corpus.hands import Dice
from demo_corpus.performance import perform
from demo_corpus.players import PLAYERS_BY_HABIT
from demo_corpus.tunes import TUNES

from lib.music.midi_writer import to_midi
from lib.music.tempo_map import Metre, TempoMap

PIECES_PER_ALBUM = (4, 3, 3)  # every player plays each tune once
COMMON = Metre(4, 4)


def write_archive(path, seed=0, pieces_per_album=None):
    """Write the performances into a zip, as PLAYER/ALBUM/TITLE.mid.

    Parameters
    ----------
    path : of the zip
    seed : int, what the players make of the tunes
    pieces_per_album : int or None; fewer pieces for a quick test, None: 60 pieces in all

    Returns
    -------
    Path
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for player, album, title, tune in demo_pieces(seed, pieces_per_album):
            notes, tempo_bpm = perform(player, tune, dice_for(seed, player.name, album, title))
            member = zipfile.ZipInfo(f"{player.name}/{album}/{title}.mid")  # of a fixed date: the same bytes any day
            archive.writestr(member, to_midi(notes, TempoMap.constant(tempo_bpm, COMMON, 1)), zipfile.ZIP_DEFLATED)
    return Path(path)


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
