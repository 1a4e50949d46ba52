"""The script in a piano roll: what of a solo arrives there, and what its knobs do."""

import ast
import dataclasses
import random
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_fl_studio import FLStudio, Marker, Note, ScriptDialog, ScriptError

from lib.config import ConfigError
from lib.data.notes import Notes, read_midi
from lib.music.chord_symbols import in_ascii, parse_chord
from lib.music.hands import left_hand
from lib.music.piano_roll import notes_to_piano_roll, sounding_roll
from lib.serve.fl_studio import script
from lib.serve.fl_studio.script import MAX_NOTES, Take, read_take, ringing, script_text

ROOT = Path(__file__).resolve().parents[3]
REPLACE, IN_SELECTION = {"Notes_and_chords_there": 1}, {"Only_in_the_time_selection": True}


@pytest.fixture(scope="module")
def text(takes):
    return script_text(takes, "Mehldau Solo")


def take_of(pitches, beats=0.5, tempo_bpm=120.0, chords=(), name="plain"):
    """A key after the other."""
    onset_s = np.arange(len(pitches)) * beats * 60 / tempo_bpm
    velocity = np.linspace(1, 127, len(pitches))
    return Take(name, Notes.from_arrays(onset_s, np.full(len(pitches), 0.2), pitches, velocity), tempo_bpm, chords)


def keys_down(notes, seconds):
    """(88, T) every 10 ms: which strings sound, stepped through as a piano does it."""
    sounding, held, rows = np.zeros(128, bool), np.zeros(128, bool), []
    pedal = np.zeros(round(seconds * 100), bool)
    for down_s, up_s in notes.pedal_s:
        pedal[round(down_s * 100) : round(up_s * 100)] = True
    first, last = np.round(notes.onset_s * 100), np.round((notes.onset_s + notes.duration_s) * 100)
    for time in range(len(pedal)):
        held[:] = False
        held[notes.pitch[(first <= time) & (time < last)]] = True
        sounding = held | (sounding & pedal[time])
        rows.append(sounding[21:109])
    return np.array(rows).T


@pytest.mark.parametrize("version", [(3, 9), (3, 12)])
def test_it_is_ascii_and_python_of_that_version(text, version):
    tree = ast.parse(text, feature_version=version)
    assert text.isascii() and "\t" not in text and "\r" not in text
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [name.name for node in imports for name in node.names] == ["flpianoroll"]
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"open", "exec", "eval", "input", "print"} and "ShowMessage" not in text
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.NamedExpr | ast.Match)]


@pytest.mark.parametrize("ppq", [24, 96, 192, 960])
@pytest.mark.parametrize("number", [0, 1])
def test_each_note_is_where_it_was_played(takes, text, ppq, number):
    take = takes[number]
    notes = ringing(take.notes)
    rows = FLStudio(ppq=ppq).open(text).preview(Take=number)
    ticks = notes.onset_s * take.tempo_bpm / 60 * ppq
    expected = sorted(zip(np.round(ticks).astype(int), notes.pitch.astype(int)))
    times = {}
    for time, _, pitch, *_ in rows:
        times.setdefault(pitch, []).append(time)
    if ppq >= 96:  # 24 ticks are coarse: two strikes of a key may fall on one
        assert len(rows) == len(notes)
        for pitch in set(notes.pitch.tolist()):
            assert np.abs(np.array(times[pitch]) - ticks[notes.pitch == pitch]).max() <= 1
    assert {(t, p) for t, _, p, *_ in rows} <= {(t + d, p) for t, p in expected for d in (-1, 0, 1)}
    assert len(rows) >= 0.97 * len(notes)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_velocities_and_hands_arrive(takes, text):
    notes = ringing(takes[0].notes)
    rows = FLStudio(ppq=960).open(text).preview()
    columns = (notes.onset_s, notes.pitch, notes.velocity, left_hand(notes))
    by_place = {(round(s * 1920), int(p)): (v / 127, h) for s, p, v, h in zip(*columns)}
    found = [(by_place.get((time, pitch)) or by_place.get((time + 1, pitch)) or by_place[(time - 1, pitch)], loud, color)
             for time, _, pitch, loud, color in rows]  # fmt: skip
    assert max(abs(loud - played) for (played, _), loud, _ in found) < 1e-9
    assert all(color == int(left) for (_, left), _, color in found) and {row[4] for row in rows} == {0, 1}


def test_the_pedal_is_in_the_lengths(takes, text):
    for number, take in enumerate(takes):
        assert len(take.notes.pedal_s)
        rows = FLStudio(ppq=960).open(text).preview(Take=number)
        time, length, pitch, loud, _ = (np.array(column) for column in zip(*rows))
        a_second = take.tempo_bpm / 60 * 960
        ours = Notes.from_arrays(time / a_second, length / a_second, pitch, np.round(loud * 127))
        assert ours.duration_s.sum() > 1.2 * take.notes.duration_s.sum()
        played, given = keys_down(take.notes, 9.0), keys_down(ours, 9.0)
        assert (played != given).mean() < 0.004 and given.sum() > 1000
        played, given = (sounding_roll(notes_to_piano_roll(notes, 400)) for notes in (take.notes, ours))
        assert ((played > 0) != (given > 0)).float().mean() < 0.01


def test_the_pedal_holds_until_it_is_up_or_the_key_is_struck_again():
    notes = Notes.from_arrays([0, 0, 1, 3], [0.5, 0.2, 0.5, 0.5], [60, 64, 60, 64], [90] * 4, [(0.3, 2.0), (4.0, 5.0)])
    assert ringing(notes).duration_s.tolist() == [1.0, 0.2, 1.0, 0.5]  # 64 was let go before the pedal
    twice = Notes.from_arrays([0, 0, 0], [0.5, 0.7, 1.0], [60, 60, 64], [90, 80, 90])
    assert len(ringing(twice)) == 2


def test_recordings_arrive_whole(real_data):
    archives = {"maestro-v3.0.0-midi.zip": 400, "midi_kong.zip": 900}
    for name, step in archives.items():
        with zipfile.ZipFile(real_data / name) as archive:
            for member in [m for m in archive.namelist() if m.endswith(".midi")][::step]:
                notes = read_midi(archive.read(member)).between(0, 90)
                rows = FLStudio(ppq=960).open(script_text([Take("a recording", notes)], "A recording")).preview()
                assert len(rows) >= 0.999 * len(ringing(notes)) and one_key_at_a_time(rows)
                time, length, pitch, loud, _ = (np.array(column) for column in zip(*rows))
                ours = Notes.from_arrays(time / 1920, length / 1920, pitch, np.round(loud * 127))
                assert (keys_down(notes, 30.0) != keys_down(ours, 30.0)).mean() < 0.004


def one_key_at_a_time(rows):
    free = {}
    for time, length, pitch, *_ in sorted(rows):
        if time < free.get(pitch, 0):
            return False
        free[pitch] = time + length
    return True


@pytest.mark.parametrize("transpose", [-24, -7, 5, 24])
def test_transposing_stays_on_the_piano(takes, text, transpose):
    studio = FLStudio(ppq=960).open(text)
    before, after = studio.preview(), studio.preview(Transpose=transpose)
    assert all(21 <= row[2] <= 108 for row in after) and one_key_at_a_time(after)
    moved = {(time, (pitch + transpose) % 12) for time, _, pitch, *_ in before}
    assert {(time, pitch % 12) for time, _, pitch, *_ in after} == moved
    inside = {(time, pitch + transpose) for time, _, pitch, *_ in before if 21 <= pitch + transpose <= 108}
    assert inside <= {(time, pitch) for time, _, pitch, *_ in after}


def test_the_whole_keyboard_transposed_by_two_octaves():
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
    chord = Take("chord", Notes.from_arrays(np.zeros(30), np.full(30, 0.5), range(40, 70), np.full(30, 80)))
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
def test_a_symbol_that_is_no_chord_keeps_its_name(symbol):
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
    table = guide.split("| knob | |")[1].split("\n\n")[0]
    assert re.findall(r"^\| (.+?) \|", table, re.MULTILINE) == list(FLStudio().open(text).form._kinds)
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", guide)
    assert len(pictures) == 4 and all((ROOT / "docs" / picture).is_file() for picture in pictures)
    assert "no script of ours has run in it yet" in " ".join(guide.split())


def test_up_to_four_takes(takes):
    four = [takes[0], takes[1], take_of([60, 62]), take_of([64])]
    studio = FLStudio().open(script_text(four, "Four"))
    assert [len(studio.preview(Take=number)) for number in (2, 3)] == [2, 1]
    for wrong in ([], [*four, take_of([65])]):
        with pytest.raises(ConfigError, match="1 to 4 takes"):
            script_text(wrong, "Five")


@pytest.mark.parametrize("name", ['"]}; import os #', "Ä solo, in C\n", "\\", "'''", "{{takes}}", "x" * 200, "Bø"])
def test_a_name_is_a_name(name):
    text = script_text([dataclasses.replace(take_of([60], chords=[(0.0, name)]), name=name)], name[:90])
    studio = FLStudio().open(text)
    assert text.isascii() and studio.preview() and studio.chords[0][1] == in_ascii(name)[:100]


def test_what_can_not_be_written_is_said():
    with pytest.raises(ConfigError, match="low has no note between A0 and C8"):
        script_text([take_of([5, 10], name="low")], "Low")
    notes = Notes(np.arange(MAX_NOTES + 1.0), np.ones(MAX_NOTES + 1), np.full(MAX_NOTES + 1, 60), np.full(MAX_NOTES + 1, 60))
    with pytest.raises(ConfigError, match=r"50,000 notes at most, these takes have 50,001"):
        script_text([Take("long", notes)], "Long")
    above = take_of([60, 120, 15])
    assert [row[2] for row in FLStudio().open(script_text([above], "Above")).preview()] == [60]


def test_a_take_from_a_file_has_its_tempo_and_chords(solos):
    take = read_take(solos[1])
    assert take.tempo_bpm == pytest.approx(97, abs=0.01) and take.name == "solo-2"
    assert [name for _, name in take.chords][:2] == ["Fmaj7/A", "Bbm7b5"]
    assert read_take(solos[1], 60.0).tempo_bpm == 60


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("note = flp.Note()\n    note.pitch = 60", "no pitch"),
        ("note = flp.Note()\n    note.time = 1.5", "wants int"),
        ("note = flp.Note()\n    note.time = -1", "not within"),
        ("note = flp.Note()\n    note.velocity = 64.0", "not within"),
        ("note = flp.Note()\n    note.velocity = 1", "wants float"),
        ("note = flp.Note()\n    note.muted = 1", "wants bool"),
        ("note = flp.Note()\n    note.color = 16", "not within"),
        ("flp.score.addNote(flp.Note())", "no length"),
        ("flp.score.addNote(flp.Marker())", "no Note"),
        ("flp.score.getNote(0)", "not within"),
        ("flp.score.PPQ = 4", "can't be set"),
        ("flp.score.tempo", "no attribute"),
        ("form.GetInputValue('Tempo')", "Tempo"),
        ("flp.Utils.ShowMessage('hello')", "each turn"),
        ("open('notes.json')", "open"),
        ("import os", "imports os"),
    ],
)
def test_the_piano_roll_of_these_tests_lets_nothing_pass(body, said):
    text = f"import flpianoroll as flp\ndef createDialog():\n    return flp.ScriptDialog('A', 'B')\ndef apply(form):\n    {body}\n"
    with pytest.raises((ScriptError, AttributeError, KeyError, NameError), match=said):
        FLStudio().open(text).preview()


def test_its_dialog_is_as_strict():
    form = ScriptDialog("A", "B")
    for wrong in (lambda: form.AddInputCombo("Take", ["a, b"], 0), lambda: form.AddInputKnobInt("N", 1.0, 0, 2),
                  lambda: form.AddInputKnob("V", 3.0, 0.0, 2.0), lambda: form.AddInputCheckbox("Yes", 1)):  # fmt: skip
        with pytest.raises(ScriptError):
            wrong()
    assert script.TEMPLATE.read_text(encoding="ascii").count("{{") == 4
