"""What the knobs of the script do."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from fake_fl_studio import FLStudio, Marker, Note, one_key_at_a_time

from lib.apps.fl_studio.script import ScriptTake, script_text, steady
from lib.music.chords import parse_chord
from lib.music.notes import Notes

ROOT = Path(__file__).resolve().parents[3]
REPLACE, IN_SELECTION = {"Notes_and_chords_there": 1}, {"Only_in_the_time_selection": True}


@pytest.mark.parametrize("transpose", [-24, -7, 5, 24])
def test_transposing_stays_on_the_piano(takes, text, transpose):
    studio = FLStudio(ppq=960).open(text)
    before, after = studio.preview(), studio.preview(Transpose=transpose)
    assert all(21 <= row[2] <= 108 for row in after) and one_key_at_a_time(after)
    moved = {(time, (pitch + transpose) % 12) for time, _, pitch, *_ in before}
    assert {(time, pitch % 12) for time, _, pitch, *_ in after} == moved
    inside = {(time, pitch + transpose) for time, _, pitch, *_ in before if 21 <= pitch + transpose <= 108}
    assert inside <= {(time, pitch) for time, _, pitch, *_ in after}


def test_the_whole_keyboard_transposed_by_two_octaves(take_of):
    studio = FLStudio().open(script_text([take_of(range(21, 109))], "Keys"))
    assert [row[2] for row in studio.preview()] == list(range(21, 109))
    assert [row[2] for row in studio.preview(Transpose=24)] == [*range(45, 109), *range(97, 109), *range(97, 109)]
    assert [row[2] for row in studio.preview(Transpose=-24)][:24] == [*range(21, 33), *range(21, 33)]


def test_velocity_is_scaled_within_its_bounds(text):
    studio = FLStudio().open(text)
    plain = [row[3] for row in studio.preview()]
    assert [row[3] for row in studio.preview(Velocity=0.5)] == pytest.approx([loud / 2 for loud in plain])
    assert [row[3] for row in studio.preview(Velocity=2.0)] == pytest.approx([min(1.0, 2 * loud) for loud in plain])
    assert {row[3] for row in studio.preview(Velocity=0.0)} == {0.0}


@pytest.mark.parametrize("number", [0, 1])
def test_humanise_is_small_and_the_same_each_time(takes, text, number):
    ppq, a_second = 960, takes[number].tempo_bpm / 60 * 960
    studio, other = FLStudio(ppq=ppq).open(text), FLStudio(ppq=ppq).open(text)
    plain = studio.preview(Take=number, Humanise=0.0)
    moved = studio.preview(Humanise=1.0)
    studio.preview(Humanise=0.3)
    assert studio.preview(Humanise=1.0) == moved == other.preview(Take=number, Humanise=1.0)
    assert moved != plain and len(moved) == len(plain) and min(row[0] for row in moved) >= 0
    late_s = [(b[0] - a[0]) / a_second for a, b in matched(plain, moved)]
    louder = [(b[3] - a[3]) * 127 for a, b in matched(plain, moved)]
    for moves, most in ((late_s, 0.0205), (louder, 12.0)):
        assert max(map(abs, moves)) <= most and np.std(moves) > most / 4 and abs(np.mean(moves)) < most / 3


def test_humanise_begins_nothing_before_the_beginning():
    chord = ScriptTake("chord", Notes.from_arrays(np.zeros(30), np.full(30, 0.5), range(40, 70), np.full(30, 80)), steady(120.0))
    for selection in ((0, -1), (96, 500)):
        studio = FLStudio(selection=selection).open(script_text([chord], "Chord"))
        times = [row[0] for row in studio.preview(Humanise=1.0, **IN_SELECTION)]
        assert len(times) == 30 and min(times) == selection[0] < max(times)


def matched(plain, moved):
    """Pairs of the same note: of each pitch in order of time."""
    by_pitch = [sorted(rows, key=lambda row: (row[2], row[0])) for rows in (plain, moved)]
    return list(zip(*by_pitch))


def test_one_hand(text):
    studio = FLStudio().open(text)
    both, right, left = (studio.preview(Hands=hands) for hands in range(3))
    assert {row[4] for row in right} == {0} and {row[4] for row in left} == {1}
    assert sorted(right + left) == sorted(both)


def own_notes():
    return [Note(number=40, time=0, length=96), Note(number=41, time=400, length=50, selected=True, velocity=0.3),
            Note(number=42, time=1000, length=9, color=5)]  # fmt: skip


def test_keep_and_replace(text):
    studio = FLStudio(own_notes()).open(text)
    theirs, kept = studio.rows, studio.preview()
    assert kept[:3] == theirs and len(kept) > 50
    replaced = studio.preview(**REPLACE)
    assert replaced == kept[3:] == FLStudio().open(text).preview()
    assert studio.preview(Notes_and_chords_there=0) == kept  # FL Studio puts back what was there


def test_replacing_again_changes_nothing_even_if_nothing_is_put_back(text):
    studio = FLStudio(own_notes()).open(text)
    once, chords = studio.preview(**REPLACE), studio.chords
    studio.script["apply"](studio.form)
    assert studio.rows == once and studio.chords == chords


def test_in_the_time_selection(text):
    whole = FLStudio().open(text).preview()
    studio = FLStudio(own_notes(), selection=(384, 960)).open(text)
    kept = studio.preview(**IN_SELECTION)
    ours = kept[3:]
    assert ours == [(time + 384, min(length, 576 - time), *rest) for time, length, *rest in whole if time < 576]
    assert all(384 <= time < time + length <= 960 for time, length, *_ in ours) and len(ours) > 10
    replaced = studio.preview(**REPLACE)
    assert replaced == [kept[0], kept[2], *ours]  # the one note within is gone
    assert all(384 <= time < 960 for time, _ in studio.chords) and studio.chords
    assert studio.preview(Only_in_the_time_selection=False) == whole


@pytest.mark.parametrize("selection", [(0, -1), (-1, -1), (96, 96), (-50, -10)])
def test_without_a_time_selection_it_begins_at_the_first_bar(text, selection):
    whole = FLStudio().open(text).preview()
    assert FLStudio(selection=selection).open(text).preview(**IN_SELECTION) == whole
    assert FLStudio(selection=(0, 50), old=True).open(text).preview(**IN_SELECTION) == whole


def test_chords_are_markers_and_move_with_the_notes(takes, text):
    for number, take in enumerate(takes):
        studio = FLStudio(ppq=960).open(text)
        studio.preview(Take=number)
        assert len(take.chords) >= 3
        assert [name for _, name in studio.chords] == [name for _, name in take.chords]
        ticks = np.array([time_s * take.tempo_bpm / 60 * 960 for time_s, _ in take.chords])
        assert np.abs(np.array([time for time, _ in studio.chords]) - ticks).max() <= 1
        studio.preview(Transpose=3)
        for (_, symbol), (_, moved) in zip(take.chords, studio.chords, strict=True):
            before, after = parse_chord(symbol), parse_chord(moved)
            assert after.intervals == before.intervals
            assert (after.root, after.bass) == ((before.root + 3) % 12, (before.bass + 3) % 12)
    studio.preview(Chord_markers=False)
    assert studio.chords == []


@pytest.mark.parametrize("symbol", ["C6/9", "N.C.", "F#m7b5", "Bb7alt/Ab", "Verse", "Am/G", "Ebmaj7#11", "?"])
def test_a_symbol_that_is_no_chord_keeps_its_name(symbol, take_of):
    studio = FLStudio().open(script_text([take_of([60], chords=[(0.0, symbol)])], "Chords"))
    studio.preview(Transpose=1)
    moved = studio.chords[0][1]
    if symbol in ("N.C.", "Verse", "?"):
        assert moved == symbol
    else:
        before, after = parse_chord(symbol), parse_chord(moved)
        assert (after.root, after.intervals) == ((before.root + 1) % 12, before.intervals)
        assert after.bass == (before.bass + 1) % 12


def test_only_our_chords_are_replaced(takes, text):
    markers = [Marker(name="Verse", time=0), Marker(name="Cmaj7", time=90), Marker(name="Cmaj7", mode=8, time=5), Marker(mode=12)]
    studio = FLStudio(markers=markers).open(text)
    studio.preview(**REPLACE)
    assert [name for _, name in studio.chords] == ["Verse", *(name for _, name in takes[0].chords)]
    assert [marker.mode for marker in studio.markers if marker.mode] == [8, 12]
    studio.preview(Notes_and_chords_there=0)
    assert (90, "Cmaj7") in studio.chords and len(set(studio.chords)) == len(studio.chords)


def test_any_setting_of_the_knobs_gives_notes_that_a_piano_has(text):
    dice = random.Random(7)
    studio, last = FLStudio(own_notes(), selection=(100, 1500)).open(text), {}
    for _ in range(60):
        knobs = {"Take": dice.randrange(2), "Hands": dice.randrange(3), "Notes_and_chords_there": dice.randrange(2),
                 "Only_in_the_time_selection": dice.random() < 0.5, "Transpose": dice.randint(-24, 24),
                 "Velocity": dice.uniform(0, 2), "Humanise": dice.random(), "Chord_markers": dice.random() < 0.5}  # fmt: skip
        rows = studio.preview(**knobs)
        ours = rows[3:] if not knobs["Notes_and_chords_there"] else [row for row in rows if row[2] not in (40, 41, 42)]
        assert ours and one_key_at_a_time(ours)
        assert all(t >= 0 and n >= 1 and 21 <= p <= 108 and 0 <= v <= 1 and c in (0, 1) for t, n, p, v, c in ours)
        last[repr(knobs)] = (knobs, rows, studio.chords)
    for knobs, rows, chords in list(last.values())[:10]:
        assert studio.preview(**knobs) == rows and studio.chords == chords


def test_a_dialog_that_gives_every_value_as_a_real_number(text):
    studio = FLStudio(own_notes(), selection=(0, 900)).open(text)
    plain = studio.preview(Take=1, Transpose=-5, **IN_SELECTION, **REPLACE)
    given = studio.form.GetInputValue
    studio.form.GetInputValue = lambda name: float(given(name))
    assert studio.preview() == plain


def test_the_guide_tells_of_each_knob_and_shows_what_there_is(text):
    guide = (ROOT / "docs" / "FL_STUDIO_GUIDE.md").read_text(encoding="utf-8")
    table = guide.split("| knob | effect |")[1].split("\n\n")[0]
    assert re.findall(r"^\| (.+?) \|", table, re.MULTILINE) == list(FLStudio().open(text).form._kinds)
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", guide)
    assert len(pictures) == 4 and all((ROOT / "docs" / picture).is_file() for picture in pictures)
    assert "none of our scripts has run in it yet" in " ".join(guide.split())
