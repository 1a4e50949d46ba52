"""Notes -> roll -> notes, by hand and on real performances."""

import numpy as np
import pytest
import torch

from lib.music.notes import Notes
from lib.music.piano_roll import (
    MAX_DURATION_FRAMES,
    decode_duration,
    encode_duration,
    notes_to_piano_roll,
    piano_roll_to_notes,
    sounding_roll,
)


def performance(*rows, pedal=()):
    """Notes from (onset_s, duration_s, pitch, velocity)."""
    return Notes.from_arrays(*zip(*rows, strict=True), pedal)


def round_trip(notes):
    return piano_roll_to_notes(notes_to_piano_roll(notes))[0]


def test_golden_roll():
    notes = performance((0.0, 0.5, 60, 64), (0.1, 0.02, 21, 127), (0.1, 2.0, 108, 1), pedal=[(0.2, 0.4)])
    piano_roll = notes_to_piano_roll(notes)
    assert piano_roll.roll.shape == (1, 3, 88, 108) and piano_roll.pedal.shape == (1, 1, 108)
    assert piano_roll.onset.nonzero().tolist() == [[0, 0, 5], [0, 39, 0], [0, 87, 5]]
    assert piano_roll.roll[0, 2, 39, 0] == pytest.approx(64 / 127)
    assert decode_duration(piano_roll.roll[0, 1, 39, 0]) == pytest.approx(25, rel=1e-4)
    assert piano_roll.pedal[0, 0].nonzero().flatten().tolist() == list(range(10, 20))


def test_round_trip_by_hand():
    notes = performance((0.0, 0.5, 60, 64), (0.5, 0.3, 60, 90), (1.0, 4.0, 48, 20), pedal=[(0.2, 0.4), (1.0, 3.0)])
    back = round_trip(notes)
    assert np.allclose(back.onset_s, notes.onset_s) and np.allclose(back.duration_s, notes.duration_s, atol=1e-3)
    assert back.pitch.tolist() == notes.pitch.tolist() and back.velocity.tolist() == notes.velocity.tolist()
    assert np.allclose(back.pedal_s, notes.pedal_s)


def test_repeated_notes_stay_apart():
    notes = performance(*((0.06 * i, 0.05, 60, 80) for i in range(20)))
    assert len(round_trip(notes)) == 20


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
    begin = np.floor(notes.onset_s * 50 + 0.5).astype(int)
    for i in range(len(notes)):
        end = begin[i] + max(1, round(notes.duration_s[i] * 50))
        for down, up in np.floor(notes.pedal_s * 50 + 0.5).astype(int):
            if down <= end < up:
                end = up
        later = begin[(notes.pitch == notes.pitch[i]) & (begin > begin[i])]
        end = min(end, *later, frames)
        out[notes.pitch[i] - 21, begin[i] : end] = notes.velocity[i] / 127
    return out


def test_sounding_roll_against_brute_force():
    rng = np.random.default_rng(0)
    rows = [(rng.uniform(0, 8), rng.uniform(0.05, 1.5), rng.integers(50, 60), rng.integers(1, 128)) for _ in range(80)]
    notes = performance(*rows, pedal=[(1.0, 2.0), (2.5, 2.9), (5.0, 9.0)])
    sounding = sounding_roll(notes_to_piano_roll(notes, 500))
    assert np.allclose(sounding[0].numpy(), brute_sounding(notes, 500), atol=1e-6)


def test_pedal_holds_what_the_hand_lets_go():
    notes = performance((0.0, 0.2, 60, 100), pedal=[(0.1, 1.0)])
    piano_roll = notes_to_piano_roll(notes, 100)
    assert (sounding_roll(piano_roll)[0, 39] > 0).sum() == 50
    assert (sounding_roll(piano_roll, with_pedal=False)[0, 39] > 0).sum() == 10


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
            scores.append(note_f1(notes, round_trip(notes), onset_tolerance_s=0.02))
    for name in ("onset", "onset_offset", "onset_velocity"):
        assert np.mean([getattr(score, name) for score in scores]) >= 0.999, name
