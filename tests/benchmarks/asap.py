"""(n)ASAP: performances of classical piano with annotated beats and downbeats, read from its zip.

Source: Foscarin et al., ISMIR 2020; Peter et al., TISMIR 6(1) 2023. Pieces are split by folder, never by performance.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.music.notes import Notes, read_midi  # noqa: E402

BEAT_LABELS = ("b", "db", "bR")  # beat, downbeat, beat of a passage without metre
MIN_BEATS = 8  # an annotation with fewer beats is a fragment
FOLDS = 12  # two of these folds are test, one is validation


@dataclass(frozen=True)
class AnnotatedPerformance:
    """One performance of (n)ASAP.

    Attributes
    ----------
    folder : the piece, COMPOSER/PIECE; the unit of the split
    member : path of the MIDI file in the archive
    split : "train", "validation" or "test"
    in_maestro_test : the performance is one of MAESTRO's test pieces; leave it out of training
    notes : Notes
    beats_s, downbeats_s : float64 (B,), (D,), seconds, increasing
    """

    folder: str
    member: str
    split: str
    in_maestro_test: bool
    notes: Notes
    beats_s: np.ndarray
    downbeats_s: np.ndarray


def split_of(folder: str) -> str:
    """The split of a piece: a function of its folder's name alone."""
    fold = int.from_bytes(hashlib.sha256(folder.encode()).digest()[:8], "big") % FOLDS
    return "test" if fold < 2 else "validation" if fold == 2 else "train"


def read_annotations(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Beats and downbeats, in seconds, of an annotation file's text: a line a beat, TIME, TIME, LABEL[,METRE,KEY]."""
    beats, downbeats = [], []
    for line in text.splitlines():
        columns = line.split("\t")
        label = columns[2].split(",")[0].strip() if len(columns) > 2 else ""
        if label in BEAT_LABELS:
            beats.append(float(columns[0]))
        if label == "db":
            downbeats.append(float(columns[0]))
    return np.unique(beats), np.unique(downbeats)


def read_asap(archive: Path, maestro_test: frozenset[str] = frozenset(), splits=("train", "validation", "test")):
    """Read the annotated performances of asap.zip.

    Parameters
    ----------
    archive : path of the zip
    maestro_test : members of MAESTRO's test split, YEAR/FILE.midi
    splits : the splits to read

    Returns
    -------
    list of AnnotatedPerformance, ordered by member
    """
    performances = []
    with zipfile.ZipFile(archive) as file:
        names = set(file.namelist())
        table = csv.DictReader(io.StringIO(file.read("metadata.csv").decode("utf-8")))
        in_maestro = {
            row["midi_performance"]: row["maestro_midi_performance"].removeprefix("{maestro}/") for row in table
        }
        for member in sorted(name for name in names if name.endswith(".mid")):
            folder, annotations = member.rpartition("/")[0], member.removesuffix(".mid") + "_annotations.txt"
            if annotations not in names or split_of(folder) not in splits:
                continue
            beats_s, downbeats_s = read_annotations(file.read(annotations).decode("utf-8"))
            if len(beats_s) < MIN_BEATS:
                continue
            hidden = in_maestro.get(member, "") in maestro_test
            notes = read_midi(file.read(member))
            performances.append(
                AnnotatedPerformance(folder, member, split_of(folder), hidden, notes, beats_s, downbeats_s)
            )
    return performances
