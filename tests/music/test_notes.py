"""MIDI files -> notes -> MIDI files, against pretty_midi."""

import io

import mido
import numpy as np
import pretty_midi
import pytest

from lib.music.chords import in_ascii, parse_chord
from lib.music.notes import MidiError, Notes, read_markers, read_midi, read_piano, read_tempo, write_midi


def midi_bytes(*messages, ticks=480, kind=1):
    file = mido.MidiFile(type=kind, ticks_per_beat=ticks)
    file.tracks.append(mido.MidiTrack([*messages, mido.MetaMessage("end_of_track")]))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def on(pitch, velocity=64, time=0, channel=0):
    return mido.Message("note_on", note=pitch, velocity=velocity, time=time, channel=channel)


def test_round_trip(tmp_path):
    notes = Notes.from_arrays([0.0, 0.5, 0.5], [0.4, 1.0, 0.25], [60, 64, 48], [10, 127, 64], [(0.1, 0.9)])
    path = write_midi(notes, tmp_path / "new" / "solo.mid", 90, [(0.5, "Cmaj7")])
    back = read_midi(path)
    assert np.allclose(back.onset_s, notes.onset_s, atol=2e-3) and np.allclose(back.duration_s, notes.duration_s, atol=2e-3)
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
    path = write_midi(notes, tmp_path / "solo.mid", 90, left_hand=notes.pitch < 50)
    midi = pretty_midi.PrettyMIDI(str(path))
    tracks = {track.name: [n.pitch for n in track.notes] for track in midi.instruments}
    assert tracks == {"Right hand": [60, 64], "Left hand": [48]}
    assert (midi.time_signature_changes[0].numerator, midi.time_signature_changes[0].denominator) == (4, 4)
    back = read_midi(path)
    assert np.array_equal(back.pitch, notes.pitch) and np.allclose(back.pedal_s, [(0.1, 0.9)], atol=2e-3)


def test_a_studio_gets_tempo_bars_markers_and_both_hands(tmp_path):
    notes = Notes.from_arrays([0.0, 0.5, 0.5], [0.4, 1.0, 0.25], [60, 48, 64], [10, 64, 127], [(0.1, 0.9)])
    chords = [(0.0, "CΔ"), (2.0, "F♯ø7"), (4.0, "B°7"), (6.0, "E♭−7"), (8.0, "N.C.")]
    midi = mido.MidiFile(write_midi(notes, tmp_path / "solo.mid", 90, chords, notes.pitch < 50, 3))
    assert midi.type == 1 and [track.name for track in midi.tracks] == ["", "Right hand", "Left hand"]
    first, tick, markers = midi.tracks[0], 0, []
    for message in first:
        tick += message.time
        markers += [(tick / midi.ticks_per_beat, message.text)] if message.type == "marker" else []
    assert [(round(beat, 2), text) for beat, text in markers] == [
        (0, "Cmaj7"), (3, "F#m7b5"), (6, "Bdim7"), (9, "Eb-7"), (12, "N.C.")]  # fmt: skip
    assert [m.numerator for m in first if m.type == "time_signature"] == [3]
    assert [round(mido.tempo2bpm(m.tempo), 2) for m in first if m.type == "set_tempo"] == [90]
    assert not [m for m in first if m.type in ("text", "note_on")]


@pytest.mark.parametrize("symbol", ["CΔ", "C△9", "Bø7", "F♯ø", "A♭°7", "D−7", "E♭∆7/G", "C7(♭9)"])
def test_a_chord_means_the_same_in_ascii(symbol):
    ours, plain = parse_chord(symbol), parse_chord(in_ascii(symbol))
    assert in_ascii(symbol).isascii() and (ours.root, ours.intervals, ours.bass) == (plain.root, plain.intervals, plain.bass)


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

    content = midi_bytes(on(60), pedal(63, 0), pedal(64, 480), pedal(100, 480), pedal(10, 480), pedal(90, 480), on(60, 0, 960))
    assert np.allclose(read_midi(content).pedal_s, [(0.5, 1.5), (2.0, 3.0)])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"RIFF" + bytes(100), "not a MIDI file"),
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
    good = bytearray(midi_bytes(*(on(40 + i % 40, 64, 30) for i in range(100)), *(on(40 + i % 40, 0, 30) for i in range(100))))
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
