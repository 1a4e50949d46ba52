"""Splits into training, validation and test: whole albums, the same on every machine.

The share of an album comes from a keyed hash of its name, so that a new album never moves an old one, and no song of
an album that is heard in training is ever met again in a test.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from dataclasses import replace

from lib.data.note_store import Piece

KEY = b"album split 1"  # another key is another split: never change it
TRAIN_SHARE, VALIDATION_SHARE = 0.8, 0.1  # the rest is for the test
BENCHMARK_NAMES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
FEWEST_ALBUMS = 3  # with fewer, all of them are for training


def _album_share(pianist: str, album: str) -> float:
    """A number in [0, 1) that belongs to this album, evenly spread over albums."""
    name = unicodedata.normalize("NFC", f"{pianist}|{album}")
    digest = hashlib.blake2b(name.encode(), key=KEY, digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _album_split(pianist: str, album: str) -> str:
    """ "train", "validation" or "test" for an album, 80 / 10 / 10 on average."""
    share = _album_share(pianist, album)
    if share < TRAIN_SHARE:
        return "train"
    return "validation" if share < TRAIN_SHARE + VALIDATION_SHARE else "test"


def split_folder(pieces: list[Piece]) -> list[Piece]:
    """Split a user's own pieces by album, or by file where no album is known.

    A pianist of three albums or more has at least one to train on and one to validate on, one of fewer trains
    on all; where that leaves a whole folder without validation, its album of the highest share validates. The same
    pieces in the same order, with split set.
    """
    groups = {_group(piece) for piece in pieces}
    by_pianist = defaultdict(list)
    for group in sorted(groups, key=lambda group: _album_share(*group)):
        by_pianist[group[0]].append(group)
    splits = {}
    for own in by_pianist.values():
        splits.update(_split_groups(own))
    if len(groups) >= FEWEST_ALBUMS and "validation" not in splits.values():
        splits[max(groups, key=lambda group: _album_share(*group))] = "validation"
    return [replace(piece, split=splits[_group(piece)]) for piece in pieces]


def _group(piece):
    return piece.pianist, piece.album or piece.member


def _split_groups(groups):
    """{group: split} of one pianist's groups, given in order of their shares."""
    if len(groups) < FEWEST_ALBUMS:
        return dict.fromkeys(groups, "train")
    splits = {group: _album_split(*group) for group in groups}
    splits[groups[0]] = "train"
    if "validation" not in splits.values():
        tests = [group for group in groups if splits[group] == "test"]
        splits[tests[0] if len(tests) > 1 else groups[-1]] = "validation"
    return splits


def split_benchmark(pieces: list[Piece]) -> list[Piece]:
    """Split PiJAMA: the benchmark's first album split where it has the piece, else ours.

    A piece that the benchmark leaves out goes with its album, or is for training where the benchmark knows its
    pianist but not the album. Thirty albums are shared by the benchmark's own validation and test; none by its
    training. The same pieces in the same order, with split set.
    """
    albums, pianists = {}, {piece.pianist for piece in pieces if piece.album_splits}
    for piece in pieces:
        if piece.album_splits:
            albums.setdefault((piece.pianist, piece.album), BENCHMARK_NAMES[piece.album_splits[0]])

    def split(piece):
        if piece.album_splits:
            return BENCHMARK_NAMES[piece.album_splits[0]]
        if piece.pianist in pianists:
            return albums.get((piece.pianist, piece.album), "train")
        return _album_split(piece.pianist, piece.album)

    return [replace(piece, split=split(piece)) for piece in pieces]
