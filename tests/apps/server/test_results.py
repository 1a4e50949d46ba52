"""Results on disk: what is made of them when asked for, and how much of it is kept."""

import os

from lib.apps.server.results import Results, as_values
from lib.generation.generate import Solo
from lib.generation.request import GenerateRequest
from lib.music.notes import Notes

NOTES = Notes.from_arrays([0.0, 0.5], [0.4, 0.4], [60, 64], [80, 70])


def write(results, job_id):
    results.write(job_id, as_values(Solo(NOTES, 0.0, 1.0, 0.0, GenerateRequest(seconds=1), [(0.0, "C")], [], 0.1)))


def test_the_oldest_sound_goes_first_and_is_made_again(tmp_path):
    results = Results(tmp_path)
    for number in range(3):
        write(results, str(number))
        os.utime(results.path(str(number), "wav"), (number, number))
    size = (tmp_path / "2" / "solo.wav").stat().st_size
    results.sound_bytes = 2 * size
    write(results, "3")
    assert results.path("3", "wav").stat().st_size == size
    assert [(tmp_path / str(n) / "solo.wav").exists() for n in range(4)] == [False, False, True, True]
    assert results.path("0", "wav").exists() and not (tmp_path / "2" / "solo.wav").exists()
    results.sound_bytes = 1
    assert results.path("1", "wav").exists(), "what is asked for is there, however little may be kept"
