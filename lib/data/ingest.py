"""From MIDI files to a note store: reads every file once, keeps what is usable, and reports why the rest is not.

The files are members of a zip, read in memory, nothing is unpacked to disk, or of a folder. A member is its name, in
Unicode's composed form with "/", and a callable that gives its bytes, or MidiError with the reason why it is refused.

Runs in one process on purpose: symusic does not release Python's lock (two threads are no faster), and 4,053 files take
about five seconds, less than it costs to start, feed and empty a pool of processes on two cores.
"""

from __future__ import annotations

import json
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lib.config import nearest
from lib.data.corpora import CORPORA
from lib.data.metadata import compose, path_key, piece_from_folders
from lib.data.note_store import (
    MAX_DURATION_S,
    ONSET_TICKS_PER_S,
    STORE_NAME,
    CorpusError,
    last_release_s,
    notes_to_rows,
    resolution_ms,
    write_note_store,
)
from lib.data.splits import split_folder
from lib.music.beat_tracking import sits_on_grid
from lib.music.midi_file import MAX_MIDI_BYTES, MidiError
from lib.music.notes import MIDI_SUFFIXES, read_midi_and_quarters
from lib.progress import progress_bar
from lib.storage.atomic_write import write_text

REPORT_NAME = "ingest_report.json"
SHOWN_REASONS = 3
SAME_TEMPO_S = 1e-6  # difference between two quarters
UTF8_FLAG = 0x800  # of a zip's member
END_ROUNDING_S = 1.0  # tables give ends in whole seconds: a note in the last one belongs to the performance
DRIVE = re.compile(r"^[A-Za-z]:")
Member = tuple[str, Callable[[], bytes]]


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes
    ----------
    pieces, notes : counts in the store
    hours : length of all performances
    skipped : list of {"member", "reason"}, the files that are not in the store
    unlisted : files in the store that the corpus's table does not know
    time_resolution_ms : the coarsest grid on which 99 % of the onsets lie
    capped : notes held longer than the store can say (65.535 s), shortened to that
    seconds : how long it took
    """

    name: str
    pieces: int
    notes: int
    hours: float
    skipped: list = field(default_factory=list)
    unlisted: int = 0
    capped: int = 0
    seconds: float = 0.0
    time_resolution_ms: float = 0.0


def ingest(
    name: str, data_dir: Any, archive: Any = None, folder: Any = None, metadata: Any = None
) -> IngestReport:
    """Write DIR/NAME/notes.store, and ingest_report.json beside it.

    Parameters
    ----------
    name : a key of CORPORA, or any name for music of the user's own
    archive, folder : where the music is: a zip, or a folder of MIDI; neither: the archive that `download` left in
        DIR/NAME
    metadata : folder of the corpus's tables, if they are neither beside the archive nor in DIR

    Returns
    -------
    IngestReport

    Raises
    ------
    CorpusError : nothing usable; an older store is left as it was
    """
    if not name or name != Path(name).name or name.startswith("."):
        raise CorpusError(f"A corpus needs a plain name, such as 'mine', not {name!r}.")
    if archive is not None and folder is not None:
        raise CorpusError("Give --archive or --folder, not both.")
    if folder is None and archive is None:
        archive = _downloaded(name, data_dir)
    if folder is None:
        source = MidiArchive(archive)
        beside = source.path.parent
    else:
        source = nullcontext(MidiFolder(folder))
        beside = folder
    folders = [metadata, beside, Path(data_dir) / name, data_dir]
    with source as source:
        return ingest_source(name, data_dir, source, [where for where in folders if where is not None])


def _downloaded(name, data_dir):
    if name not in CORPORA:
        raise CorpusError(f"Where is {name!r}? Give --folder or --archive.{nearest(name, CORPORA)}")
    path = Path(data_dir) / name / CORPORA[name].sources[0].name
    if not path.exists():
        raise CorpusError(f"There is no {path}. Fetch it: python -m lib data download {name} --data-dir {data_dir}")
    return path


def ingest_source(
    name: str, data_dir: Any, source: MidiArchive | MidiFolder, metadata_dirs: Sequence = (), pianist: str = ""
) -> IngestReport:
    """Write DIR/NAME/notes.store from the members of a source, and the report beside it.

    Parameters
    ----------
    name : a key of CORPORA, or any name for a folder of the user's
    metadata_dirs : folders in which a corpus's tables may lie, besides the source; the first that has it counts
    pianist : who plays all of a user's folder; "": the folders in it say

    Raises
    ------
    CorpusError : a table is missing, or not one file is usable; an older store is left as it was
    """
    began = time.monotonic()
    corpus = CORPORA.get(name)
    listed = _listed_pieces(corpus, source, metadata_dirs) if corpus and corpus.tables else {}
    pieces, arrays, skipped, unlisted, capped = [], [], [], 0, 0
    seen = set()
    for member, read in progress_bar(source.members(), desc=f"ingest {name}", unit="file", leave=False):
        try:
            if member in seen:
                raise MidiError("is in the archive twice")
            notes, quarters_s = read_midi_and_quarters(read(), holds=corpus is None)
        except MidiError as error:
            skipped.append({"member": member, "reason": str(error)})
            continue
        seen.add(member)
        arrays.append(notes_to_rows(notes))
        piece = listed.get(path_key(member, corpus.path_parts)) if listed else None
        unlisted += bool(corpus and corpus.tables) and piece is None
        if piece is not None:
            piece = replace(piece, member=member)
        else:
            piece = corpus.describe(name, member) if corpus else piece_from_folders(name, member, pianist)
        pieces.append(replace(_bounded(piece, arrays[-1][0]), quarters=_own_grid(notes.onset_s, quarters_s)))
        capped += int((notes.duration_s > MAX_DURATION_S).sum())
    pieces = corpus.split(pieces) if corpus else split_folder(pieces)
    if not pieces:
        raise CorpusError(_nothing_usable(source.path, skipped))
    folder = Path(data_dir) / name
    store = write_note_store(folder / STORE_NAME, pieces, arrays)
    hours = round(sum(piece.seconds for piece in store.pieces) / 3600, 3)
    seconds = round(time.monotonic() - began, 3)
    counts = (len(store), len(store.notes), hours, skipped, unlisted, capped, seconds)
    report = IngestReport(name, *counts, resolution_ms(store))
    write_text(folder / REPORT_NAME, json.dumps(asdict(report), indent=1, ensure_ascii=False))
    return report


def _nothing_usable(origin, skipped):
    if not skipped:
        return f"{origin} holds no MIDI file ({', '.join(MIDI_SUFFIXES)})"
    reasons = "; ".join(f"{s['member']} {s['reason']}" for s in skipped[:SHOWN_REASONS])
    more = f"; and {len(skipped) - SHOWN_REASONS} more" if len(skipped) > SHOWN_REASONS else ""
    return f"{origin} holds no usable performance: {reasons}{more}"


def _own_grid(onset_s, quarters_s):
    """(index, second) of the quarters at which the file's tempo changes, and of both ends; () for a recording."""
    if not sits_on_grid(onset_s, quarters_s):
        return ()
    changes = np.flatnonzero(np.abs(np.diff(quarters_s, 2)) > SAME_TEMPO_S) + 1
    return tuple((int(i), float(quarters_s[i])) for i in (0, *changes, len(quarters_s) - 1))


def _bounded(piece, rows):
    """The piece with the bounds of its performance, from its table's whole seconds and its notes.

    An end beyond which no note begins is the last release: nothing has to be cut there. So is a missing one (0), and
    bounds that leave nothing are ignored.
    """
    last_onset_s, release_s = rows["onset"][-1] / ONSET_TICKS_PER_S, last_release_s(rows)
    end_s = piece.end_s + END_ROUNDING_S if piece.end_s > 0 else release_s
    if last_onset_s < end_s:
        end_s = release_s
    if piece.start_s < min(end_s, last_onset_s):
        return replace(piece, end_s=end_s)
    return replace(piece, start_s=0.0, end_s=release_s)


def _listed_pieces(corpus, source, metadata_dirs):
    """{path key: Piece} of the corpus's tables."""
    tables = {table: _find_table(table, source, metadata_dirs) for table in corpus.tables}
    if missing := [table for table, content in tables.items() if content is None]:
        folders = ", ".join(str(where) for where in (source.path, *metadata_dirs))
        raise CorpusError(
            f"{' and '.join(missing)} not found in {folders}; fetch with: python -m lib data download {corpus.name}, "
            f"or give the folder with --metadata"
        )
    return {path_key(piece.member, corpus.path_parts): piece for piece in corpus.read_tables(tables)}


def _find_table(table, source, metadata_dirs):
    for folder in metadata_dirs:
        if (path := Path(folder) / table).is_file():
            return path.read_bytes()
    try:
        return source.table(table)
    except MidiError as error:
        raise CorpusError(f"{table} in {source.path} {error}; download the archive again") from error


# --- Where the files are ------------------------------------------------------------------------------------------


def _member_name(info):
    """Name of a zip's member: UTF-8 even where the archive forgets to say so, as PiJAMA's does."""
    name = info.filename
    if not info.flag_bits & UTF8_FLAG:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:  # truly cp437, or nothing we know: keep what zipfile made of it
            name = info.filename
    return compose(name)


def _is_unsafe(name):
    """Would this path lead out of the folder that it is unpacked to?"""
    path = name.replace("\\", "/")
    return path.startswith("/") or bool(DRIVE.match(path)) or ".." in path.split("/")


def _is_midi(name):
    """A MIDI file by its name, and not what macOS leaves behind."""
    parts = name.replace("\\", "/").split("/")
    junk = parts[-1].startswith("._") or "__MACOSX" in parts
    return not junk and name.lower().endswith(MIDI_SUFFIXES)


class MidiArchive:
    """The MIDI files of a zip, and its tables; use it in a with block."""

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise CorpusError(f"there is no archive at {self.path}")
        try:
            self.archive = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as error:
            size = f"{self.path.stat().st_size:,} bytes"
            raise CorpusError(
                f"{self.path} ({size}) is not a zip archive, or was cut short: {error}; download it again"
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.archive.close()

    def members(self) -> list[Member]:
        """All MIDI members, in order of their names."""
        infos = [(_member_name(info), info) for info in self.archive.infolist() if not info.is_dir()]
        members = [(name, partial(self._read, name, info)) for name, info in infos if _is_midi(name)]
        return sorted(members, key=itemgetter(0))

    def table(self, name: str) -> bytes | None:
        """Bytes of the member with this file name, None where there is none; MidiError as members' reads."""
        for info in self.archive.infolist():
            member = _member_name(info)
            if PurePosixPath(member).name == name:
                return self._read(member, info)
        return None

    def _read(self, name, info):
        if _is_unsafe(name):
            raise MidiError("has an unsafe path, which leads out of the archive")
        if info.file_size > MAX_MIDI_BYTES:
            raise MidiError(f"claims {info.file_size >> 20} MB, more than a performance can be")
        try:
            return self.archive.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise MidiError(f"is damaged in the archive: {error}") from error
        except (RuntimeError, NotImplementedError) as error:  # a password; an unknown compression
            raise MidiError(f"can't be unpacked: {error}") from error


class MidiFolder:
    """The MIDI files below a folder, and its tables."""

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise CorpusError(f"there is no folder at {self.path}")

    def members(self) -> list[Member]:
        """All MIDI files below the folder, in order of their names."""
        paths = ((compose(path.relative_to(self.path).as_posix()), path) for path in self.path.rglob("*"))
        members = [(name, partial(_read_file, path)) for name, path in paths if _is_midi(name) and path.is_file()]
        return sorted(members, key=itemgetter(0))

    def table(self, name: str) -> bytes | None:
        """Bytes of the first file of this name, None where there is none."""
        return next((path.read_bytes() for path in sorted(self.path.rglob(name))), None)


def _read_file(path):
    try:
        if (size := path.stat().st_size) > MAX_MIDI_BYTES:
            raise MidiError(f"is {size >> 20} MB, more than a performance can be")
        return path.read_bytes()
    except OSError as error:
        raise MidiError(f"can't be opened: {error.strerror}") from error
