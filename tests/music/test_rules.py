"""Rules: zero at their target, growing away from it, never changing what they look at."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from lib.music.chart import Chart
from lib.music.notes import Notes
from lib.music.piano_roll import PianoRoll, notes_to_piano_roll
from lib.music.rules import chord_progression, loudness, note_density, pitch_class_histogram, register, total_loss

AT_120 = Fraction(25, 4)  # latent frames a quarter


def roll_of(pitches, seconds=4.0, length_s=0.5):
    """One note after another, evenly over so many seconds."""
    count = len(pitches)
    columns = (np.arange(count) * seconds / count, np.full(count, length_s), np.array(pitches), np.full(count, 80))
    return notes_to_piano_roll(Notes.from_arrays(*columns), int(seconds * 50))


def stack(*rolls):
    return PianoRoll(torch.cat([r.roll for r in rolls]), torch.cat([r.pedal for r in rolls]))


def test_note_density():
    few, right, many = roll_of([60] * 4), roll_of([60] * 16), roll_of([60] * 40)
    loss = note_density(4.0).loss(stack(few, right, many))
    assert loss.shape == (3,) and float(loss[1]) == pytest.approx(0, abs=1e-9)
    assert loss[0] > 0.1 and loss[2] > 0.1
    assert float(note_density(0).loss(roll_of([60] * 8))[0]) > 0


def test_register_and_loudness():
    silent = PianoRoll(torch.zeros(1, 3, 88, 200), torch.zeros(1, 1, 200))
    loss = register(60).loss(stack(roll_of([60] * 8), roll_of([48, 72] * 4), roll_of([84] * 8), silent))
    assert loss.tolist() == pytest.approx([0, 0, 4, 4], abs=1e-5)
    loss = loudness(80).loss(stack(roll_of([60] * 8), silent))  # roll_of strikes with 80
    assert loss.tolist() == pytest.approx([0, 4], abs=1e-5)
    assert float(loudness(48).loss(roll_of([60] * 8))[0]) == pytest.approx(4, abs=1e-5)


def test_pitch_class_histogram():
    scale = roll_of([60, 62, 64, 65, 67, 69, 71, 72])
    weights = [2, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1]
    assert float(pitch_class_histogram(weights).loss(scale)[0]) == pytest.approx(0, abs=1e-6)
    other = pitch_class_histogram([0, 1] * 6).loss(scale)
    assert float(other[0]) > 0.3
    for wrong in ([1] * 11, [0] * 12, [-1] + [1] * 11):
        with pytest.raises(ValueError, match="twelve weights"):
            pitch_class_histogram(wrong)


def test_chord_progression_prefers_the_chord():
    chords = Chart.parse("Cmaj7").frames(50, AT_120)[0]
    inside = roll_of([48, 64, 67, 71, 48, 64, 67, 71], length_s=1.0)
    tension = roll_of([48, 64, 67, 74, 48, 64, 71, 69], length_s=1.0)
    outside = roll_of([49, 63, 66, 70, 49, 63, 66, 70], length_s=1.0)
    silent = PianoRoll(torch.zeros(1, 3, 88, 200), torch.zeros(1, 1, 200))
    loss = chord_progression(chords).loss(stack(inside, tension, outside, silent))
    assert loss[0] < loss[1] < loss[2] <= loss[3] + 1e-6
    assert loss[0] < 0.3 and loss[2] > 0.8


def test_frames_without_a_chord_count_nothing():
    roll = roll_of([48, 64, 67, 71] * 2)
    assert float(chord_progression([None] * 50).loss(roll)[0]) == 0
    chords = Chart.parse("C").frames(25, AT_120)[0]
    half, longer = chord_progression(chords + [None] * 25), chord_progression(chords)
    assert torch.allclose(half.loss(roll), longer.loss(roll))


def test_rules_are_batched_and_leave_their_input_alone():
    rolls = stack(*(roll_of(list(range(40 + k, 56 + k))) for k in range(8)))
    before = (rolls.roll.clone(), rolls.pedal.clone())
    chords = Chart.parse("Dm7 | G7").frames(50, AT_120)[0]
    rules = [note_density(6, weight=2.0), pitch_class_histogram([1] * 12), chord_progression(chords)]
    others = [register(60), loudness(64)]
    assert torch.allclose(total_loss(others, rolls)[0][3:4], total_loss(others, rolls[3:4])[0])
    together = total_loss(rules, rolls)[0]
    alone = torch.cat([total_loss(rules, rolls[k : k + 1])[0] for k in range(8)])
    assert together.shape == (8,) and torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together, 2 * rules[0].loss(rolls) + rules[1].loss(rolls) + rules[2].loss(rolls))
    assert torch.equal(rolls.roll, before[0]) and torch.equal(rolls.pedal, before[1])
