"""Which request knobs make, and which field an error is about."""

import pytest

from lib.checkpoints.load import parse_mix
from lib.config import ConfigError, build, choose
from lib.display.knobs import FEELS, METRES, faults_of, make_fault, make_knobs, request_of, say_fault
from lib.generation.generate import infill
from lib.generation.request import GenerateRequest
from lib.music.chords import ChordError

NAMES = ["chords", "density", "tempo_bpm", "style", "passage"]


def error_of(**values):
    with pytest.raises(ConfigError) as caught:
        build(GenerateRequest, values)
    return caught.value


def test_each_field_gets_its_own_words():
    found = faults_of(error_of(tempo_bpm=1, density=99, chords=" "), NAMES)
    assert set(found) == {"tempo_bpm", "density", "chords"}
    assert found["tempo_bpm"] == "Input should be greater than or equal to 20 (got 1)"
    assert found["chords"].startswith("must not be empty")
    assert "40" in found["density"], "the first of two things said of it"


def test_a_chart_with_semicolons_is_no_list_of_errors():
    found = faults_of(error_of(tempo_bpm="A: C; B: G7"), NAMES)
    assert list(found) == ["tempo_bpm"] and "valid number" in found["tempo_bpm"]


def test_what_is_raised_while_it_plays():
    assert faults_of(ChordError("Unknown chord symbol 'Qm7'."), NAMES) == {"chords": "Unknown chord symbol 'Qm7'."}
    with pytest.raises(ConfigError) as caught:
        choose("pianist", "Bred", ["Brad"])
    assert faults_of(caught.value, NAMES) == {"style": "Unknown pianist 'Bred'. Did you mean 'Brad'? Valid: Brad."}
    assert faults_of(caught.value, ["chords"]) == {}, "there is no such field"
    with pytest.raises(ConfigError) as caught:
        parse_mix("Ann:x")
    assert set(faults_of(caught.value, NAMES)) == {"style"}
    assert faults_of(ValueError("something else"), NAMES) == {}


def test_the_words_of_a_passage_are_those_of_infill():
    from lib.music.notes import Notes

    with pytest.raises(ConfigError) as caught:
        infill(None, GenerateRequest(), Notes.from_arrays([0.0], [1.0], [60], [64]), 3.0, 2.0)
    assert faults_of(caught.value, NAMES)["passage"] == "3 to 2 is not a passage of a performance of 1.0 s."


def test_a_fault_is_shown_and_taken_away():
    fault = make_fault()
    assert fault.layout.display == "none"
    say_fault(fault, "no <chord>")
    assert 'role="alert"' in fault.value and "no &lt;chord&gt;" in fault.value and not fault.layout.display
    say_fault(fault, "")
    assert fault.layout.display == "none" and fault.value == ""


@pytest.mark.parametrize(
    ("first", "second", "style"),
    [("", "", None), ("Ann", "", "Ann"), ("", "Ben", "Ben"), ("Ann", "Ann", "Ann"), ("Ann", "Ben", "Ann:0.70,Ben:0.30")],
)
def test_one_style_or_a_mix(first, second, style):
    knobs = make_knobs(GenerateRequest, ["Ann", "Ben"])
    knobs["style"].value, knobs["style_mix"].value, knobs["style_share"].value = first, second, 0.3
    assert request_of(GenerateRequest, knobs).style == style
    assert style is None or sum(share for _, share in parse_mix(style)) == pytest.approx(1)


def test_every_knob_is_heard():
    """Each knob that is moved changes the request."""
    plain = request_of(GenerateRequest, make_knobs(GenerateRequest))
    moves = {"chords": "C", "choruses": 2, "seconds": 20.0, "tempo_bpm": 90.0, "metre": "3/4", "feel": "swing",
             "density": 3.0, "register": 64, "seed": 5, "guidance_scale": 1.0, "temperature": 1.0, "rules": "always"}  # fmt: skip
    assert set(moves) == set(make_knobs(GenerateRequest)) - {"num_candidates"}
    for name, value in moves.items():
        knobs = make_knobs(GenerateRequest)
        knobs[name].value = value
        assert request_of(GenerateRequest, knobs) != plain, name


@pytest.mark.parametrize("metre", METRES)
def test_each_metre_and_feel_can_be_played(metre):
    for feel in FEELS:
        knobs = make_knobs(GenerateRequest)
        knobs["metre"].value, knobs["feel"].value = metre, feel
        request = request_of(GenerateRequest, knobs)
        assert (request.metre, request.feel) == (metre, feel) and request.timing.felt_bpm >= 75


def test_what_browsers_add_to_a_number_is_taken_off():
    knobs = make_knobs(GenerateRequest)
    knobs["tempo_bpm"].value, knobs["density"].value = 120.00000000000001, 3.4999999999999996
    assert request_of(GenerateRequest, knobs).tempo_bpm == 120.0 and request_of(GenerateRequest, knobs).density == 3.5
