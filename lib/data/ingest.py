"""From MIDI files to a note store: read every file once, keep what is usable, say why the rest is not.

Runs in one process on purpose: symusic does not release Python's lock (two threads are no faster), and 4,053 files take
about five seconds, less than it costs to start, feed and empty a pool of processes on two cores.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lib.data.metadata import (
    TABLES,
    maestro_pieces,
    path_key,
    performance_bounds,
    piece_from_path,
    pijama_pieces,
    unlisted_piece,
)
from lib.data.note_store import (
    MAX_DURATION_S,
    ONSET_TICKS_PER_S,
    CorpusError,
    last_release_s,
    notes_to_rows,
    replace_file,
    write_note_store,
)
from lib.data.splits import split_benchmark, split_folder
from lib.music.notes import MidiError, read_midi
from lib.progress import progress_bar

STORE_NAME, REPORT_NAME = "notes.store", "ingest_report.json"
SHOWN_REASONS = 3


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes
    ----------
    pieces, notes : counts in the store
    hours : length of all performances
    skipped : list of {"member", "reason"}, the files that are not in the store
    unlisted : files in the store that the corpus's table does not know
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


def ingest_source(name, data_dir, source, metadata_dirs=(), pianist=""):
    """Write DIR/NAME/notes.store from the members of a source, and the report beside it.

    Parameters
    ----------
    name : str, "maestro" and "pijama" have tables, any other is a folder of the user's
    source : ZipSource or FolderSource
    metadata_dirs : folders in which a corpus's tables may lie, besides the source; the first that has it counts
    pianist : who plays all of a user's folder; "": the folders in it say

    Raises
    ------
    CorpusError : a table is missing, or not one file is usable; an older store is left as it was
    """
    started = time.monotonic()
    known = _known_pieces(name, source, metadata_dirs)
    pieces, arrays, skipped, unlisted, capped = [], [], [], 0, 0
    seen = set()
    for member in progress_bar(source.members(), desc=f"ingest {name}", unit="file", leave=False):
        try:
            if member.name in seen:
                raise MidiError("is in the archive twice")
            notes = read_midi(member.read())
        except MidiError as error:
            skipped.append({"member": member.name, "reason": str(error)})
            continue
        seen.add(member.name)
        piece, listed = _describe(name, known, member.name, pianist)
        arrays.append(notes_to_rows(notes))
        pieces.append(bounded(piece, arrays[-1][0]))
        unlisted += not listed
        capped += count_capped(notes.duration_s)
    pieces = split_pieces(name, pieces)
    counts = {"skipped": skipped, "unlisted": unlisted, "capped": capped}
    return write_corpus(name, data_dir, pieces, arrays, started, counts, source.path)


def count_capped(duration_s):
    """How many of these durations are longer than the store can say."""
    return int((duration_s > MAX_DURATION_S).sum())


def write_corpus(name, data_dir, pieces, arrays, started, counts, origin):
    """Write store and report; CorpusError, and nothing written, where there is no piece.

    Returns
    -------
    IngestReport
    """
    folder = Path(data_dir) / name
    if not pieces:
        raise CorpusError(_nothing_usable(origin, counts["skipped"]))
    store = write_note_store(folder / STORE_NAME, pieces, arrays)
    hours = sum(piece.seconds for piece in store.pieces) / 3600
    seconds = round(time.monotonic() - started, 3)
    report = IngestReport(name, len(store), len(store.notes), round(hours, 3), seconds=seconds, **counts)
    replace_file(folder / REPORT_NAME, [json.dumps(asdict(report), indent=1, ensure_ascii=False).encode()])
    return report


def split_pieces(name, pieces):
    """Our split of a corpus: MAESTRO's own, PiJAMA's benchmark, a user's folder by album."""
    if name == "maestro":
        return pieces
    return split_benchmark(pieces) if name == "pijama" else split_folder(pieces)


def _nothing_usable(origin, skipped):
    if not skipped:
        return f"{origin} holds no MIDI file (.mid or .midi)"
    reasons = "; ".join(f"{s['member']} {s['reason']}" for s in skipped[:SHOWN_REASONS])
    more = f"; and {len(skipped) - SHOWN_REASONS} more" if len(skipped) > SHOWN_REASONS else ""
    return f"{origin} holds no usable performance: {reasons}{more}"


def _describe(name, known, member, pianist):
    """(Piece, whether the corpus's table lists it) for a member."""
    if name not in TABLES:
        return piece_from_path(name, member, pianist), True
    listed = known.get(path_key(name, member))
    return (replace(listed, member=member), True) if listed else (unlisted_piece(name, member), False)


def bounded(piece, rows):
    """The piece with the bounds of its performance, from its table and its notes."""
    last_onset_s = rows["onset"][-1] / ONSET_TICKS_PER_S
    start_s, end_s = performance_bounds(piece.start_s, piece.end_s, last_onset_s, last_release_s(rows))
    return replace(piece, start_s=start_s, end_s=end_s)


def _known_pieces(name, source, metadata_dirs):
    """{path key: Piece} of the corpus's tables; {} for a user's folder."""
    if name not in TABLES:
        return {}
    tables = {table: _find_table(table, source, metadata_dirs) for table in TABLES[name]}
    if missing := [table for table, content in tables.items() if content is None]:
        places = ", ".join(str(place) for place in (source.path, *metadata_dirs))
        raise CorpusError(
            f"{' and '.join(missing)} not found in {places}; fetch with: python -m lib data download {name}, "
            f"or give the folder with --metadata"
        )
    return maestro_pieces(tables) if name == "maestro" else pijama_pieces(tables)


def _find_table(table, source, metadata_dirs):
    for folder in metadata_dirs:
        if (path := Path(folder) / table).is_file():
            return path.read_bytes()
    try:
        return source.table(table)
    except MidiError as error:
        raise CorpusError(f"{table} in {source.path} {error}; download the archive again") from error
