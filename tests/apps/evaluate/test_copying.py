"""Copying: what is copied is found, in any key, where it was taken from; what is not copied is not."""

import numpy as np
import pytest

from lib.apps.evaluate.clip_sets import real_clips
from lib.apps.evaluate.clips import Clip, ClipSet, passages
from lib.apps.evaluate.copying import (
    BINS_PER_BEAT,
    KEYS,
    cells,
    copied,
    copied_beats,
    longest_run,
    nearest_passages,
    own_copying,
    rows_of_beats,
    similarities,
    steps_of,
    transposed,
)
from lib.apps.evaluate.report import make_pairs
from lib.data.tempo_maps import open_tempo_maps
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap, in_beats


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


def test_rows_hold_the_keys_that_are_down():
    notes = Notes.from_arrays([0.0, 3.0, 23.0], [0.5, 0.01, 1.0], [21, 60, 108], [80, 80, 80])
    rows = rows_of_beats(of(notes))
    assert rows.shape == (24, 88, BINS_PER_BEAT) and rows.dtype == bool and rows.sum() == 6 + 1 + 12
    assert rows[0, 0].nonzero()[0].tolist() == list(range(6)) and rows[3, 39, 0] and rows[23, 87].all()
    assert rows_of_beats(of(notes), 18).shape[0] == 18 and rows_of_beats(of(notes.between(0, 2))).shape[0] == 16


def test_a_copy_in_another_key_is_found_on_whichever_beat_it_begins():
    piece, other = cells(rows_of_beats(of(music(0)))), cells(rows_of_beats(of(music(1))))
    taken = cells(rows_of_beats(of(moved(music(0).between(13.0, 31.0), 3)), 18), KEYS)
    similarity, are_alike = similarities(taken, piece)
    key, own_beat, beat = np.unravel_index(similarity.argmax(), similarity.shape)
    assert similarity.max() > 0.85 and beat - own_beat == 13 and KEYS[key] == -3 and copied_beats(are_alike) >= 17
    similarity, are_alike = similarities(taken, other)
    assert similarity.max() < 0.25 and copied_beats(are_alike) < 3


def test_transposing_leaves_the_keyboard_at_its_ends():
    rows = np.zeros((1, 88, BINS_PER_BEAT), bool)
    rows[0, [0, 40, 87], 5] = True
    assert transposed(rows, 2)[0, :, 5].nonzero()[0].tolist() == [2, 42]
    assert transposed(rows, -1)[0, :, 5].nonzero()[0].tolist() == [39, 86]
    assert np.array_equal(transposed(rows, 0), rows)


def test_beats_in_a_row():
    are_alike = np.full((2, 5, 6), -1)
    are_alike[1, [0, 1, 2, 4], [1, 2, 3, 5]] = 1
    assert copied_beats(are_alike) == 3 and copied_beats(np.zeros((1, 3, 3), int)) == 0
    are_alike[1, 3, 4] = 0  # a rest in both
    assert copied_beats(are_alike) == 4 and copied_beats(np.ones((1, 4, 9), int)) == 4


def test_chords_are_a_run_whoever_was_struck_first():
    spread = [0.0, 0.012, 0.02, 1.0, 1.5], [60, 55, 64, 62, 59]
    together = [0.0, 0.0, 0.0, 1.0, 1.5], [55, 60, 64, 62, 59]
    a, b = (of(Notes.from_arrays(onset_s, [0.3] * 5, pitch, [80] * 5)) for onset_s, pitch in (spread, together))
    assert longest_run(a, [steps_of(b)]) == 5


def test_a_solo_that_copies_its_own_chorus_is_found():
    chorus = music(6, 24.0)
    twice, free = chorus.followed_by(chorus, 24.0), music(7, 48.0)
    copy, own = own_copying(clip(twice, 48)), own_copying(clip(free, 48))
    assert copy["own_beats"] >= 20 and own["own_beats"] < 3 and copy["own_likeness"] > 3 * own["own_likeness"]
    assert np.isnan(list(own_copying(clip(chorus, 24)).values())).all()


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
    assert found["beats"] >= 30
    assert found["piece"] == 8 and found["start_s"] - found["clip_s"] / 1.25 == pytest.approx(20.0, abs=0.06)
    assert found["likeness"] > 0.9 and found["semitones"] == -3 and found["run"] > 30


def test_its_own_music_is_less_like_anything(pieces):
    generator = np.random.default_rng(5)
    onset_s, pitch = np.sort(generator.uniform(0, 16, 80)), generator.integers(48, 80, 80)
    own = Notes.from_arrays(onset_s, np.full(80, 0.3), pitch, np.full(80, 60))
    (found,) = nearest_passages([clip(own, 16, 120)], pieces)
    assert found["likeness"] < 0.3 and found["run"] < 8 and found["beats"] < 4
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


def test_the_copy_bot_is_found_and_by_seconds_it_would_pass(pieces):
    bot = copied(clip(pieces[8].notes.between(21.5, 37.5), 16, 120))
    assert bot.seconds == pytest.approx(16 / 1.25) and bot.felt_bpm == pytest.approx(150)
    (found,) = nearest_passages([bot], pieces)
    assert found["piece"] == 8 and found["likeness"] > 0.9 and found["beats"] >= 28 and found["run"] > 60
    seconds = Clip(bot.notes, TempoMap.constant(120, Metre(4, 4), 8), int(bot.seconds * 2))  # in beats of half a second
    (missed,) = nearest_passages([seconds], pieces)
    assert missed["likeness"] < 0.3 and missed["beats"] < 4, "as it was measured before"


def test_the_copy_bot_of_real_music_is_found(pijama):
    maps = open_tempo_maps(pijama)
    indices = pijama.select(pianist="Brad Mehldau", split="train", duets=False)[:6]
    pieces = {index: Clip.of_piece(pijama.piece_notes(index), maps[index]) for index in indices}
    first, beats = passages(maps[indices[2]])[1]
    bot = copied(ClipSet.cut(pijama, [(indices[2], first, beats)]).clips[0])
    (found,), (real,) = (
        nearest_passages([each], pieces) for each in (bot, real_clips(pijama, "Brad Mehldau", "validation", 1).clips[0])
    )
    assert found["piece"] == indices[2] and found["likeness"] > 0.8 > 2 * real["likeness"]
    assert found["beats"] > 2 * real["beats"] and found["run"] > 2 * real["run"]
