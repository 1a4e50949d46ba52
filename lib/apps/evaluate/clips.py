"""Sets of clips: of whom, from which recordings, and real ones cut from a note store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.music.piano_roll import CHUNK_S


class Missing(ValueError):
    """A figure that can't be given here; the message says why, and the way out."""


@dataclass(frozen=True)
class ClipSet:
    """Clips that are measured together.

    Attributes
    ----------
    name : one word or two
    clips : N Notes
    groups : N names, the recording that each is from
    places : N (piece index, start_s) of real clips, else ()
    seconds : length of each
    """

    name: str
    clips: list
    groups: tuple
    places: tuple = ()
    seconds: float = CHUNK_S

    def __len__(self):
        return len(self.clips)

    def first(self, count):
        """The first so many."""
        return ClipSet(self.name, self.clips[:count], self.groups[:count], self.places[:count], self.seconds)

    @classmethod
    def of_generated(cls, name, clips, seconds=CHUNK_S):
        """Clips that have nothing to do with each other."""
        return cls(name, list(clips), tuple(f"{name} {number}" for number in range(len(clips))), (), seconds)

    def changed(self, name, change):
        """The clips, each changed by callable(Notes, seed) -> Notes."""
        clips = [change(notes, seed) for seed, notes in enumerate(self.clips)]
        return ClipSet(name, clips, self.groups, self.places, self.seconds)


def spread(items):
    """The same items in an order whose beginning is spread over all of them."""
    return [items[place] for place in sorted(range(len(items)), key=lambda place: int(f"{place:012b}"[::-1], 2))]


def real_clips(store, pianist, split, count, seconds=CHUNK_S, name="real"):
    """`count` clips of a pianist's solo pieces of a split, evenly spread over all of their time.

    Raises
    ------
    Missing : the split holds no piece that is long enough
    """
    places = _places(store, store.select(pianist=pianist, split=split, duets=False), seconds)
    if not places:
        raise Missing(f"{store.path.parent.name} has no {split} recording of {pianist} of {seconds:g} s or more.")
    chosen = [places[round(place)] for place in np.linspace(0, len(places) - 1, min(count, len(places)))]
    return _cut(store, spread(chosen), seconds, name)


def clips_of_others(store, pianist, split, count, seconds=CHUNK_S):
    """As many clips of other pianists, one of each in turn, from the middle of a recording.

    Raises
    ------
    Missing : there are none
    """
    names = [name for name in store.pianists if name != pianist]
    by_name = [_middles(store, store.select(pianist=name, split=split, duets=False), seconds) for name in names]
    rounds = max(map(len, by_name), default=0)
    places = [places[turn] for turn in range(rounds) for places in by_name if turn < len(places)]
    if not places:
        raise Missing(f"{store.path.parent.name} has no {split} recording of another pianist than {pianist}.")
    return _cut(store, spread(places[:count]), seconds, "other pianists")


def _places(store, pieces, seconds):
    """(piece, start_s) of all clips, side by side."""
    bounds = [(i, store.pieces[i].start_s, store.pieces[i].end_s) for i in pieces]
    return [(i, float(start_s)) for i, first_s, end_s in bounds for start_s in np.arange(first_s, end_s - seconds, seconds)]


def _middles(store, pieces, seconds):
    """(piece, start_s) of the middle of each."""
    pieces = [(i, store.pieces[i]) for i in pieces if store.pieces[i].seconds > seconds]
    return [(i, (piece.start_s + piece.end_s - seconds) / 2) for i, piece in pieces]


def _cut(store, places, seconds, name):
    clips = [store.piece_notes(i, start_s, start_s + seconds) for i, start_s in places]
    return ClipSet(name, clips, tuple(store.pieces[i].member for i, _ in places), tuple(places), seconds)
