"""The corpora that a training wants, brought to where it reads them: written, downloaded or already there."""

from __future__ import annotations

from pathlib import Path

from lib.data.corpora import download, ingest, open_corpus
from lib.data.demo import write_demo_corpus
from lib.storage.backends import open_place, reason
from lib.storage.copies import fetch_store

DOWNLOADABLE = ("maestro", "pijama")


def prepare(names, data_dir, mirror=None):
    """Make sure that each corpus has its note store; what is there is left as it is.

    Parameters
    ----------
    names : iterable of str: "demo" is written, "maestro" and "pijama" are downloaded and ingested; a corpus
        of the user's own must have been ingested before
    data_dir : folder of note stores
    mirror : where earlier runtimes may have left the note stores (see lib.storage.backends.open_place): quicker than a download

    Returns
    -------
    dict : name -> NoteStore

    Raises
    ------
    CorpusError : a corpus that is neither there nor known; the message says how to ingest it
    """
    for name in names:
        if (Path(data_dir) / name / "notes.store").exists():
            continue
        if mirror and _from_mirror(name, data_dir, mirror):
            continue
        if name == "demo":
            write_demo_corpus(data_dir)
        elif name in DOWNLOADABLE:
            print(ingest(name, data_dir, archive=download(name, data_dir)))
    return {name: open_corpus(name, data_dir) for name in names}


def _from_mirror(name, data_dir, mirror):
    """Whether an earlier runtime had left the note store in the mirror; a mirror that is not there is said, no more."""
    try:
        return fetch_store(open_place(mirror), name, data_dir)
    except OSError as error:
        print(f"The mirror {mirror} can't be reached ({reason(error)}): {name} is made anew.", flush=True)
        return False
