"""Charts of iReal Pro and MusicXML."""

import urllib.parse

import pytest

from lib.music.chart_files import read_chart
from lib.music.chords import ChordError

SIGN = "1r34LbKcu7"  # with which iReal Pro's chords begin


def scrambled(text):
    """Chords as iReal Pro writes them: blocks of 50 of which some characters change places."""
    done = ""
    while len(text) > 50:
        block, rest = list(text[:50]), text[50:]
        if len(rest) >= 2:
            for i in (*range(5), *range(10, 24)):
                block[i], block[49 - i] = block[49 - i], block[i]
        done, text = done + "".join(block), rest
    return done + text


def ireal(*tunes):
    """An irealb:// address of (title, chords, bpm)."""
    songs = [f"{title}=Nobody=Swing=C=0={SIGN}{scrambled(chords)}=Jazz={bpm}=3" for title, chords, bpm in tunes]
    return "irealb://" + urllib.parse.quote("===".join(songs))


def bars(read):
    """The text of each bar, once through."""
    return read.chart.text(read.chart.bars[0].metre).split(" | ")


LONG = "{*AT44D-7 |Gh7 C7b9 |F-^7 |x |N1Bb-7 |Eb7susadd3 |Ab^7#11 |n }|N2Db^9 |G7alt/B |C69 p W/G |C+ Z"


def test_ireal_html_with_endings_repeats_and_another_bass(tmp_path):
    path = tmp_path / "shared.html"
    path.write_text(f'<html><a href="{ireal(("Ours", LONG, 132))}">Ours</a></html>')
    read = read_chart(path)
    assert (read.title, read.metre, read.chart.tempo_bpm) == ("Ours", "4/4", 132)
    head = ["[A] D-7", "Gh7 C7b9", "F-^7", "F-^7"]
    first = ["Bb-7", "Eb7susadd3", "Ab^7#11", "N.C."]
    assert bars(read) == [*head, *first, *head, "Db^9", "G7alt/B", "C69 / / C69/G", "C+"]


def test_ireal_waltz_without_a_tempo(tmp_path):
    path = tmp_path / "waltz.txt"
    path.write_text(ireal(("Three", "[T34C^7 |A-7 |D-7 |G7 Z", 0)))
    read = read_chart(path)
    assert read.metre == "3/4" and read.chart.tempo_bpm is None
    assert bars(read) == ["C^7", "A-7", "D-7", "G7"]


@pytest.mark.parametrize(("mark", "metre"), [("T78", "7/8"), ("T12", "12/8"), ("T68", "6/8"), ("T22", "2/2"), ("T54", "5/4")])
def test_ireal_metres_are_read_as_they_are_written(mark, metre, tmp_path):
    path = tmp_path / "odd.txt"
    path.write_text(ireal(("Odd", f"[{mark}C^7 |A-7 D-7 |G7 Z", 0)))
    assert read_chart(path).metre == metre
    assert [[chord.symbol for _, chord in bar.chords] for bar in read_chart(path).chart.bars] == [["C^7"], ["A-7", "D-7"], ["G7"]]


def test_of_several_tunes_one_is_chosen_by_its_title(tmp_path):
    path = tmp_path / "list.html"
    path.write_text(ireal(("First Tune", "[T44C^7 |G7 Z", 0), ("Second Tune", "[T44F^7 |C7 Z", 0)))
    assert bars(read_chart(path, "second"))[0] == "F^7"
    with pytest.raises(ChordError, match=r"holds 2 tunes.*First Tune; Second Tune"):
        read_chart(path)
    with pytest.raises(ChordError, match=r"no tune 'Third'.*First Tune"):
        read_chart(path, "Third")


def test_what_is_no_chart_or_no_chord_is_named(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text("Shall I compare thee")
    with pytest.raises(ChordError, match="poem.txt holds no chart"):
        read_chart(path)
    path.write_text(ireal(("Odd", "[T44C^7 |Gxyz |C Z", 0)))
    with pytest.raises(ChordError, match="Odd, bar 2: the sign 'y' is unknown"):
        read_chart(path)
    with pytest.raises(FileNotFoundError):
        read_chart(tmp_path / "none.musicxml")


def harmony(step, kind, alter=0, bass="", degree="", offset=0):
    """A <harmony> of MusicXML."""
    low = f"<bass><bass-step>{bass}</bass-step></bass>" if bass else ""
    late = f"<offset>{offset}</offset>" if offset else ""
    return (f"<harmony><root><root-step>{step}</root-step><root-alter>{alter}</root-alter></root>"
            f"<kind>{kind}</kind>{low}{degree}{late}</harmony>")  # fmt: skip


def music_xml(*measures, beats=4, first=""):
    """A lead sheet of whole notes, one beat a division."""
    note = f"<note><pitch><step>C</step><octave>4</octave></pitch><duration>{beats}</duration></note>"
    attributes = f"<attributes><divisions>1</divisions><time><beats>{beats}</beats><beat-type>4</beat-type></time></attributes>"
    body = "".join(
        f'<measure number="{n + 1}">{(attributes + first) if n == 0 else ""}{content.replace("NOTE", note)}</measure>'
        for n, content in enumerate(measures)
    )
    head = "<work><work-title>Our Tune</work-title></work><part-list><score-part id='P1'><part-name>A</part-name>"
    head += "</score-part></part-list>"
    return f"<?xml version='1.0'?><score-partwise version='4.0'>{head}<part id='P1'>{body}</part></score-partwise>"


REPEAT = "<barline location='right'><repeat direction='backward'/></barline>"
FLAT_NINE = "<degree><degree-value>9</degree-value><degree-alter>-1</degree-alter><degree-type>add</degree-type></degree>"
METRONOME = "<metronome><beat-unit>quarter</beat-unit><per-minute>96</per-minute></metronome>"
TEMPO = f"<direction><direction-type>{METRONOME}</direction-type></direction>"


def test_music_xml_with_alterations_a_bass_and_a_repeat(tmp_path):
    path = tmp_path / "tune.musicxml"
    half = harmony("C", "dominant", degree=FLAT_NINE, offset=2)
    path.write_text(music_xml(
        harmony("B", "major-seventh", -1, bass="D") + "NOTE", harmony("G", "half-diminished") + half + "NOTE",
        harmony("F", "minor-sixth", 1) + "NOTE" + REPEAT, "NOTE", first=TEMPO,
    ))  # fmt: skip
    read = read_chart(path)
    assert (read.title, read.metre, read.chart.tempo_bpm) == ("Our Tune", "4/4", 96)
    assert bars(read) == [*["Bbmaj7/D", "Gm7b5 C7(b9)", "F#m6"] * 2, "F#m6"]  # what is not written is held
    assert read.chart.bars[1].chords[1][1].chroma[1]


def test_music_xml_begins_without_chords_and_in_three(tmp_path):
    path = tmp_path / "waltz.xml"
    path.write_text(music_xml("NOTE", harmony("D", "minor-seventh", offset=1) + "NOTE", beats=3))
    read = read_chart(path)
    assert read.metre == "3/4" and read.chart.tempo_bpm is None
    assert bars(read) == ["N.C.", "N.C. Dm7 /"]


def test_music_xml_that_is_broken_or_has_no_chords(tmp_path):
    path = tmp_path / "broken.musicxml"
    path.write_text("<score-partwise><part>")
    with pytest.raises(ChordError, match=r"broken.musicxml can't be read as MusicXML"):
        read_chart(path)
    path.write_text(music_xml("NOTE"))
    with pytest.raises(ChordError, match="no chord symbols"):
        read_chart(path)


def test_a_file_may_be_named_after_irealbook(tmp_path):
    path = tmp_path / "my irealbook.txt"
    path.write_text("Cmaj7 | Dm7 G7", encoding="utf-8")
    assert len(read_chart(str(path)).chart.bars) == 2
