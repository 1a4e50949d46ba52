"""Where a clip was taken from: found again, in whatever key, and shown."""

import numpy as np
import pytest

from lib.apps.evaluate.clips import ClipSet
from lib.apps.evaluate.copying import nearest_passages, pairs_of
from lib.music.notes import Notes


@pytest.fixture
def pieces():
    generator, found = np.random.default_rng(0), {}
    for index in (3, 8):
        onset_s = np.sort(generator.uniform(0, 60, 300))
        found[index] = Notes.from_arrays(onset_s, generator.uniform(0.1, 0.6, 300), generator.integers(48, 80, 300),
                                         generator.integers(40, 90, 300))  # fmt: skip
    return found


def test_a_copied_passage_is_found_in_another_key(pieces):
    stolen = pieces[8].between(20.0, 30.24)
    stolen = Notes.from_arrays(stolen.onset_s, stolen.duration_s, stolen.pitch + 3, stolen.velocity)
    (found,) = nearest_passages([stolen], pieces)
    assert found.piece == 8 and found.start_s - found.clip_s == pytest.approx(20.0, abs=0.06)
    assert found.likeness > 0.9 and found.semitones == -3 and found.run > 30


def test_its_own_music_is_less_like_anything(pieces):
    generator = np.random.default_rng(5)
    onset_s, pitch = np.sort(generator.uniform(0, 10, 50)), generator.integers(48, 80, 50)
    own = Notes.from_arrays(onset_s, np.full(50, 0.3), pitch, np.full(50, 60))
    (found,) = nearest_passages([own], pieces)
    assert found.likeness < 0.3 and found.run < 8
    (nothing,) = nearest_passages([own.between(90, 99)], pieces)
    assert nothing.likeness == 0 and nothing.run == 0


def test_pairs_begin_with_the_likest_and_begin_where_the_passage_does(pieces):
    clips = ClipSet.of_generated("generated", [pieces[3].between(0, 10.24), pieces[8].between(20, 30.24)])
    nearest = [{"likeness": 0.2, "piece": 3, "start_s": 0.0, "clip_s": 0.0, "semitones": 0, "run": 4, "title": "A"},
               {"likeness": 0.9, "piece": 8, "start_s": 22.0, "clip_s": 2.0, "semitones": 5, "run": 40, "title": "B"}]  # fmt: skip
    first, second = pairs_of(clips, nearest, pieces)
    assert first.words == "Clip 2: likeness 0.90 to B, 20 s, +5 semitones; 40 notes on end" and "Clip 1" in second.words
    (name, clip, sound), (source, passage, _) = first.sides
    assert (name, source, sound) == ("clip 2", "B, 20 s", None)
    assert clip.pitch.tolist() == passage.pitch.tolist() and passage.onset_s == pytest.approx(clip.onset_s)
