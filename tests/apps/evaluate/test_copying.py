"""Copying: what is copied is found, in any key, where it was taken from; what is not copied is not."""

import numpy as np
import pytest

from lib.apps.evaluate.clips import Clip
from lib.apps.evaluate.copying import (
    BINS,
    longest_run,
    nearest_passages,
    nearest_windows,
    steps_of,
    transposed,
    windows,
)
from lib.apps.evaluate.report import make_pairs
from lib.music.beat_notes import in_beats
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap


def of(notes, bpm=60):
    return in_beats(notes, TempoMap.constant(bpm, Metre(4, 4), 1))


def clip(notes, seconds=30.24, bpm=60):
    return Clip(notes, TempoMap.constant(bpm, Metre(4, 4), 1), int(seconds * bpm / 60))


def music(seed, seconds=48.0, rate=3):
    rng = np.random.default_rng(seed)
    count = int(seconds * rate)
    columns = (
        rng.uniform(0, seconds, count),
        rng.gamma(2, 0.15, count),
        rng.integers(40, 85, count),
        rng.integers(30, 100, count),
    )
    return Notes.from_arrays(*columns)


def moved(notes, semitones):
    return Notes.from_arrays(notes.onset_s, notes.duration_s, notes.pitch.astype(int) + semitones, notes.velocity)


def test_windows_hold_the_keys_that_are_down():
    notes = Notes.from_arrays([0.0, 3.0, 23.0], [0.5, 0.01, 1.0], [21, 60, 108], [80, 80, 80])
    rolls = windows(of(notes))
    assert rolls.shape == (2, 88, BINS) and rolls.dtype == bool
    assert rolls[0, 0].nonzero()[0].tolist() == list(range(6)) and rolls[0, 39].sum() == 1
    assert rolls[1, 87].nonzero()[0].tolist() == list(range(180, 192))  # the last window ends with the music


def test_a_copy_in_another_key_is_found():
    piece, other = music(0), music(1)
    corpus = np.concatenate([windows(of(other)), windows(of(piece))])
    likeness, which, key = nearest_windows(windows(of(moved(piece.between(16.0, 32.0), 3)))[:1], corpus)
    assert likeness[0] > 0.85 and which[0] == len(windows(of(other))) + 2 and key[0] == -3
    likeness, _, _ = nearest_windows(windows(of(music(2)))[:1], corpus)
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
    found = longest_run(of(passage), [steps_of(of(music(5))), steps_of(of(piece))])
    assert length <= found <= length + 3 if length > 4 else found >= length  # by chance short runs agree


def test_nothing_in_common_is_no_run():
    low, high = (
        Notes.from_arrays([0.0, 0.5, 1.0], [0.3] * 3, pitch, [80] * 3) for pitch in ([40, 41, 42], [80, 70, 90])
    )
    assert longest_run(of(low), [steps_of(of(high))]) == 0
    assert longest_run(of(low), [steps_of(of(low))]) == 3
    assert longest_run(of(low), []) == 0


@pytest.fixture
def pieces():
    generator, found = np.random.default_rng(0), {}
    for index in (3, 8):
        onset_s = np.sort(generator.uniform(0, 60, 300))
        found[index] = clip(
            Notes.from_arrays(
                onset_s,
                generator.uniform(0.1, 0.6, 300),
                generator.integers(48, 80, 300),
                generator.integers(40, 90, 300),
            ),
            64,
            120,
        )
    return found


def test_a_copied_passage_is_found_in_another_key_and_tempo(pieces):
    stolen = pieces[8].notes.between(20.0, 36.0)
    stolen = Notes.from_arrays(1.25 * stolen.onset_s, 1.25 * stolen.duration_s, stolen.pitch + 3, stolen.velocity)
    (found,) = nearest_passages([clip(stolen, 20, 96)], pieces)
    assert found["piece"] == 8 and found["start_s"] - found["clip_s"] / 1.25 == pytest.approx(20.0, abs=0.06)
    assert found["likeness"] > 0.9 and found["semitones"] == -3 and found["run"] > 30


def test_its_own_music_is_less_like_anything(pieces):
    generator = np.random.default_rng(5)
    onset_s, pitch = np.sort(generator.uniform(0, 16, 80)), generator.integers(48, 80, 80)
    own = Notes.from_arrays(onset_s, np.full(80, 0.3), pitch, np.full(80, 60))
    (found,) = nearest_passages([clip(own, 16, 120)], pieces)
    assert found["likeness"] < 0.3 and found["run"] < 8
    (nothing,) = nearest_passages([clip(own.between(90, 99), 16, 120)], pieces)
    assert nothing["likeness"] == 0 and nothing["run"] == 0


def test_pairs_begin_with_the_likest_and_begin_where_the_passage_does(pieces):
    own = [pieces[3].notes.between(0, 16), pieces[8].notes.between(20, 36)]
    clips = [clip(notes, 16, 120) for notes in own]
    nearest = [
        {"likeness": 0.2, "piece": 3, "start_s": 0.0, "clip_s": 0.0, "semitones": 0, "run": 4, "title": "A"},
        {"likeness": 0.9, "piece": 8, "start_s": 22.0, "clip_s": 2.0, "semitones": 5, "run": 40, "title": "B"},
    ]
    (text, sides), (later, _) = make_pairs(clips, nearest, pieces, sounding=0)
    assert text == "Clip 2: similarity 0.90 to B, 20 s, +5 semitones; 40 notes in a row" and "Clip 1" in later
    (name, (played, sound)), (source, (passage, _)) = sides.items()
    assert (name, source, sound) == ("clip 2", "B, 20 s", None)
    assert played.pitch.tolist() == passage.pitch.tolist() and passage.onset_s == pytest.approx(played.onset_s)
