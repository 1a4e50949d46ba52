"""What is known of a piece besides its notes: tables of the corpora, and the names of folders.

Files are found in the tables by the last parts of their path ("2018/x.midi", "live/PIANIST/ALBUM/TITLE.midi"), in
Unicode's composed form, so the name of the archive's root and the way it spells accents do not matter.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import PurePosixPath

from lib.data.note_store import CorpusError, Piece
from lib.data.splits import BENCHMARK_NAMES

MAESTRO_TABLE = "maestro-v3.0.0.csv"
PIJAMA_TABLE, BENCHMARK_TABLE = "pijama.csv", "pijama_30.csv"
TABLES = {"maestro": (MAESTRO_TABLE,), "pijama": (PIJAMA_TABLE, BENCHMARK_TABLE)}
PATH_PARTS = {"maestro": 2, "pijama": 4}  # parts of a path, from its end, that name a piece in the table
ALBUM_SPLITS = ("album_split_0", "album_split_1", "album_split_2")
END_ROUNDING_S = 1.0  # the ends are given in whole seconds: a note in the last one belongs to the performance


def compose(name):
    """The name in Unicode's composed form (NFC), as names are compared everywhere."""
    return unicodedata.normalize("NFC", name)


def path_key(corpus, path):
    """What of a path names its piece in the corpus's table."""
    return "/".join(PurePosixPath(compose(path)).parts[-PATH_PARTS[corpus] :])


def maestro_pieces(tables):
    """MAESTRO's table as {path key: Piece}; its official split is ours."""
    columns = ("canonical_composer", "canonical_title", "split", "midi_filename")
    pieces = {}
    for row in _read_table(tables, MAESTRO_TABLE, columns):
        composer, title, split, path = (row[column] for column in columns)
        pieces[path_key("maestro", path)] = Piece(
            "maestro", path, composer=composer, title=title, split=_split_name(split), official_split=split
        )
    return pieces


def pijama_pieces(tables):
    """PiJAMA's two tables as {path key: Piece}, split not yet decided."""
    benchmark = {
        path_key("pijama", row["midi_filepath"]): row
        for row in _read_table(tables, BENCHMARK_TABLE, ("midi_filepath", "song_split", *ALBUM_SPLITS))
    }
    columns = ("artist", "album", "title", "midi_filepath", "split")
    bounds = ("performance_start_sec", "performance_end_sec")
    pieces = {}
    for row in _read_table(tables, PIJAMA_TABLE, columns + bounds):
        pianist, album, title, path, split = (compose(row[column]) for column in columns)
        start_s, end_s = (_seconds(row[column]) for column in bounds)
        extra = benchmark.get(path_key("pijama", path))
        pieces[path_key("pijama", path)] = Piece(
            "pijama",
            path,
            pianist,
            title=title,
            album=album,
            official_split=split,
            song_split=extra["song_split"] if extra else "",
            album_splits=tuple(extra[column] for column in ALBUM_SPLITS) if extra else (),
            duet=is_duet(pianist, album),
            start_s=start_s,
            end_s=end_s,
        )
    return pieces


def is_duet(pianist, album):
    """Marian McPartland plays along when she has a guest on her radio show Piano Jazz."""
    show = "mcpartland" in album.casefold() and "piano jazz" in album.casefold()
    return show and "mcpartland" not in pianist.casefold()


def piece_from_path(corpus, path, pianist=""):
    """What PIANIST/ALBUM/TITLE.mid, PIANIST/TITLE.mid or TITLE.mid says of a piece; of a known pianist ALBUM/TITLE.mid."""
    path = PurePosixPath(compose(path))
    folders = path.parts[:-1]
    if not pianist and folders:
        pianist, *folders = folders
    album = "/".join(folders)
    return Piece(corpus, str(path), pianist, title=path.stem, album=album, duet=is_duet(pianist, album))


def unlisted_piece(corpus, path):
    """A piece that its corpus's table lacks, from its path: in PiJAMA the last parts are pianist, album, title."""
    path = PurePosixPath(compose(path))
    if corpus == "maestro":
        return Piece(corpus, str(path), title=path.stem)
    *_, pianist, album, _ = ("", "", *path.parts)
    return Piece(corpus, str(path), pianist, title=path.stem, album=album, duet=is_duet(pianist, album))


def performance_bounds(start_s, end_s, last_onset_s, last_release_s):
    """(start_s, end_s) of a performance from the table's whole seconds and the notes themselves.

    An end beyond which no note begins is the last release: nothing has to be cut there. So is a missing one (0), and
    bounds that leave nothing are ignored.
    """
    end_s = end_s + END_ROUNDING_S if end_s > 0 else last_release_s
    if last_onset_s < end_s:
        end_s = last_release_s
    return (start_s, end_s) if start_s < min(end_s, last_onset_s) else (0.0, last_release_s)


def _read_table(tables, name, columns):
    """Rows of one csv of `tables` ({name: bytes}), which must have these columns."""
    try:
        text = tables[name].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{name} is not UTF-8 text ({error.reason}): fetch it again") from error
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [column for column in columns if column not in (rows.fieldnames or ())]:
        raise CorpusError(f"{name} has no column {', '.join(missing)}: it is another file, fetch it again")
    return [row for row in rows if all(row[column] is not None for column in columns)]


def _split_name(split):
    if split not in BENCHMARK_NAMES:
        raise CorpusError(f"unknown split {split!r} in a table; known: train, val, validation, test")
    return BENCHMARK_NAMES[split]


def _seconds(text):
    try:
        return float(text)
    except ValueError:
        return 0.0
