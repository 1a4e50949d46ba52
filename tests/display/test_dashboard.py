"""Generated against real."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from lib.display.dashboard import BINS, plot_dashboard  # noqa: E402
from lib.music.metrics import ATTRIBUTES, attributes, overlapping_area  # noqa: E402
from lib.music.notes import Notes  # noqa: E402


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def clips(notes_per_s):
    made = []
    for number in range(6):
        onset_s = np.arange(0, 8, 1 / (notes_per_s + number / 5))
        pitch = 50 + (number + 3 * np.arange(len(onset_s))) % 17
        made.append(attributes(Notes.from_arrays(onset_s, 0.2 + onset_s / 40, pitch, 50 + onset_s * 5), 8.0))
    return made


def test_a_panel_for_each_and_the_areas():
    real, generated = clips(4), clips(6)
    axes = plot_dashboard(real, generated).axes
    assert len(axes) == len(ATTRIBUTES) + 1 == 8
    areas = [overlapping_area([c[name] for c in real], [c[name] for c in generated]) for name in ATTRIBUTES]
    assert [bar.get_width() for bar in axes[-1].patches] == pytest.approx(areas)
    assert axes[2].get_title() == f"note density: {areas[2]:.2f} alike" and axes[2].get_xlabel() == "onsets a second"
    filled = axes[2].patches[:BINS]
    middles = np.array([bar.get_x() + bar.get_width() / 2 for bar in filled if bar.get_height() > 0])
    assert middles.min() == pytest.approx(min(c["note_density"] for c in real), abs=0.2)


def test_the_same_twice_is_alike():
    figure = plot_dashboard(clips(4), clips(4), "twice")
    assert [bar.get_width() for bar in figure.axes[-1].patches] == pytest.approx([1.0] * 7, abs=1e-3)
    assert figure.alt.startswith("twice. 6 generated clips against 6 real ones") and "note density 1.00" in figure.alt


def test_what_never_varies_is_drawn_too():
    same = [dict.fromkeys(ATTRIBUTES, 3.0)] * 3
    plot_dashboard(same, same).canvas.draw()
