"""Charts: bars and beats, sections that come again, forms by name, and what repeats what, frame by frame."""

from fractions import Fraction

import pytest

from lib.music.chart import Bar, Chart
from lib.music.chords import ChordError, parse_chord

AT_120, AT_60 = Fraction(25, 4), Fraction(25, 2)  # latent frames (80 ms) a quarter


def symbols(chart):
    return [" ".join("N.C." if chord is None else chord.symbol for _, chord in bar.chords) for bar in chart.bars]


def sources(chart):
    return [bar.source for bar in chart.bars]


def frames(text, count, frames_per_quarter, beats_per_bar=4):
    return [c and c.symbol for c in Chart.parse(text, beats_per_bar).frames(count, frames_per_quarter)[0]]


def test_bars_repeats_and_shares():
    chart = Chart.parse("| Cmaj7 | Dm7 G7 | % |\nC7(b9, #11) / | N.C. |", beats_per_bar=3)
    assert symbols(chart) == ["Cmaj7", "Dm7 G7", "Dm7 G7", "C7(b9, #11) C7(b9, #11)", "N.C."]
    assert [offset for offset, _ in chart.bars[1].chords] == [0, Fraction(3, 2)] and chart.quarters == 15
    assert chart.text() == "Cmaj7 | Dm7 G7 | Dm7 G7 | C7(b9, #11) C7(b9, #11) | N.C."


@pytest.mark.parametrize("text", ["", " | ", "%", "/ C", "C | Q7", "own"])
def test_what_is_no_progression_is_refused(text):
    with pytest.raises(ChordError):
        Chart.parse(text)


def test_chords_fall_on_their_beats_and_repeat():
    played = frames("C | F G", 100, AT_120)  # a bar is 2 s, 25 frames
    assert played[:25] == ["C"] * 25 and played[50:75] == ["C"] * 25
    assert played[25:37] == ["F"] * 12 and played[37:50] == ["G"] * 13, "a chord holds from the frame in whose middle it begins"
    assert frames("C | F", 60, AT_60) == ["C"] * 50 + ["F"] * 10
    assert frames("C F G", 12, Fraction(2), beats_per_bar=3) == [*"CCFFGGCCFFGG"]


def test_changes_leave_out_what_goes_on():
    changes = Chart.parse("C | C G | G | N.C.").changes(Fraction(33, 2))
    assert [(position, chord and chord.symbol) for position, chord in changes] == [(0, "C"), (6, "G"), (12, None), (16, "C")]
    assert len(Chart.parse("Cmaj7").changes(Fraction(120))) == 1


def test_text_says_chords_off_the_half_and_is_read_back():
    c, g = parse_chord("C"), parse_chord("G")
    chart = Chart((Bar(((Fraction(0), c), (Fraction(3), g))), Bar(((Fraction(0), None), (Fraction(8, 3), c)))))
    assert chart.text() == "C C C G | N.C. N.C. C"
    assert Chart.parse(chart.text()).frames(48, Fraction(6))[0] == chart.frames(48, Fraction(6))[0]


def test_bars_of_several_metres_follow_each_other():
    three, two = Bar.of([parse_chord("C")], (3, 4)), Bar.of([parse_chord("F"), parse_chord("G")], (7, 8))
    changes = Chart((three, two)).changes(Fraction(8))
    assert [position for position, _ in changes] == [0, 3, Fraction(19, 4), Fraction(13, 2)]


def test_an_excerpt_is_cut_where_it_begins_and_ends():
    chart = Chart.parse("Cmaj7 | Dm7 G7")
    excerpt = chart.excerpt(6, 4)
    assert symbols(excerpt) == ["G7", "Cmaj7"] and [bar.quarters for bar in excerpt.bars] == [2, 2]
    assert symbols(chart.excerpt(9, 2)) == ["Cmaj7"] and symbols(chart.excerpt(3, 3)) == ["Cmaj7", "Dm7"]


def test_an_outro_ends_the_music_after_the_last_whole_chorus():
    body, outro = Chart.parse("C | F").bars, Chart.parse("G | Am").bars
    chart = Chart(body, outro)
    roots = [bar.chords[0][1].symbol for _, bar in chart.played(Fraction(30))]
    assert roots == ["C", "F", "C", "F", "G", "Am", "Am", "Am"]
    assert [bar.chords[0][1].symbol for _, bar in chart.played(Fraction(12))] == ["C", "F", "G"]


def test_a_plain_progression_repeats_no_music():
    chart = Chart.parse("Cmaj7 | Dm7 G7 | %")
    assert symbols(chart) == ["Cmaj7", "Dm7 G7", "Dm7 G7"] and sources(chart) == [None] * 3
    assert set(chart.frames(500, AT_120)[1]) == {-1}


def test_capitals_repeat_and_small_letters_do_not():
    chart = Chart.parse("A: Cmaj7 | Am7; B: Fm7; ABaA")
    assert symbols(chart) == ["Cmaj7", "Am7", "Fm7", "Cmaj7", "Am7", "Cmaj7", "Am7"]
    assert sources(chart) == [0, 1, 2, None, None, 0, 1] and "".join(bar.section for bar in chart.bars) == "AABaaAA"
    places = chart.frames(14 * 25, AT_120)[1].tolist()  # a bar is 2 s, 25 frames
    assert places[: 5 * 25] == [-1] * 125  # the first A and B, and the small a
    assert places[5 * 25] == 0 and places[7 * 25 - 1] == 49
    assert places[7 * 25] == 0 and places[9 * 25] == 50  # the next chorus repeats all capitals
    assert places[10 * 25 : 12 * 25] == [-1] * 50


def test_without_an_order_sections_follow_each_other():
    assert symbols(Chart.parse("A: Cmaj7; B: Fm7")) == ["Cmaj7", "Fm7"]


def test_forms_by_name():
    blues = Chart.parse("blues in F")
    assert symbols(blues)[:4] == ["F7", "Bb7", "F7", "Cm7 F7"] and len(blues.bars) == 12
    changes = Chart.parse("Rhythm changes in Bb")
    assert len(changes.bars) == 32 and symbols(changes)[0] == "Bbmaj7 G7" and symbols(changes)[16] == "D7"
    assert sources(changes)[8:16] == list(range(8)) and sources(changes)[24:] == list(range(8))


@pytest.mark.parametrize(
    ("text", "message"),
    [("waltz in F", "No form 'waltz'.*blues in C"), ("A: Cmaj7; AB", "Section 'B'.*Known: A"), ("A: Cmaj7; A B C", "no order"),
     ("A: Cmaj7; A; A", "no order"), ("A: Xm7; AA", "Xm7")],
)  # fmt: skip
def test_what_can_not_be_read_is_named(text, message):
    with pytest.raises(ChordError, match=message):
        Chart.parse(text)
