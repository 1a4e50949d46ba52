"""A run's checkpoints in a storage: two slots that are overwritten in turn, and one for weights only.

    RUN/slots/{a,b}/...     the two newest checkpoints, as in the run
    RUN/slots/best/...      the weights of the best one, without its optimizer
    RUN/checkpoints/step-00000250/...     as earlier versions wrote them: read, no longer written

On Drive what is deleted or replaced still counts. A manifest that is emptied first and written last says what is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lib.storage.backends import Storage
from lib.storage.copies import copy_folder
from lib.storage.manifest import MANIFEST, DamageError, parse_manifest, read_manifest, sealed, unsealed

SLOTS, BEST = ("a", "b"), "best"


class StoredCheckpoint(NamedTuple):
    """A checkpoint in a storage whose manifest is whole."""

    step: int
    path: str
    manifest: dict
    text: str

    @property
    def has_weights_alone(self) -> bool:
        """Whether no training can continue from it."""
        return bool(self.manifest.get("weights_alone"))


def stored_checkpoints(storage: Storage, run: str) -> tuple[list[StoredCheckpoint], list[str]]:
    """A run's checkpoints in a storage, newest first, and the folders that hold none: damaged, or half copied."""
    slots = [f"{run}/slots/{name}" for name in storage.names(f"{run}/slots")]
    earlier = [name for name in storage.names(f"{run}/checkpoints") if name.removeprefix("step-").isdigit()]
    found, broken = [], []
    for path in slots + [f"{run}/checkpoints/{name}" for name in earlier]:
        try:
            text = storage.read_text(f"{path}/{MANIFEST}")
            manifest = parse_manifest(text, path)
            found.append(StoredCheckpoint(manifest["step"], path, manifest, text))
        except (FileNotFoundError, DamageError, KeyError):
            broken.append(path)
    return sorted(found, key=lambda one: (one.step, not one.has_weights_alone), reverse=True), broken


def slot_to_write(run: str, stored: Sequence[StoredCheckpoint]) -> str:
    """The folder that the next checkpoint is written to: a slot that is not whole, else the older one."""
    steps = {one.path: one.step for one in stored}
    return min((f"{run}/slots/{name}" for name in SLOTS), key=lambda path: steps.get(path, -1))


def weights_manifest(text: str) -> str:
    """The manifest of a checkpoint's weights alone, of that of the whole; DamageError where it is not whole."""
    manifest = unsealed(text, "the checkpoint's manifest")
    hashes = {name: value for name, value in manifest["sha256"].items() if name.endswith(".safetensors")}
    return sealed({**manifest, "sha256": hashes, "weights_alone": True})


def newest_here(run: Path) -> Path | None:
    """The newest checkpoint folder of a run that a training can continue from; its files are not read."""
    for folder in sorted((run / "checkpoints").glob("step-*"), reverse=True):
        if folder.name.removeprefix("step-").isdigit():
            try:
                if not read_manifest(folder).get("weights_alone"):
                    return folder
            except DamageError:
                continue
    return None


def copy_newest(storage: Storage, run: Path, path: str) -> bool:
    """Bring a run's newest checkpoint to a storage where it is not there yet: whether it is there, read back.

    Raises
    ------
    OSError : of the storage
    """
    folder = newest_here(run)
    if folder is None:
        return True
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    stored, _ = stored_checkpoints(storage, path)
    if any(one.text == text or one.step > unsealed(text, folder)["step"] for one in stored):
        return True
    return copy_folder(storage, folder, slot_to_write(path, stored), text)
