"""Rules: zero at their target, growing away from it, never changing what they look at."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch

from lib.music.chart import Chart
from lib.music.notes import Notes
from lib.music.piano_roll import PianoRoll, notes_to_piano_roll
from lib.music.rules import (
    chord_progression,
    density_contour,
    local_density,
    local_velocity,
    loudness,
    melody,
    note_density,
    pitch_class_histogram,
    register,
    rhythm_grid,
    total_loss,
    velocity_contour,
)

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
    rules = [dataclasses.replace(note_density(6), weight=2.0), pitch_class_histogram([1] * 12), chord_progression(chords)]
    others = [register(60), loudness(64)]
    assert torch.allclose(total_loss(others, rolls)[0][3:4], total_loss(others, rolls[3:4])[0])
    together = total_loss(rules, rolls)[0]
    alone = torch.cat([total_loss(rules, rolls[k : k + 1])[0] for k in range(8)])
    assert together.shape == (8,) and torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together, 2 * rules[0].loss(rolls) + rules[1].loss(rolls) + rules[2].loss(rolls))
    assert torch.equal(rolls.roll, before[0]) and torch.equal(rolls.pedal, before[1])


# --- Rules of time: grids, melodies, contours, hands ---------------------------------------------------------------

SILENT = PianoRoll(torch.zeros(1, 3, 88, 512), torch.zeros(1, 1, 512))


def roll_at(times_s, pitches=60, velocities=80):
    count = len(times_s)
    columns = (np.asarray(times_s, float), np.full(count, 0.1), np.broadcast_to(pitches, count), np.broadcast_to(velocities, count))
    return notes_to_piano_roll(Notes.from_arrays(*columns), 512)


def test_straight_and_swung_eighths():
    straight, swung = np.arange(20) * 0.5 + 0.0, np.arange(20) * 0.5 + np.arange(20) % 2 * 1 / 6
    for times_s, fits, fits_not in ((straight, 0.5, 2 / 3), (swung, 2 / 3, 0.5)):
        roll = roll_at(times_s)
        good, bad = (float(rhythm_grid(512, 60, swing).loss(roll)[0]) for swing in (fits, fits_not))
        assert good < 0.05 and bad == pytest.approx(0.5, abs=0.03)  # every other note is off
    assert float(rhythm_grid(512, 60).loss(SILENT)[0]) == 1
    later = roll_at(straight[:-1] + 0.3)
    assert float(rhythm_grid(512, 60, start_s=0.2).loss(later)[0]) < 0.05 < 0.9 < float(rhythm_grid(512, 60).loss(later)[0])
    at = roll_at([0.28])  # 0.22 s from an eighth, as far off as can be; at twice the tempo 30 ms, half of that
    assert float(rhythm_grid(512, 60).loss(at)[0]) == 1
    assert float(rhythm_grid(512, 120).loss(at)[0]) == pytest.approx(0.25, abs=1e-4)


def test_a_melody_sounds_on_top_below_or_not_at_all():
    times_s, pitches = [1.0, 2.0, 3.0, 4.0], [72, 74, 76, 77]
    rule = melody(times_s, pitches)
    alone = roll_at(times_s, pitches)
    late = roll_at(np.array(times_s) + 0.05, pitches)
    under = roll_at(np.repeat(times_s, 2), np.stack([pitches, np.array(pitches) + 5], 1).ravel())
    over = roll_at(np.repeat(times_s, 2), np.stack([pitches, np.array(pitches) - 5], 1).ravel())
    half = roll_at(times_s[:2], pitches[:2])
    too_late = roll_at(np.array(times_s) + 0.2, pitches)
    losses = [float(rule.loss(roll)[0]) for roll in (alone, late, over, under, half, SILENT, too_late)]
    assert losses == pytest.approx([0, 0, 0, 0.5, 0.5, 1, 1])


def test_contours_follow_what_changes():
    quiet_then_dense = roll_at(np.concatenate([np.arange(5), 5 + np.arange(50) / 10]))
    rising = torch.cat([torch.full((64,), 1.0), torch.full((64,), 10.0)])
    right, wrong = (float(density_contour(target).loss(quiet_then_dense)[0]) for target in (rising, rising.flip(0)))
    assert right < 0.15 and wrong > 5 * right
    anything = torch.full((128,), torch.nan)
    assert float(density_contour(anything).loss(quiet_then_dense)[0]) == 0
    anything[:40] = 1.0
    assert float(density_contour(anything).loss(quiet_then_dense)[0]) < right
    assert local_density(quiet_then_dense)[0, 100] == pytest.approx(10, abs=0.5)


def test_velocity_contour():
    roll = roll_at(np.arange(100) / 10, velocities=np.where(np.arange(100) < 50, 40, 90))
    target = torch.cat([torch.full((64,), 40.0), torch.full((64,), 90.0)])
    assert float(velocity_contour(target).loss(roll)[0]) < 0.5 < 5 < float(velocity_contour(target.flip(0)).loss(roll)[0])
    assert float(velocity_contour(target).loss(SILENT)[0]) == pytest.approx(4)
    assert local_velocity(roll)[0, 10] == pytest.approx(40, abs=0.1) and local_velocity(SILENT).isnan().all()


def test_hands():
    roll = roll_at(np.arange(80) / 8, np.where(np.arange(80) % 4, 72, 48))
    assert float(note_density(2, hand="left").loss(roll)[0]) == pytest.approx(0, abs=0.01)
    assert float(note_density(6, hand="right").loss(roll)[0]) == pytest.approx(0, abs=0.01)
    assert note_density(2, hand="left").name == "left_density" and float(note_density(2).loss(roll)[0]) > 0.5


def test_rules_of_time_are_batched_and_leave_their_input_alone():
    rolls = [roll_at(np.random.default_rng(k).uniform(0, 10, 60), 50 + k) for k in range(4)]
    batch = PianoRoll(torch.cat([r.roll for r in rolls]), torch.cat([r.pedal for r in rolls]))
    before = batch.roll.clone()
    for rule in (rhythm_grid(512, 90, 0.6), melody([1.0, 2.0], [52, 53]), density_contour(torch.full((128,), 5.0)),
                 velocity_contour(torch.full((128,), 60.0)), note_density(3, hand="right")):  # fmt: skip
        together, alone = rule.loss(batch), torch.cat([rule.loss(roll) for roll in rolls])
        assert together.shape == (4,) and torch.allclose(together, alone, atol=1e-6)
    assert torch.equal(batch.roll, before)
