"""Sections that come again, forms by name, and what takes up what."""

import pytest

from lib.music.chart import ChordError
from lib.music.forms import parse_chart, recalled


def symbols(chart):
    return [" ".join(chord.symbol for chord in bar) for bar in chart.bars]


def test_a_plain_progression_is_played_anew_always():
    chart = parse_chart("Cmaj7 | Dm7 G7 | %")
    assert symbols(chart) == ["Cmaj7", "Dm7 G7", "Dm7 G7"] and chart.source == [None] * 3
    assert set(recalled(chart, 500, 12.5, 120)) == {-1}


def test_capitals_take_up_and_small_letters_do_not():
    chart = parse_chart("A: Cmaj7 | Am7; B: Fm7; ABaA")
    assert symbols(chart) == ["Cmaj7", "Am7", "Fm7", "Cmaj7", "Am7", "Cmaj7", "Am7"]
    assert chart.source == [0, 1, 2, None, None, 0, 1]
    places = recalled(chart, 14 * 25, 12.5, 120)  # a bar is 2 s, 25 frames
    assert places[: 5 * 25] == [-1] * 125  # the first A and B, and the small a
    assert places[5 * 25] == 0 and places[7 * 25 - 1] == 49
    assert places[7 * 25] == 0 and places[9 * 25] == 50  # the next chorus takes up all capitals
    assert places[10 * 25 : 12 * 25] == [-1] * 50


def test_without_an_order_sections_follow_each_other():
    assert symbols(parse_chart("A: Cmaj7; B: Fm7")) == ["Cmaj7", "Fm7"]


def test_forms_by_name():
    blues = parse_chart("blues in F")
    assert symbols(blues)[:4] == ["F7", "Bb7", "F7", "Cm7 F7"] and len(blues.bars) == 12
    changes = parse_chart("Rhythm changes in Bb")
    assert len(changes.bars) == 32 and symbols(changes)[0] == "Bbmaj7 G7" and symbols(changes)[16] == "D7"
    assert changes.source[8:16] == list(range(8)) and changes.source[24:] == list(range(8))


@pytest.mark.parametrize(
    ("text", "message"),
    [("waltz in F", "No form 'waltz'.*blues in C"), ("A: Cmaj7; AB", "Section 'B'.*Known: A"), ("A: Cmaj7; A B C", "no order"),
     ("A: Cmaj7; A; A", "no order"), ("A: Xm7; AA", "Xm7")],
)  # fmt: skip
def test_what_can_not_be_read_is_named(text, message):
    with pytest.raises(ChordError, match=message):
        parse_chart(text)
