"""Tempo maps of a corpus in one file beside its note store: released ones where they fit, tracked here otherwise.

A compressed npz: the fingerprint of the store's notes; the number of beats and bars of each piece (P,), in the store's
order; when its first beat begins and the gaps between the others, in 0.1 ms; the columns of the bars.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from lib.config import RELEASED
from lib.data.note_store import CorpusError, NoteStore
from lib.music.notes import Notes
from lib.music.tempo_map import BAR, TempoMap
from lib.progress import progress_bar
from lib.storage.atomic_write import write_bytes

MAPS_NAME = "tempo_maps.npz"  # beside the note store
PARTS_NAME = ".tempo_maps"  # folder of what is tracked so far
TICKS_PER_S = 10_000
MAX_GAP_TICKS = np.iinfo(np.uint16).max  # 6.5 s between beats
CONFIDENCE_STEPS = 100  # a nat
PART_PIECES = 32
BAR_COLUMNS = ("kind", "beats", "numerator", "denominator", "felt")
Track = Callable[[Notes, "np.ndarray | None"], TempoMap]


def store_fingerprint(store: NoteStore) -> str:
    """Hash of a store's notes, 16 hexadecimal digits; its table may change."""
    return hashlib.sha256(store.notes).hexdigest()[:16]


def write_tempo_maps(path: Path | str, maps: list[TempoMap], fingerprint: str) -> None:
    """Write the maps of a store's pieces; the file at path is replaced whole, or not at all.

    Beats are rounded to 0.1 ms, confidence to 0.01 nats, at most 2.55.

    Raises
    ------
    CorpusError : two beats of a map lie more than 6.5 s apart
    """
    ticks = [np.rint(tempo_map.beats_s * TICKS_PER_S).astype(np.int64) for tempo_map in maps]
    gaps = np.concatenate([np.zeros(0, dtype=np.int64), *map(np.diff, ticks)])
    if len(gaps) and not (gaps.min() > 0 and gaps.max() <= MAX_GAP_TICKS):
        raise CorpusError(f"{path}: beats less than 0.1 ms or more than 6.5 s apart; track the corpus again")
    bars = np.concatenate([np.zeros(0, dtype=BAR), *(tempo_map.bars for tempo_map in maps)])
    columns = {
        "num_beats": np.array([len(each) for each in ticks], dtype=np.int32),
        "num_bars": np.array([len(tempo_map.bars) for tempo_map in maps], dtype=np.int32),
        "first_tick": np.array([each[0] for each in ticks], dtype=np.int64),
        "gaps": gaps.astype(np.uint16),
        "confidence": np.rint(np.clip(bars["confidence"] * CONFIDENCE_STEPS, 0, 255)).astype(np.uint8),
        **{name: bars[name] for name in BAR_COLUMNS},
    }
    file = io.BytesIO()
    np.savez_compressed(file, fingerprint=np.array(fingerprint), **columns)
    write_bytes(path, file.getvalue(), unique=True)


def read_tempo_maps(path: Path | str, fingerprint: str) -> list[TempoMap]:
    """The maps that `write_tempo_maps` wrote, in the store's order.

    Raises
    ------
    CorpusError : there is no such file, it holds no tempo maps, or those of other notes
    """
    if not Path(path).exists():
        raise CorpusError(f"{path}: no tempo maps; write them with: python -m lib data beats CORPUS")
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
        num_beats, num_bars = columns["num_beats"], columns["num_bars"]
        first_ticks, gaps = columns["first_tick"], np.split(columns["gaps"], np.cumsum(num_beats - 1)[:-1])
        bars = np.zeros(int(num_bars.sum()), dtype=BAR)
        bars["confidence"] = columns["confidence"] / CONFIDENCE_STEPS
        for name in BAR_COLUMNS:
            bars[name] = columns[name]
        written_for = str(columns["fingerprint"])
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{path}: not a file of tempo maps ({error}); delete it and write it again") from error
    if written_for != fingerprint:
        raise CorpusError(f"{path}: tempo maps of other notes; write them again: python -m lib data beats CORPUS")
    maps = []
    for first, gap, own in zip(first_ticks, gaps, np.split(bars, np.cumsum(num_bars)[:-1])):
        own["start"] = np.cumsum(own["beats"]) - own["beats"]
        maps.append(TempoMap(np.cumsum([first, *gap.astype(np.int64)]) / TICKS_PER_S, own))
    return maps


def open_tempo_maps(store: NoteStore) -> list[TempoMap]:
    """The maps of a store's pieces: those beside it, else the released ones; CorpusError where none fit."""
    path, fingerprint = store.path.parent / MAPS_NAME, store_fingerprint(store)
    try:
        return read_tempo_maps(path, fingerprint)
    except CorpusError:
        if not take_released_maps(store):
            raise
        return read_tempo_maps(path, fingerprint)


def take_released_maps(store: NoteStore, released: Path | None = None) -> str | None:
    """Make sure of maps beside a note store without tracking: "there", "released" (copied), or None: none fit.

    Parameters
    ----------
    released : maps that may fit; by default the ones of the corpus's name in data/released
    """
    folder, fingerprint = store.path.parent, store_fingerprint(store)
    released = released or RELEASED / f"tempo_maps_{folder.name}.npz"
    for path, source in ((folder / MAPS_NAME, "there"), (released, "released")):
        try:
            maps = read_tempo_maps(path, fingerprint)
        except CorpusError:
            continue
        if source != "there":
            write_tempo_maps(folder / MAPS_NAME, maps, fingerprint)
        return source
    return None


def find_tempo_maps(
    store: NoteStore, load_track: Callable[[], Track], processes: int = 1, released: Path | None = None
) -> str:
    """Write the maps of all pieces beside their note store, unless they are there: "there", "released" or "tracked".

    Parameters
    ----------
    store : NoteStore
    load_track : gives a function that makes the map of a performance, told its file's own beats (seconds, or None);
        called in each process, so it can be pickled
    processes : how many track at once; what they finish is kept when they are stopped
    released : as for `take_released_maps`
    """
    if source := take_released_maps(store, released):
        return source
    folder, fingerprint = store.path.parent, store_fingerprint(store)
    parts = folder / PARTS_NAME
    firsts = range(0, len(store), PART_PIECES)
    paths = [parts / f"{fingerprint}-{first:05d}.npz" for first in firsts]
    missing = [(first, path) for first, path in zip(firsts, paths) if not path.exists()]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        jobs = [pool.submit(_track_part, store, first, path, load_track, fingerprint) for first, path in missing]
        for job in progress_bar(as_completed(jobs), total=len(jobs), desc=f"beats {folder.name}", unit="part"):
            job.result()
    maps = [tempo_map for path in paths for tempo_map in read_tempo_maps(path, fingerprint)]
    write_tempo_maps(folder / MAPS_NAME, maps, fingerprint)
    shutil.rmtree(parts)
    return "tracked"


def _track_part(store, first, path, load_track, fingerprint):
    """Track PART_PIECES pieces from one on, and write their maps, each covering its piece from start to end."""
    track, maps = load_track(), []
    for index in range(first, min(first + PART_PIECES, len(store))):
        notes, piece = store.piece_notes(index), store.pieces[index]
        own_beats_s = None if piece.quarters_s is None else piece.quarters_s - piece.start_s
        maps.append(track(notes, own_beats_s).covering(0.0, max(notes.end_s, piece.seconds)))
    write_tempo_maps(path, maps, fingerprint)


def tempo_maps_of(pieces: list[tuple[NoteStore, int]]) -> list[TempoMap]:
    """The map of each of (note store, piece index); CorpusError where a store has none that fit."""
    stores = {store.path: store for store, _ in pieces}
    maps = {path: open_tempo_maps(store) for path, store in stores.items()}
    return [maps[store.path][index] for store, index in pieces]
