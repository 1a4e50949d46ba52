"""Thousands of solos: shared out among processes, gone on with after a death, the same files however many processes there are.

    OUT-000001.mid   OUT-000001.json   the first solo; what it is like, and the sha256 of the .mid
    OUT.order.json                     what all of them were made by

Solo n is the request with seed + n - 1. Solos are played in groups that depend on n alone, as numbers may differ in their last
bits with who is played together; a process takes every so manieth group (as torchrun and accelerate launch number them), and
needs to hear nothing of the others. A solo that is there and whole is not made again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.checkpoints.config_migration import request_from
from lib.config import ConfigError, as_values
from lib.generation.generate import Order, generate_many
from lib.music.metrics import describe
from lib.music.notes import to_midi
from lib.progress import progress_bar
from lib.storage.atomic_write import write_text
from lib.storage.kill_points import kill_point
from lib.storage.manifest import DamageError, file_sha256, sealed, unsealed

BATCH = {"cuda": 16, "mps": 8, "cpu": 4}  # solos played together, where nobody says; on a CPU 12 % faster than one


@dataclass(frozen=True)
class Share:
    """Which of several processes this is."""

    rank: int = 0
    world: int = 1

    @classmethod
    def of_environment(cls):
        """As torchrun and accelerate launch say it; alone where nobody does."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    def takes(self, group):
        """Whether a group is this process's."""
        return group % self.world == self.rank


@dataclass(frozen=True)
class Made:
    """What a process did: solos made, and solos of its share that were there and whole."""

    made: int
    kept: int


def settle_device(device, share):
    """Give each process its GPU; on a CPU one thread, as sums come out otherwise with another number of them.

    Parameters
    ----------
    device : "cuda", "mps" or "cpu"
    share : Share
    """
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", share.rank)) % torch.cuda.device_count())
    elif device == "cpu":
        torch.set_num_threads(1)


def make_solos(improviser, request, out, count, batch=None, before=None, share=None):
    """Make the solos of this process's share that are not there yet.

    Parameters
    ----------
    improviser : Improviser
    request : GenerateRequest of the first
    out : path, such as solos/solo.mid: solos/solo-000001.mid and so on
    count : how many there are to be, of all processes
    batch : solos played together; None: as OUT.order.json says, else by the device
    before : Notes they go on from, or None
    share : Share; None: that of the environment

    Returns
    -------
    Made

    Raises
    ------
    ConfigError : solos of another request, model or batch lie there; ChordError and others as lib.generation.generate.generate
    """
    out, share = Path(out), share or Share.of_environment()
    out.parent.mkdir(parents=True, exist_ok=True)
    batch = _settle_order(improviser, request, out, batch, before, share)
    groups = [range(first, first + batch) for first in range(1, count + 1, batch)]
    mine = [group for number, group in enumerate(groups) if share.takes(number)]
    made = kept = 0
    for group in progress_bar(mine, desc="solos", unit="group"):
        missing = [number for number in group if number <= count and not is_whole(path_of(out, number))]
        kept += sum(number <= count for number in group) - len(missing)
        if missing:
            solos = generate_many(improviser, [_order(request, number, before) for number in group])
            for number in missing:
                _write(solos[number - group.start], path_of(out, number))
            made += len(missing)
    return Made(made, kept)


def path_of(out, number):
    """The .mid of a solo."""
    return out.with_name(f"{out.stem}-{number:06d}.mid")


def is_whole(path):
    """Whether a solo is there, as it was written."""
    facts = path.with_suffix(".json")
    try:
        return unsealed(facts.read_text(encoding="utf-8"), facts)["sha256"] == file_sha256(path)
    except (OSError, DamageError, UnicodeDecodeError, KeyError):
        return False


def _order(request, number, before):
    return Order(dataclasses.replace(request, seed=request.seed + number - 1), before)


def _write(solo, path):
    """The .mid, then what it is like: who finds that, finds the .mid whole."""
    solo.write(path)
    kill_point("solo.facts")
    figures = {**describe(solo.new_notes, solo.ends_s - solo.begins_s), "rule_losses": solo.rule_losses}
    write_text(path.with_suffix(".json"), sealed({"seed": solo.request.seed, "sha256": file_sha256(path), **figures}))


def _settle_order(improviser, request, out, batch, before, share):
    """The batch, after making sure that what lies there was made by the same."""
    path = out.with_name(f"{out.stem}.order.json")
    there = _read_order(path) if path.exists() else None
    batch = batch or (there["batch"] if there else BATCH[improviser.device.type])
    order = {"request": as_values(request), "batch": batch, "model": improviser.fingerprint()[:16], "before": _mark(before)}
    order = json.loads(json.dumps(order))
    if there is None:
        write_text(path, sealed(order), unique=True)  # each process writes the same
    elif there != order:
        raise ConfigError(f"{path.parent} holds solos that were made otherwise ({_difference(there, order)}). Name another --out.")
    return batch


def _read_order(path):
    """What `_settle_order` wrote, in whichever version; its request as this version writes it."""
    order = unsealed(path.read_text(encoding="utf-8"), path)
    return order | {"request": json.loads(json.dumps(as_values(request_from(order["request"], path))))}


def _mark(before):
    return None if before is None else hashlib.sha256(to_midi(before)).hexdigest()[:16]


def _difference(there, order):
    flat = [{**values["request"], **{name: values[name] for name in ("batch", "model", "before")}} for values in (there, order)]
    names = [name for name in {**flat[0], **flat[1]} if flat[0].get(name) != flat[1].get(name)]
    return ", ".join(f"{name}: {flat[0].get(name)!r} there, {flat[1].get(name)!r} asked" for name in names)
