"""What was asked for, and that its code asks for the same."""

import numpy as np
import pytest

from lib.display.takes import Call, Take, request_code
from lib.generation.request import GenerateRequest
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap

NOTES = Notes.from_arrays([0.0, 1.0, 3.5], [0.5, 4.0, 1.0], [40, 60, 62], [20, 80, 90])
PLAIN = Call(GenerateRequest(seed=3))
MAP = TempoMap.constant(120.0, Metre(4, 4), 3)
FIRST = Take(1, PLAIN, NOTES, [(0.0, "Cmaj7")], MAP)
ON = Call(GenerateRequest(seed=4, density=(4.0, 9.0), chords='Cmaj7 | "odd"'), FIRST, None, 3.0)
SECOND = Take(2, ON, NOTES, [], MAP.followed_by(TempoMap.constant(90.0, Metre(3, 4), 2, 3.0), 6), begins_s=3.0)
ANEW = Call(GenerateRequest(seed=5, style="Ann:0.30,Ben:0.70"), SECOND, 1.0, 2.5)


class Recorder:
    """Stands for lib.generation.generate: keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def generate(self, improviser, request, callback=None, prompt=None, tempo_map=None):
        self.asked.append(("generate", improviser, request, prompt, tempo_map))
        return FIRST if prompt is None else SECOND

    def infill(self, improviser, request, notes, from_s, to_s, callback=None, tempo_map=None):
        self.asked.append(("infill", improviser, request, notes, from_s, to_s, tempo_map))
        return SECOND


def run(code, monkeypatch):
    recorder, names = Recorder(), {"improviser": "the improviser"}
    monkeypatch.setattr("lib.generation.generate.generate", recorder.generate)
    monkeypatch.setattr("lib.generation.generate.infill", recorder.infill)
    exec(code, names)
    return recorder.asked, names


def test_the_code_of_a_solo_makes_the_same_request(monkeypatch):
    (asked,), names = run(PLAIN.code(), monkeypatch)
    assert asked == ("generate", "the improviser", PLAIN.request, None, None) and names["solo"] is FIRST
    assert "infill" not in PLAIN.code() and "temperature" not in PLAIN.code()


def test_the_code_of_a_later_take_makes_those_it_starts_from(monkeypatch):
    asked, names = run(ANEW.code("take_3"), monkeypatch)
    assert [one[0] for one in asked] == ["generate", "generate", "infill"]
    assert [one[2] for one in asked] == [PLAIN.request, ON.request, ANEW.request]
    assert asked[1][3].onset_s.tolist() == [0.0, 1.0] and asked[2][3:6] == (NOTES, 1.0, 2.5)
    assert asked[1][4] is FIRST.tempo_map and asked[2][6] is SECOND.tempo_map, "each starts from its take's own map"
    assert names["take_3"] is SECOND


@pytest.mark.parametrize("request_", [PLAIN.request, ON.request, ANEW.request, GenerateRequest(pitch_classes=(1.0, 0.0) * 6)])
def test_a_request_survives_its_code(request_):
    assert eval(request_code(request_), {"GenerateRequest": GenerateRequest}) == request_


def test_calls_reach_what_plays():
    recorder, asked = Recorder(), []

    def improvise(request, callback, prompt=None, tempo_map=None):
        asked.append((request, callback, prompt, tempo_map))

    PLAIN.play(improvise, None, "callback")
    ON.play(improvise, None, "callback")
    ANEW.play(None, lambda *words, **more: recorder.infill("", *words, **more), "callback")
    assert asked[0] == (PLAIN.request, "callback", None, None) and asked[1][0] is ON.request and asked[1][3] is MAP
    assert np.allclose(asked[1][2].duration_s, [0.5, 2.0]), "held no longer than to where it goes on"
    assert recorder.asked == [("infill", "", ANEW.request, NOTES, 1.0, 2.5, SECOND.tempo_map)]


def test_how_long_is_said_in_the_code_as_it_was_asked():
    code = request_code(GenerateRequest(choruses=2))
    assert "choruses=2" in code and "seconds" not in code
    assert "seconds=8.0" in request_code(GenerateRequest(seconds=8)) and "seconds" not in request_code(GenerateRequest())


def test_words_for_each():
    assert PLAIN.summary == "seed 3" and ON.summary == "seed 4, continues 1 from 3.0 s"
    assert ANEW.summary == "seed 5, 2 with 1.0 to 2.5 s resampled" and SECOND.description.endswith("3 notes in 5 s")
    assert ON.with_seed(9).request.seed == 9 and ON.with_seed(9).take is FIRST
