"""Corpora in one small file: 10 ms ticks, bytes split into low and high, xz over npz.

Half a gigabyte of MIDI, unpacked, becomes some 36 MiB: what is copied to Drive, and what a machine without the archives
gets. Times lose at most 5 ms; everything else is kept. The format is described in data/README.md.
"""

from __future__ import annotations

import io
import json
import lzma
from dataclasses import replace

import numpy as np

from lib.data.metadata import is_duet, piece_from_path
from lib.data.note_store import (
    DURATION_TICKS_PER_S,
    MAX_DURATION_S,
    NOTE,
    ONSET_TICKS_PER_S,
    PEDAL,
    CorpusError,
    Piece,
    replace_file,
)
from lib.data.splits import BENCHMARK_NAMES

TICKS_PER_S = 100
LONGEST = 65535  # ticks that 16 bits hold: 655 s; a longer pause, note or pedal is cut to that
COLUMNS = ("onset_delta", "duration", "pedal_on_delta", "pedal_length")
PRESET = 6  # of xz; 9 gains nothing here and takes longer


def pack_stores(stores, path):
    """Write the pieces of several stores into one file.

    Parameters
    ----------
    stores : list of NoteStore
    path : where to

    Returns
    -------
    Path
    """
    columns = {name: [] for name in (*COLUMNS, "pitch", "velocity")}
    pieces = []
    for store in stores:
        for index, piece in enumerate(store.pieces):
            rows, pedals = store.rows(index)
            for name, values in _columns_of(rows, pedals).items():
                columns[name].append(values)
            pieces.append(_as_record(piece))
    arrays = {}
    for name in COLUMNS:
        values = _joined(columns[name])
        arrays[f"{name}_lo"], arrays[f"{name}_hi"] = (values & 255).astype(np.uint8), (values >> 8).astype(np.uint8)
    arrays |= {name: _joined(columns[name]).astype(np.uint8) for name in ("pitch", "velocity")}
    arrays["pieces_json"] = np.frombuffer(json.dumps(pieces, ensure_ascii=False).encode(), np.uint8)
    plain = io.BytesIO()
    np.savez(plain, **arrays)
    return replace_file(path, [lzma.compress(plain.getbuffer(), preset=PRESET)])


def _joined(values):
    return np.concatenate(values) if values else np.zeros(0, np.int64)


def _columns_of(rows, pedals):
    """A piece's columns in ticks of 10 ms."""
    onset = _ticks(rows["onset"], ONSET_TICKS_PER_S)
    pedal_on = _ticks(pedals["onset"], ONSET_TICKS_PER_S)
    pedal_up = _ticks(pedals["onset"].astype(np.int64) + pedals["length"], ONSET_TICKS_PER_S)
    return {
        "onset_delta": np.diff(onset, prepend=0).clip(0, LONGEST),
        "duration": _ticks(rows["duration"], DURATION_TICKS_PER_S).clip(1, LONGEST),
        "pitch": rows["pitch"],
        "velocity": rows["velocity"],
        "pedal_on_delta": np.diff(pedal_on, prepend=0).clip(0, LONGEST),
        "pedal_length": (pedal_up - pedal_on).clip(1, LONGEST),
    }


def _ticks(values, per_s):
    return np.rint(values.astype(np.int64) * (TICKS_PER_S / per_s)).astype(np.int64)


def _as_record(piece):
    record = {
        "corpus": piece.corpus,
        "member": piece.member,
        "notes": piece.num_notes,
        "pedals": piece.num_pedals,
        "who": piece.pianist or piece.composer,
        "split": piece.official_split or piece.split,
        "start_s": piece.start_s,
        "end_s": piece.end_s,
        "title": piece.title,
        "exact": True,  # start_s and end_s are the bounds themselves, not a table's whole seconds
    }
    if piece.pianist:
        own = {"album_splits": list(piece.album_splits) or None, "song_split": piece.song_split or None}
        record |= {"album": piece.album, "duet": piece.duet, **own}
    return record


def read_packed(path, name=None):
    """The corpora of a packed file.

    Parameters
    ----------
    path : a file that pack_stores wrote
    name : only this corpus; None: all

    Returns
    -------
    dict : corpus -> list of (Piece, (NOTE rows, PEDAL rows), whether the bounds are exact), split as the file says

    Raises
    ------
    CorpusError : not such a file, or damaged
    """
    try:
        with lzma.open(path) as file:
            data = np.load(io.BytesIO(file.read()), allow_pickle=False)
            data = {key: data[key] for key in data.files}
        records = json.loads(data["pieces_json"].tobytes())
        columns = {key: data[f"{key}_lo"] + 256 * data[f"{key}_hi"].astype(np.uint32) for key in COLUMNS}
        _check_lengths(columns, data, records)
    except FileNotFoundError:
        raise CorpusError(f"there is no packed file at {path}") from None
    except (lzma.LZMAError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path} is not a packed corpus, or is damaged: {error}") from error
    return _unpack(records, columns, data, name)


def _check_lengths(columns, data, records):
    counts = {"onset_delta": "notes", "duration": "notes", "pedal_on_delta": "pedals", "pedal_length": "pedals"}
    for column, count in counts.items():
        if len(columns[column]) != sum(record[count] for record in records):
            raise ValueError(f"{column} has {len(columns[column])} rows, not as many as the pieces have")
    if not len(data["pitch"]) == len(data["velocity"]) == len(columns["duration"]):
        raise ValueError("pitches, velocities and durations differ in number")


def _unpack(records, columns, data, name):
    corpora, note, pedal = {}, 0, 0
    for record in records:
        notes, pedals = slice(note, note + record["notes"]), slice(pedal, pedal + record["pedals"])
        note, pedal = notes.stop, pedals.stop
        if name is None or record["corpus"] == name:
            rows = _rows(columns, data, notes, pedals)
            exact = bool(record.get("exact"))
            corpora.setdefault(record["corpus"], []).append((_as_piece(record), rows, exact))
    return corpora


def _rows(columns, data, notes, pedals):
    rows, held = np.zeros(notes.stop - notes.start, NOTE), np.zeros(pedals.stop - pedals.start, PEDAL)
    scale = ONSET_TICKS_PER_S // TICKS_PER_S
    rows["onset"] = np.cumsum(columns["onset_delta"][notes], dtype=np.int64) * scale
    longest = int(MAX_DURATION_S * DURATION_TICKS_PER_S)
    ticks = columns["duration"][notes].astype(np.int64) * (DURATION_TICKS_PER_S // TICKS_PER_S)
    rows["duration"] = ticks.clip(1, longest)
    rows["pitch"], rows["velocity"] = data["pitch"][notes], data["velocity"][notes]
    held["onset"] = np.cumsum(columns["pedal_on_delta"][pedals], dtype=np.int64) * scale
    held["length"] = columns["pedal_length"][pedals] * scale
    return rows[np.lexsort((rows["pitch"], rows["onset"]))], held


def _as_piece(record):
    corpus, member, who = record["corpus"], record["member"], record["who"]
    piece = piece_from_path(corpus, member)
    if corpus == "maestro":
        piece = Piece(corpus, member, composer=who, title=piece.title)
    album = record.get("album") or ""
    if corpus != "maestro":
        piece = replace(piece, pianist=who, album=album, duet=record.get("duet", is_duet(who, album)))
    split = BENCHMARK_NAMES[record["split"]]
    return replace(
        piece,
        title=record.get("title") or piece.title,
        split=split,
        official_split=record["split"],
        song_split=record.get("song_split") or "",
        album_splits=tuple(record.get("album_splits") or ()),
        start_s=float(record["start_s"]),
        end_s=float(record["end_s"]),
    )
