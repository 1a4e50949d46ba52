"""Results on disk: what is made of them when asked for, and how much of it is kept."""

import os

from lib.apps.server.results import Results, as_values
from lib.generation.generate import Solo
from lib.generation.request import GenerateRequest
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap

NOTES = Notes.from_arrays([0.0, 0.5], [0.4, 0.4], [60, 64], [80, 70])


def write(results, job_id, notes=NOTES):
    tempo_map = TempoMap.constant(120.0, Metre.parse("3/4"), 2)
    solo = Solo(notes, 0.0, 1.0, tempo_map, GenerateRequest(seconds=1), [(0.0, "C")], [], None, 0.1)
    results.write(job_id, as_values(solo))


def test_the_oldest_sound_goes_first_and_is_made_again(tmp_path):
    results = Results(tmp_path)
    for number in range(3):
        write(results, str(number))
        os.utime(results.path(str(number), "wav"), (number, number))
    size = (tmp_path / "2.wav").stat().st_size
    results.sound_bytes = 2 * size
    write(results, "3")
    assert results.path("3", "wav").stat().st_size == size
    assert [(tmp_path / f"{n}.wav").exists() for n in range(4)] == [False, False, True, True]
    assert results.path("0", "wav").exists() and not (tmp_path / "2.wav").exists()
    results.sound_bytes = 1
    assert results.path("1", "wav").exists(), "what is asked for is there, however little may be kept"


def test_a_result_is_whole_or_not_there(tmp_path):
    results = Results(tmp_path)
    write(results, "one")
    assert results.values("one")["notes"] == [[0.0, 0.4, 60, 80], [0.5, 0.4, 64, 70]]
    assert results.values("one")["bars_s"] == [0.0] and results.values("one")["chords"] == [[0.0, "C"]]
    results.store.path("one").write_bytes(b"MThd")
    assert not results.has("one") and results.values("one") is None and results.path("one", "wav") is None
    write(results, "one")
    assert results.has("one")
    results.remove("one")
    assert not list(tmp_path.iterdir())


def test_a_rest_is_a_result_too(tmp_path):
    results = Results(tmp_path)
    write(results, "rest", Notes.from_arrays([], [], [], []))
    assert results.values("rest")["notes"] == [] and results.path("rest", "wav").exists()
    assert results.path("rest", "html").exists()
