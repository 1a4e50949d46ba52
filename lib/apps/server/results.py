"""Results on disk: a folder a job, there whole or not at all."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shutil
import threading
import uuid
from pathlib import Path

from lib.apps.server.schemas import notes_as_rows, notes_from_rows
from lib.display.player import player_html
from lib.music.audio import render_audio, write_wav
from lib.music.hands import left_hand
from lib.music.metrics import describe
from lib.music.notes import write_midi
from lib.storage.atomic_write import atomic_write

KINDS = {"json": "application/json", "mid": "audio/midi", "wav": "audio/wav", "html": "text/html; charset=utf-8"}
WAITING = 8  # who may wait for sound to be made


class Busy(Exception):
    """Too many wait for the same thing."""


class Results:
    """Notes, chords and measures are written as JSON; MIDI, sound and page are made of it when first asked for, then kept.

    Parameters
    ----------
    folder : where the folders are
    soundfont : path of an .sf2, or None
    sound_bytes : see Limits
    """

    def __init__(self, folder, soundfont=None, sound_bytes=math.inf):
        self.folder, self.soundfont, self.sound_bytes = Path(folder), soundfont, sound_bytes
        self._making = threading.Lock()  # one at a time: the sound of minutes takes much memory
        self._seats = threading.BoundedSemaphore(WAITING)
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self.folder.glob("*.part"):
            shutil.rmtree(part, ignore_errors=True)

    def has(self, job_id):
        """Whether the result is there."""
        return (self.folder / job_id).is_dir()

    def write(self, job_id, values):
        """Keep a Solo as as_values gives it; of two results of one job the first stays."""
        part = self.folder / f"{job_id}.{uuid.uuid4().hex}.part"
        part.mkdir(parents=True)
        (part / "solo.json").write_text(json.dumps(values), encoding="utf-8")
        try:
            part.rename(self.folder / job_id)
        except OSError:  # it is there already
            shutil.rmtree(part)
            if not self.has(job_id):
                raise

    def path(self, job_id, kind):
        """Path of solo.KIND, made where need be; None: there is no such result. Busy where too many wait for theirs."""
        path = self.folder / job_id / f"solo.{kind}"
        if not path.exists() and self.has(job_id):
            if not self._seats.acquire(blocking=False):
                raise Busy
            try:
                with self._making:
                    if not path.exists():
                        self._make(path, kind)
                        self._make_room()
            finally:
                self._seats.release()
        return path if path.exists() else None

    def _make(self, path, kind):
        values = json.loads((path.parent / "solo.json").read_text(encoding="utf-8"))
        notes, chords, request = notes_from_rows(values["notes"], values["pedal"]), values["chords"], values["request"]
        tempo_bpm, beats_per_bar = request["tempo_bpm"], request["beats_per_bar"]
        if kind == "mid":
            write_midi(notes, path, tempo_bpm, chords, left_hand(notes), beats_per_bar, values["bars_from_s"])
        elif kind == "wav":
            write_wav(render_audio(notes, self.soundfont), path)
        else:
            page = player_html(notes, render_audio(notes, self.soundfont), "Solo", chords, tempo_bpm, beats_per_bar)
            with atomic_write(path) as partial:
                partial.write_text(page, encoding="utf-8", errors="replace")

    def _make_room(self):
        """Forget the sound that was made first, as far as there is too much of it."""
        paths = [path for kind in ("wav", "html") for path in self.folder.glob(f"*/solo.{kind}")]
        made = sorted(((path.stat(), path) for path in paths), key=lambda pair: pair[0].st_mtime_ns, reverse=True)
        for size, (_, path) in zip(itertools.accumulate(stat.st_size for stat, _ in made), made):
            if size > self.sound_bytes and path != made[0][1]:
                path.unlink(missing_ok=True)

    def remove(self, job_id):
        """Forget it."""
        shutil.rmtree(self.folder / job_id, ignore_errors=True)


def as_values(solo):
    """All of a Solo as plain values for JSON."""
    rows, pedal = notes_as_rows(solo.notes)
    return {"notes": rows, "pedal": pedal, "chords": [[float(time_s), symbol] for time_s, symbol in solo.chords],
            "begins_s": solo.begins_s, "ends_s": solo.ends_s, "bars_from_s": solo.bars_from_s,
            "request": dataclasses.asdict(solo.request), "rule_losses": solo.rule_losses,
            "measures": describe(solo.new_notes, solo.ends_s - solo.begins_s), "seconds": solo.seconds}  # fmt: skip
