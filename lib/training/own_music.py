"""Training on the user's own MIDI: ingests a folder, finds its beats, and adds it to a stage's config."""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from pathlib import Path

from lib.config import RELEASED, StageConfig, stage_of
from lib.data.corpora import open_corpus
from lib.data.ingest import MidiFolder, ingest_source
from lib.data.tempo_maps import find_tempo_maps
from lib.models.beat_tracker import load_track


def ingest_own(folder: Path | str, data_dir: Path | str, pianist: str = "") -> str:
    """Make a folder of MIDI a corpus, with tempo maps.

    Parameters
    ----------
    folder : of MIDI files; PIANIST/ALBUM/TITLE.mid, where several play
    data_dir : of note stores
    pianist : who plays all of it; "": the folders in it say

    Returns
    -------
    str : the corpus's name, "own-" and that of the folder

    Raises
    ------
    CorpusError : there is no such folder, or no music in it
    """
    folder = Path(folder).expanduser().resolve()
    report = ingest_source(f"own-{folder.name}", data_dir, MidiFolder(folder), pianist=pianist)
    print(f"{report.name}: {report.pieces:,} pieces, {report.hours:.2f} h, {len(report.skipped)} skipped")
    load = partial(load_track, RELEASED / "beat_tracker.safetensors", True)
    find_tempo_maps(open_corpus(report.name, data_dir), load, os.cpu_count() or 1)
    return report.name


def with_own_music(config: StageConfig, folder: Path | str, data_dir: Path | str, pianist: str = "") -> StageConfig:
    """A config that trains on a folder of MIDI too; of fine_tune: on that alone, all played by one pianist.

    Parameters
    ----------
    folder, data_dir : of ingest_own; an empty folder changes nothing
    pianist : of fine_tune: who plays; "": the folder's name
    """
    if not folder:
        return config
    if stage_of(config) != "fine_tune":
        name = ingest_own(folder, data_dir)
        others = [corpus for corpus in config.corpora if corpus != name]
        return dataclasses.replace(config, corpora=(*others, name))
    pianist = pianist or Path(folder).expanduser().resolve().name
    return dataclasses.replace(config, corpora=(ingest_own(folder, data_dir, pianist),), pianist=pianist)
