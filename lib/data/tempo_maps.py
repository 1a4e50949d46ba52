"""Tempo maps of a corpus in one file beside its note store: beats in 0.1 ms, bars as a table.

A compressed npz: `members` (P,), how many beats and bars each has, the gaps between beats (uint16, each piece's first
beat in `first_tick`), and the bars. About 1 MB for 1,000 recordings.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lib.data.note_store import CorpusError, NoteStore
from lib.music.notes import Notes
from lib.music.tempo_map import BAR, TempoMap
from lib.storage.atomic_write import atomic_write

TICKS_PER_S = 10_000
MAX_GAP_TICKS = np.iinfo(np.uint16).max  # 6.5 s between beats
COLUMNS = ("members", "num_beats", "num_bars", "first_tick", "gap_ticks", "bars")


def write_tempo_maps(path: Path, maps: dict[str, TempoMap]) -> None:
    """Write the maps of a corpus, by member; the file at path is replaced whole, or not at all.

    Raises
    ------
    CorpusError : two beats of a map lie more than 6.5 s apart
    """
    ticks = [np.rint(tempo_map.beats_s * TICKS_PER_S).astype(np.int64) for tempo_map in maps.values()]
    gaps = np.concatenate([np.diff(each) for each in ticks]) if ticks else np.zeros(0, dtype=np.int64)
    for member, each in zip(maps, ticks):
        if np.diff(each).max() > MAX_GAP_TICKS or np.diff(each).min() <= 0:
            raise CorpusError(f"{member}: beats of its tempo map lie less than 0.1 ms or more than 6.5 s apart; track it again")
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        members=np.array(list(maps), dtype=np.str_),
        num_beats=np.array([len(each) for each in ticks], dtype=np.int32),
        num_bars=np.array([len(tempo_map.bars) for tempo_map in maps.values()], dtype=np.int32),
        first_tick=np.array([each[0] for each in ticks], dtype=np.int64),
        gap_ticks=gaps.astype(np.uint16),
        bars=np.concatenate([tempo_map.bars for tempo_map in maps.values()]) if maps else np.zeros(0, dtype=BAR),
    )
    with atomic_write(path) as partial:
        partial.write_bytes(buffer.getvalue())


def read_tempo_maps(path: Path) -> dict[str, TempoMap]:
    """The maps that `write_tempo_maps` wrote, by member.

    Raises
    ------
    CorpusError : there is no such file, or it holds no tempo maps
    """
    if not Path(path).exists():
        raise CorpusError(f"{path}: no tempo maps; write them with: python -m lib data beats CORPUS")
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
            members, num_beats, num_bars, first_tick, gaps, bars = (file[name] for name in COLUMNS)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{path}: not a file of tempo maps ({error}); delete it and write it again") from error
    maps, gap, bar = {}, 0, 0
    for member, beats, count, first in zip(members, num_beats, num_bars, first_tick):
        ticks = first + np.r_[0, np.cumsum(gaps[gap : gap + beats - 1], dtype=np.int64)]
        maps[str(member)] = TempoMap(ticks / TICKS_PER_S, bars[bar : bar + count])
        gap, bar = gap + beats - 1, bar + count
    return maps


def track_corpus(store: NoteStore, track: Callable[[Notes], TempoMap], report: Callable[[int, int], None] | None = None):
    """{member: TempoMap} of every piece of a store, covering it from its start to its end.

    `track` makes the map of one performance; `report` is called with (pieces done, pieces) after each.
    """
    maps = {}
    for index, piece in enumerate(store.pieces):
        notes = store.piece_notes(index)
        maps[piece.member] = track(notes).covering(0.0, max(notes.end_s, piece.end_s))
        if report is not None:
            report(index + 1, len(store.pieces))
    return maps


FILE_NAME = "tempo_maps.npz"  # beside the note store


def tempo_maps_of(pieces: list) -> list[TempoMap]:
    """The tempo map of each piece, [(store, piece index)].

    Raises
    ------
    CorpusError : a corpus has no maps, or none of a piece
    """
    known, maps = {}, []
    for store, index in pieces:
        path, member = store.path.parent / FILE_NAME, store.pieces[index].member
        if path not in known:
            known[path] = read_tempo_maps(path)
        if member not in known[path]:
            raise CorpusError(f"{path}: no tempo map of {member}; write them with: python -m lib data beats {path.parent.name}")
        maps.append(known[path][member])
    return maps
