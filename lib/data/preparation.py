"""The corpora that a training wants, brought to where it reads them: written, downloaded or already there."""

from __future__ import annotations

from pathlib import Path

from lib.data.corpora import download, ingest, open_corpus
from lib.data.demo_corpus import write_demo_corpus

DOWNLOADABLE = ("maestro", "pijama")


def prepare(names, data_dir):
    """Make sure that each corpus has its note store; what is there is left as it is.

    Parameters
    ----------
    names : iterable of str: "demo" is written, "maestro" and "pijama" are downloaded and ingested; a corpus
        of the user's own must have been ingested before
    data_dir : folder of note stores

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
        if name == "demo":
            write_demo_corpus(data_dir)
        elif name in DOWNLOADABLE:
            print(ingest(name, data_dir, archive=download(name, data_dir)))
    return {name: open_corpus(name, data_dir) for name in names}
