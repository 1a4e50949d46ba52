"""Pictures of a solo as a whole."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from lib.display.solo_plots import Stages, plot_arcs, plot_sampling  # noqa: E402
from lib.music.metrics import density_and_velocity  # noqa: E402
from lib.music.notes import Notes  # noqa: E402
from lib.music.piano_roll import notes_to_piano_roll  # noqa: E402
from lib.music.tempo_map import STEADY, in_beats  # noqa: E402

NOTES = Notes.from_arrays([0.0, 1.0, 4.0, 5.0], [0.5] * 4, [60, 64, 60, 64], [20, 80, 120, 100])
NONE = Notes.from_arrays([], [], [], [])


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.mark.parametrize(("num_steps", "steps"), [(30, [1, 5, 9, 13, 18, 22, 26, 30]), (4, [1, 2, 3, 4])])
def test_eight_stages_are_kept(num_steps, steps):
    stages, decoded = Stages(), []
    for window in range(2):
        for step in range(1, num_steps + 1):
            def piano_roll(step=step):
                decoded.append(step)
                return notes_to_piano_roll(in_beats(NOTES, STEADY), 512)

            stages({"step": step, "num_steps": num_steps, "window": window, "num_windows": 2, "piano_roll": piano_roll})
    assert decoded == steps and stages.steps == [(step, num_steps) for step in steps]
    assert stages.rolls[0].shape == (88, 512) and (stages.rolls[0] > 0).any(1).sum() == 2


def test_the_strip_has_a_panel_a_stage():
    rolls = [np.zeros((88, 512)), np.ones((88, 512))]
    axes = [ax for ax in plot_sampling(rolls, [(1, 9), (9, 9)]).axes if ax.get_visible()]
    assert [ax.get_title() for ax in axes] == ["step 1 of 9", "step 9 of 9"]
    assert axes[0].images[0].get_extent()[1] == pytest.approx(512 / 24) and axes[0].get_xlabel() == "beats"
    assert axes[1].images[0].get_array().mean() < axes[0].images[0].get_array().mean(), "more ink"
    assert "0 at step 1, 88 at step 9" in plot_sampling(rolls, [(1, 9), (9, 9)]).alt
    assert not any(ax.get_visible() for ax in plot_sampling([], []).axes)


def test_arcs_draw_what_they_are_given():
    density_ax, velocity_ax = plot_arcs({"one": NOTES, "none": NONE}, (2.0, 4.0)).axes
    times_s, density, velocity = density_and_velocity(NOTES)
    line, _, asked = density_ax.lines
    assert np.array_equal(line.get_xdata(), times_s) and np.array_equal(line.get_ydata(), density)
    assert np.array_equal(velocity_ax.lines[0].get_ydata(), velocity)
    assert asked.get_xdata().tolist() == [0, NOTES.end_s] and asked.get_ydata().tolist() == [2, 4]
    assert len({(line.get_color(), line.get_linestyle()) for line in density_ax.lines}) == 3
    assert len(plot_arcs({"one": NOTES}, 3.0).axes[0].lines[1].get_ydata()) == 2
    assert "none: 0.0 to 0.0 notes a second, velocity none" in plot_arcs({"none": NONE}).alt
