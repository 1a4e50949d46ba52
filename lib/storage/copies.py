"""Folders with a manifest, copied to a place (places.py) and back, every byte checked on both ways."""

from __future__ import annotations

import errno
import logging
import shutil
from pathlib import Path

from lib.data.ingest import REPORT_NAME, STORE_NAME
from lib.storage.kill_points import point
from lib.storage.manifest import MANIFEST, DamageError, checked, file_sha256, sealed, sync, unsealed, verify

STORE_FILES = (STORE_NAME, REPORT_NAME)
log = logging.getLogger(__name__)


def copy_folder(place, folder, path, manifest_text, read_back=True):
    """Files first, manifest last.

    Parameters
    ----------
    place : of lib.storage.backends
    folder, path : from here, to there
    manifest_text : of the folder's manifest
    read_back : whether to read every file there and compare its hash

    Returns
    -------
    bool : False where the place gave other bytes back; the copy has no manifest then

    Raises
    ------
    OSError : of the place
    """
    manifest = unsealed(manifest_text, folder)
    point("mirror.begin")
    for name in manifest["sha256"]:
        place.put(Path(folder) / name, f"{path}/{name}", lambda: point("mirror.file"))
    if read_back and not fits(place, path, manifest):
        return False
    point("mirror.manifest")
    place.write_text(f"{path}/{MANIFEST}", manifest_text)
    return not read_back or place.read_text(f"{path}/{MANIFEST}") == manifest_text


def fits(place, path, manifest):
    """Whether every file of a folder there has the hash of the manifest."""
    point("mirror.verify")
    try:
        return all(place.sha256(f"{path}/{name}") == sha256 for name, sha256 in manifest["sha256"].items())
    except FileNotFoundError:
        return False


def fetch_folder(place, path, folder):
    """Bring a folder here, beside first, then in its place.

    Returns
    -------
    dict : its manifest

    Raises
    ------
    FileNotFoundError : it is not there; DamageError : it is not whole; nothing is changed here then
    """
    folder, text = Path(folder), place.read_text(f"{path}/{MANIFEST}")
    manifest = checked(unsealed(text, f"{place.where}/{path}"), path)
    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in (*manifest["sha256"], MANIFEST):
        place.get(f"{path}/{name}", partial / name)
        sync(partial / name)
    if verify(partial) != manifest:
        raise DamageError(f"{path} changed while it was read.")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    sync(folder.parent)
    return manifest


def copy_store(place, name, data_dir):
    """Copy a corpus's note store, if the place has not got it."""
    folder, path = Path(data_dir) / name, f"stores/{name}"
    files = [file for file in STORE_FILES if (folder / file).exists()]
    text = sealed({"kind": "note store", "sha256": {file: file_sha256(folder / file) for file in files}})
    try:
        if place.read_text(f"{path}/{MANIFEST}") == text:
            return
    except FileNotFoundError:
        pass
    if not copy_folder(place, folder, path, text):
        raise OSError(errno.EIO, "it gave back other bytes than were written")


def fetch_store(place, name, data_dir):
    """Bring a corpus's note store here: whether it was there, and whole.

    Raises
    ------
    OSError : the place can't be reached
    """
    folder = Path(data_dir) / name
    beside = folder.with_name(f".{name}.mirror")
    try:
        fetch_folder(place, f"stores/{name}", beside)
        folder.mkdir(parents=True, exist_ok=True)
        for file in reversed(STORE_FILES):  # the store last: with it the corpus is there
            if (beside / file).exists():
                (beside / file).replace(folder / file)
        return True
    except (DamageError, FileNotFoundError) as error:
        log.warning("no note store of %s in %s: %s", name, place.where, error)
        return False
    finally:
        for left in (beside, beside.with_name(beside.name + ".part")):
            shutil.rmtree(left, ignore_errors=True)
