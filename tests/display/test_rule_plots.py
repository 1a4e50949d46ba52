"""Each rule's picture shows its target and what was played."""

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from lib.display.rule_plots import TARGET, plot_rule, plot_rules  # noqa: E402
from lib.music.chords import parse_chord  # noqa: E402
from lib.music.notes import Notes  # noqa: E402
from lib.music.piano_roll import notes_to_piano_roll  # noqa: E402
from lib.music.rules import (  # noqa: E402
    Rule,
    chord_progression,
    density_contour,
    loudness,
    melody,
    note_density,
    notes_per_beat,
    pitch_class_histogram,
    register,
    rhythm_grid,
    velocity_contour,
)
from lib.music.tempo_map import STEADY, in_beats  # noqa: E402

FRAMES = 192  # 8 beats
ONSETS = np.array([0.0, 1.0, 2.06, 4.0])  # beats
NOTES = Notes.from_arrays(STEADY.to_seconds(ONSETS), [0.2] * 4, [60, 64, 67, 84], [20, 80, 120, 64])
ROLL = notes_to_piano_roll(in_beats(NOTES, STEADY), FRAMES)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def line(ax, label, axis="y"):
    return next(getattr(one, f"get_{axis}data")() for one in ax.lines if one.get_label() == label)


def test_a_number():
    ax = plot_rule(note_density(2.0), ROLL).axes[0]
    assert ax.patches[0].get_width() == pytest.approx(0.5) and ax.lines[0].get_xdata()[0] == 2.0
    assert "note density: loss" in ax.get_title()


def test_units_are_said():
    numbers = {note_density(2.0): "notes a beat", note_density(2.0, "left"): "notes a beat", register(60.0): "MIDI pitch",
               loudness(64.0): "MIDI velocity"}  # fmt: skip
    for rule, unit in numbers.items():
        assert plot_rule(rule, ROLL).axes[0].get_xlabel() == unit, rule.name
    contours = {density_contour(torch.ones(48)): "notes a beat", velocity_contour(torch.ones(48)): "MIDI velocity"}
    for rule, unit in contours.items():
        ax = plot_rule(rule, ROLL).axes[0]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("beats", unit)
        assert line(ax, "played", "x")[-1] == pytest.approx(47 / 6)


def test_a_contour_over_time():
    target = np.linspace(1, 3, 48)
    ax = plot_rule(density_contour(target), ROLL).axes[0]
    assert np.allclose(line(ax, "target"), target) and len(line(ax, "played")) == 48
    assert line(ax, "played").max() > 0
    assert plot_rule(velocity_contour(target * 30), ROLL).axes[0].lines


def test_pitch_classes():
    weights = [1.0] + [0.0] * 11
    ax = plot_rule(pitch_class_histogram(weights), ROLL).axes[0]
    heights = [bar.get_height() for bar in ax.patches]
    assert heights[:12] == weights and heights[12] == 0.5 and heights[12 + 4] == 0.25


def test_chords_are_framed_where_they_are_asked():
    chords = [parse_chord("C")] * 24 + [None] * 12 + [parse_chord("Dm")] * 12
    ax = plot_rule(chord_progression(chords), ROLL).axes[0]
    lines = {(*one.get_xdata(), one.get_ydata()[0]) for one in ax.lines if one.get_color() == TARGET}
    assert lines == {(0, 4, 0), (0, 4, 4), (0, 4, 7), (6, 8, 2), (6, 8, 5), (6, 8, 9)}
    assert ax.images[0].get_array().shape == (12, 48) and ax.images[0].get_extent()[1] == 8
    assert ax.get_xlabel().startswith("beats")


def test_the_grid_and_the_melody():
    ax = plot_rule(rhythm_grid(FRAMES, 24), ROLL).axes[0]
    counts = [bar.get_height() for bar in ax.patches]
    assert sum(counts) == 4 and counts[0] == 3 and counts[4] == 1, "one is a frame late: a third of an eighth of a beat"
    assert ax.patches[-1].get_x() + ax.patches[-1].get_width() == pytest.approx(1 / 8) and "beats off" in ax.get_xlabel()
    ax = plot_rule(melody([0.0, 1.0, 3.0], [60, 65, 60]), ROLL).axes[0]
    assert list(ax.lines[0].get_ydata()) == [2, 0, 0]


def test_a_rule_of_ones_own_and_all_together():
    pairs, target = lambda roll: torch.stack([notes_per_beat(roll)] * 2, 1), torch.tensor([1.0, 2.0])
    own = Rule("pairs", pairs, target, lambda f, t: (f - t).sum(1))
    figure = plot_rules([own, note_density(1.0)], ROLL, "what was asked")
    assert len(figure.axes) == 2 and [bar.get_height() for bar in figure.axes[0].patches] == [1.0, 2.0, 0.5, 0.5]
    assert plot_rules([], ROLL).axes
