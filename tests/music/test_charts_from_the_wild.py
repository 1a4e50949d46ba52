"""Charts as other programs and people write them, each with what is to be played; inputs in tests/fixtures/charts."""

import json
import unicodedata
from fractions import Fraction
from pathlib import Path

import pytest

from lib.music.chart import Chart
from lib.music.chart_files import find_tunes, read_chart
from lib.music.chords import ChordError, parse_chord
from lib.music.music_xml import KINDS, read_music_xml

FOLDER = Path(__file__).parent.parent / "fixtures" / "charts"

# [file or text, title where it holds several, what is played once through]
READ = json.loads((FOLDER / "right.json").read_text(encoding="utf-8"))
# file -> pitch classes of each bar's chord
TONES = {
    "09-brackets.txt": ["C E F# G", "C Db E G", "F# A# C# G B", "G Ab B D"],
    "09b-brackets-right.txt": ["C E F# G Bb", "C D E G", "C Eb G B", "C Db E F# G Bb"],
    "10a-fsharp-b9-over-B.musicxml": ["F# A# C# G B"],
    "10b-C7b5-add.musicxml": ["C E Gb Bb"],
    "10b2-C7b5-alter.musicxml": ["C E Gb Bb"],
    "10c-E-mmaj-b5.musicxml": ["E G Bb Eb"],
    "10e-A-major-b5.musicxml": ["A C# Eb"],
    "10f-C-major-add-s11.musicxml": ["C E F# G"],
    "10g-D-major-s5.musicxml": ["D F# A#"],
    "38-C7sus4-add7.musicxml": ["C F G Bb"],
    "38-CmMaj7-via-add.musicxml": ["C Eb G B"],
    "38-CdimMaj7.musicxml": ["C Eb Gb B"],
    "38-C-major-add7.musicxml": ["C E G Bb"],
}


@pytest.mark.parametrize(("name", "title", "text"), READ, ids=lambda value: value and value[:40])
def test_what_is_read_is_what_is_played(name, title, text):
    path = FOLDER / name
    chart = read_chart(path if len(name) < 60 and path.is_file() else name, title).chart
    assert chart.text() == text and Chart.parse(text) == Chart(chart.bars, chart.outro, chart.intro)


def test_lengths_of_bars_and_chords():
    def quarters(name):
        return [float(bar.quarters) for bar in read_chart(FOLDER / name).chart.bars]

    assert quarters("06a-metre.html") == [4, 4, 3, 3, 4, 4] and quarters("39e-metre-change.musicxml") == [4, 3, 4]
    assert quarters("06b-metre-change-54.html") == [5] * 4 + [4] * 4 + [7] * 4
    assert quarters("39j-7-8.musicxml") == [3.5] * 2 and quarters("39k-5-8.musicxml") == [2.5] * 2
    (bar,) = {bar.lengths()[0] for bar in read_chart(FOLDER / "02-t12.html").chart.bars[2:7:4]}
    assert bar == Fraction(9, 2)


def test_bars_whose_cells_and_metre_disagree_are_inferred():
    five = read_chart(FOLDER / "05c-five-four-cells.html").chart
    assert [bar.inferred for bar in five.bars] == [True, True]
    assert [bar.inferred for bar in read_chart(FOLDER / "05b-cells.html").chart.bars] == [False] * 4


@pytest.mark.parametrize(("name", "tones"), TONES.items())
def test_an_alteration_is_no_part_of_the_root(name, tones):
    bars = read_chart(FOLDER / name).chart.bars
    expected = [{parse_chord(tone).root for tone in bar.split()} for bar in tones]
    assert [{i for i, sounds in enumerate(bar.chords[0][1].chroma) if sounds} for bar in bars] == expected


def test_every_title_is_found_however_it_is_written():
    assert [tune.title for tune in find_tunes(FOLDER / "01a-apostrophe-first.html")] == ["'S Ours", "Plain Tune"]
    path = FOLDER / "41-korean-titles.html"
    assert read_chart(path, unicodedata.normalize("NFD", "제주도")).chart.text() == "C^7 | G7"
    for title in ("Don’t Get Around", "dont get around"):
        assert read_chart(path, title).chart.text() == "F^7 | C7"
    with pytest.raises(ChordError, match="no tune 'Dont get a round'.*nearest: Don't Get Around"):
        read_chart(path, "Dont get a round")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("11-german.txt", "'H' is German.*H is B"),
        ("44d-section-twice.txt", "Section 'A' is written twice"),
        ("46c-dashes.txt", "'-' is not a chord.*Separate bars with |"),
        ("01b-apostrophe-third.html", "holds 4 tunes.*One; Two; Moanin'; Four"),
        ("01c-apostrophe-second.html", "holds 2 tunes.*Bolero; Moanin'"),
    ],
)
def test_what_is_refused_is_named(name, message):
    with pytest.raises(ChordError, match=f"{name}.*{message}"):
        read_chart(FOLDER / name)


@pytest.mark.parametrize("suffix", [".mscz", ".mgu", ".sgu", ".pdf", ".mp3", ".mid"])
def test_files_of_other_kinds_are_refused_with_the_way_out(suffix, tmp_path):
    path = tmp_path / f"tune{suffix}"
    path.write_bytes(b"anything")
    with pytest.raises(ChordError, match=r"tune\.\w+ is .*(Export|Type|--continue)"):
        read_chart(path)


@pytest.mark.parametrize(
    ("text", "first"),
    [("blues in B♭", "Bb7"), ("blues in f", "F7"), ("blues in Cm", "Cm7"), ("F blues", "F7"), ("minor blues in E♭", "Ebm7")],
)
def test_forms_in_every_spelling(text, first):
    chart = Chart.parse(text)
    assert len(chart.bars) == 12 and chart.bars[0].chords[0][1].symbol == first


@pytest.mark.parametrize(
    ("symbol", "tones"),
    [
        ("GmΔ", "G Bb D F#"), ("C-^", "C Eb G B"), ("C∅7", "C Eb Gb Bb"), ("D‑7", "D F A C"), ("G7aug", "G B D# F"),
        ("C7alt.", "C Db Eb E Gb Ab Bb"), ("\u200bGm7", "G Bb D F"), ("\ufeffDm7", "D F A C"), ("C:maj7", "C E G B"),
        ("A:min7/b3", "A C E G"), ("D:hdim7", "D F Ab C"), ("G:7(#9)", "G B D F A#"), ("F:(3,5,b7)", "F A C Eb"),
        ("E:sus4(b7)", "E A B D"), ("C:maj(9,*3)", "C D G"), ("Bb:min6", "Bb Db F G"),
    ],
)  # fmt: skip
def test_chord_symbols_in_every_spelling(symbol, tones):
    chord = parse_chord(symbol)
    assert {(chord.root + interval) % 12 for interval in chord.intervals} == {parse_chord(t).root for t in tones.split()}


def test_a_degree_in_the_bass():
    assert parse_chord("A:min7/b3").bass == parse_chord("C").root and parse_chord("D:7/5").bass == parse_chord("A").root


# Of iReal Pro, with intervals above the root
QUALITIES = {
    "": "0 4 7", "5": "0 7", "2": "0 2 4 7", "add9": "0 2 4 7", "+": "0 4 8", "o": "0 3 6", "h": "0 3 6 10", "sus": "0 5 7",
    "^": "0 4 7 11", "-": "0 3 7", "^7": "0 4 7 11", "-7": "0 3 7 10", "7": "0 4 7 10", "7sus": "0 5 7 10", "h7": "0 3 6 10",
    "o7": "0 3 6 9", "^9": "0 2 4 7 11", "^13": "0 2 4 7 9 11", "6": "0 4 7 9", "69": "0 2 4 7 9", "^7#11": "0 4 6 7 11",
    "^9#11": "0 2 4 6 7 11", "^7#5": "0 4 8 11", "-6": "0 3 7 9", "-69": "0 2 3 7 9", "-^7": "0 3 7 11", "-^9": "0 2 3 7 11",
    "-9": "0 2 3 7 10", "-11": "0 2 3 5 7 10", "-7b5": "0 3 6 10", "h9": "0 2 3 6 10", "-b6": "0 3 7 8", "-#5": "0 3 8",
    "9": "0 2 4 7 10", "7b9": "0 1 4 7 10", "7#9": "0 3 4 7 10", "7#11": "0 4 6 7 10", "7b5": "0 4 6 10", "7#5": "0 4 8 10",
    "9#11": "0 2 4 6 7 10", "9b5": "0 2 4 6 10", "9#5": "0 2 4 8 10", "7b13": "0 4 7 8 10", "7#9#5": "0 3 4 8 10",
    "7#9b5": "0 3 4 6 10", "7#9#11": "0 3 4 6 7 10", "7b9#11": "0 1 4 6 7 10", "7b9b5": "0 1 4 6 10", "7b9#5": "0 1 4 8 10",
    "7b9#9": "0 1 3 4 7 10", "7b9b13": "0 1 4 7 8 10", "7alt": "0 1 3 4 6 8 10", "13": "0 2 4 7 9 10",
    "13#11": "0 2 4 6 7 9 10", "13b9": "0 1 4 7 9 10", "13#9": "0 3 4 7 9 10", "7b9sus": "0 1 5 7 10",
    "7susadd3": "0 4 5 7 10", "9sus": "0 2 5 7 10", "13sus": "0 2 5 7 9 10", "7b13sus": "0 5 7 8 10", "11": "0 2 5 7 10",
}  # fmt: skip


@pytest.mark.parametrize("quality", QUALITIES)
def test_every_quality_of_ireal_with_every_root(quality):
    for root in ("C", "C#", "Db", "D", "D#", "Eb", "E", "F", "F#", "Gb", "G", "G#", "Ab", "A", "A#", "Bb", "B", "Cb"):
        chord = parse_chord(root + quality)
        assert chord.root == parse_chord(root).root and " ".join(map(str, chord.intervals)) == QUALITIES[quality]


@pytest.mark.parametrize("kind", [*KINDS, "Neapolitan", "Tristan", "other"])
def test_every_kind_of_music_xml(kind):
    harmony = f"<harmony><root><root-step>C</root-step></root><kind>{kind}</kind></harmony>"
    score = f"<score-partwise><part id='P1'><measure number='1'>{harmony}</measure></part></score-partwise>"
    if kind in KINDS:
        assert read_music_xml(score.encode())[1].text() == f"C{KINDS[kind]}"
    else:
        with pytest.raises(ChordError, match=f"bar 1: chords of the kind '{kind}'"):
            read_music_xml(score.encode())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Verse]\nAm\nF\nDm", r"'F' on a line of its own"),
        ("C | F <Fine> | <Segno> G | A <D.S. al Fine>", "bar 4: D.S. al Fine.*never reached"),
        ("[Chorus x2]\nC|F", "played several times"),
        ("A:\nC | F\nB:\nG | C\nA", "leaves out section 'B'"),
        ("C .//. | F", "repeats two bars"),
        ("C:2 F:2", "beats are written with /"),
        ("(A) C | F", r"write \[A\] for a section"),
        ("|: C |1. F :|2. G x3 ||", "3x, but endings for 2 times"),
        (f"{'Cmaj7 | ' * 60}H7", "bar 61: .*German"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(text, message):
    with pytest.raises(ChordError, match=f"^(bar|Section|The order).*{message}|{message}"):
        read_chart(text)


@pytest.mark.parametrize(
    ("symbol", "intervals"),
    [
        ("C5+", (0, 4, 8)), ("Cdim7(b13)", (0, 3, 6, 8, 9)), ("Co9", (0, 2, 3, 6, 9)), ("CMA7", (0, 4, 7, 11)),
        ("CMI7(b5)", (0, 3, 6, 10)), ("Cm(#7)", (0, 3, 7, 11)), ("C7/9", (0, 2, 4, 7, 10)), ("C7(9-)", (0, 1, 4, 7, 10)),
        ("C7(b9/#11)", (0, 1, 4, 6, 7, 10)), ("C♮", (0, 4, 7)),
    ],
)  # fmt: skip
def test_symbols_of_other_hands(symbol, intervals):
    assert parse_chord(symbol).intervals == intervals


def test_a_chart_is_transposed_with_its_basses():
    assert Chart.parse("(C/E) | F7(b9)/A | A:min7/b3").transposed(2).text() == "(D/F#) | G7(b9)/B | B:min7/b3"


def score(*parts, head=""):
    """A score of parts, each a list of measures' contents; a plain measure has four quarters of two divisions."""
    body = ""
    for number, measures in enumerate(parts):
        rows = "".join(m if m.startswith("<measure") else f"<measure>{m}</measure>" for m in measures)
        body += f"<part id='P{number}'>{rows}</part>"
    return f"<score-partwise>{head}{body}</score-partwise>".encode()


def chord(step, kind="major", more="", alter=0):
    return f"<harmony><root><root-step>{step}</root-step><root-alter>{alter}</root-alter></root><kind>{kind}</kind>{more}</harmony>"


def rest(duration):
    return f"<note><rest/><duration>{duration}</duration></note>"


ATTRIBUTES = "<attributes><divisions>2</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>"
WORDS = "<direction><direction-type><words>{}</words></direction-type></direction>".format
SEGNO = "<direction><direction-type><segno/></direction-type></direction>"


def read(*parts):
    return read_music_xml(score(*parts))[1]


def test_a_bar_that_a_repeat_parts_stays_one_bar():
    back = "<barline location='right'><repeat direction='backward'/></barline>"
    half = f"<measure implicit='yes'>{chord('G')}{rest(2)}</measure>"
    chart = read([ATTRIBUTES + chord("C") + rest(8), chord("F") + rest(6) + back, half, chord("A") + rest(8)])
    assert chart.text() == "C | T34 F | T44 C | T34 F | T14 G | T44 A"


def test_jumps_may_stand_in_another_part():
    top = [ATTRIBUTES + rest(8), rest(8) + WORDS("Fine"), rest(8) + WORDS("Da Capo al Fine")]
    low = [ATTRIBUTES + chord(step) + rest(8) for step in "CFG"]
    assert read(top, low).text() == "C | F | G | C | F"


def test_metres_inversions_and_transposing_instruments():
    pair = "<beats>3</beats><beat-type>8</beat-type><beats>2</beats><beat-type>8</beat-type>"
    attributes = (
        f"<attributes><divisions>2</divisions><time>{pair}</time><transpose><chromatic>-2</chromatic></transpose></attributes>"
    )
    title, chart, semitones = read_music_xml(score([attributes + chord("D", more="<inversion>1</inversion>") + rest(5)]))
    assert chart.text() == "T58 C/E" and semitones == -2
    long = read([ATTRIBUTES + chord("C") + rest(12), chord("F") + rest(8)])
    assert long.text() == "T64 C | T44 F"


@pytest.mark.parametrize(
    "content",
    ["<attributes><divisions>0</divisions></attributes>" + chord("C") + rest(8), ATTRIBUTES + chord("C") + rest("x"),
     "<attributes><time><beats>0</beats><beat-type>4</beat-type></time></attributes>" + chord("C"),
     "<attributes><time><beats>4</beats></time></attributes>" + chord("C"), ATTRIBUTES + chord("C", alter="half") + rest(8)],
)  # fmt: skip
def test_numbers_that_are_none_are_refused_by_their_bar(content):
    with pytest.raises(ChordError, match="bar 1"):
        read([content])
