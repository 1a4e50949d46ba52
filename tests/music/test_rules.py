"""Rules: zero at their target, growing away from it, never changing what they look at."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch

from lib.music.chart import Chart, Timing
from lib.music.piano_roll import FRAMES_PER_BEAT, LATENTS_PER_BEAT, PianoRoll, notes_to_piano_roll
from lib.music.rules import (
    CURVES,
    RULES,
    Span,
    chord_progression,
    density_contour,
    local_density,
    local_velocity,
    loudness,
    melody,
    note_density,
    notes_per_beat,
    pitch_class_histogram,
    register,
    rhythm_grid,
    total_loss,
    velocity_contour,
)
from lib.music.tempo_map import BeatNotes, Metre

PER_QUARTER = Fraction(LATENTS_PER_BEAT)  # latent frames


def roll_of(pitches, beats=8, length=1.0):
    """One note after another, evenly over so many beats."""
    onset = np.arange(len(pitches)) * beats / len(pitches)
    notes = BeatNotes(onset, onset + length, np.array(pitches), np.full(len(pitches), 80), np.zeros((0, 2)))
    return notes_to_piano_roll(notes, beats * FRAMES_PER_BEAT)


def stack(*rolls):
    return PianoRoll(torch.cat([r.roll for r in rolls]), torch.cat([r.pedal for r in rolls]))


def test_note_density():
    few, right, many = roll_of([60] * 4), roll_of([60] * 16), roll_of([60] * 40)
    loss = note_density(2.0).loss(stack(few, right, many))
    assert loss.shape == (3,) and float(loss[1]) == pytest.approx(0, abs=1e-9)
    assert loss[0] > 0.1 and loss[2] > 0.1
    assert float(note_density(0).loss(roll_of([60] * 8))[0]) > 0
    assert notes_per_beat(stack(few, right, many)).tolist() == [0.5, 2, 5]


def test_register_and_loudness():
    silent = PianoRoll(torch.zeros(1, 3, 88, 192), torch.zeros(1, 1, 192))
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
    chords = Chart.parse("Cmaj7").frames(48, PER_QUARTER)[0]
    inside = roll_of([48, 64, 67, 71, 48, 64, 67, 71], length=2.0)
    tension = roll_of([48, 64, 67, 74, 48, 64, 71, 69], length=2.0)
    outside = roll_of([49, 63, 66, 70, 49, 63, 66, 70], length=2.0)
    silent = PianoRoll(torch.zeros(1, 3, 88, 192), torch.zeros(1, 1, 192))
    loss = chord_progression(chords).loss(stack(inside, tension, outside, silent))
    assert loss[0] < loss[1] < loss[2] <= loss[3] + 1e-6
    assert loss[0] < 0.3 and loss[2] > 0.8


def test_frames_without_a_chord_count_nothing():
    roll = roll_of([48, 64, 67, 71] * 2)
    assert float(chord_progression([None] * 48).loss(roll)[0]) == 0
    chords = Chart.parse("C").frames(24, PER_QUARTER)[0]
    half, longer = chord_progression(chords + [None] * 24), chord_progression(chords)
    assert torch.allclose(half.loss(roll), longer.loss(roll))


def test_rules_are_batched_and_leave_their_input_alone():
    rolls = stack(*(roll_of(list(range(40 + k, 56 + k))) for k in range(8)))
    before = (rolls.roll.clone(), rolls.pedal.clone())
    chords = Chart.parse("Dm7 | G7").frames(48, PER_QUARTER)[0]
    rules = [
        dataclasses.replace(note_density(6), weight=2.0),
        pitch_class_histogram([1] * 12),
        chord_progression(chords),
    ]
    others = [register(60), loudness(64)]
    assert torch.allclose(total_loss(others, rolls)[0][3:4], total_loss(others, rolls[3:4])[0])
    together = total_loss(rules, rolls)[0]
    alone = torch.cat([total_loss(rules, rolls[k : k + 1])[0] for k in range(8)])
    assert together.shape == (8,) and torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together, 2 * rules[0].loss(rolls) + rules[1].loss(rolls) + rules[2].loss(rolls))
    assert torch.equal(rolls.roll, before[0]) and torch.equal(rolls.pedal, before[1])


# --- Rules of time: grids, melodies, contours, hands ---------------------------------------------------------------

BEATS = 24
FRAMES = BEATS * FRAMES_PER_BEAT
SILENT = PianoRoll(torch.zeros(1, 3, 88, FRAMES), torch.zeros(1, 1, FRAMES))


def roll_at(beats, pitches=60, velocities=80):
    """A roll of 24 beats with short notes at these."""
    beats, count = np.asarray(beats, float), len(beats)
    rest = np.broadcast_to(pitches, count), np.broadcast_to(velocities, count)
    return notes_to_piano_roll(BeatNotes(beats, beats + 0.2, *rest, np.zeros((0, 2))), FRAMES)


def test_straight_and_swung_eighths():
    straight, swung = np.arange(40) / 2, np.arange(40) / 2 + np.arange(40) % 2 / 6
    for beats, fits, fits_not in ((straight, 0.5, 2 / 3), (swung, 2 / 3, 0.5)):
        roll = roll_at(beats)
        good, bad = (float(rhythm_grid(FRAMES, 24, swing).loss(roll)[0]) for swing in (fits, fits_not))
        assert good < 1e-6 and bad == pytest.approx(0.5)  # every other note is off
    assert float(rhythm_grid(FRAMES, 24).loss(SILENT)[0]) == 1
    later = roll_at(straight[:-1] + 0.25)  # the roll begins a sixteenth into a quarter
    shifted = rhythm_grid(FRAMES, 24, start=6)
    assert float(shifted.loss(later)[0]) < 1e-6 < 0.9 < float(rhythm_grid(FRAMES, 24).loss(later)[0])
    late = [float(rhythm_grid(FRAMES, 24).loss(roll_at([3 + frames / 24]))[0]) for frames in range(5)]
    assert late == pytest.approx([0, 1 / 9, 4 / 9, 1, 1], abs=1e-5)
    assert float(rhythm_grid(FRAMES, 48).loss(roll_at([3.0]))[0]) < 1e-6  # two beats a quarter: each is an eighth
    assert (
        float(rhythm_grid(FRAMES, 12).loss(roll_at([3.25]))[0]) < 1e-6
    )  # half a beat a quarter: a fourth of a beat is


def test_a_melody_sounds_on_top_below_or_not_at_all():
    beats, pitches = [2.0, 4.0, 6.0, 8.0], [72, 74, 76, 77]
    rule = melody(beats, pitches)
    alone = roll_at(beats, pitches)
    late = roll_at(np.array(beats) + 0.1, pitches)
    under = roll_at(np.repeat(beats, 2), np.stack([pitches, np.array(pitches) + 5], 1).ravel())
    over = roll_at(np.repeat(beats, 2), np.stack([pitches, np.array(pitches) - 5], 1).ravel())
    half = roll_at(beats[:2], pitches[:2])
    too_late = roll_at(np.array(beats) + 0.2, pitches)
    losses = [float(rule.loss(roll)[0]) for roll in (alone, late, over, under, half, SILENT, too_late)]
    assert losses == pytest.approx([0, 0, 0, 0.5, 0.5, 1, 1])


def test_contours_follow_what_changes():
    quiet_then_dense = roll_at(np.concatenate([np.arange(12), 12 + np.arange(60) / 5]))
    rising = torch.cat([torch.full((72,), 1.0), torch.full((72,), 5.0)])
    right, wrong = (float(density_contour(target).loss(quiet_then_dense)[0]) for target in (rising, rising.flip(0)))
    assert right < 0.15 and wrong > 5 * right
    anything = torch.full((144,), torch.nan)
    assert float(density_contour(anything).loss(quiet_then_dense)[0]) == 0
    anything[:40] = 1.0
    assert float(density_contour(anything).loss(quiet_then_dense)[0]) < right
    assert local_density(quiet_then_dense)[0, 110] == pytest.approx(5, abs=0.2)


def test_velocity_contour():
    roll = roll_at(np.arange(120) / 5, velocities=np.where(np.arange(120) < 60, 40, 90))
    target = torch.cat([torch.full((72,), 40.0), torch.full((72,), 90.0)])
    assert (
        float(velocity_contour(target).loss(roll)[0]) < 0.5 < 5 < float(velocity_contour(target.flip(0)).loss(roll)[0])
    )
    assert float(velocity_contour(target).loss(SILENT)[0]) == pytest.approx(4)
    assert local_velocity(roll)[0, 10] == pytest.approx(40, abs=0.1) and local_velocity(SILENT).isnan().all()


def test_hands():
    roll = roll_at(np.arange(96) / 4, np.where(np.arange(96) % 4, 72, 48))
    assert float(note_density(1, hand="left").loss(roll)[0]) == pytest.approx(0, abs=1e-6)
    assert float(note_density(3, hand="right").loss(roll)[0]) == pytest.approx(0, abs=1e-6)
    assert note_density(2, hand="left").name == "left_density" and float(note_density(1).loss(roll)[0]) > 0.5


def test_rules_of_time_are_batched_and_leave_their_input_alone():
    rolls = [roll_at(np.sort(np.random.default_rng(k).uniform(0, 20, 60)), 50 + k) for k in range(4)]
    batch = stack(*rolls)
    before = batch.roll.clone()
    contours = density_contour(torch.full((144,), 5.0)), velocity_contour(torch.full((144,), 60.0))
    for rule in (rhythm_grid(FRAMES, 16, 0.6), melody([1.0, 2.0], [52, 53]), *contours, note_density(3, hand="right")):
        together, alone = rule.loss(batch), torch.cat([rule.loss(roll) for roll in rolls])
        assert together.shape == (4,) and torch.allclose(together, alone, atol=1e-6)
    assert torch.equal(batch.roll, before)


# --- What a request asks for, in seconds and quarters, as rules in beats ------------------------------------------


def span(tempo_bpm, metre="4/4", num_latents=144, start=0):
    return Span(num_latents, start, Timing.of(tempo_bpm, Metre.parse(metre)))


@pytest.mark.parametrize(
    ("tempo_bpm", "metre", "felt"), [(120, "4/4", 120), (240, "4/4", 120), (60, "4/4", 120), (180, "12/8", 120)]
)
def test_notes_a_second_are_notes_a_beat_of_the_felt_tempo(tempo_bpm, metre, felt):
    of_request = span(tempo_bpm, metre)
    assert of_request.a_beat(4.0) == pytest.approx(4 * 60 / felt)
    roll = roll_at(np.arange(48) / 2, np.where(np.arange(48) % 2, 72, 48))  # one note a beat in each hand: two a second
    for name in ("left_density", "right_density"):
        assert float(RULES[name](2.0, of_request).loss(roll)[0]) == pytest.approx(0, abs=1e-6)


def test_a_curve_is_steady_or_a_contour_and_nothing_where_nothing_is_asked():
    nothing, steady = np.full(144, np.nan, np.float32), np.full(144, 3.0, np.float32)
    rising = np.linspace(40, 90, 144, dtype=np.float32)
    assert [RULES[name](nothing, span(120)) for name in CURVES] == [None] * 3
    assert RULES["density"](steady, span(120)).name == "note_density"
    assert RULES["density"](rising, span(120)).name == "density_contour"
    assert RULES["loudness"](rising, span(120)).name == "velocity_contour"
    mean = RULES["register"](rising, span(120))
    assert mean.name == "register" and float(mean.target) == pytest.approx(65)


@pytest.mark.parametrize(("tempo_bpm", "metre"), [(120, "4/4"), (60, "4/4"), (240, "4/4"), (120, "12/8")])
def test_swing_is_of_written_quarters_wherever_a_window_begins(tempo_bpm, metre):
    per_quarter = float(span(tempo_bpm, metre).timing.beats_per_quarter)
    for start in (0, 7, 30):
        beats = np.arange(0, 40 * per_quarter, per_quarter)
        eighths = np.sort(np.concatenate([beats, beats + per_quarter * 2 / 3])) - start / LATENTS_PER_BEAT
        roll = roll_at(eighths[(eighths >= 0) & (eighths < BEATS - 0.1)])
        straight, swung = (
            float(RULES["swing"](s, span(tempo_bpm, metre, start=start)).loss(roll)[0]) for s in (0.5, 2 / 3)
        )
        assert swung < 0.06 and straight > 0.2


def test_a_melody_in_seconds_is_heard_in_the_windows_beats():
    notes = ((1.0, 72), (2.0, 74), (30.0, 76))
    at_120 = RULES["melody"](notes, span(120))
    assert float(at_120.loss(roll_at([2.0, 4.0], [72, 74]))[0]) == 0
    later = RULES["melody"](notes, span(120, start=2 * LATENTS_PER_BEAT))  # the window begins a second later
    assert float(later.loss(roll_at([0.0, 2.0], [72, 74]))[0]) == 0 and float(later.loss(roll_at([2.0], [72]))[0]) == 1
    assert RULES["melody"](((40.0, 60),), span(120)) is None
