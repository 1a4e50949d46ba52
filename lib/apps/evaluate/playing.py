"""Clips that a model plays, kept as MIDI files, so that a second evaluation goes on where the first was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

from lib.config import build
from lib.generation.generate import Order, generate_many
from lib.generation.request import GenerateRequest
from lib.music.notes import MidiError, read_midi, write_midi
from lib.music.piano_roll import CHUNK_S
from lib.progress import progress_bar

TOGETHER = 8  # clips that share a batch: each is the same as alone


def ask(wishes):
    """An Order a wish (dict), seeds 1, 2, ..., of a clip's length and without chords where nothing else is said.

    A wish has fields of GenerateRequest, and `chart` where it asks for the chords of a Chart.
    """
    return [order_of({"seed": number, **wish}) for number, wish in enumerate(wishes, 1)]


def order_of(wish):
    """Order of a wish, see `ask`."""
    chart = wish.get("chart")
    plain = {} if wish.get("own_changes") else {"chords": chart.text() if chart else "N.C."}
    fields = {name: value for name, value in wish.items() if name != "chart"}
    return Order(build(GenerateRequest, {**plain, "seconds": CHUNK_S, **fields}), chart=chart)


class Player:
    """A model that plays requests, and keeps what it has played.

    Parameters
    ----------
    improviser : Improviser
    folder : where clips are kept, or None
    """

    def __init__(self, improviser, folder=None):
        self.improviser, self.folder = improviser, None if folder is None else Path(folder)
        self.mark = improviser.fingerprint()

    def play(self, orders, name):
        """list of Notes, one an order.

        Parameters
        ----------
        orders : list of Order
        name : what they are called, on the progress bar and in the file names
        """
        paths = [self._path(order.request, name) for order in orders]
        kept = [self._kept(path) for path in paths]
        todo = [place for place, notes in enumerate(kept) if notes is None]
        batches = [todo[first : first + TOGETHER] for first in range(0, len(todo), TOGETHER)]
        with progress_bar(total=len(orders), desc=name, unit="clip", initial=len(orders) - len(todo)) as bar:
            for batch in batches:
                solos = generate_many(self.improviser, [orders[place] for place in batch])
                for place, solo in zip(batch, solos, strict=True):
                    kept[place] = self._keep(paths[place], solo.new_notes)
                bar.update(len(batch))
        return kept

    def _path(self, request, name):
        """Where a clip is, or is to be: what tells it apart stands at the end, whatever set it was first played for."""
        if self.folder is None:
            return None
        values = json.dumps([self.mark, dataclasses.asdict(request)], sort_keys=True)
        digest = hashlib.sha256(values.encode()).hexdigest()[:12]
        there = next(self.folder.glob(f"*-{digest}.mid"), None)
        words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        return there or self.folder / f"{words}-{request.seed:04d}-{digest}.mid"

    @staticmethod
    def _kept(path):
        """Notes of a clip that was played before, or None; a damaged file counts as none."""
        try:
            return read_midi(path) if path is not None and path.exists() else None
        except MidiError:
            return None

    @staticmethod
    def _keep(path, notes):
        """The notes as the file holds them; a clip without a note is not kept, for no MIDI file may be empty."""
        if path is None or not len(notes):
            return notes
        return read_midi(write_midi(notes, path))
