"""What became of jobs: solos in generation.bulk's store; their sound and page are made whenever they are asked for."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lib.display.player import player_html
from lib.generation.bulk import SoloStore, facts_of
from lib.generation.solo import Solo
from lib.music.audio import render_audio, write_wav
from lib.music.notes import Notes

KINDS = {"json": "application/json", "mid": "audio/midi", "wav": "audio/wav", "html": "text/html; charset=utf-8"}


class Results:
    """Solos of a folder by the ids of their jobs; soundfont is the path of an .sf2, or None."""

    def __init__(self, folder: Path, soundfont: Path | None = None):
        self.store, self.soundfont = SoloStore(folder), soundfont

    def has(self, job_id: str) -> bool:
        """Whether the result is there."""
        return self.store.facts(job_id) is not None

    def write(self, job_id: str, values: Mapping) -> None:
        """Keep a Solo as as_values gives it; of two results of one job the first stays."""
        if not self.has(job_id):
            facts = {name: value for name, value in values.items() if name != "midi"}
            self.store.write(job_id, base64.b64decode(values["midi"]), facts)

    def read(self, job_id: str, kind: str) -> bytes | None:
        """The content of a result in one of KINDS; None where there is none."""
        if (facts := self.store.facts(job_id)) is None:
            return None
        if kind == "mid":
            return self.store.path(job_id).read_bytes()
        notes = self.store.notes(job_id)
        if kind == "json":
            return json.dumps({**notes_as_rows(notes), **facts}).encode()
        audio = render_audio(notes, self.soundfont)
        if kind == "wav":
            with tempfile.TemporaryDirectory() as folder:
                return write_wav(audio, Path(folder) / "solo.wav").read_bytes()
        tempo_map = self.store.tempo_map(job_id) if len(notes) else None
        return player_html(notes, audio, "Solo", facts["chords"], tempo_map).encode(errors="replace")


def as_values(solo: Solo) -> dict:
    """All of a Solo as plain values for JSON."""
    return {"midi": base64.b64encode(solo.midi()).decode(), **facts_of(solo), "seconds": solo.seconds}


def notes_as_rows(notes: Notes) -> dict[str, list]:
    """As clients read them: notes [onset_s, duration_s, pitch, velocity], pedal [down_s, up_s]."""
    columns = (notes.onset_s.round(4), notes.duration_s.round(4), notes.pitch, notes.velocity)
    rows = [list(row) for row in zip(*(column.tolist() for column in columns))]
    return {"notes": rows, "pedal": notes.pedal_s.round(4).tolist()}
