"""Solos on disk, by the thousand: divided among processes, continued after a crash, always the same.

    OUT-000001.mid   OUT-000001.json   the first solo; what is known of it, and the sha256 of the .mid
    OUT.order.json                     what all of them were made from

Solo n is the request with seed + n - 1. Solos are generated in groups that depend on n alone, as their last bits may
depend on the rest of the batch; a process takes every so manieth group (as torchrun and accelerate number processes)
and needs to know nothing of the others. A solo that is there and whole is not made again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.checkpoints.load import Improviser
from lib.config import ConfigError, as_values
from lib.generation.generate import Solo, generate_many
from lib.generation.performance import written_map
from lib.generation.request import Order, request_from
from lib.music.metrics import describe
from lib.music.midi_writer import to_midi
from lib.music.notes import MidiError, Notes, read_metres, read_midi, read_midi_and_quarters
from lib.music.tempo_map import STEADY, TempoMap, in_seconds
from lib.progress import progress_bar
from lib.storage.atomic_write import write_bytes, write_text
from lib.storage.kill_points import kill_point
from lib.storage.manifest import DamageError, file_sha256, sealed, unsealed

BATCH = {"cuda": 16, "mps": 8, "cpu": 4}  # solos in a batch, where nobody says; on a CPU 12 % faster than one


def facts_of(solo: Solo) -> dict:
    """What is known of a solo besides its notes, as plain values for JSON; the same whenever it is played."""
    return {
        "request": as_values(solo.request),
        "begins_s": solo.begins_s,
        "ends_s": solo.ends_s,
        "chords": [[time_s, symbol] for time_s, symbol in solo.chords],
        "bars_s": [round(float(time_s), 6) for time_s in solo.tempo_map.bar_lines_s() if time_s < solo.ends_s],
        "rule_losses": solo.rule_losses,
        "measures": describe(solo.new_notes, solo.length_s),
    }


@dataclass(frozen=True)
class SoloStore:
    """Finished solos of a folder: NAME.mid, then NAME.json with its facts; where they fit, the solo is whole."""

    folder: Path

    def path(self, name: str, suffix: str = ".mid") -> Path:
        """Where a solo's file is, or is to be."""
        return self.folder / f"{name}{suffix}"

    def write(self, name: str, midi: bytes, facts: Mapping) -> None:
        """Keep a solo, of Solo.midi() and facts_of(solo); the facts may have more beside."""
        write_bytes(self.path(name), midi)
        kill_point("solo.facts")
        write_text(self.path(name, ".json"), sealed({**facts, "sha256": hashlib.sha256(midi).hexdigest()}))

    def facts(self, name: str) -> dict | None:
        """The facts of a solo; None where it is not there, or not as it was written."""
        path = self.path(name, ".json")
        try:
            facts = unsealed(path.read_text(encoding="utf-8"), path)
            return facts if facts.pop("sha256") == file_sha256(self.path(name)) else None
        except (OSError, DamageError, UnicodeDecodeError, KeyError):
            return None

    def notes(self, name: str) -> Notes:
        """The notes of a solo that is whole."""
        try:
            return read_midi(self.path(name))
        except MidiError:  # a rest is a solo, too
            return Notes.from_arrays([], [], [], [])

    def tempo_map(self, name: str) -> TempoMap:
        """Its beats and bars as the file writes them; MidiError where it has no notes."""
        _, quarters_s = read_midi_and_quarters(self.path(name))
        return written_map(quarters_s, read_metres(self.path(name)))

    def remove(self, name: str) -> None:
        """Forget all files of a solo."""
        for path in self.folder.glob(f"{name}.*"):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Process:
    """Which of several processes this is."""

    rank: int = 0
    world: int = 1

    @classmethod
    def of_environment(cls) -> Process:
        """As torchrun and accelerate launch say it; the only one where nobody does."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


@dataclass(frozen=True)
class Made:
    """Solos that a process made, and solos of its share that were there and whole."""

    made: int
    kept: int


def set_device(device: str, share: Process) -> None:
    """Give each process its GPU; on a CPU one thread, as sums depend on the number of threads.

    Parameters
    ----------
    device : "cuda", "mps" or "cpu"
    share : Process
    """
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", share.rank)) % torch.cuda.device_count())
    elif device == "cpu":
        torch.set_num_threads(1)


def make_solos(
    improviser: Improviser,
    order: Order,
    out: Path | str,
    count: int,
    batch: int | None = None,
    share: Process | None = None,
) -> Made:
    """Make the solos of this process's share that are not there yet.

    Parameters
    ----------
    order : of the first, no infilling
    out : such as solos/solo.mid: solos/solo-000001.mid and so on
    count : how many there are to be, of all processes
    batch : solos in a batch; None: as OUT.order.json says, else by the device
    share : None: that of the environment

    Raises
    ------
    ConfigError : solos of another request, model or batch lie there; ChordError and others as generate.generate
    """
    out, share = Path(out), share or Process.of_environment()
    store, name = SoloStore(out.parent), f"{out.stem}-{{:06d}}".format
    batch = _batch_of_order(improviser, order, out, batch)
    groups = [range(first, first + batch) for first in range(1, count + 1, batch)]
    mine = groups[share.rank :: share.world]
    made = kept = 0
    for group in progress_bar(mine, desc="solos", unit="group"):
        wanted = [number for number in group if number <= count]
        missing = [number for number in wanted if store.facts(name(number)) is None]
        kept += len(wanted) - len(missing)
        if missing:
            seeds = [order.request.seed + number - 1 for number in group]
            requests = [dataclasses.replace(order.request, seed=seed) for seed in seeds]
            solos = generate_many(improviser, [dataclasses.replace(order, request=request) for request in requests])
            for number in missing:
                solo = solos[number - group.start]
                store.write(name(number), solo.midi(), facts_of(solo))
            made += len(missing)
    return Made(made, kept)


def _batch_of_order(improviser, order, out, batch):
    """Solos in a batch, after making sure that what lies there was made from the same."""
    path, previous = out.with_name(f"{out.stem}.order.json"), None
    if path.exists():  # in whichever version: its request as this version writes it
        previous = unsealed(path.read_text(encoding="utf-8"), path)
        previous["request"] = json.loads(json.dumps(as_values(request_from(previous["request"], path))))
    batch = batch or (previous["batch"] if previous else BATCH[improviser.device.type])
    values = {"request": as_values(order.request), "batch": batch, "before": None}
    values["model"] = improviser.fingerprint()[:16]
    if order.notes is not None:
        values["before"] = hashlib.sha256(to_midi(order.notes, order.tempo_map)).hexdigest()[:16]
    if order.theme is not None:
        values["theme"] = hashlib.sha256(to_midi(in_seconds(order.theme, STEADY))).hexdigest()[:16]
    values = json.loads(json.dumps(values))
    if previous is None:
        write_text(path, sealed(values), unique=True)  # each process writes the same
    elif previous != values:
        differing = _differences(previous, values)
        raise ConfigError(f"{path.parent} holds solos made with other settings ({differing}). Give another --out.")
    return batch


def _differences(previous, values):
    old, new = ({**each, **each["request"], "request": None} for each in (previous, values))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name}: {old.get(name)!r} there, {new.get(name)!r} asked" for name in names)
