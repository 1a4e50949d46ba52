"""The corpora: MAESTRO, PiJAMA, any folder of the user's. Download, ingest, look, open."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lib.config import nearest
from lib.data.archive import FolderSource, ZipSource
from lib.data.download import SOURCES, fetch, sources_of
from lib.data.ingest import STORE_NAME, IngestReport, ingest_source
from lib.data.note_store import SPLITS, CorpusError, NoteStore

__all__ = ["CorpusError", "IngestReport", "download", "ingest", "ingest_own", "open_corpus", "summary"]

SHOWN_PIANISTS = 10


def download(name, data_dir, url=None, sha256=None, metadata_url=None):
    """Fetch a corpus (and its tables) from its official source into DIR/NAME.

    Parameters
    ----------
    name : "maestro" or "pijama"
    data_dir : folder
    url, sha256 : another address of the archive, and its checksum
    metadata_url : another folder of PiJAMA's tables

    Returns
    -------
    Path of the archive

    Raises
    ------
    CorpusError : an unknown name, a server that refuses, a file that is not what was published
    """
    if name not in SOURCES:
        raise CorpusError(f"Nothing to download for {name!r}.{nearest(name, SOURCES)} Your own MIDI: ingest --folder.")
    paths = [fetch(source, Path(data_dir) / name) for source in sources_of(name, url, sha256, metadata_url)]
    return paths[0]


def ingest(name, data_dir, archive=None, folder=None, metadata=None):
    """Write DIR/NAME/notes.store, and ingest_report.json beside it.

    Parameters
    ----------
    name : "maestro", "pijama", or any name for music of the user's own
    archive, folder : where the music is: a zip, or a folder of MIDI; neither: the archive that `download` left in DIR/NAME
    metadata : folder of PiJAMA's tables, if they are neither beside the archive nor in DIR

    Returns
    -------
    IngestReport

    Raises
    ------
    CorpusError : nothing usable; an older store is left as it was
    """
    _check_name(name)
    if archive is not None and folder is not None:
        raise CorpusError("Give --archive or --folder, not both.")
    if folder is None and archive is None:
        archive = _downloaded(name, data_dir)
    source = ZipSource(archive) if folder is None else FolderSource(folder)
    beside = [source.path.parent if folder is None else source.path]
    places = [metadata, *beside, Path(data_dir) / name, data_dir]
    with source:
        return ingest_source(name, data_dir, source, [place for place in places if place is not None])


def ingest_own(folder, data_dir, pianist=None):
    """Ingest a folder of one player's MIDI, as ALBUM/TITLE.mid or TITLE.mid, into DIR/own-FOLDER.

    Parameters
    ----------
    folder : of MIDI files
    pianist : who plays; by default the folder's name

    Returns
    -------
    (IngestReport, str) : the report, whose name is the corpus's, and the pianist

    Raises
    ------
    CorpusError : no such folder, or nothing usable in it
    """
    folder = Path(folder).expanduser().resolve()
    pianist = pianist or folder.name
    with FolderSource(folder) as source:
        return ingest_source(f"own-{folder.name}", data_dir, source, pianist=pianist), pianist


def _check_name(name):
    if not name or name != Path(name).name or name.startswith("."):
        raise CorpusError(f"A corpus needs a plain name, such as 'mine', not {name!r}.")


def _downloaded(name, data_dir):
    if name not in SOURCES:
        raise CorpusError(f"Where is {name!r}? Give --folder or --archive.{nearest(name, SOURCES)}")
    path = Path(data_dir) / name / SOURCES[name][0].name
    if not path.exists():
        raise CorpusError(f"There is no {path}. Fetch it: python -m lib data download {name} --data-dir {data_dir}")
    return path


def open_corpus(name, data_dir):
    """NoteStore of a corpus; CorpusError naming what is there where it has not been ingested."""
    path = Path(data_dir) / name / STORE_NAME
    if not path.exists():
        there = [found.parent.name for found in sorted(Path(data_dir).glob(f"*/{STORE_NAME}"))]
        valid = nearest(name, there) if there else f" No corpus has been ingested into {data_dir} yet."
        raise CorpusError(f"There is no corpus {name!r} in {data_dir}.{valid} {_way_to(name, data_dir)}")
    return NoteStore.open(path)


def _way_to(name, data_dir):
    if name == "demo":
        return f"Write it: python -m lib data demo --data-dir {data_dir}"
    if name in SOURCES:
        command = "python -m lib data {} " + f"{name} --data-dir {data_dir}"
        return f"Fetch it: {command.format('download')} && {command.format('ingest')}"
    return f"Your own MIDI: python -m lib data ingest {name} --folder FOLDER --data-dir {data_dir}"


def summary(name, data_dir, pianist=None):
    """What is in a corpus.

    Returns
    -------
    dict : name, pieces, hours, notes, pianists, longest (pianist -> hours, the first ten), splits (split ->
        pieces, hours, notes), duets; with `pianist`, of that pianist's solo pieces alone
    """
    store = open_corpus(name, data_dir)
    wanted = store.find_pianist(pianist) if pianist else None
    pieces = [store.pieces[i] for i in store.select(pianist=wanted, duets=wanted is None)]
    hours = Counter()
    for piece in pieces:
        hours[piece.pianist] += piece.seconds / 3600
    del hours[""]
    longest = {who: round(value, 2) for who, value in hours.most_common(SHOWN_PIANISTS)}
    splits = {split: _totals([piece for piece in pieces if piece.split == split]) for split in SPLITS}
    return {"name": name, **_totals(pieces), "pianists": len(hours), "duets": sum(piece.duet for piece in pieces),
            "longest": longest, "splits": splits}  # fmt: skip


def _totals(pieces):
    hours = sum(piece.seconds for piece in pieces) / 3600
    return {"pieces": len(pieces), "hours": round(hours, 2), "notes": sum(piece.num_notes for piece in pieces)}
