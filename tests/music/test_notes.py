"""MIDI files -> notes -> MIDI files, against pretty_midi."""

import io

import mido
import numpy as np
import pretty_midi
import pytest

from lib.music.chart import Bar, Chart, Timing
from lib.music.chords import in_ascii, parse_chord
from lib.music.midi_writer import to_midi, write_midi
from lib.music.notes import MidiError, Notes, read_markers, read_midi, read_piano, read_tempo
from lib.music.piano_roll import FRAMES_PER_BEAT
from lib.music.tempo_map import BEATS_ONLY, IN_BARS, BeatNotes, Metre, TempoMap, bar_table, in_beats, in_seconds


def midi_bytes(*messages, ticks=480, kind=1):
    file = mido.MidiFile(type=kind, ticks_per_beat=ticks)
    file.tracks.append(mido.MidiTrack([*messages, mido.MetaMessage("end_of_track")]))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def on(pitch, velocity=64, time=0, channel=0):
    return mido.Message("note_on", note=pitch, velocity=velocity, time=time, channel=channel)


def at_90(metre="4/4", num_bars=4):
    return TempoMap.constant(90, Metre.parse(metre), num_bars)


def test_round_trip(tmp_path):
    notes = Notes.from_arrays([0.0, 0.5, 0.5], [0.4, 1.0, 0.25], [60, 64, 48], [10, 127, 64], [(0.1, 0.9)])
    path = write_midi(notes, tmp_path / "new" / "solo.mid", at_90(), [(0.5, "Cmaj7")])
    back = read_midi(path)
    assert np.allclose(back.onset_s, notes.onset_s, atol=2e-3) and np.allclose(
        back.duration_s, notes.duration_s, atol=2e-3
    )
    assert np.array_equal(back.pitch, notes.pitch) and np.array_equal(back.velocity, notes.velocity)
    assert np.allclose(back.pedal_s, [(0.1, 0.9)], atol=2e-3)
    midi = pretty_midi.PrettyMIDI(str(path))
    assert read_markers(path) == [(pytest.approx(0.5, abs=2e-3), "Cmaj7")]
    assert midi.get_tempo_changes()[1][0] == pytest.approx(90, abs=0.01)
    assert [p.name for p in path.parent.iterdir()] == ["solo.mid"]


def band(path, *programs, drums=True):
    """A file of a sequencer: a track a program, and drums."""
    midi = pretty_midi.PrettyMIDI()
    for program in programs:
        midi.instruments.append(pretty_midi.Instrument(program, name="Walking" if program == 32 else ""))
    midi.instruments += [pretty_midi.Instrument(0, is_drum=True)] if drums else []
    for index, track in enumerate(midi.instruments):
        track.notes = [pretty_midi.Note(80, 40 + index, start / 4, start / 4 + 0.2) for start in range(20)]
    midi.write(str(path))
    return path


def test_the_piano_of_a_band(tmp_path):
    notes, left_out = read_piano(band(tmp_path / "trio.mid", 0, 32))
    assert set(notes.pitch) == {40} and left_out == ["bass, track 'Walking' (20 notes)", "drums (20 notes)"]
    notes, left_out = read_piano(band(tmp_path / "organ.mid", 16, 32, drums=False))  # no keyboard says that it is one
    assert set(notes.pitch) == {40, 41} and left_out == []
    alone = band(tmp_path / "solo.mid", 0, drums=False)
    assert np.array_equal(read_piano(alone)[0].onset_s, read_midi(alone).onset_s) and read_piano(alone)[1] == []
    with pytest.raises(MidiError, match="drums only"):
        read_piano(band(tmp_path / "drums.mid"))


def test_one_performance_after_another():
    first = Notes.from_arrays([0.0, 1.0], [0.5, 2.0], [60, 62], [70, 71], [(0.0, 0.5), (1.0, 9.0)])
    later = Notes.from_arrays([0.25], [1.0], [64], [72], [(0.0, 1.0)])
    both = first.followed_by(later, 4.0)
    assert both.onset_s.tolist() == [0.0, 1.0, 4.25] and both.pitch.tolist() == [60, 62, 64]
    assert both.pedal_s.tolist() == [[0.0, 0.5], [1.0, 4.0], [4.0, 5.0]]


def test_each_hand_has_its_track(tmp_path):
    notes = Notes.from_arrays([0.0, 0.5, 0.5], [0.4, 1.0, 0.25], [60, 48, 64], [10, 64, 127], [(0.1, 0.9)])
    path = write_midi(notes, tmp_path / "solo.mid", at_90(), left_hand=notes.pitch < 50)
    midi = pretty_midi.PrettyMIDI(str(path))
    tracks = {track.name: [n.pitch for n in track.notes] for track in midi.instruments}
    assert tracks == {"Right hand": [60, 64], "Left hand": [48]}
    assert (midi.time_signature_changes[0].numerator, midi.time_signature_changes[0].denominator) == (4, 4)
    back = read_midi(path)
    assert np.array_equal(back.pitch, notes.pitch) and np.allclose(back.pedal_s, [(0.1, 0.9)], atol=2e-3)


def test_a_studio_gets_tempo_bars_markers_and_both_hands(tmp_path):
    notes = Notes.from_arrays([0.0, 0.5, 0.5], [0.4, 1.0, 0.25], [60, 48, 64], [10, 64, 127], [(0.1, 0.9)])
    chords = [(0.0, "CΔ"), (2.0, "F♯ø7"), (4.0, "B°7"), (6.0, "E♭−7"), (8.0, "N.C.")]
    midi = mido.MidiFile(write_midi(notes, tmp_path / "solo.mid", at_90("3/4"), chords, notes.pitch < 50))
    assert midi.type == 1 and [track.name for track in midi.tracks] == ["", "Right hand", "Left hand"]
    first, tick, markers = midi.tracks[0], 0, []
    for message in first:
        tick += message.time
        markers += [(tick / midi.ticks_per_beat, message.text)] if message.type == "marker" else []
    expected = [(0, "Cmaj7"), (3, "F#m7b5"), (6, "Bdim7"), (9, "Eb-7"), (12, "N.C.")]
    assert [(round(beat, 2), text) for beat, text in markers] == expected
    assert [m.numerator for m in first if m.type == "time_signature"] == [3]
    assert [round(mido.tempo2bpm(m.tempo), 2) for m in first if m.type == "set_tempo"] == [90]
    assert not [m for m in first if m.type in ("text", "note_on")]


# --- A file by a tempo map ---------------------------------------------------------------------------------------


def on_frames(count=60, frames=6 * FRAMES_PER_BEAT):
    """Notes and pedals on frames, in beats, no two of a key touching."""
    random = np.random.default_rng(0)
    onset = np.sort(random.choice(frames, count, replace=False))
    release, pedal = onset + random.integers(1, 40, count), np.array([[5, 30], [30, 41], [60, 90]])
    pitch, velocity = np.arange(count) + 24, random.integers(1, 128, count)
    return BeatNotes(onset / FRAMES_PER_BEAT, release / FRAMES_PER_BEAT, pitch, velocity, pedal / FRAMES_PER_BEAT)


def of_request(tempo_bpm, metre, start_s=0.0):
    """The map of a request in a metre, as long as `on_frames`."""
    metre = Metre.parse(metre)
    bars = Chart((Bar.of([None], (metre.numerator, metre.denominator)),))
    return Timing.of(tempo_bpm, metre).tempo_map(bars, 48, start_s)


def jump_in_a_bar():
    """90 a minute, and from the third beat of the second bar on 140; three bars of 4/4."""
    beats_s = np.cumsum(np.r_[0, np.full(6, 60 / 90), np.full(6, 60 / 140)])
    return TempoMap(beats_s, bar_table([0.0, 4.0, 8.0], [4.0] * 3, IN_BARS, 1.0, Metre.parse("4/4")))


def before_zero():
    """A map whose first beat comes 1.3 beats before second 0: the second bar line is at 2.7 beats."""
    return TempoMap.constant(100, Metre.parse("4/4"), 4, start_s=-1.3 * 0.6)


def rubato():
    return TempoMap(
        np.cumsum(np.random.default_rng(1).uniform(0.4, 0.7, 13)), bar_table([0.0], [12.0], BEATS_ONLY, 0.5)
    )


MAPS = {
    "4/4": (of_request(120, "4/4"), 20, [120]),
    "3/4": (of_request(97, "3/4"), 20, [97]),
    "12/8 felt in dotted quarters": (of_request(150, "12/8"), 30, [150]),
    "7/8": (of_request(120, "7/8"), 20, [120]),
    "doubled": (of_request(60, "4/4"), 10, [60]),
    "four times": (of_request(25, "4/4"), 5, [25]),
    "halved": (of_request(240, "4/4"), 40, [240]),
    "first beat later": (of_request(90, "4/4", start_s=1.5), 20, [90]),
    "first beat before second 0": (before_zero(), 20, [100]),
    "a change within a bar": (jump_in_a_bar(), 20, [90, 140]),
    "rubato": (rubato(), 20, None),
}


def events(content, kind):
    """[(tick, message)] of a file's first track."""
    track = mido.MidiFile(file=io.BytesIO(content)).tracks[0]
    ticks = np.cumsum([message.time for message in track])
    return [(int(tick), message) for tick, message in zip(ticks, track) if message.type == kind]


@pytest.mark.parametrize("name", MAPS)
def test_what_is_written_by_a_map_comes_back_on_the_same_frames(name):
    tempo_map, ticks_per_frame, tempos = MAPS[name]
    zero = 0 if tempo_map.beats_s[0] >= 0 else 2  # beats that lie before second 0
    notes = BeatNotes(
        *(part + (zero if index in (0, 1, 4) else 0) for index, part in enumerate(vars(on_frames()).values()))
    )
    content = to_midi(in_seconds(notes, tempo_map), tempo_map)
    back = in_beats(read_midi(content), tempo_map)
    for field in ("onset", "release", "pedal"):
        frames = getattr(back, field) * FRAMES_PER_BEAT
        assert np.abs(frames - np.rint(frames)).max() < 0.05, "a frame is many ticks, each of them exact"
        assert np.array_equal(np.rint(frames), np.rint(getattr(notes, field) * FRAMES_PER_BEAT)), field
    assert np.array_equal(back.pitch, notes.pitch) and np.array_equal(back.velocity, notes.velocity)
    if tempos is not None:
        messages = [message for _, message in events(content, "set_tempo")]
        assert [mido.tempo2bpm(message.tempo) for message in messages] == pytest.approx(tempos, rel=1e-5)
    (first, *_), beat = events(content, "set_tempo"), FRAMES_PER_BEAT * ticks_per_frame
    assert first[0] == 0 and mido.tick2second(beat, 480, first[1].tempo) == pytest.approx(
        np.diff(tempo_map.beats_s)[0], rel=1e-5
    )


@pytest.mark.parametrize("name", ["4/4", "12/8 felt in dotted quarters", "doubled", "four times", "halved"])
def test_notes_on_frames_lie_on_whole_ticks(name):
    tempo_map, ticks_per_frame, _ = MAPS[name]
    notes = on_frames()
    track = mido.MidiFile(file=io.BytesIO(to_midi(in_seconds(notes, tempo_map), tempo_map))).tracks[1]
    ticks = np.cumsum([message.time for message in track])
    begins = [tick for tick, message in zip(ticks.tolist(), track) if message.type == "note_on"]
    assert begins == (np.rint(notes.onset * FRAMES_PER_BEAT) * ticks_per_frame).astype(int).tolist()


@pytest.mark.parametrize(
    ("name", "metres"),
    [
        ("3/4", [(0, 3, 4)]),
        ("12/8 felt in dotted quarters", [(0, 12, 8)]),
        ("doubled", [(0, 4, 4)]),
        ("7/8", [(0, 7, 8)]),
        ("first beat later", [(1080, 4, 4)]),
        ("first beat before second 0", [(1296, 4, 4)]),
        ("rubato", []),
    ],
)
def test_metres_stand_where_a_bar_begins(name, metres):
    content = to_midi(Notes.from_arrays([0.0], [1.0], [60], [64]), MAPS[name][0])
    assert [(tick, m.numerator, m.denominator) for tick, m in events(content, "time_signature")] == metres


def test_each_change_of_metre_is_written_and_bars_begin_anew_after_unknown_ones():
    three, four = Metre.parse("3/4"), Metre.parse("4/4")
    known = [bar_table([at], [metre.beats], IN_BARS, 1.0, metre) for at, metre in ((0, four), (4, four), (8, three))]
    table = np.concatenate(
        [*known, bar_table([11.0], [2.0], BEATS_ONLY, 0.0), bar_table([13.0], [3.0], IN_BARS, 1.0, three)]
    )
    content = to_midi(Notes.from_arrays([0.0], [1.0], [60], [64]), TempoMap(np.arange(17) * 0.5, table))
    changes = [(tick / 480, m.numerator, m.denominator) for tick, m in events(content, "time_signature")]
    assert changes == [(0, 4, 4), (8, 3, 4), (13, 3, 4)]
    assert [(tick, m.tempo) for tick, m in events(content, "set_tempo")] == [(0, 500_000)]


def test_without_a_map_a_file_is_in_common_time_at_120():
    notes = Notes.from_arrays([0.25, 7.0], [0.5, 1.0], [60, 62], [64, 65])
    content = to_midi(notes)
    assert [(tick, m.tempo) for tick, m in events(content, "set_tempo")] == [(0, 500_000)]
    assert np.allclose(read_midi(content).onset_s, notes.onset_s, atol=1e-3)


def test_hardly_changing_tempos_do_not_add_up():
    beats_s = np.cumsum(np.r_[0, 0.5, np.full(1000, 0.50004)])
    tempo_map = TempoMap(beats_s, bar_table([0.0], [1000.0], BEATS_ONLY, 0.0))
    notes = Notes.from_arrays(beats_s[:-1], np.full(1001, 0.1), np.full(1001, 60), np.full(1001, 64))
    assert np.abs(read_midi(to_midi(notes, tempo_map)).onset_s - notes.onset_s).max() < 2e-3


@pytest.mark.parametrize("symbol", ["CΔ", "C△9", "Bø7", "F♯ø", "A♭°7", "D−7", "E♭∆7/G", "C7(♭9)"])
def test_a_chord_means_the_same_in_ascii(symbol):
    ours, plain = parse_chord(symbol), parse_chord(in_ascii(symbol))
    assert in_ascii(symbol).isascii() and (ours.root, ours.intervals, ours.bass) == (
        plain.root,
        plain.intervals,
        plain.bass,
    )


def test_agrees_with_pretty_midi_on_real_performances(real_data):
    import zipfile

    with zipfile.ZipFile(real_data / "maestro-v3.0.0-midi.zip") as archive:
        members = [name for name in archive.namelist() if name.endswith(".midi")][::420]
        for member in members:
            content = archive.read(member)
            ours, theirs = read_midi(content), pretty_midi.PrettyMIDI(io.BytesIO(content))
            theirs = sorted((n.start, n.pitch, n.end, n.velocity) for i in theirs.instruments for n in i.notes)
            assert len(ours) == len(theirs)
            start, pitch, end, velocity = (np.array(column) for column in zip(*theirs, strict=True))
            order = np.lexsort((ours.pitch, np.round(ours.onset_s, 6)))
            assert np.abs(ours.onset_s[order] - start).max() < 1e-4
            assert np.abs(np.sort(ours.onset_s + ours.duration_s) - np.sort(end)).max() < 1e-4
            assert sorted(ours.pitch) == sorted(pitch) and sorted(ours.velocity) == sorted(velocity)


def test_tempo_changes_are_followed():
    content = midi_bytes(
        mido.MetaMessage("set_tempo", tempo=1_000_000), on(60), on(60, 0, 480),
        mido.MetaMessage("set_tempo", tempo=250_000), on(62), on(62, 0, 480),
    )  # fmt: skip
    notes = read_midi(content)
    assert np.allclose(notes.onset_s, [0, 1]) and np.allclose(notes.duration_s, [1, 0.25])


def test_pedal_threshold_and_an_open_pedal():
    def pedal(value, time):
        return mido.Message("control_change", control=64, value=value, time=time)

    content = midi_bytes(
        on(60), pedal(63, 0), pedal(64, 480), pedal(100, 480), pedal(10, 480), pedal(90, 480), on(60, 0, 960)
    )
    assert np.allclose(read_midi(content).pedal_s, [(0.5, 1.5), (2.0, 3.0)])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"RIFF" + bytes(100), "a RIFF file, not MIDI"),
        (b"MThd", "can't be read|no notes|cut short"),
        (midi_bytes(on(60), on(60, 0, 100))[:-9], "cut short"),
        (midi_bytes(), "no notes"),
        (midi_bytes(on(40, channel=9), on(40, 0, 100, channel=9)), "drums only"),
        (midi_bytes(on(60), on(60, 0, 0)), "no"),
        (b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\x7f\xff\xff\xff" + bytes(20), "claims 2,147,483,647 bytes"),
        (b"MThd\xff\xff\xff\xff\0\1\0\1\1\xe0", "cut short"),
        (b"MThd\0\0\0\6\0\1\0\1\0\0MTrk\0\0\0\4\0\xff\x2f\0", "no notes|ticks|can't"),
    ],
)
def test_broken_files(content, reason):
    with pytest.raises(MidiError, match=reason):
        read_midi(content)


def test_garbage_never_does_anything_but_raise():
    generator = np.random.default_rng(0)
    good = bytearray(
        midi_bytes(*(on(40 + i % 40, 64, 30) for i in range(100)), *(on(40 + i % 40, 0, 30) for i in range(100)))
    )
    for _ in range(200):
        broken = bytearray(good)
        for place in generator.integers(14, len(good), 8):
            broken[place] = generator.integers(256)
        try:
            notes = read_midi(bytes(broken))
        except MidiError:
            continue
        assert len(notes) and np.isfinite(notes.onset_s).all() and (notes.duration_s > 0).all()


def test_between():
    notes = Notes.from_arrays([0, 1, 2, 3], [1, 5, 1, 1], [60, 61, 62, 63], [64] * 4, [(0.5, 1.5), (2.5, 9)])
    cut = notes.between(1, 3)
    assert cut.onset_s.tolist() == [0, 1] and cut.duration_s.tolist() == [5, 1]
    assert cut.pedal_s.tolist() == [[0, 0.5], [1.5, 2]]


def test_until():
    notes = Notes.from_arrays([0, 1, 2, 3], [1, 5, 1, 1], [60, 61, 62, 63], [64] * 4, [(0.5, 1.5), (2.5, 9)])
    cut = notes.until(3)
    assert cut.pitch.tolist() == [60, 61, 62] and cut.duration_s.tolist() == [1, 2, 1] and cut.end_s == 3
    assert cut.pedal_s.tolist() == [[0.5, 1.5], [2.5, 3]] and not len(notes.until(0))


def test_the_tempo_of_a_file_at_a_time(tmp_path):
    path = tmp_path / "two.mid"
    midi = mido.MidiFile(ticks_per_beat=480)
    events = [mido.MetaMessage("set_tempo", tempo=500_000), mido.Message("note_on", note=60, velocity=64),
              mido.Message("note_off", note=60, time=480 * 4), mido.MetaMessage("set_tempo", tempo=1_000_000)]  # fmt: skip
    midi.tracks.append(mido.MidiTrack(events))
    midi.save(path)
    assert [read_tempo(path, s) for s in (0, 1.9, 2.1, None)] == pytest.approx([120, 120, 60, 60])
    midi.tracks[0] = mido.MidiTrack(events[1:3])
    midi.save(path)
    assert read_tempo(path) is None
