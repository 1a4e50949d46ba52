"""The known corpora, one row each; opens the note store of any corpus, summarises it, and selects pieces.

To add a corpus, add a row to CORPORA, and a reader in metadata.py where its tables are of a new kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib import config as configs
from lib.config import ROOT, nearest
from lib.data import metadata
from lib.data.note_store import SPLITS, STORE_NAME, CorpusError, NoteStore, Piece, resolution_ms
from lib.data.splits import BENCHMARK_NAMES, split_benchmark, split_folder

PIJAMA_COMMIT = "8498db56dc1dc69eaa58ec7807c5806ed5f06ed3"
PIJAMA_TABLES_URL = f"https://raw.githubusercontent.com/almostimplemented/PiJAMA/{PIJAMA_COMMIT}"
SHOWN_PIANISTS = 10


@dataclass(frozen=True)
class Source:
    """One published file.

    Attributes
    ----------
    name : what it is called here
    url : its address
    checksum : "sha256:...", "md5:..."; "": see record, else not checked
    record : address of a JSON record that knows the checksum, for a file whose checksum is not known before
    """

    name: str
    url: str
    checksum: str = ""
    record: str = ""


@dataclass(frozen=True)
class Corpus:
    """A corpus that the suite knows by name.

    Attributes
    ----------
    name : its folder in the data folder, and its name in configs
    title : who made it, and its licence, as a model card says it
    licence : by its name on the Hugging Face hub; None: free of any
    sources : what to download: the zip of MIDI files, then tables that are not in it
    store_bytes : size of its note store
    tables : file names of its metadata, from the sources or in the zip
    read_tables : ({file name: bytes}) -> its pieces as the tables list them; None without tables
    path_parts : how many parts of a path, from its end, name a piece in the tables (2018/x.midi: 2)
    describe : (corpus's name, path) -> Piece, of a file that the tables don't list
    split : (pieces) -> the same pieces, each with its split
    steady : False where the tempo follows the player, as in classical music
    """

    name: str
    title: str
    licence: str | None
    sources: tuple[Source, ...]
    store_bytes: float
    tables: tuple[str, ...] = ()
    read_tables: Callable[[dict[str, bytes]], list[Piece]] | None = None
    path_parts: int = 0
    describe: Callable[[str, str], Piece] = metadata.piece_from_folders
    split: Callable[[list[Piece]], list[Piece]] = split_folder
    steady: bool = True


_ROWS = (
    Corpus(
        name="demo",
        title="the suite's demo corpus, written by a program, free of any licence",
        licence=None,
        sources=(
            Source(
                "demo_corpus.zip",
                (ROOT / "data" / "demo_corpus.zip").as_uri(),  # written by tests/data/demo_corpus
                "sha256:d99a8b296a0c8343848d290f32a928eff858000c844278b4504c335dac37f1cf",
            ),
        ),
        store_bytes=0.37e6,
    ),
    Corpus(
        name="maestro",
        title="MAESTRO v3.0.0 (Hawthorne et al., ICLR 2019), CC BY-NC-SA 4.0",
        licence="cc-by-nc-sa-4.0",
        sources=(
            Source(
                "maestro-v3.0.0-midi.zip",
                "https://storage.googleapis.com/magentadata/datasets/maestro/v3.0.0/maestro-v3.0.0-midi.zip",
                "sha256:70470ee253295c8d2c71e6d9d4a815189e35c89624b76d22fce5a019d5dde12c",
            ),
        ),
        store_bytes=61.2e6,
        tables=(metadata.MAESTRO_TABLE,),
        read_tables=metadata.read_maestro,
        path_parts=2,
        describe=metadata.piece_from_name,
        split=list,  # the tables say it
        steady=False,
    ),
    Corpus(
        name="pijama",
        title="PiJAMA (Edwards, Dixon, Benetos, TISMIR 6(1) 2023), CC BY-NC",
        licence="cc-by-nc-4.0",
        sources=(
            Source(
                "midi_kong.zip",
                "https://zenodo.org/records/8354955/files/midi_kong.zip?download=1",
                record="https://zenodo.org/api/records/8354955",
            ),
            Source(
                metadata.PIJAMA_TABLE,
                f"{PIJAMA_TABLES_URL}/{metadata.PIJAMA_TABLE}",
                "sha256:bbd3f5ae19c146c9f3e255781e400077b1a56f6459cf4245b1b349ee405fa55d",
            ),
            Source(
                metadata.BENCHMARK_TABLE,
                f"{PIJAMA_TABLES_URL}/{metadata.BENCHMARK_TABLE}",
                "sha256:ed110756598741b2e718c1e8ab1c4453171ba41fb6f811aaee926d7f84ede6dd",
            ),
        ),
        store_bytes=62.9e6,
        tables=(metadata.PIJAMA_TABLE, metadata.BENCHMARK_TABLE),
        read_tables=metadata.read_pijama,
        path_parts=metadata.PIJAMA_PATH_PARTS,
        describe=metadata.piece_from_last_folders,
        split=split_benchmark,
    ),
)
CORPORA: dict[str, Corpus] = {corpus.name: corpus for corpus in _ROWS}


def open_corpus(name: str, data_dir: Any) -> NoteStore:
    """Note store of a corpus; CorpusError naming what is there where it has not been ingested."""
    path = Path(data_dir) / name / STORE_NAME
    if not path.exists():
        names = [store.parent.name for store in sorted(Path(data_dir).glob(f"*/{STORE_NAME}"))]
        valid = nearest(name, names) if names else f" No corpus has been ingested into {data_dir} yet."
        raise CorpusError(f"There is no corpus {name!r} in {data_dir}.{valid} {_way_to(name, data_dir)}")
    return NoteStore.open(path)


def _way_to(name, data_dir):
    if name in CORPORA:
        command = "python -m lib data {} " + f"{name} --data-dir {data_dir}"
        return f"Fetch it: {command.format('download')} && {command.format('ingest')}"
    return f"Your own MIDI: python -m lib data ingest {name} --folder FOLDER --data-dir {data_dir}"


def summary(name: str, data_dir: Any, pianist: str | None = None) -> dict:
    """What is in a corpus.

    Returns
    -------
    dict : name, time_resolution_ms, pieces, hours, notes, pianists, longest (pianist -> hours, the first ten), splits
        (split -> pieces, hours, notes), duets; with `pianist`, of that pianist's solo pieces alone
    """
    store = open_corpus(name, data_dir)
    spelling = store.find_pianist(pianist) if pianist else None
    pieces = [store.pieces[i] for i in store.select(pianist=spelling, duets=spelling is None)]
    hours = Counter()
    for piece in pieces:
        hours[piece.pianist] += piece.seconds / 3600
    del hours[""]
    return {
        "name": name,
        "time_resolution_ms": resolution_ms(store),
        **_totals(pieces),
        "pianists": len(hours),
        "duets": sum(piece.duet for piece in pieces),
        "longest": {name: round(value, 2) for name, value in hours.most_common(SHOWN_PIANISTS)},
        "splits": {split: _totals([piece for piece in pieces if piece.split == split]) for split in SPLITS},
    }


def _totals(pieces):
    hours = sum(piece.seconds for piece in pieces) / 3600
    return {"pieces": len(pieces), "hours": round(hours, 2), "notes": sum(piece.num_notes for piece in pieces)}


# --- Which pieces a stage trains on ------------------------------------------------------------------------------


def gather_pieces(config: Any, data_dir: Any, split: str, pianist: str | None = None) -> list[tuple[NoteStore, int]]:
    """[(store, piece index)] of a config's corpora.

    Raises
    ------
    CorpusError : a corpus is not there; ConfigError : nobody of that name plays in them
    """
    stores = [open_corpus(name, data_dir) for name in config.corpora]
    if pianist is not None:
        configs.choose("pianist", pianist, {piece.pianist for store in stores for piece in store.pieces})
    return [(s, i) for s in stores for i in s.select(pianist=pianist, split=split, duets=pianist is None)]


def gather_labelled(config: Any, data_dir: Any, split: str) -> list[tuple[NoteStore, int]]:
    """[(store, piece index)] by known pianists playing alone; a corpus with a benchmark split gives that alone."""
    labelled = []
    for store in (open_corpus(name, data_dir) for name in config.corpora):
        pieces = [(i, store.pieces[i]) for i in store.select(duets=False) if store.pieces[i].pianist]
        benchmark = [(i, piece) for i, piece in pieces if piece.album_splits]
        if config.benchmark == "none" or not benchmark:
            labelled += [(store, i) for i, piece in pieces if piece.split == split]
        else:
            labelled += [(store, i) for i, piece in benchmark if benchmark_split(piece, config.benchmark) == split]
    return labelled


def benchmark_split(piece: Piece, name: str) -> str:
    """train, validation or test, by one of PiJAMA's benchmark splits: album_0, album_1, album_2, song."""
    return BENCHMARK_NAMES[piece.song_split if name == "song" else piece.album_splits[int(name[-1])]]


def in_published_test(piece: Piece) -> bool:
    """Whether its corpus's tables test on it: the benchmark's first album split where it has the piece, else theirs.

    Our `split` is by album and differs from PiJAMA's own, which is by song; the codec keeps clear of both tests.
    """
    return (piece.album_splits[0] if piece.album_splits else piece.official_split) == "test"


def pianists_of(pieces: list[tuple[NoteStore, int]]) -> list[str]:
    """The pianist of each piece, "" where unknown."""
    return [store.pieces[i].pianist for store, i in pieces]
