"""What a server plays with: the improviser, the classifier, the jobs, the worker; without a word of HTTP."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lib import config as configs
from lib.apps.server.jobs import Jobs
from lib.apps.server.limits import Limits
from lib.apps.server.metrics import Metrics
from lib.apps.server.results import Results, Turns
from lib.apps.server.schemas import check_notes, check_performance, notes_as_rows
from lib.apps.server.worker import Worker
from lib.checkpoints.run_dependencies import locate
from lib.devices import choose_device
from lib.generation.generate import load_improviser
from lib.generation.reconstruct import codec_round_trip
from lib.music.metrics import note_f1
from lib.music.notes import read_piano, read_tempo, to_midi
from lib.style.gallery import GALLERY, load_classifier
from lib.style.identification import identify

NEVER = 2**31
WAITING = 4  # who may wait to be identified or reconstructed


class Service:
    """All of it, loaded.

    Parameters
    ----------
    folder : of jobs and results
    run, released, device, styles_dir : as load_improviser takes them
    limits : Limits
    soundfont : path of an .sf2, or None
    queue : None: jobs are played here; or redis://HOST:PORT/NUMBER: by workers, see redis_queue
    """

    def __init__(
        self, folder, run=None, released=False, device="auto", styles_dir=None, limits=None, soundfont=None, queue=None
    ):
        self.limits = limits or Limits()
        # what workers play is not to blame where the server is killed
        self.jobs = Jobs(folder, self.limits if queue is None else dataclasses.replace(self.limits, tries=NEVER))
        self.results = Results(Path(folder) / "results", soundfont, self.limits.sound_bytes)
        self.metrics = Metrics(self.jobs)
        self.improviser = load_improviser(run, released, device, styles_dir)
        home = configs.RELEASED if released or not (locate(run) / GALLERY).exists() else run
        self.classifier, self.gallery = load_classifier(home, choose_device(device))
        self.worker = self._worker(queue)
        self._listening = Turns(WAITING)

    def _worker(self, queue):
        if queue is None:
            return Worker(self.jobs, self.results, self.improviser, self.metrics)
        from lib.apps.server.redis_queue import Dispatcher

        return Dispatcher(self.jobs, self.results, self.metrics, queue)

    def open(self):
        """Begin to play."""
        self.worker.start()

    def close(self):
        """End; what was being played is played at the next start."""
        if self.worker.is_alive():
            self.worker.stop()
        self.jobs.close()

    @property
    def ready(self):
        """Whether jobs are being played."""
        return self.worker.is_alive()

    def add(self, work):
        """Accept Work: the Job; jobs.QueueFull where too many wait."""
        job = self.jobs.add(work)
        self.metrics.accepted.inc()
        return job

    def cancel(self, job):
        """Whether there was something to cancel: what has ended stays as it is."""
        if self.jobs.cancel(job.id):
            self.metrics.ended("cancelled")
            return True
        return False

    def progress(self, job):
        """Share in [0, 1] that is played."""
        return 1.0 if job.state == "done" else round(self.worker.progress.get(job.id, 0.0), 3)

    def identify(self, content, top):
        """identify.Identification as plain values, of a MIDI file's bytes; MidiError, TooShort, Busy."""
        check_notes(content, self.limits)
        (notes, left_out), beat_s = read_piano(content), 60 / (read_tempo(content) or 120)
        with self._listening.taken():
            return identify(self.classifier, self.gallery, notes, top, beat_s, left_out).as_values()

    def reconstruct(self, content):
        """(MIDI file, plain values) of a MIDI file's bytes through the codec, in its beats; MidiError, Busy."""
        notes, tempo_map = check_performance(content, self.limits)
        tempo_map = tempo_map.covering(0.0, notes.end_s)
        with self._listening.taken():
            back = codec_round_trip(self.improviser.vqvae, notes, tempo_map)
        rows, pedal = notes_as_rows(back)
        values = {"notes": rows, "pedal": pedal, "f1": dataclasses.asdict(note_f1(notes, back))}
        return to_midi(back, tempo_map), values
