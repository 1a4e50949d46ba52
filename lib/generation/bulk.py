"""Thousands of solos, shared out among processes, continued after a crash; the same files whatever the processes.

    OUT-000001.mid   OUT-000001.json   the first solo; its measurements, and the sha256 of the .mid
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
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.checkpoints.load import Improviser
from lib.config import ConfigError, as_values
from lib.generation.generate import Order, generate_many
from lib.generation.request import GenerateRequest, request_from
from lib.music.metrics import describe
from lib.music.notes import Notes, to_midi
from lib.progress import progress_bar
from lib.storage.atomic_write import write_text
from lib.storage.kill_points import kill_point
from lib.storage.manifest import DamageError, file_sha256, sealed, unsealed

BATCH = {"cuda": 16, "mps": 8, "cpu": 4}  # solos in a batch, where nobody says; on a CPU 12 % faster than one


@dataclass(frozen=True)
class Share:
    """Which of several processes this is."""

    rank: int = 0
    world: int = 1

    @classmethod
    def of_environment(cls) -> Share:
        """As torchrun and accelerate launch say it; the only one where nobody does."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


@dataclass(frozen=True)
class Made:
    """Solos that a process made, and solos of its share that were there and whole."""

    made: int
    kept: int


def set_device(device: str, share: Share) -> None:
    """Give each process its GPU; on a CPU one thread, as sums depend on the number of threads.

    Parameters
    ----------
    device : "cuda", "mps" or "cpu"
    share : Share
    """
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", share.rank)) % torch.cuda.device_count())
    elif device == "cpu":
        torch.set_num_threads(1)


def make_solos(
    improviser: Improviser,
    request: GenerateRequest,
    out: Path | str,
    count: int,
    batch: int | None = None,
    prompt: Notes | None = None,
    share: Share | None = None,
) -> Made:
    """Make the solos of this process's share that are not there yet.

    Parameters
    ----------
    request : of the first
    out : such as solos/solo.mid: solos/solo-000001.mid and so on
    count : how many there are to be, of all processes
    batch : solos in a batch; None: as OUT.order.json says, else by the device
    prompt : Notes they continue, or None
    share : None: that of the environment

    Raises
    ------
    ConfigError : solos of another request, model or batch lie there; ChordError and others as generate.generate
    """
    out, share = Path(out), share or Share.of_environment()
    out.parent.mkdir(parents=True, exist_ok=True)
    batch = _batch_of_order(improviser, request, out, batch, prompt)
    groups = [range(first, first + batch) for first in range(1, count + 1, batch)]
    mine = groups[share.rank :: share.world]
    made = kept = 0
    for group in progress_bar(mine, desc="solos", unit="group"):
        wanted = [number for number in group if number <= count]
        missing = [number for number in wanted if not is_whole(path_of(out, number))]
        kept += len(wanted) - len(missing)
        if missing:
            requests = [dataclasses.replace(request, seed=request.seed + number - 1) for number in group]
            solos = generate_many(improviser, [Order(each, prompt) for each in requests])
            for number in missing:
                _write(solos[number - group.start], path_of(out, number))
            made += len(missing)
    return Made(made, kept)


def path_of(out: Path, number: int) -> Path:
    """The .mid of a solo."""
    return out.with_name(f"{out.stem}-{number:06d}.mid")


def is_whole(path: Path) -> bool:
    """Whether a solo is there, as it was written."""
    facts = path.with_suffix(".json")
    try:
        return unsealed(facts.read_text(encoding="utf-8"), facts)["sha256"] == file_sha256(path)
    except (OSError, DamageError, UnicodeDecodeError, KeyError):
        return False


def _write(solo, path):
    """The .mid, then its measurements: where these are, the .mid is whole."""
    solo.write(path)
    kill_point("solo.facts")
    figures = {**describe(solo.new_notes, solo.ends_s - solo.begins_s), "rule_losses": solo.rule_losses}
    write_text(path.with_suffix(".json"), sealed({"seed": solo.request.seed, "sha256": file_sha256(path), **figures}))


def _batch_of_order(improviser, request, out, batch, prompt):
    """Solos in a batch, after making sure that what lies there was made from the same."""
    path, previous = out.with_name(f"{out.stem}.order.json"), None
    if path.exists():  # in whichever version: its request as this version writes it
        previous = unsealed(path.read_text(encoding="utf-8"), path)
        previous["request"] = json.loads(json.dumps(as_values(request_from(previous["request"], path))))
    batch = batch or (previous["batch"] if previous else BATCH[improviser.device.type])
    digest = None if prompt is None else hashlib.sha256(to_midi(prompt)).hexdigest()[:16]
    order = {"request": as_values(request), "batch": batch, "model": improviser.fingerprint()[:16], "before": digest}
    order = json.loads(json.dumps(order))
    if previous is None:
        write_text(path, sealed(order), unique=True)  # each process writes the same
    elif previous != order:
        differing = _differences(previous, order)
        raise ConfigError(f"{path.parent} holds solos that were made otherwise ({differing}). Name another --out.")
    return batch


def _differences(previous, order):
    old, new = ({**values, **values["request"], "request": None} for values in (previous, order))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name}: {old.get(name)!r} there, {new.get(name)!r} asked" for name in names)
