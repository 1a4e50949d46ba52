"""The chart as a table."""

import re

import pytest

from lib.display.knob_panel import MOST_BARS, chart_html
from lib.music.chords import ChordError
from lib.music.tempo_map import TempoMapError


def cells(page):
    return [re.sub(r"&nbsp;|\s+", " ", re.sub("<.*?>", " ", cell)).split() for cell in re.findall("<td.*?>(.*?)</td>", page)]


def test_four_bars_a_line_with_their_chords():
    page = chart_html("Cmaj7 | Dm7 G7 | % | N.C. | F6")
    assert [len(re.findall("<td", line)) for line in re.findall("<tr>(.*?)</tr>", page)] == [4, 1]
    assert cells(page)[:4] == [["1", "Cmaj7"], ["2", "Dm7", "G7"], ["3", "Dm7", "G7"], ["4", "N.C."]]


def test_bars_that_come_again_say_so():
    found = cells(chart_html("A: C | F; B: G7; ABA"))
    assert found == [["1", "A", "C"], ["2", "F"], ["3", "B", "G7"], ["4", "A", "C", "=", "1"], ["5", "F", "=", "2"]]


def test_how_long_and_how_often():
    assert "12 bars, 24.0 s at this tempo; played 2.5 times in 60 s" in chart_html("blues in F", 60, 120)
    assert "1 bar, 3.0 s at this tempo<" in chart_html("C", tempo_bpm=80)


@pytest.mark.parametrize(("metre", "caption"), [("3/4", "2 bars, 3.0 s"), ("12/8", "2 bars, 6.0 s"), ("7/8", "2 bars, 3.5 s")])
def test_a_bar_is_as_long_as_its_metre(metre, caption):
    assert f"{caption} at this tempo<" in chart_html("C | G7", metre=metre)
    with pytest.raises(TempoMapError, match="4/5"):
        chart_html("C", metre="4/5")


def test_choruses_go_before_seconds():
    assert "12 bars, 24.0 s at this tempo; 2 choruses, 48.0 s<" in chart_html("blues in F", 60, choruses=2)
    assert "1 bar, 2.0 s at this tempo; 1 chorus, 2.0 s<" in chart_html("C", choruses=1)
    assert "played 2.5 times in 60 s<" in chart_html("blues in F", 60, choruses=0)


def test_very_long_charts_are_counted():
    page = chart_html(" | ".join(["C"] * (MOST_BARS + 7)))
    assert len(cells(page)) == MOST_BARS and "7 more than shown" in page


def test_what_cannot_be_read_is_an_error_and_nothing_breaks_out():
    with pytest.raises(ChordError, match="'Qm7'"):
        chart_html("Cmaj7 | Qm7")
    with pytest.raises(ChordError):
        chart_html("<script>")
