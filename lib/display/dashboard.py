"""Generated against real: how each figure of many clips is distributed."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from lib.display.alt_text import described, titled
from lib.display.palette import GENERATED, PALE, REAL, on_paper
from lib.music.metrics import overlapping_area

UNITS = {
    "pitch_range": "semitones",
    "pitch_class_entropy": "bits",
    "note_density": "onsets a second",
    "inter_onset": "log2 s",
    "duration": "log2 s",
    "velocity": "MIDI",
    "polyphony": "keys down",
}
BINS = 24


@on_paper
def plot_dashboard(real, generated, title=""):
    """A panel for each attribute, and their overlapping areas.

    Parameters
    ----------
    real, generated : lists of dicts, a dict a clip, of music.metrics.attributes: two clips each at least
    title : str

    Returns
    -------
    Figure
    """
    names = list(real[0])
    samples = {
        name: tuple(np.array([clip[name] for clip in clips], float) for clips in (real, generated)) for name in names
    }
    areas = {name: overlapping_area(*pair) for name, pair in samples.items()}
    columns = 4
    rows = -(-(len(names) + 1) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.8 * columns, 0.5 + 2.2 * rows), squeeze=False, layout="constrained"
    )
    for ax, name in zip(axes.flat, names):
        _distributions(ax, name, *samples[name], areas[name])
    axes[0, 0].legend(loc="upper right", fontsize=7)
    _areas(axes.flat[len(names)], areas)
    for ax in axes.flat[len(names) + 1 :]:
        ax.set_visible(False)
    figure.suptitle(title)
    words = ", ".join(f"{_plain(name)} {area:.2f}" for name, area in areas.items())
    counts = f"{len(generated)} generated clips against {len(real)} real ones"
    return described(figure, titled(title, f"{counts}. Overlapping area, 1 is the same distribution: {words}"))


def _plain(name):
    return name.replace("_", " ")


def _distributions(ax, name, real, generated, area):
    """Real ones filled, generated ones as an outline."""
    low, high = (edge(np.concatenate([real, generated])) for edge in (np.min, np.max))
    room = max(1e-3, 0.05 * (high - low))
    options = {"bins": np.linspace(low - room, high + room, BINS + 1), "density": True}
    ax.hist(real, color=REAL, alpha=0.45, label="real", **options)
    ax.hist(generated, histtype="step", edgecolor=GENERATED, linewidth=1.8, label="generated", **options)
    ax.set_title(f"{_plain(name)}: {area:.2f} alike")
    ax.set_xlabel(UNITS.get(name, ""))
    ax.set_yticks([])


def _areas(ax, areas):
    places = np.arange(len(areas))
    ax.barh(places, list(areas.values()), color=GENERATED)
    ax.axvline(1.0, color=PALE, linewidth=2)
    ax.set_yticks(places, [_plain(name) for name in areas], fontsize=7)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.05), xlabel="overlapping area", title=f"mean {np.mean(list(areas.values())):.2f}")
