"""Charts: bars and beats, sections that come again, forms by name, and what repeats what, frame by frame."""

from fractions import Fraction

import numpy as np
import pytest

from lib.music.chart import Bar, Chart, chord_frames, next_chords
from lib.music.chords import ChordError, parse_chord

IN_FOUR, SLOW = Fraction(6), Fraction(12)  # latent frames a quarter: a felt beat, or two of them


def symbols(chart):
    return [" ".join("N.C." if chord is None else chord.symbol for _, chord in bar.chords) for bar in chart.bars]


def sources(chart):
    return chart.sources()


def frames(text, count, frames_per_quarter, metre=(4, 4)):
    return [c and c.symbol for c in Chart.parse(text, metre).frames(count, frames_per_quarter)[0]]


def test_bars_repeats_and_shares():
    chart = Chart.parse("| Cmaj7 | Dm7 G7 | % |\nC7(b9, #11) / | N.C. |", (3, 4))
    assert symbols(chart) == ["Cmaj7", "Dm7 G7", "Dm7 G7", "C7(b9, #11)", "N.C."]
    assert [offset for offset, _ in chart.bars[1].chords] == [0, Fraction(3, 2)] and chart.quarters == 15
    assert chart.text((3, 4)) == "Cmaj7 | Dm7 G7 | Dm7 G7 | C7(b9, #11) | N.C."
    assert chart.text() == "T34 Cmaj7 | Dm7 G7 | Dm7 G7 | C7(b9, #11) | N.C."


@pytest.mark.parametrize("text", ["", " | ", "%", "/ C", "C | Q7", "own"])
def test_what_is_no_progression_is_refused(text):
    with pytest.raises(ChordError):
        Chart.parse(text)


def test_chords_fall_on_their_beats_and_repeat():
    played = frames("C | F G", 96, IN_FOUR)  # a bar is 24 latent frames
    assert played == ["C"] * 24 + ["F"] * 12 + ["G"] * 12 + ["C"] * 24 + ["F"] * 12 + ["G"] * 12
    assert frames("C | F", 60, SLOW) == ["C"] * 48 + ["F"] * 12
    assert frames("C F G", 12, Fraction(2), (3, 4)) == [*"CCFFGGCCFFGG"]
    between = frames(
        "C F | G", 14, Fraction(7, 2), (2, 4)
    )  # a quarter is 3.5: from the frame in whose middle it begins
    assert between == ["C"] * 3 + ["F"] * 4 + ["G"] * 7


@pytest.mark.parametrize(
    ("metre", "latents_per_quarter", "bar"), [((12, 8), 4, 24), ((7, 8), 6, 21), ((3, 4), 6, 18), ((6, 8), 4, 12)]
)
def test_bars_of_every_metre_fall_exactly_on_latent_frames(metre, latents_per_quarter, bar):
    assert frames("C | F", 2 * bar, Fraction(latents_per_quarter), metre) == ["C"] * bar + ["F"] * bar


def test_the_next_chord_and_when_it_comes():
    c, f = parse_chord("C"), parse_chord("F")
    chords, until = next_chords(chord_frames([c, c, c, f, None, None, c]).numpy())
    assert chords.tolist() == [list(f.frame)] * 3 + [[-1] * 3] + [list(c.frame)] * 2 + [[-1] * 3]
    assert until.tolist() == [3, 2, 1, 1, 2, 1, np.inf]
    alone, never = next_chords(chord_frames([c] * 4).numpy())
    assert (alone == -1).all() and np.isinf(never).all() and len(next_chords(chord_frames([]).numpy())[1]) == 0


def test_changes_leave_out_what_goes_on():
    changes = Chart.parse("C | C G | G | N.C.").changes(Fraction(33, 2))
    assert [(position, chord and chord.symbol) for position, chord in changes] == [
        (0, "C"),
        (6, "G"),
        (12, None),
        (16, "C"),
    ]
    assert len(Chart.parse("Cmaj7").changes(Fraction(120))) == 1


def test_text_says_chords_off_the_half_and_is_read_back():
    c, g = parse_chord("C"), parse_chord("G")
    chart = Chart((Bar(((Fraction(0), c), (Fraction(3), g))), Bar(((Fraction(0), None), (Fraction(8, 3), c)))))
    assert chart.text() == "C / / G | N.C. / C" and Chart.parse(chart.text()) == chart


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
    assert set(chart.frames(500, IN_FOUR)[1]) == {-1}


def test_capitals_repeat_and_small_letters_do_not():
    chart = Chart.parse("A: Cmaj7 | Am7; B: Fm7; ABaA")
    assert symbols(chart) == ["Cmaj7", "Am7", "Fm7", "Cmaj7", "Am7", "Cmaj7", "Am7"]
    assert sources(chart) == [0, 1, 2, None, None, 0, 1] and [bar.section for bar in chart.bars] == ["A", "", "B", "a", "", "A", ""]
    places = chart.frames(14 * 24, IN_FOUR)[1].tolist()  # a bar is 24 latent frames
    assert places[: 5 * 24] == [-1] * 120  # the first A and B, and the small a
    assert places[5 * 24] == 0 and places[7 * 24 - 1] == 47
    assert places[7 * 24] == 0 and places[9 * 24] == 48  # the next chorus repeats all capitals
    assert places[10 * 24 : 12 * 24] == [-1] * 48


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
    [("waltz in F", "No form 'waltz'.*blues in C"), ("A: Cmaj7; AB", "Section 'B'.*Known: A"),
     ("A: Cmaj7; A B C", "Section 'B'.*Known: A"),
     ("A: Cmaj7; A; A", "line of its own"), ("A: Xm7; AA", "Xm7")],
)  # fmt: skip
def test_what_can_not_be_read_is_named(text, message):
    with pytest.raises(ChordError, match=message):
        Chart.parse(text)
