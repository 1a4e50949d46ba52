"""Corpora: download, ingest, find beats, look."""

from __future__ import annotations

import dataclasses
import json
import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lib.apps.cli import DATA_DIR, DataDir, option
from lib.config import RELEASED

data_app = typer.Typer(no_args_is_help=True, help="Corpora: download, ingest, find beats, look.")


@data_app.command()
def download(
    name: str,
    data_dir: DataDir = DATA_DIR,
    url: Annotated[str | None, option("Another address of the archive.")] = None,
    sha256: Annotated[str | None, option("Its checksum.")] = None,
    metadata_url: Annotated[str | None, option("Another folder of PiJAMA's csv files.")] = None,
):
    """Fetch a corpus, such as maestro or pijama, from its official source; continues where it was cut."""
    from lib.data import download as downloads

    print(downloads.download(name, data_dir, url, sha256, metadata_url))


@data_app.command()
def ingest(
    name: Annotated[str, typer.Argument(help="maestro, pijama or a name of your own.")],
    data_dir: DataDir = DATA_DIR,
    archive: Annotated[Path | None, option("The corpus as a zip.")] = None,
    folder: Annotated[Path | None, option("Your MIDI: FOLDER/PIANIST/ALBUM/TITLE.mid.")] = None,
    metadata: Annotated[Path | None, option("Folder of the corpus's csv files.")] = None,
):
    """Turn MIDI files into one memory-mapped note store."""
    from lib.data import ingest as ingests

    report = ingests.ingest(name, data_dir, archive, folder, metadata)
    size = f"{report.pieces:,} pieces, {report.notes:,} notes, {report.hours:.1f} h"
    size = f"{size}, times in steps of {report.time_resolution_ms:g} ms"
    print(f"{report.name}: {size}, {len(report.skipped)} skipped, in {report.seconds:.1f} s")


@data_app.command()
def beats(
    name: str,
    data_dir: DataDir = DATA_DIR,
    processes: Annotated[int, option("How many track at once.", min=1)] = os.cpu_count() or 1,
    tracker: Annotated[Path, option("Weights of the beat tracker.")] = RELEASED / "beat_tracker.safetensors",
):
    """Find beats and bars: write a corpus's tempo maps beside its note store. Run again, it continues."""
    from lib.data.corpora import CORPORA, open_corpus
    from lib.data.tempo_maps import find_tempo_maps, open_tempo_maps
    from lib.models.beat_tracker import load_track
    from lib.music.tempo_map import BEATS_ONLY, IN_BARS

    store, steady = open_corpus(name, data_dir), name not in CORPORA or CORPORA[name].steady
    source = find_tempo_maps(store, partial(load_track, tracker, steady), processes)
    maps = open_tempo_maps(store)
    in_time_h, in_bars_h = (
        sum(tempo_map.seconds_of(*kinds) for tempo_map in maps) / 3600 for kinds in ((BEATS_ONLY, IN_BARS), (IN_BARS,))
    )
    print(f"{name}: {len(maps):,} tempo maps ({source}), {in_time_h:.1f} h in time, {in_bars_h:.1f} h in bars")


@data_app.command()
def look(
    midi: Annotated[Path, typer.Argument(help="A MIDI file.")],
    as_json: Annotated[bool, option("All of it as JSON.", "--json")] = False,
):
    """Say what is read of a MIDI file: notes, pedal, tempo, metre, and what is left out."""
    from lib.music import notes as midis

    notes, left_out = midis.look(midi)
    tempo, metres = midis.read_tempo(midi, at_s=0.0), midis.read_metres(midi)
    metre, pedal_s = "{}/{}".format(*metres[0][1:]), notes.pedal_s.round(4).tolist()
    if as_json:
        columns = (notes.pitch, notes.onset_s.round(4), notes.duration_s.round(4), notes.velocity)
        names = ("pitch", "onset_s", "duration_s", "velocity")
        columns = (column.tolist() for column in columns)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        facts = {"notes": rows, "pedal_s": pedal_s, "tempo": tempo, "metre": metre}
        print(json.dumps({**facts, "left_out": [dataclasses.asdict(row) for row in left_out]}))
        return
    print(f"{midi}: {len(notes):,} notes in {notes.end_s:.1f} s, {len(pedal_s)} times the pedal")
    changes = f", {len(metres) - 1} changes" * (len(metres) > 1)
    print(f"tempo {f'{tempo:g} quarters a minute' if tempo else 'not given (120)'}, metre {metre}{changes}")
    for row in left_out:
        print(f"{row.what}: {row.count} ({row.reason})")


@data_app.command()
def summary(
    name: str,
    data_dir: DataDir = DATA_DIR,
    pianist: Annotated[str | None, option("Only this pianist's solo pieces.")] = None,
):
    """Pieces, hours, notes, pianists and splits of a corpus, as JSON."""
    from lib.data import corpora

    print(json.dumps(corpora.summary(name, data_dir, pianist), indent=1, ensure_ascii=False))


@data_app.command()
def demo(data_dir: DataDir = DATA_DIR):
    """Ingest the demo corpus that comes with the suite: jazz piano by a seeded program."""
    from lib.data.prepare import prepare

    print(f"demo: {len(prepare(['demo'], data_dir)['demo'].pieces)} pieces")
