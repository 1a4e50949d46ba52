"""MIDI files as other programs write them, each with what is in it; inputs in tests/fixtures/midi."""

import io
import struct
from pathlib import Path

import mido
import numpy as np
import pytest

from lib.data.ingest import ingest
from lib.music.midi_file import MidiError, join_chunks, split_chunks
from lib.music.midi_writer import to_midi
from lib.music.notes import Notes, read_midi, read_midi_and_quarters

FOLDER = Path(__file__).parent.parent / "fixtures" / "midi"
SCALE = [(60, 0, 0.5), (62, 0.5, 1), (64, 1, 1.5), (65, 1.5, 2)]
READ = {
    **dict.fromkeys(("14a-plain.mid", "14b-riff.mid", "14c-riff.rmi", "14d-plain.kar", "36p-header-len-8.mid"), SCALE),
    **dict.fromkeys(("21a-length-plus4-only.mid", "21b-length-plus4-last.mid", "21c-length-minus.mid"), SCALE),
    **dict.fromkeys(("21f-no-end-of-track.mid", "22a-crlf.mid", "22b-1a.mid", "22d-zeros16.mid", "22e-text.mid"), SCALE),
    **dict.fromkeys(("22f-zeros1024.mid", "22g-xfih.mid"), SCALE),
    "15c-format0-two-tracks.mid": [(60, 0, 0.5), (72, 0, 0.5), (62, 0.5, 1), (74, 0.5, 1)],
    "17a-zero-length.mid": [(72, 0.5, 0.75)],
    "17b-zero-length-vel0.mid": [(72, 0.5, 0.75)],
    "17c-off-before-on.mid": [(72, 0, 0.5), (72, 0.5, 0.75)],
    "17d-on-before-off-same-tick.mid": [(72, 0, 0.5), (72, 0.5, 0.75)],
    "19a-overlap.mid": [(60, 0, 1), (60, 0.5, 1.5)],
    "19c-never-released.mid": [(60, 0, 1.5), (64, 0.5, 1)],
    "19d-only-never-released.mid": [(60, 0, 1), (64, 0.5, 1)],
}
PEDALS = {
    "36b-pedal-other-track.mid": [[0, 1]],
    "36b2-pedal-in-conductor.mid": [[0, 1]],
    "36c2-pedal-third-channel.mid": [[0, 1]],
    "36d-pedal-same-chan-prog.mid": [[0, 0.5]],
    "36e-half-pedal.mid": [[0.083, 0.188]],
}
REFUSED = {
    "14e-wav-named.mid": "is audio \\(WAV\\), not MIDI",
    "15b-format2.mid": "format 2.*one by one",
    "18a-smpte-25x40.mid": "SMPTE",
    "18b-div0.mid": "0 ticks",
    "18c-smpte-30x80.mid": "SMPTE",
    "18d-smpte-2997x100.mid": "SMPTE",
    "21d-length-zero.mid": "cut short",
    "21e-length-ffffffff.mid": "cut short",
    "21g-truncated-mid-track.mid": "cut short",
    "21h-truncated-2nd-track.mid": "cut short",
    "36s-macbinary.mid": "MacBinary",
}


def rows(notes):
    ends = (notes.onset_s + notes.duration_s).round(4).tolist()
    return list(zip(notes.pitch.tolist(), notes.onset_s.round(4).tolist(), ends, strict=True))


@pytest.mark.parametrize("name", READ)
def test_notes_are_read(name):
    assert rows(read_midi(FOLDER / name)) == READ[name]


@pytest.mark.parametrize("name", PEDALS)
def test_pedals_are_read_wherever_they_stand(name):
    assert read_midi(FOLDER / name).pedal_s.round(3).tolist() == PEDALS[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name):
    with pytest.raises(MidiError, match=f"{name} .*{REFUSED[name]}"):
        read_midi(FOLDER / name)


def test_files_of_every_suffix_are_ingested(tmp_path):
    for name in ("14a-plain.mid", "14b-riff.mid", "14c-riff.rmi", "14d-plain.kar", "14e-wav-named.mid"):
        path = tmp_path / "midi" / "Me" / "Mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((FOLDER / name).read_bytes())
    report = ingest("mine", tmp_path / "data", folder=tmp_path / "midi")
    assert report.pieces == 4 and "audio (WAV)" in report.skipped[0]["reason"]


def track(*events):
    return b"".join(events)


def midi(*tracks, kind=1):
    return join_chunks((kind, 480), list(tracks))


END, END_LATER = b"\0\xff\x2f\0", b"\x83\x60\xff\x2f\0"


def test_running_status_continues_after_sysex_and_meta_events():
    sysex, lyric = b"\0\xf0\x03\x7e\x7f\xf7", b"\0\xff\x05\x02la"
    content = midi(track(b"\0\x90\x3c\x40", b"\x83\x60\x3c\0", sysex, b"\0\x3e\x40", b"\x83\x60\x3e\0", lyric,
                         b"\0\x40\x40", b"\x83\x60\x40\0", END))  # fmt: skip
    assert rows(read_midi(content)) == [(60, 0, 0.5), (62, 0.5, 1), (64, 1, 1.5)]


@pytest.mark.parametrize("controller", [120, 123])
def test_all_notes_off_ends_what_sounds_in_its_channel(controller):
    off = bytes((0x83, 0x60, 0xB0, controller, 0))
    content = midi(track(b"\0\x90\x3c\x40", b"\0\x40\x40", b"\0\x91\x30\x40", off, b"\0\x90\x3e\x40", b"\x83\x60\x80\x3e\0",
                         b"\0\x81\x30\0", END))  # fmt: skip
    assert rows(read_midi(content)) == [(48, 0, 1), (60, 0, 0.5), (64, 0, 0.5), (62, 0.5, 1)]


def test_a_note_that_is_never_released_lasts_until_its_track_ends():
    content = midi(track(b"\0\x90\x3c\x40", b"\x83\x60\x40\x40", b"\x83\x60\x40\0", END_LATER))
    notes, quarters_s = read_midi_and_quarters(content)
    assert rows(notes) == [(60, 0, 1.5), (64, 0.5, 1)] and len(quarters_s) < 10
    slips, _ = read_midi_and_quarters(content, holds=False)
    assert rows(slips) == [(64, 0.5, 1)]


def test_a_chunk_that_is_no_track_and_a_header_of_another_length_are_passed_over():
    plain = midi(track(b"\0\x90\x3c\x40", b"\x83\x60\x3c\0", END))
    odd = plain[:4] + struct.pack(">I", 10) + plain[8:14] + b"more" + b"XYZ1\0\0\0\2ab" + plain[14:] + b"behind it"
    assert split_chunks(odd) == split_chunks(plain) and rows(read_midi(odd)) == [(60, 0, 0.5)]


def random_notes(rng, count=200):
    """Notes of few keys, many of which are struck while they sound, some at the same time."""
    onset_s = np.sort(rng.uniform(0, 20, count).round(2))
    onset_s[1::7] = onset_s[::7][: len(onset_s[1::7])]
    columns = rng.uniform(0.01, 4, count), rng.integers(58, 64, count), rng.integers(1, 128, count)
    return Notes.from_arrays(onset_s, *columns)


def test_no_key_is_struck_while_it_sounds_and_lengths_are_read_back():
    for seed in range(20):
        notes = random_notes(np.random.default_rng(seed))
        left = np.random.default_rng(seed).random(len(notes)) < 0.5
        for content in (to_midi(notes), to_midi(notes, left_hand=left)):
            sounding = set()
            file = mido.MidiFile(file=io.BytesIO(content))
            for message in mido.merge_tracks(file.tracks):
                if message.type == "note_on" and message.velocity:
                    assert message.note not in sounding
                    sounding.add(message.note)
                elif message.type in ("note_off", "note_on"):
                    sounding.discard(message.note)
            assert not sounding
        alone = notes.struck_once()
        read = read_midi(to_midi(alone))
        assert len(read) == len(alone)
        order, read_order = (np.lexsort((n.onset_s, n.pitch)) for n in (alone, read))
        np.testing.assert_allclose(read.duration_s[read_order], alone.duration_s[order], atol=5e-3)
        np.testing.assert_allclose(read.onset_s[read_order], alone.onset_s[order], atol=5e-3)


def test_keys_that_others_hold_are_left_alone():
    others = Notes.from_arrays([0.0, 3.0], [2.0, 1.0], [60, 62], [64, 64])
    notes = Notes.from_arrays([1.0, 2.0, 2.5, 3.5], [0.2] * 4, [60, 60, 62, 62], [64] * 4)
    assert rows(notes.without_held(others)) == [(60, 2, 2.2), (62, 2.5, 2.7)]


SHORT_SCALE = b"\0\x90\x3c\x40\x83\x60\x80\x3c\0\0\x90\x3e\x40\x83\x60\x80\x3e\0"


@pytest.mark.parametrize(
    ("before", "later_s"),
    [(b"\0\xf7\x01\xf3", 0.0), (b"\0\xf0\x03\x43\x12\0\x83\x60\xf7\x04\x43\x12\0\xf7", 0.5)],
)
def test_sysex_in_packets_moves_nothing(before, later_s):
    notes = rows(read_midi(midi(track(before, SHORT_SCALE, END))))
    assert notes == [(60, later_s, 0.5 + later_s), (62, 0.5 + later_s, 1 + later_s)]


def test_a_pedal_goes_on_across_programs_and_tracks_of_a_channel():
    pedal, up = b"\0\xb0\x40\x7f", b"\0\xb0\x40\0"
    note = b"\0\x90\x3c\x40\x83\x60\x80\x3c\0"
    program = midi(track(b"\0\xc0\0", pedal, note, b"\0\xc0\x05", b"\x83\x60", up[1:], note, END))
    assert read_midi(program).pedal_s.tolist() == [[0, 1]]
    other = midi(track(pedal, note, note, END), track(b"\x83\x60", up[1:], note, END))
    assert read_midi(other).pedal_s.tolist() == [[0, 0.5]]


def test_the_pedal_of_drums_is_not_the_pianos():
    note = b"\0\x90\x3c\x40\x83\x60\x80\x3c\0"
    drums = track(b"\0\xb9\x40\x7f", b"\x83\x60\xb9\x40\0", END)
    assert not len(read_midi(midi(track(note, END), drums)).pedal_s)


@pytest.mark.parametrize("error", [4, -4, 0])
def test_a_wrong_length_costs_no_later_track(error):
    one, two = track(b"\0\x90\x3c\x40\x83\x60\x80\x3c\0", END), track(b"\0\x90\x40\x40\x83\x60\x80\x40\0", END)
    content = bytearray(midi(one, two))
    content[18:22] = struct.pack(">I", len(one) + error)
    content[10:12] = struct.pack(">H", 1)  # of which the header knows nothing either
    assert rows(read_midi(bytes(content))) == [(60, 0, 0.5), (64, 0, 0.5)]


def test_text_before_the_data_of_a_riff_file_is_passed_over():
    inner = midi(track(b"\0\x90\x3c\x40\x83\x60\x80\x3c\0", END))
    chunks = b"INFO" + struct.pack("<I", 8) + b"my data " + b"data" + struct.pack("<I", len(inner)) + inner
    assert rows(read_midi(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"RMID" + chunks)) == [(60, 0, 0.5)]
