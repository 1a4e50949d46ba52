"""Results on disk: what is made of them when asked for, and how much of it is kept."""

import io
import json
import wave

from lib.apps.server.dispatcher import as_values, keep_result
from lib.apps.server.service import content_of
from lib.generation.bulk import SoloStore
from lib.generation.generate import Solo
from lib.generation.request import GenerateRequest
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap

NOTES = Notes.from_arrays([0.0, 0.5], [0.4, 0.4], [60, 64], [80, 70])


def write(store, job_id, notes=NOTES):
    tempo_map = TempoMap.constant(120.0, Metre.parse("3/4"), 2)
    solo = Solo(notes, 0.0, 1.0, tempo_map, GenerateRequest(seconds=1), [(0.0, "C")], [], None, 0.1)
    keep_result(store, job_id, as_values(solo))


def test_a_result_is_whole_or_not_there(tmp_path):
    store = SoloStore(tmp_path)
    write(store, "one")
    values = json.loads(content_of(store, "one", "json"))
    assert values["notes"] == [[0.0, 0.4, 60, 80], [0.5, 0.4, 64, 70]]
    assert values["bars_s"] == [0.0] and values["chords"] == [[0.0, "C"]]
    store.path("one").write_bytes(b"MThd")
    assert store.facts("one") is None and content_of(store, "one", "json") is None and content_of(store, "one", "wav") is None
    write(store, "one")
    assert store.facts("one")
    store.remove("one")
    assert not list(tmp_path.iterdir())


def test_a_rest_is_a_result_too(tmp_path):
    store = SoloStore(tmp_path)
    write(store, "rest", Notes.from_arrays([], [], [], []))
    assert json.loads(content_of(store, "rest", "json"))["notes"] == [] and content_of(store, "rest", "html")
    with wave.open(io.BytesIO(content_of(store, "rest", "wav"))) as sound:
        assert sound.getnframes()
