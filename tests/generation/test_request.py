"""What a request says: how long, in which metre and tempo; and what it can't say."""

from fractions import Fraction

import pytest

from lib.config import ConfigError, as_values, build
from lib.generation.request import RULE_OPTIONS, GenerateRequest, request_from
from lib.music.rules import CURVES, RULES


def request(**fields):
    return build(GenerateRequest, {"chords": "Cmaj7 | Dm7", **fields})


@pytest.mark.parametrize(
    "fields",
    [{"density": "2,50"}, {"density": -1}, {"register": "a,b"}, {"swing": 0.9}, {"density": ()}, {"metre": "4/5"}, {"metre": 0}],
)
def test_what_can_not_be_is_refused(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        request(**fields)


def test_every_rule_of_a_request_has_a_row_and_every_row_a_field():
    assert set(RULES) == set(RULE_OPTIONS) and set(CURVES) <= set(RULES)


def test_own_changes_are_asked_for_in_one_way():
    for fields in ({"chords": " Own"}, {"own_changes": True}, {"chords": "own", "own_changes": True}):
        asked = build(GenerateRequest, fields)
        assert asked.own_changes and asked.chords == "own"
        assert build(GenerateRequest, as_values(asked)) == asked
    with pytest.raises(ConfigError, match="own_changes leaves the chords to the pianist, but chords 'C' are given"):
        build(GenerateRequest, {"own_changes": True, "chords": "C"})


@pytest.mark.parametrize("fields", [{"bars": 2, "seconds": 3.0}, {"choruses": 1, "bars": 4}])
def test_one_length_is_given_at_most(fields):
    with pytest.raises(ConfigError, match=" and ".join(sorted(fields, key=["choruses", "bars", "seconds"].index))):
        request(**fields)


@pytest.mark.parametrize(
    ("fields", "quarters"),
    [
        ({"seconds": 6.0}, 12),
        ({"seconds": 6.0, "tempo_bpm": 90.0}, 9),
        ({"bars": 3}, 12),
        ({"bars": 3, "metre": "7/8"}, Fraction(21, 2)),
        ({"choruses": 2}, 16),
        ({"choruses": 2, "metre": "12/8"}, 24),
        ({}, 64),  # 8 choruses of 4 s: the nearest to 30 s
        ({"tempo_bpm": 40.0}, 16),  # 2 of 12 s: 24 s and 36 s are as near
        ({"chords": " | ".join(["C"] * 64)}, 256),  # one chorus of two minutes, whole
    ],
)
def test_how_long_the_music_is(fields, quarters):
    asked = request(**fields)
    assert asked.quarters(asked.parsed_chart()) == quarters


@pytest.mark.parametrize(
    ("tempo_bpm", "metre", "felt_bpm", "latents_per_quarter"),
    [(120, "4/4", 120, 6), (60, "4/4", 120, 12), (240, "4/4", 120, 3), (180, "12/8", 120, 4), (120, "7/8", 120, 6),
     (25, "3/4", 100, 24), (200, "2/2", 100, 3)],
)  # fmt: skip
def test_tempo_and_metre_are_written_and_felt(tempo_bpm, metre, felt_bpm, latents_per_quarter):
    timing = request(tempo_bpm=float(tempo_bpm), metre=metre).timing
    assert (timing.felt_bpm, timing.latents_per_quarter) == (felt_bpm, latents_per_quarter)
    assert timing.seconds(float(timing.latents_per_quarter)) == pytest.approx(60 / tempo_bpm)


def test_bars_of_a_chart_are_in_the_metre_that_is_asked_for():
    bars = request(metre=" 7/8 ").parsed_chart().bars
    assert request(metre=" 7/8 ").metre == "7/8" and [bar.metre for bar in bars] == [(7, 8)] * 2


def test_a_request_of_a_file_is_read_in_whichever_version():
    assert request_from({"beats_per_bar": 3}, "x") == GenerateRequest(metre="3/4") == GenerateRequest(metre=3)
    assert request_from({"seconds": 3.0, "order": "random", "told": False}, "x") == GenerateRequest(
        seconds=3.0, condition_model=False
    )
