"""Results on disk: what is made of them when asked for, and how much of it is kept."""

import io
import json
import wave

from lib.apps.server.results import Results, as_values
from lib.generation.request import GenerateRequest
from lib.generation.solo import Solo
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap

NOTES = Notes.from_arrays([0.0, 0.5], [0.4, 0.4], [60, 64], [80, 70])


def write(results, job_id, notes=NOTES):
    tempo_map = TempoMap.constant(120.0, Metre.parse("3/4"), 2)
    solo = Solo(notes, 0.0, 1.0, tempo_map, GenerateRequest(seconds=1), [(0.0, "C")], [], None, 0.1)
    results.write(job_id, as_values(solo))


def test_a_result_is_whole_or_not_there(tmp_path):
    results = Results(tmp_path)
    write(results, "one")
    values = json.loads(results.read("one", "json"))
    assert values["notes"] == [[0.0, 0.4, 60, 80], [0.5, 0.4, 64, 70]]
    assert values["bars_s"] == [0.0] and values["chords"] == [[0.0, "C"]]
    results.store.path("one").write_bytes(b"MThd")
    assert not results.has("one") and results.read("one", "json") is None and results.read("one", "wav") is None
    write(results, "one")
    assert results.has("one")
    results.store.remove("one")
    assert not list(tmp_path.iterdir())


def test_a_rest_is_a_result_too(tmp_path):
    results = Results(tmp_path)
    write(results, "rest", Notes.from_arrays([], [], [], []))
    assert json.loads(results.read("rest", "json"))["notes"] == [] and results.read("rest", "html")
    with wave.open(io.BytesIO(results.read("rest", "wav"))) as sound:
        assert sound.getnframes()
