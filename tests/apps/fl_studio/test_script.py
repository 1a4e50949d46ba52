"""What of a solo arrives in the piano roll, and what a script is."""

import ast
import dataclasses
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_fl_studio import FLStudio, Marker, one_key_at_a_time

from lib.apps.fl_studio.script import MAX_NOTES, ScriptTake, read_take, ringing, script_text, steady
from lib.config import ConfigError
from lib.music.chords import in_ascii
from lib.music.hands import left_hand
from lib.music.midi_writer import write_midi
from lib.music.notes import Notes, read_midi
from lib.music.piano_roll import FRAMES_PER_BEAT, notes_to_piano_roll, sounding_roll
from lib.music.tempo_map import BEATS_ONLY, Metre, TempoMap, bar_table, in_beats

HERE = Path(__file__).parent


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
            assert np.abs(np.array(times[pitch]) - ticks[notes.pitch == pitch]).max() <= 0.5
    assert {(t, p) for t, _, p, *_ in rows} <= {(t + d, p) for t, p in expected for d in (-1, 0, 1)}
    assert len(rows) >= 0.97 * len(notes)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


@pytest.mark.parametrize("ppq", [96, 960])
@pytest.mark.parametrize(("number", "beat", "division"), [(0, 1, 4), (1, 1.5, 3)])
def test_a_solo_lies_on_the_grid_of_the_studio_to_the_tick(played, text, ppq, number, beat, division):
    """In frames, 24 a beat, as the model played it; its chords on beats; and it plays in time."""
    solo, studio = played[number], FLStudio(ppq=ppq).open(text)
    times = [time for time, *_ in studio.preview(Take=number)]
    frames = in_beats(solo.notes, solo.tempo_map).onset * FRAMES_PER_BEAT
    assert frames == pytest.approx(np.rint(frames), abs=1e-6) and len(times) > 20
    frame = beat * ppq / FRAMES_PER_BEAT
    assert set(times) == {round(int(each) * frame) for each in np.rint(frames)}
    assert all(time % (beat * ppq) == 0 for time, _ in studio.chords) and len(studio.chords) > 3
    position = np.array(times) / (beat * ppq)
    locks = [abs(np.exp(2j * np.pi * each * position).mean()) for each in (division, 7 - division)]
    assert locks[0] >= 0.4 > locks[1], locks


def test_bars_of_another_metre_than_the_project_s_are_marked(text):
    studio = FLStudio().open(text)
    studio.preview(Take=0)
    assert studio.metres == []
    studio.preview(Take=1)
    assert studio.metres == [(0, 12, 8)]
    project = FLStudio(metre=(12, 8)).open(text)
    assert project.preview(Take=1) == studio.rows and project.metres == []
    selected = FLStudio(selection=(384, 960)).open(text)
    assert selected.preview(Take=1, Only_in_the_time_selection=True) and selected.metres == [], "bars are the project's"
    theirs = FLStudio(markers=[Marker(mode=8, tsnum=3, tsden=4)]).open(text)
    theirs.preview(Take=1)
    assert theirs.metres == [(0, 3, 4)]


def test_a_tempo_that_changes_keeps_the_beats(tmp_path):
    """A file of 120, then 90 quarters a minute: its quarters are those of the piano roll."""
    beats_s = np.cumsum(np.r_[0, np.full(8, 0.5), np.full(8, 60 / 90)])
    tempo_map = TempoMap(beats_s, bar_table([0, 8], [8, 8], BEATS_ONLY, 1.0))
    notes = Notes.from_arrays(beats_s[:16], np.full(16, 0.2), range(60, 76), np.full(16, 80))
    take = read_take(write_midi(notes, tmp_path / "a.mid", tempo_map))
    rows = FLStudio(ppq=96).open(script_text([take], "Changes")).preview()
    assert [row[0] for row in rows] == [96 * beat for beat in range(16)]


def test_velocities_and_hands_arrive(takes, text):
    notes = ringing(takes[0].notes)
    rows = FLStudio(ppq=960).open(text).preview()
    columns = (notes.onset_s, notes.pitch, notes.velocity, left_hand(notes))
    by_place = {(round(s * 1920), int(p)): (v / 127, h) for s, p, v, h in zip(*columns)}
    found = [(by_place[(time, pitch)], loud, color) for time, _, pitch, loud, color in rows]
    assert max(abs(loud - played) for (played, _), loud, _ in found) < 1e-9
    assert all(color == int(left) for (_, left), _, color in found) and {row[4] for row in rows} == {0, 1}


def test_the_pedal_is_in_the_lengths(takes, text):
    for number, take in enumerate(takes):
        assert len(take.notes.pedal_s)
        rows = FLStudio(ppq=960).open(text).preview(Take=number)
        time, length, pitch, loud, _ = (np.array(column) for column in zip(*rows))
        a_second = take.tempo_bpm / 60 * 960
        ours = Notes.from_arrays(time / a_second, length / a_second, pitch, np.round(loud * 127))
        assert ours.duration_s.sum() > 1.1 * take.notes.duration_s.sum()
        played, given = keys_down(take.notes, 9.0), keys_down(ours, 9.0)
        assert (played != given).mean() < 0.004 and given.sum() > 1000
        steady = TempoMap.constant(take.tempo_bpm, Metre(4, 4), 1)
        played, given = (sounding_roll(notes_to_piano_roll(in_beats(each, steady), 400)) for each in (take.notes, ours))
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
                text = script_text([ScriptTake("a recording", notes, steady(120.0))], "A recording")
                rows = FLStudio(ppq=960).open(text).preview()
                assert len(rows) >= 0.999 * len(ringing(notes)) and one_key_at_a_time(rows)
                time, length, pitch, loud, _ = (np.array(column) for column in zip(*rows))
                ours = Notes.from_arrays(time / 1920, length / 1920, pitch, np.round(loud * 127))
                assert (keys_down(notes, 30.0) != keys_down(ours, 30.0)).mean() < 0.004


def test_up_to_four_takes(takes, take_of):
    four = [takes[0], takes[1], take_of([60, 62]), take_of([64])]
    studio = FLStudio().open(script_text(four, "Four"))
    assert [len(studio.preview(Take=number)) for number in (2, 3)] == [2, 1]
    for wrong in ([], [*four, take_of([65])]):
        with pytest.raises(ConfigError, match="1 to 4 takes"):
            script_text(wrong, "Five")


@pytest.mark.parametrize("name", ['"]}; import os #', "Ä solo, in C\n", "\\", "'''", "{{takes}}", "x" * 200, "Bø"])
def test_a_name_is_a_name(name, take_of):
    text = script_text([dataclasses.replace(take_of([60], chords=[(0.0, name)]), name=name)], name[:90])
    studio = FLStudio().open(text)
    assert text.isascii() and studio.preview() and studio.chords[0][1] == in_ascii(name)[:100]


def test_what_can_not_be_written_is_said(take_of):
    with pytest.raises(ConfigError, match="low has no note between A0 and C8"):
        script_text([take_of([5, 10], name="low")], "Low")
    notes = Notes(np.arange(MAX_NOTES + 1.0), np.ones(MAX_NOTES + 1), np.full(MAX_NOTES + 1, 60), np.full(MAX_NOTES + 1, 60))
    with pytest.raises(ConfigError, match=r"50,000 notes at most, these takes have 50,001"):
        script_text([ScriptTake("long", notes, steady(120.0))], "Long")
    above = take_of([60, 120, 15])
    assert [row[2] for row in FLStudio().open(script_text([above], "Above")).preview()] == [60]


def test_a_take_from_a_file_has_its_tempo_and_chords(solos):
    take = read_take(solos[1])
    assert take.tempo_bpm == pytest.approx(133, abs=0.01) and take.name == "solo-2" and take.metres == ((0, 12, 8),)
    assert [name for _, name in take.chords][:2] == ["Fmaj7/A", "Bbm7b5"]
    assert read_take(solos[1], 60.0).tempo_bpm == 60


def interpreter(version):
    """That Python, of the system or of pyenv, whose shims exist without starting; None where none starts."""
    own = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for python in filter(None, [*map(str, own), shutil.which(f"python{version}")]):
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


@pytest.mark.parametrize("version", ["3.9", "3.12"])
def test_that_python_itself_runs_it(solos, text, tmp_path, version):
    if (python := interpreter(version)) is None:
        pytest.skip(f"Python {version} is not installed")
    (tmp_path / "solo.pyscript").write_text(text)
    program = ("import json, sys; sys.path.insert(0, sys.argv[1]); from fake_fl_studio import FLStudio; "
               "studio = FLStudio().open(open(sys.argv[2]).read()); "
               "print(json.dumps([sys.version_info[:2], studio.preview(Take=1, Humanise=0.7), studio.chords]))")  # fmt: skip
    done = subprocess.run([python, "-c", program, HERE, tmp_path / "solo.pyscript"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    ours = FLStudio().open(text)
    expected = [[int(part) for part in version.split(".")], ours.preview(Take=1, Humanise=0.7), ours.chords]
    assert json.loads(done.stdout) == json.loads(json.dumps(expected))
