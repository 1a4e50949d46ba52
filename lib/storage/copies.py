"""Folders with a manifest, copied to a storage (backends.py) and back; every byte is checked both ways."""

from __future__ import annotations

import shutil
from pathlib import Path

from lib.storage.atomic_write import PARTIAL, sync
from lib.storage.backends import Storage, StorageError
from lib.storage.kill_points import kill_point
from lib.storage.manifest import MANIFEST, DamageError, parse_manifest, unsealed, verify

SPARE_BYTES = 10**9  # left free in a mirror: a full Drive stops the user's mail, too


class NoRoom(StorageError):
    """Less would be free there than must stay free."""


def copy_folder(
    storage: Storage,
    folder: Path | str,
    path: str,
    manifest_text: str,
    read_back: bool = True,
    spare_bytes: int = SPARE_BYTES,
) -> bool:
    """Copy a folder's files to a storage, over what is there: first its manifest is emptied, last it is written.

    Parameters
    ----------
    storage : where to
    folder, path : the folder here, and in the storage
    manifest_text : of the folder's manifest
    read_back : whether to read every file there and compare its hash
    spare_bytes : left free there

    Returns
    -------
    bool : False where the storage gave other bytes back; the copy has no manifest then

    Raises
    ------
    OSError : of the storage; NoRoom : less would be left free, and nothing has been changed
    """
    manifest = unsealed(manifest_text, folder)
    _check_room(storage, folder, manifest, path, spare_bytes)
    kill_point("mirror.begin")
    if MANIFEST in storage.names(path):
        storage.write_text(f"{path}/{MANIFEST}", "")
    for name in manifest["sha256"]:
        storage.put(Path(folder) / name, f"{path}/{name}", lambda: kill_point("mirror.file"))
    if read_back and not matches(storage, path, manifest):
        return False
    kill_point("mirror.manifest")
    storage.write_text(f"{path}/{MANIFEST}", manifest_text)
    return not read_back or storage.read_text(f"{path}/{MANIFEST}") == manifest_text


def _check_room(storage, folder, manifest, path, spare_bytes):
    if (free := storage.free()) is None:
        return
    needed = sum((Path(folder) / name).stat().st_size for name in manifest["sha256"]) - storage.size(path)
    if free - needed < spare_bytes:
        free, spare = free / 1e9, spare_bytes / 1e9
        raise NoRoom(f"{free:.1f} GB are free there, and {spare:.0f} GB stay so: empty it, and its bin")


def matches(storage: Storage, path: str, manifest: dict) -> bool:
    """Whether every file of a folder in a storage has the hash that the manifest gives."""
    kill_point("mirror.verify")
    try:
        return all(storage.sha256(f"{path}/{name}") == sha256 for name, sha256 in manifest["sha256"].items())
    except FileNotFoundError:
        return False


def fetch_folder(storage: Storage, path: str, folder: Path | str) -> dict:
    """Bring a folder here: it is written beside, checked, then renamed.

    Returns
    -------
    dict : its manifest

    Raises
    ------
    FileNotFoundError : it is not there; DamageError : it is not whole; nothing is changed here then
    """
    folder, text = Path(folder), storage.read_text(f"{path}/{MANIFEST}")
    manifest = parse_manifest(text, f"{storage.where}/{path}")
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in (*manifest["sha256"], MANIFEST):
        storage.get(f"{path}/{name}", partial / name)
    if verify(partial) != manifest:
        raise DamageError(f"{path} changed while it was read.")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    sync(folder.parent)
    return manifest
