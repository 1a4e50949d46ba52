"""The service behind the routes: improviser, classifier, jobs and dispatcher. It knows nothing of HTTP."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

from lib import config as configs
from lib.apps.server.dispatcher import Dispatcher, Player
from lib.apps.server.jobs import Jobs, SoloJob
from lib.apps.server.limits import Limits
from lib.apps.server.schemas import SoloOrder, check, check_notes, check_performance, shape_of, write_order
from lib.checkpoints.run_dependencies import locate
from lib.devices import choose_device
from lib.display.player import player_html
from lib.generation.bulk import SoloStore
from lib.generation.generate import load_improviser
from lib.generation.reconstruct import codec_round_trip
from lib.music.audio import render_audio, write_wav
from lib.music.metrics import note_f1
from lib.music.midi_writer import to_midi
from lib.music.notes import Notes, read_piano, read_tempo
from lib.style.gallery import GALLERY, load_classifier
from lib.style.identification import identify

NEVER = 2**31


class Service:
    """All of it, loaded.

    Parameters
    ----------
    folder : of jobs and results
    run, released, device, styles_dir : of load_improviser
    queue : None: jobs are played here; or redis://HOST:PORT/NUMBER: by workers, see redis_queue
    """

    def __init__(
        self,
        folder: Path | str,
        run: Path | str | None = None,
        released: bool = False,
        device: str = "auto",
        styles_dir: Path | None = None,
        limits: Limits | None = None,
        soundfont: Path | None = None,
        queue: str | None = None,
    ):
        self.limits, self.soundfont = limits or Limits(), soundfont
        # what workers play is not to blame where the server is killed
        self.jobs = Jobs(folder, self.limits, None if queue is None else NEVER)
        self.store = SoloStore(Path(folder) / "results")
        self.improviser = load_improviser(run, released, device, styles_dir)
        home = configs.RELEASED if released or not (locate(run) / GALLERY).exists() else run
        self.classifier, self.gallery = load_classifier(home, choose_device(device))
        player = Player(self.improviser, self.limits)
        if queue is not None:
            from lib.apps.server.redis_queue import RemotePlayer

            player = RemotePlayer(queue, self.limits)
        self.dispatcher = Dispatcher(self.jobs, self.store, player)
        self.metrics = self.dispatcher.metrics

    def close(self) -> None:
        """End; what was being played is played at the next start."""
        if self.dispatcher.is_alive():
            self.dispatcher.stop()
        self.jobs.close()

    def add(self, asked: SoloOrder) -> SoloJob | None:
        """Accept what is asked for: the SoloJob; ConfigError where it can't be, None where too many wait."""
        order = check(asked, self.improviser.styles, self.limits)
        job = self.jobs.add(write_order(asked), shape_of(order), order.request.num_candidates)
        self.metrics.accepted.inc(job is not None)
        return job

    def cancel(self, job: SoloJob) -> None:
        """What has ended stays as it is."""
        if self.jobs.end(job.id, "cancelled"):
            self.metrics.ended.labels("cancelled").inc()

    def identify(self, content: bytes, top: int) -> dict:
        """Identification.as_values of a MIDI file's bytes; MidiError, TooShort."""
        check_notes(content, self.limits)
        (notes, left_out), beat_s = read_piano(content), 60 / (read_tempo(content) or 120)
        return identify(self.classifier, self.gallery, notes, top, beat_s, left_out).as_values()

    def reconstruct(self, content: bytes) -> tuple[bytes, dict]:
        """(MIDI file, plain values) of a MIDI file's bytes through the codec, in its beats; MidiError."""
        notes, tempo_map = check_performance(content, self.limits)
        tempo_map = tempo_map.covering(0.0, notes.end_s)
        back = codec_round_trip(self.improviser.vqvae, notes, tempo_map)
        values = {**notes_as_rows(back), "f1": dataclasses.asdict(note_f1(notes, back))}
        return to_midi(back, tempo_map), values


def content_of(store: SoloStore, job_id: str, kind: str, soundfont: Path | None = None) -> bytes | None:
    """A result's content as mid, json, wav or html (the last two made when asked for); None where there is none."""
    if (facts := store.facts(job_id)) is None:
        return None
    if kind == "mid":
        return store.path(job_id).read_bytes()
    notes = store.notes(job_id)
    if kind == "json":
        return json.dumps({**notes_as_rows(notes), **facts}).encode()
    audio = render_audio(notes, soundfont)
    if kind == "wav":
        with tempfile.TemporaryDirectory() as folder:
            return write_wav(audio, Path(folder) / "solo.wav").read_bytes()
    tempo_map = store.tempo_map(job_id) if len(notes) else None
    return player_html(notes, audio, "Solo", facts["chords"], tempo_map).encode(errors="replace")


def notes_as_rows(notes: Notes) -> dict[str, list]:
    """As clients read them: notes [onset_s, duration_s, pitch, velocity], pedal [down_s, up_s]."""
    columns = (notes.onset_s.round(4), notes.duration_s.round(4), notes.pitch, notes.velocity)
    rows = [list(row) for row in zip(*(column.tolist() for column in columns))]
    return {"notes": rows, "pedal": notes.pedal_s.round(4).tolist()}
