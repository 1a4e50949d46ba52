"""One file a corpus: every note, every pedal, and a table of the pieces, memory-mapped.

Layout, little-endian: a header of 64 bytes, the notes (8 bytes each), the pedals (8 bytes each), the pieces as UTF-8
JSON. A piece's rows are together, ordered by onset, then pitch; times count from the start of its recording.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from lib.config import nearest
from lib.music.notes import Notes
from lib.music.time_grid import time_resolution_s
from lib.storage.atomic_write import atomic_write

NOTE = np.dtype([("onset", "<u4"), ("duration", "<u2"), ("pitch", "u1"), ("velocity", "u1")])
PEDAL = np.dtype([("onset", "<u4"), ("length", "<u4")])
ONSET_TICKS_PER_S = 10_000  # onsets and pedals in 0.1 ms
DURATION_TICKS_PER_S = 1_000  # durations in 1 ms
MAX_DURATION_S = 65.535  # longest that 16 bits hold; a key held longer is stored as held so long
STORE_NAME = "notes.store"  # in the corpus's folder
SPLITS = ("train", "validation", "test")
MAGIC = b"NOTESTO1"
ADDED = {"quarters": ()}  # fields of a piece that older stores lack
# magic, notes, pedals, bytes of the table, crc32 of the table, time resolution in seconds (0 in older stores)
HEADER = struct.Struct("<8sQQQIf24x")


class CorpusError(ValueError):
    """A corpus, file or name that can't be used; the message says which, and the way out."""


@dataclass(frozen=True)
class Piece:
    """One performance in a note store.

    Attributes
    ----------
    split : "train", "validation" or "test": ours, by album (MAESTRO: its own)
    official_split, song_split, album_splits : what the corpus's own tables say; "" or () where they say nothing
    duet : two pianists play
    start_s, end_s : the performance inside the recording, seconds; notes outside it are stored too
    quarters : (index, second) of the file's quarters between which its tempo is constant; () where the notes do not
        sit on them, as in recordings
    first_note, num_notes, first_pedal, num_pedals : its rows in the store
    """

    corpus: str
    member: str
    pianist: str = ""
    composer: str = ""
    title: str = ""
    album: str = ""
    split: str = "train"
    official_split: str = ""
    song_split: str = ""
    album_splits: tuple[str, ...] = ()
    duet: bool = False
    start_s: float = 0.0
    end_s: float = 0.0
    quarters: tuple[tuple[int, float], ...] = ()
    first_note: int = 0
    num_notes: int = 0
    first_pedal: int = 0
    num_pedals: int = 0

    @property
    def seconds(self) -> float:
        """Length of the performance."""
        return self.end_s - self.start_s

    @property
    def quarters_s(self) -> np.ndarray | None:
        """When the quarters of the file begin, seconds of the recording (Q,); None where notes do not sit on them."""
        if not self.quarters:
            return None
        index, seconds = zip(*self.quarters)
        return np.interp(np.arange(index[-1] + 1), index, seconds)


def resolution_ms(store: NoteStore) -> float:
    """The time resolution of a store for people, in milliseconds."""
    return round(1000 * store.time_resolution_s, 2)


def notes_to_rows(notes: Notes) -> tuple[np.ndarray, np.ndarray]:
    """Notes -> (NOTE rows, PEDAL rows): times rounded, durations at least 1 ms and capped at MAX_DURATION_S."""
    rows = np.zeros(len(notes), dtype=NOTE)
    rows["onset"] = np.rint(notes.onset_s * ONSET_TICKS_PER_S)
    rows["duration"] = np.rint(np.clip(notes.duration_s, 0.001, MAX_DURATION_S) * DURATION_TICKS_PER_S)
    rows["pitch"], rows["velocity"] = notes.pitch, notes.velocity
    rows = rows[np.lexsort((rows["pitch"], rows["onset"]))]  # rounding can make two onsets one
    pedals = np.zeros(len(notes.pedal_s), dtype=PEDAL)
    ticks = np.rint(notes.pedal_s * ONSET_TICKS_PER_S).astype(np.int64)
    pedals["onset"], pedals["length"] = ticks[:, 0], ticks[:, 1] - ticks[:, 0]
    return rows, pedals


def _rows_to_notes(rows, pedals):
    """(NOTE rows, PEDAL rows) -> Notes, times as stored."""
    down_s = pedals["onset"] / ONSET_TICKS_PER_S
    return Notes(
        rows["onset"] / ONSET_TICKS_PER_S,
        rows["duration"] / DURATION_TICKS_PER_S,
        np.array(rows["pitch"]),
        np.array(rows["velocity"]),
        np.column_stack([down_s, down_s + pedals["length"] / ONSET_TICKS_PER_S]),
    )


def last_release_s(rows: np.ndarray) -> float:
    """When the last key of these rows goes up, in seconds."""
    if not len(rows):
        return 0.0
    return float((rows["onset"] / ONSET_TICKS_PER_S + rows["duration"] / DURATION_TICKS_PER_S).max())


def write_note_store(path: Path | str, pieces: list[Piece], arrays: list) -> NoteStore:
    """Write a store; the file at path is replaced whole, or not at all.

    Parameters
    ----------
    pieces : their row fields are filled in here, and end_s where it is 0
    arrays : (NOTE rows, PEDAL rows) or Notes of each
    """
    arrays = [notes_to_rows(a) if isinstance(a, Notes) else a for a in arrays]
    if len(arrays) != len(pieces):
        raise ValueError(f"{len(pieces)} pieces, but {len(arrays)} arrays of notes")
    pieces = _place(pieces, arrays)
    table = json.dumps([asdict(piece) for piece in pieces], ensure_ascii=False).encode()
    totals = (sum(len(rows) for rows, _ in arrays), sum(len(pedals) for _, pedals in arrays))
    onset_s = np.concatenate([rows["onset"] for rows, _ in arrays] or [np.zeros(0)]) / ONSET_TICKS_PER_S
    header = HEADER.pack(MAGIC, *totals, len(table), zlib.crc32(table), time_resolution_s(onset_s))
    notes = (rows.astype(NOTE, copy=False).tobytes() for rows, _ in arrays)
    pedals = (rows.astype(PEDAL, copy=False).tobytes() for _, rows in arrays)
    with atomic_write(path, unique=True) as partial, partial.open("wb") as file:
        file.writelines(chain([header], notes, pedals, [table]))
    return NoteStore.open(path)


def _place(pieces, arrays):
    """The pieces with their rows' offsets, one after another."""
    placed, note, pedal = [], 0, 0
    for piece, (rows, pedals) in zip(pieces, arrays, strict=True):
        bounds = {"first_note": note, "num_notes": len(rows), "first_pedal": pedal, "num_pedals": len(pedals)}
        placed.append(replace(piece, end_s=piece.end_s or last_release_s(rows), **bounds))
        note, pedal = note + len(rows), pedal + len(pedals)
    return placed


class NoteStore:
    """A corpus on disk, read-only; cheap to open, to pickle (it reopens its file) and to share with forks.

    Attributes
    ----------
    path : Path
    pieces : tuple of Piece
    notes : memory-mapped NOTE (N,)
    pedals : memory-mapped PEDAL (P,)
    stored_resolution_s : what the file says of its times; 0: nothing, it is older
    """

    def __init__(self, path, pieces, notes, pedals, stored_resolution_s=0.0):
        self.path, self.pieces, self.notes, self.pedals = Path(path), tuple(pieces), notes, pedals
        self.stored_resolution_s = stored_resolution_s

    @classmethod
    def open(cls, path: Path | str) -> NoteStore:
        """Open a store, or raise CorpusError where the file is missing, cut short or something else."""
        path = Path(path)
        if not path.is_file():
            raise CorpusError(f"there is no note store at {path}; write it with: python -m lib data ingest NAME")
        num_notes, num_pedals, table_bytes, crc, resolution_s = _read_header(path)
        data = np.memmap(path, dtype=np.uint8, mode="r")
        middle = HEADER.size + num_notes * NOTE.itemsize
        end = middle + num_pedals * PEDAL.itemsize
        pieces = _read_table(path, data[end : end + table_bytes].tobytes(), crc, num_notes, num_pedals)
        return cls(path, pieces, data[HEADER.size : middle].view(NOTE), data[middle:end].view(PEDAL), resolution_s)

    def __reduce__(self):
        return NoteStore.open, (self.path,)

    def __len__(self):
        return len(self.pieces)

    def __repr__(self):
        return f"NoteStore({str(self.path)!r}: {len(self.pieces):,} pieces, {len(self.notes):,} notes)"

    @cached_property
    def time_resolution_s(self) -> float:
        """The coarsest grid on which 99 % of the onsets lie, in seconds; 0.0001 if none is coarser than the store."""
        return self.stored_resolution_s or time_resolution_s(self.notes["onset"] / ONSET_TICKS_PER_S)

    @property
    def pianists(self) -> list[str]:
        """Names of all known pianists, in order."""
        return sorted({piece.pianist for piece in self.pieces} - {""})

    def select(self, pianist: str | None = None, split: str | None = None, duets: bool = True) -> list[int]:
        """Indices of the pieces that fit all that is given.

        Parameters
        ----------
        pianist, split : None for any
        duets : False leaves out pieces that two pianists play
        """
        return [
            index
            for index, piece in enumerate(self.pieces)
            if pianist in (None, piece.pianist) and split in (None, piece.split) and (duets or not piece.duet)
        ]

    def find_pianist(self, name: str) -> str:
        """The pianist as this store spells the name, in any case; CorpusError with the nearest where there is none."""
        spellings = {pianist.casefold(): pianist for pianist in self.pianists}
        if (found := spellings.get(name.strip().casefold())) is not None:
            return found
        raise CorpusError(f"There is no pianist {name!r} in {self.path.parent.name}.{nearest(name, self.pianists)}")

    def rows(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Raw rows of the whole recording of a piece: (NOTE view, PEDAL view), read-only."""
        piece = self.pieces[index]
        notes = self.notes[piece.first_note : piece.first_note + piece.num_notes]
        return notes, self.pedals[piece.first_pedal : piece.first_pedal + piece.num_pedals]

    def piece_notes(self, index: int, start_s: float | None = None, end_s: float | None = None) -> Notes:
        """Notes that begin in [start_s, end_s) of the recording, by default in the performance's bounds.

        Returns
        -------
        Notes, times relative to start_s
        """
        piece = self.pieces[index]
        start_s = piece.start_s if start_s is None else start_s
        end_s = piece.end_s if end_s is None else end_s
        return _rows_to_notes(*self.rows(index)).between(start_s, end_s)


def _read_header(path):
    with path.open("rb") as file:
        header = file.read(HEADER.size)
    way_out = "ingest the corpus again"
    if len(header) < HEADER.size or header[: len(MAGIC)] != MAGIC:
        raise CorpusError(f"{path} is not a note store, or of another version; {way_out}")
    _, num_notes, num_pedals, table_bytes, crc, resolution_s = HEADER.unpack(header)
    expected = HEADER.size + num_notes * NOTE.itemsize + num_pedals * PEDAL.itemsize + table_bytes
    if (actual := path.stat().st_size) != expected:
        raise CorpusError(f"{path} has {actual:,} bytes, not {expected:,}: damaged; {way_out}")
    return num_notes, num_pedals, table_bytes, crc, resolution_s


def _read_table(path, table, crc, num_notes, num_pedals):
    try:
        if zlib.crc32(table) != crc:
            raise ValueError("checksum")
        names = {field.name for field in fields(Piece)}
        rows = ({**ADDED, **row} for row in json.loads(table))
        pieces = [Piece(**{key: row[key] for key in names}) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path}: its table of pieces is damaged ({error}); ingest the corpus again") from error
    for piece in pieces:
        if piece.first_note + piece.num_notes > num_notes or piece.first_pedal + piece.num_pedals > num_pedals:
            raise CorpusError(f"{path}: {piece.member} lies outside the file; ingest the corpus again")
    quarters = [tuple(map(tuple, piece.quarters)) for piece in pieces]
    return [replace(p, album_splits=tuple(p.album_splits), quarters=q) for p, q in zip(pieces, quarters)]
