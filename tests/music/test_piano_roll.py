"""Notes -> roll -> notes, by hand and on real performances."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.music.piano_roll import (
    FRAMES_PER_BEAT,
    MAX_DURATION_FRAMES,
    decode_duration,
    encode_duration,
    notes_to_piano_roll,
    piano_roll_to_notes,
    rasterise,
    sounding_roll,
)
from lib.music.tempo_map import STEADY, BeatNotes, in_beats, in_seconds


def performance(*rows, pedal=()):
    """BeatNotes from (onset, length, pitch, velocity) in any order, and (down, up), all in beats."""
    onset, length, pitch, velocity = (np.array(column) for column in zip(*sorted(rows), strict=True))
    return BeatNotes(onset, onset + length, pitch, velocity, np.array(pedal, float).reshape(-1, 2))


def round_trip(notes):
    return piano_roll_to_notes(notes_to_piano_roll(notes))[0]


def test_golden_roll():
    notes = performance((0, 1, 60, 64), (1 / 6, 1 / 24, 21, 127), (1 / 6, 4, 108, 1), pedal=[(0.5, 1.0)])
    piano_roll = notes_to_piano_roll(notes)
    assert piano_roll.roll.shape == (1, 3, 88, 100) and piano_roll.pedal.shape == (1, 1, 100)
    assert piano_roll.onset.nonzero().tolist() == [[0, 0, 4], [0, 39, 0], [0, 87, 4]]
    assert piano_roll.roll[0, 2, 39, 0] == pytest.approx(64 / 127)
    assert decode_duration(piano_roll.roll[0, 1, 39, 0]) == pytest.approx(24, rel=1e-4)
    assert piano_roll.pedal[0, 0].nonzero().flatten().tolist() == list(range(12, 24))


def test_a_roll_is_as_long_as_its_notes_in_whole_latent_frames():
    assert [notes_to_piano_roll(performance((0, length, 60, 64))).num_frames for length in (1 / 24, 1, 4.01)] == [
        4,
        24,
        100,
    ]
    held = performance((0, 1, 60, 64), pedal=[(0, 2)])
    assert notes_to_piano_roll(held).num_frames == 48 and notes_to_piano_roll(held.between(5, 6)).num_frames == 4


def test_an_onset_lies_in_the_nearest_frame():
    notes = performance(
        *((beat + off / FRAMES_PER_BEAT, 0.5, 60, 64) for beat, off in enumerate((0.0, 0.4, -0.4, 0.6)))
    )
    assert notes_to_piano_roll(notes).onset[0, 39].nonzero().flatten().tolist() == [0, 24, 48, 73]
    assert len(notes_to_piano_roll(performance((-0.4 / 24, 1, 60, 64), (-0.6 / 24, 1, 61, 64))).onset.nonzero()) == 1


def test_of_two_notes_in_one_cell_the_later_stays():
    roll = notes_to_piano_roll(performance((1.0, 0.5, 60, 30), (1.01, 2.0, 60, 90), (1.01, 1.0, 62, 50))).roll[0]
    assert roll[0].nonzero().tolist() == [[39, 24], [41, 24]]
    assert float(roll[2, 39, 24]) == pytest.approx(90 / 127) and decode_duration(roll[1, 39, 24]) == pytest.approx(
        48, rel=1e-4
    )


def test_round_trip_by_hand():
    notes = performance((0, 1, 60, 64), (1, 0.5, 60, 90), (2, 8, 48, 20), pedal=[(0.25, 0.5), (2.0, 6.0)])
    back = round_trip(notes)
    assert np.allclose(back.onset, notes.onset) and np.allclose(back.release, notes.release, atol=1e-3)
    assert back.pitch.tolist() == notes.pitch.tolist() and back.velocity.tolist() == notes.velocity.tolist()
    assert np.allclose(back.pedal, notes.pedal)


def test_each_of_a_batch_is_what_it_is_alone():
    first = performance((0, 1, 60, 64), (1, 0.5, 64, 90), pedal=[(0.25, 0.5)])
    second = performance((0.5, 1, 60, 30), pedal=[(0.5, 3.0)])
    both = rasterise([first, second, first.between(5, 6)], 2 * FRAMES_PER_BEAT)
    assert both.roll.shape == (3, 3, 88, 48) and len(both) == 3
    for row, notes in enumerate((first, second)):
        alone = notes_to_piano_roll(notes, 48)
        assert torch.equal(both.roll[row], alone.roll[0]) and torch.equal(both.pedal[row], alone.pedal[0])
    assert not both.roll[2].any() and not both.pedal[2].any()


def test_repeated_notes_stay_apart():
    assert len(round_trip(performance(*((0.125 * i, 0.1, 60, 80) for i in range(20))))) == 20


def test_a_key_struck_again_ends_its_note():
    back = round_trip(performance((0, 3, 60, 80), (1, 1, 60, 70), (0, 3, 62, 80)))
    assert back.pitch.tolist() == [60, 62, 60] and np.allclose(back.release, [1, 3, 2], atol=1e-3)


def test_no_notes_and_notes_outside_the_keyboard():
    assert len(round_trip(performance((0.0, 1.0, 60, 64)).between(5, 6))) == 0
    assert round_trip(performance((0, 1, 20, 64), (0, 1, 109, 64), (0, 1, 60, 64))).pitch.tolist() == [60]


def test_duration_scale_is_invertible_and_capped():
    frames = torch.tensor([0.0, 0.5, 1.0, 10.0, 2048.0])
    assert torch.allclose(decode_duration(encode_duration(frames)), frames, rtol=1e-4)
    assert encode_duration(torch.tensor(1e6)) == 1 and MAX_DURATION_FRAMES == 2048


def brute_sounding(notes, frames):
    """Frame by frame, key by key."""
    out = np.zeros((88, frames))
    begin = np.floor(notes.onset * FRAMES_PER_BEAT + 0.5).astype(int)
    for i in range(len(notes)):
        end = begin[i] + max(1, round((notes.release[i] - notes.onset[i]) * FRAMES_PER_BEAT))
        for down, up in np.floor(notes.pedal * FRAMES_PER_BEAT + 0.5).astype(int):
            if down <= end < up:
                end = up
        later = begin[(notes.pitch == notes.pitch[i]) & (begin > begin[i])]
        end = min(end, *later, frames)
        out[notes.pitch[i] - 21, begin[i] : end] = notes.velocity[i] / 127
    return out


def test_sounding_roll_against_brute_force():
    rng = np.random.default_rng(0)
    rows = [(rng.uniform(0, 16), rng.uniform(0.05, 3), rng.integers(50, 60), rng.integers(1, 128)) for _ in range(80)]
    notes = performance(*rows, pedal=[(2.0, 4.0), (5.0, 5.8), (10.0, 18.0)])
    sounding = sounding_roll(notes_to_piano_roll(notes, 500))
    assert np.allclose(sounding[0].numpy(), brute_sounding(notes, 500), atol=1e-6)


def test_pedal_holds_what_the_hand_lets_go():
    notes = performance((0.0, 0.5, 60, 100), pedal=[(0.25, 2.0)])
    piano_roll = notes_to_piano_roll(notes, 100)
    assert (sounding_roll(piano_roll)[0, 39] > 0).sum() == 2 * FRAMES_PER_BEAT
    up = replace(piano_roll, pedal=torch.zeros_like(piano_roll.pedal))
    assert (sounding_roll(up)[0, 39] > 0).sum() == FRAMES_PER_BEAT / 2


@pytest.mark.parametrize("corpus, archive", [("maestro", "maestro-v3.0.0-midi.zip"), ("pijama", "midi_kong.zip")])
def test_round_trip_of_50_real_pieces(real_data, corpus, archive):
    import zipfile

    from lib.music.metrics import note_f1
    from lib.music.notes import read_midi

    with zipfile.ZipFile(real_data / archive) as file:
        members = sorted(name for name in file.namelist() if name.endswith((".mid", ".midi")))
        chosen = np.random.default_rng(0).choice(len(members), 50, replace=False)
        scores = []
        for i in chosen:
            notes = read_midi(file.read(members[i])).between(0, 120)
            back = in_seconds(round_trip(in_beats(notes, STEADY)), STEADY)
            scores.append(note_f1(notes, back, onset_tolerance_s=0.02))
    for name in ("onset", "onset_offset", "onset_velocity"):
        assert np.mean([getattr(score, name) for score in scores]) >= 0.999, name
