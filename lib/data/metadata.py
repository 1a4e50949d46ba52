"""Metadata of pieces, from the tables of the corpora and the names of folders.

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
PIJAMA_PATH_PARTS = 4  # live/PIANIST/ALBUM/TITLE.midi
ALBUM_SPLITS = ("album_split_0", "album_split_1", "album_split_2")


def compose(name: str) -> str:
    """The name in Unicode's composed form (NFC), as names are compared everywhere."""
    return unicodedata.normalize("NFC", name)


def path_key(path: str, parts: int) -> str:
    """What of a path names its piece in a table: so many parts from its end."""
    return "/".join(PurePosixPath(compose(path)).parts[-parts:])


def read_maestro(tables: dict[str, bytes]) -> list[Piece]:
    """MAESTRO's pieces, as its table lists them; its official split is ours."""
    columns = ("canonical_composer", "canonical_title", "split", "midi_filename")
    pieces = []
    for row in _read_table(tables, MAESTRO_TABLE, columns):
        composer, title, split, path = (row[column] for column in columns)
        known = {"composer": composer, "title": title, "split": _split_name(split), "official_split": split}
        pieces.append(Piece("maestro", path, **known))
    return pieces


def read_pijama(tables: dict[str, bytes]) -> list[Piece]:
    """PiJAMA's pieces, as its two tables list them, split not yet decided."""
    benchmark = {
        path_key(row["midi_filepath"], PIJAMA_PATH_PARTS): row
        for row in _read_table(tables, BENCHMARK_TABLE, ("midi_filepath", "song_split", *ALBUM_SPLITS))
    }
    columns = ("artist", "album", "title", "midi_filepath", "split")
    bounds = ("performance_start_sec", "performance_end_sec")
    pieces = []
    for row in _read_table(tables, PIJAMA_TABLE, columns + bounds):
        pianist, album, title, path, split = (compose(row[column]) for column in columns)
        start_s, end_s = (_seconds(row[column]) for column in bounds)
        extra = benchmark.get(path_key(path, PIJAMA_PATH_PARTS))
        pieces.append(
            Piece(
                "pijama",
                path,
                pianist,
                title=title,
                album=album,
                official_split=split,
                song_split=extra["song_split"] if extra else "",
                album_splits=tuple(extra[column] for column in ALBUM_SPLITS) if extra else (),
                duet=_is_duet(pianist, album),
                start_s=start_s,
                end_s=end_s,
            )
        )
    return pieces


def _is_duet(pianist: str, album: str) -> bool:
    """Marian McPartland plays along when she has a guest on her radio show Piano Jazz."""
    show = "mcpartland" in album.casefold() and "piano jazz" in album.casefold()
    return show and "mcpartland" not in pianist.casefold()


def piece_from_folders(corpus: str, path: str, pianist: str = "") -> Piece:
    """A piece by its path, PIANIST/ALBUM/TITLE.mid or the end of that; of a known pianist ALBUM/TITLE.mid."""
    path = PurePosixPath(compose(path))
    folders = path.parts[:-1]
    if not pianist and folders:
        pianist, *folders = folders
    album = "/".join(folders)
    return Piece(corpus, str(path), pianist, title=path.stem, album=album, duet=_is_duet(pianist, album))


def piece_from_last_folders(corpus: str, path: str) -> Piece:
    """What .../PIANIST/ALBUM/TITLE.mid says of a piece, as in PiJAMA."""
    path = PurePosixPath(compose(path))
    *_, pianist, album, _ = ("", "", *path.parts)
    return Piece(corpus, str(path), pianist, title=path.stem, album=album, duet=_is_duet(pianist, album))


def piece_from_name(corpus: str, path: str) -> Piece:
    """A piece of which its file's name says the title, and the folders nothing."""
    path = PurePosixPath(compose(path))
    return Piece(corpus, str(path), title=path.stem)


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
