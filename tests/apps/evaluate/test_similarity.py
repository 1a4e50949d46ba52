"""What is copied is found, in any key; what is not is not."""

import numpy as np
import pytest

from lib.apps.evaluate.similarity import BINS, longest_run, nearest_likeness, steps_of, transposed, windows
from lib.music.notes import Notes


def music(seed, seconds=40.0, rate=6):
    rng = np.random.default_rng(seed)
    count = int(seconds * rate)
    columns = (rng.uniform(0, seconds, count), rng.gamma(2, 0.15, count), rng.integers(40, 85, count), rng.integers(30, 100, count))
    return Notes.from_arrays(*columns)


def moved(notes, semitones):
    return Notes.from_arrays(notes.onset_s, notes.duration_s, notes.pitch.astype(int) + semitones, notes.velocity)


def test_windows_hold_the_keys_that_are_down():
    notes = Notes.from_arrays([0.0, 3.0, 11.0], [0.5, 0.01, 1.0], [21, 60, 108], [80, 80, 80])
    rolls = windows(notes)
    assert rolls.shape == (2, 88, BINS) and rolls.dtype == bool
    assert rolls[0, 0].nonzero()[0].tolist() == list(range(10)) and rolls[0, 39].sum() == 1
    assert rolls[1, 87].nonzero()[0].tolist() == list(range(140, 160))  # the last window ends with the music


def test_a_copy_in_another_key_is_found():
    piece, other = music(0), music(1)
    corpus = np.concatenate([windows(other), windows(piece)])
    likeness, which = nearest_likeness(windows(moved(piece.between(8.0, 16.0), 3))[:1], corpus)
    assert likeness[0] > 0.85 and which[0] == len(windows(other)) + 2
    likeness, _ = nearest_likeness(windows(music(2))[:1], corpus)
    assert likeness[0] < 0.2


def test_transposing_leaves_the_keyboard_at_its_ends():
    roll = np.zeros((1, 88, BINS), bool)
    roll[0, [0, 40, 87], 5] = True
    assert transposed(roll, 2)[0, :, 5].nonzero()[0].tolist() == [2, 42]
    assert transposed(roll, -1)[0, :, 5].nonzero()[0].tolist() == [39, 86]
    assert np.array_equal(transposed(roll, 0), roll)


@pytest.mark.parametrize("length", [2, 7, 25])
def test_the_longest_run_is_as_long_as_what_was_copied(length):
    piece = music(3)
    copied = moved(piece.between(10.0, 30.0), -4)
    own = music(4, 4.0)
    columns = (getattr(copied, name)[:length] for name in ("onset_s", "duration_s", "pitch", "velocity"))
    passage = own.followed_by(Notes.from_arrays(*columns), 6.0)
    found = longest_run(passage, [steps_of(music(5)), steps_of(piece)])
    assert length <= found <= length + 3 if length > 4 else found >= length  # by chance short runs agree


def test_nothing_in_common_is_no_run():
    low, high = (Notes.from_arrays([0.0, 0.5, 1.0], [0.3] * 3, pitch, [80] * 3) for pitch in ([40, 41, 42], [80, 70, 90]))
    assert longest_run(low, [steps_of(high)]) == 0
    assert longest_run(low, [steps_of(low)]) == 3
    assert longest_run(low, []) == 0
