"""The corpora that a training needs, prepared: already there, restored from a mirror, or downloaded.

Their tempo maps come from the mirror too, or from data/released; those of the user's own corpus are tracked by
`python -m lib data beats CORPUS`, which training requires if they are missing.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from lib.data.corpora import CORPORA, open_corpus
from lib.data.download import download
from lib.data.ingest import REPORT_NAME, ingest
from lib.data.note_store import STORE_NAME, NoteStore
from lib.data.tempo_maps import MAPS_NAME, take_released_maps
from lib.storage.atomic_write import PARTIAL
from lib.storage.backends import Storage, describe_error, open_storage
from lib.storage.copies import SPARE_BYTES, copy_folder, fetch_folder
from lib.storage.manifest import MANIFEST, DamageError, file_sha256, sealed

STORE_FILES = (STORE_NAME, MAPS_NAME, REPORT_NAME)
log = logging.getLogger(__name__)


def prepare(names: Iterable[str], data_dir: Path | str, mirror: str | None = None) -> dict[str, NoteStore]:
    """Make sure that each corpus has its note store and, where some are released, its tempo maps.

    What is there is left as it is.

    Parameters
    ----------
    names : those of CORPORA are downloaded and ingested; a corpus of the user's own must have been ingested before
    data_dir : folder of note stores
    mirror : where earlier runtimes may have left the note stores, which is quicker than a download; see
        lib.storage.backends.open_storage

    Returns
    -------
    dict : name -> NoteStore

    Raises
    ------
    CorpusError : a corpus that is neither there nor known; the message says how to ingest it
    """
    names = list(names)
    for name in names:
        is_here = (Path(data_dir) / name / STORE_NAME).exists() or (mirror and _from_mirror(name, data_dir, mirror))
        if not is_here and name in CORPORA:
            report = ingest(name, data_dir, archive=download(name, data_dir))
            print(f"{name}: {report.pieces:,} pieces, {report.hours:.1f} h, {len(report.skipped)} files skipped")
    stores = {name: open_corpus(name, data_dir) for name in names}
    for store in stores.values():
        take_released_maps(store)
    return stores


def _from_mirror(name, data_dir, mirror):
    """Whether the mirror had the note store of an earlier runtime; prints a line if the mirror can't be reached."""
    try:
        return fetch_store(open_storage(mirror), name, data_dir)
    except OSError as error:
        print(f"The mirror {mirror} can't be reached ({describe_error(error)}): {name} is built again.", flush=True)
        return False


# --- In the mirror: stores/CORPUS ----------------------------------------------------------------------------------


def copy_store(storage: Storage, name: str, data_dir: Path | str, spare_bytes: int = SPARE_BYTES) -> None:
    """Copy a corpus's note store to a storage, unless it is there already; OSError where the storage can't take it.

    `spare_bytes` and NoRoom are as of copy_folder.
    """
    folder, path = Path(data_dir) / name, f"stores/{name}"
    files = [file for file in STORE_FILES if (folder / file).exists()]
    text = sealed({"kind": "note store", "sha256": {file: file_sha256(folder / file) for file in files}})
    try:
        if storage.read_text(f"{path}/{MANIFEST}") == text:
            return
    except FileNotFoundError:
        pass
    if not copy_folder(storage, folder, path, text, spare_bytes=spare_bytes):
        raise OSError(errno.EIO, "it returned different bytes from those written")


def fetch_store(storage: Storage, name: str, data_dir: Path | str) -> bool:
    """Bring a corpus's note store here from a storage: whether it was there, and whole.

    Raises
    ------
    OSError : the storage can't be reached
    """
    folder = Path(data_dir) / name
    beside = folder.with_name(f".{name}.mirror")
    try:
        fetch_folder(storage, f"stores/{name}", beside)
        folder.mkdir(parents=True, exist_ok=True)
        for file in reversed(STORE_FILES):  # the store last: with it the corpus is there
            if (beside / file).exists():
                (beside / file).replace(folder / file)
        return True
    except (DamageError, FileNotFoundError) as error:
        log.warning("no note store of %s in %s: %s", name, storage.where, error)
        return False
    finally:
        for leftover in (beside, beside.with_name(beside.name + PARTIAL)):
            shutil.rmtree(leftover, ignore_errors=True)
