"""What became of jobs: solos in generation.bulk's store, and sound and pages that are made when asked for."""

from __future__ import annotations

import base64
import itertools
import math
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

from lib.apps.server.schemas import notes_as_rows
from lib.display.player import player_html
from lib.generation.bulk import SoloStore, facts_of
from lib.music.audio import render_audio, write_wav
from lib.storage.atomic_write import PARTIAL, atomic_write

KINDS = {"json": "application/json", "mid": "audio/midi", "wav": "audio/wav", "html": "text/html; charset=utf-8"}
WAITING = 8  # who may wait for sound to be made


class Busy(Exception):
    """Too many wait for the same thing."""


class Turns:
    """What is done one at a time: `with turns.taken():`; Busy where more than a few wait for it."""

    def __init__(self, waiting):
        self._seats, self._turn = threading.BoundedSemaphore(waiting), threading.Lock()

    @contextmanager
    def taken(self):
        """A block that has its turn."""
        if not self._seats.acquire(blocking=False):
            raise Busy
        try:
            with self._turn:
                yield
        finally:
            self._seats.release()


class Results:
    """Solos by the ids of their jobs; sound and page are made when first asked for, then kept.

    Parameters
    ----------
    folder : where the files are
    soundfont : path of an .sf2, or None
    sound_bytes : see Limits
    """

    def __init__(self, folder, soundfont=None, sound_bytes=math.inf):
        self.store, self.soundfont, self.sound_bytes = SoloStore(Path(folder)), soundfont, sound_bytes
        self._making = Turns(WAITING)  # the sound of minutes takes much memory
        for part in self.store.folder.glob(f"*{PARTIAL}"):
            part.unlink()

    def has(self, job_id):
        """Whether the result is there."""
        return self.store.facts(job_id) is not None

    def write(self, job_id, values):
        """Keep a Solo as as_values gives it; of two results of one job the first stays."""
        if not self.has(job_id):
            facts = {name: value for name, value in values.items() if name != "midi"}
            self.store.write(job_id, base64.b64decode(values["midi"]), facts)

    def values(self, job_id):
        """What a client reads of a solo: its notes and facts; None where there is no such result."""
        if (facts := self.store.facts(job_id)) is None:
            return None
        rows, pedal = notes_as_rows(self.store.notes(job_id))
        return {"notes": rows, "pedal": pedal, **facts}

    def path(self, job_id, kind):
        """Path of the .mid, .wav or .html, made where need be; None: there is no such result.

        Raises
        ------
        Busy : too many wait for theirs
        """
        path = self.store.path(job_id, f".{kind}")
        if not path.exists() and self.has(job_id):
            with self._making.taken():
                if not path.exists():
                    self._make(job_id, path)
                    self._make_room()
        return path if path.exists() else None

    def _make(self, job_id, path):
        notes = self.store.notes(job_id)
        audio = render_audio(notes, self.soundfont)
        if path.suffix == ".wav":
            return write_wav(audio, path)
        tempo_map = self.store.tempo_map(job_id) if len(notes) else None
        with atomic_write(path) as partial:
            page = player_html(notes, audio, "Solo", self.store.facts(job_id)["chords"], tempo_map)
            partial.write_text(page, encoding="utf-8", errors="replace")

    def _make_room(self):
        """Forget the sound that was made first, as far as there is too much of it."""
        paths = [path for kind in ("wav", "html") for path in self.store.folder.glob(f"*.{kind}")]
        made = sorted(((path.stat(), path) for path in paths), key=lambda pair: pair[0].st_mtime_ns, reverse=True)
        for size, (_, path) in zip(itertools.accumulate(stat.st_size for stat, _ in made), made):
            if size > self.sound_bytes and path != made[0][1]:
                path.unlink(missing_ok=True)

    def remove(self, job_id):
        """Forget it."""
        self.store.remove(job_id)
        shutil.rmtree(self.store.path(job_id, ""), ignore_errors=True)  # where earlier versions kept it


def as_values(solo):
    """All of a Solo as plain values for JSON."""
    return {"midi": base64.b64encode(solo.midi()).decode(), **facts_of(solo), "seconds": solo.seconds}
