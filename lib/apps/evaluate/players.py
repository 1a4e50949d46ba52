"""Who plays clips: a model, whose clips are kept as MIDI files, and a Markov model as the baseline."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lib.apps.evaluate.clips import Clip, ClipSet, make_orders
from lib.checkpoints.load import Improviser
from lib.generation.bulk import SoloStore, facts_of
from lib.generation.generate import generate_many
from lib.generation.solo import Order
from lib.music.beat_notes import BeatNotes
from lib.music.piano_roll import LOWEST_PITCH, NUM_PITCHES
from lib.progress import progress_bar

BATCH = 8  # clips that share a batch: each is the same as alone
FEWEST = 2  # times that a state must have been seen
GAPS = np.array([0, 1, 3, 4, 6, 8, 9, 12, 16, 18, 24, 36, 48, 96]) / 24  # beats
DURATIONS = np.array([1, 2, 3, 4, 6, 8, 12, 18, 24, 36, 60, 120]) / 24  # beats


class ClipPlayer:
    """A model that plays requests, and keeps what it has played in a folder (None: nowhere): a second evaluation
    continues the first."""

    def __init__(self, improviser: Improviser, folder: Path | str | None = None):
        self.improviser, self.store = improviser, None if folder is None else SoloStore(Path(folder))
        self.fingerprint = improviser.fingerprint()

    def play_set(self, name: str, requests: Iterable[dict]) -> ClipSet:
        """The ClipSet of requests, given by their fields."""
        return ClipSet.of_generated(name, self.play(make_orders(requests), name))

    def play(self, orders: Sequence[Order], name: str) -> list[Clip]:
        """A Clip an order; `name` stands on the progress bar and in the file names."""
        names = [self._name_of(order.request, name) for order in orders]
        played = [self._read(each) for each in names]
        missing = [index for index, notes in enumerate(played) if notes is None]
        with progress_bar(total=len(orders), desc=name, unit="clip", initial=len(orders) - len(missing)) as bar:
            for first in range(0, len(missing), BATCH):
                batch = missing[first : first + BATCH]
                solos = generate_many(self.improviser, [orders[index] for index in batch])
                for index, solo in zip(batch, solos, strict=True):
                    played[index] = solo.new_notes
                    if self.store:
                        self.store.write(names[index], solo.midi(), facts_of(solo))
                        played[index] = self._read(names[index])  # as the file holds them
                bar.update(len(batch))
        return [Clip.of_request(order.request, notes) for order, notes in zip(orders, played, strict=True)]

    def _name_of(self, request, name):
        """What a clip is called, or is to be: its digest stands at the end, whatever set it was first played for."""
        if self.store is None:
            return None
        values = json.dumps([self.fingerprint, dataclasses.asdict(request)], sort_keys=True)
        digest = hashlib.sha256(values.encode()).hexdigest()[:12]
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        path = next(self.store.folder.glob(f"*-{digest}.mid"), None)
        return f"{slug}-{request.seed:04d}-{digest}" if path is None else path.stem

    def _read(self, name):
        """Notes of a clip that was played before, or None; a damaged one counts as none."""
        facts = self.store.facts(name) if self.store else None
        return None if facts is None else self.store.notes(name).between(facts["begins_s"], facts["ends_s"])


class MarkovBaseline:
    """A Markov model over (interval, duration, onset gap), in beats, with the pianist's own touch and pedal.

    A state is the last symbols, `order` at most. The longest state that was seen at least FEWEST times decides (Katz's
    back-off, without discounts).
    """

    def __init__(self, performances: Sequence[BeatNotes], order: int = 5):
        self.order, self.followers = order, defaultdict(list)  # state -> (interval, duration, gap, velocity) after it
        self.starts, self.pedals = [], [notes.pedal for notes in performances]
        for notes in performances:
            duration = _nearest((notes.release - notes.onset)[1:], DURATIONS)
            columns = np.diff(notes.pitch.astype(int)), duration, _nearest(np.diff(notes.onset), GAPS)
            symbols = list(zip(*(column.tolist() for column in columns), strict=True))
            for index, symbol in enumerate(symbols):
                for length in range(min(order, index) + 1):
                    follower = (*symbol, int(notes.velocity[index + 1]))
                    self.followers[tuple(symbols[index - length : index])].append(follower)
            self.starts.append((int(notes.pitch[0]), symbols[:order]))

    def play(self, beats: float, seed: int) -> BeatNotes:
        """Notes of so many beats; the pedal is a stretch of a real performance's."""
        generator = np.random.default_rng(seed)
        pitch, symbols = self.starts[generator.integers(len(self.starts))]
        symbols, beat, rows = list(symbols), 0.0, []
        while beat < beats:
            interval, duration, gap, velocity = self._next(symbols, pitch, generator)
            pitch, beat = pitch + interval, beat + float(GAPS[gap])
            rows.append((beat, beat + float(DURATIONS[duration]), pitch, velocity))
            symbols.append((interval, duration, gap))
        columns = np.array([row for row in rows if row[0] < beats]).reshape(-1, 4).T
        return BeatNotes(*columns, self._pedal(beats, generator))

    def _next(self, symbols, pitch, generator):
        lowest, highest = LOWEST_PITCH - pitch, LOWEST_PITCH + NUM_PITCHES - 1 - pitch
        for length in range(min(self.order, len(symbols)), -1, -1):
            followers = self.followers.get(tuple(symbols[len(symbols) - length :]), [])
            followers = [follower for follower in followers if lowest <= follower[0] <= highest]
            if len(followers) >= (FEWEST if length else 1):
                return followers[generator.integers(len(followers))]
        raise ValueError("no performance was counted")

    def _pedal(self, beats, generator):
        pedal = self.pedals[generator.integers(len(self.pedals))]
        if not len(pedal):
            return pedal
        start = generator.uniform(0, max(0.1, pedal[-1, 1] - beats))
        cut = np.clip(pedal, start, start + beats) - start
        return cut[cut[:, 1] > cut[:, 0]]


def _nearest(values, grid):
    """The index in a grid of each value."""
    return np.abs(values[:, None] - grid).argmin(1)
