"""Colours of all pictures, in one place.

Conventions: hues are Okabe & Ito's (2008), safe for colour-blind readers; pictures bring their own background, so that
they look the same on a dark page and under any matplotlib style.
"""

from __future__ import annotations

import contextlib
import functools

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.colors import LinearSegmentedColormap, ListedColormap

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
HUES = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY)  # of things that have no colour of their own, in this order
PAPER, INK, QUIET, PALE = "#fcfcfa", "#222222", "#5f5f5f", "#c4ccd4"  # QUIET: 6.2 to 1 on PAPER

KEPT, LOST, INVENTED = BLUE, VERMILION, INK  # by a codec
TARGET, PLAYED = VERMILION, BLUE
REAL, GENERATED = BLUE, VERMILION
MORE, LESS = GREEN, VERMILION
WARNING = "#A63603"  # 6.4 to 1 on PAPER

# soft to loud; the palest is still 1.6 to 1 on PAPER
LOUDNESS = ListedColormap(plt.get_cmap("viridis_r")(range(51, 256)), name="loudness")
RIGHT = LinearSegmentedColormap.from_list("right", ["#f5b98a", VERMILION, "#6e2f00"])
LEFT = LinearSegmentedColormap.from_list("left", ["#9ccbea", BLUE, "#003a5d"])
AMOUNT = LinearSegmentedColormap.from_list("amount", [PAPER, SKY, BLUE, "#003a5d"])  # of anything from none on

STYLE = {
    "figure.facecolor": PAPER, "savefig.facecolor": PAPER, "savefig.edgecolor": PAPER, "figure.edgecolor": PAPER,
    "axes.facecolor": PAPER, "axes.edgecolor": QUIET, "axes.labelcolor": INK, "axes.titlecolor": INK,
    "axes.prop_cycle": mpl.cycler(color=HUES), "axes.grid": False, "axes.titlesize": 10.0, "axes.labelsize": 9.0,
    "axes.spines.top": False, "axes.spines.right": False, "text.color": INK, "font.family": ["DejaVu Sans"],
    "font.size": 10.0, "xtick.color": QUIET, "ytick.color": QUIET, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0, "ytick.labelsize": 8.0, "grid.color": PALE, "legend.facecolor": PAPER,
    "legend.edgecolor": PALE, "legend.labelcolor": INK, "legend.fontsize": 8.0, "lines.color": INK,
    "patch.edgecolor": PAPER, "hatch.color": INK,
}


@contextlib.contextmanager
def _style():
    """STYLE for a while. Not matplotlib's rc_context: a notebook's first figure starts its backend, which must stay."""
    before = {name: mpl.rcParams[name] for name in STYLE}
    mpl.rcParams.update(STYLE)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def on_paper(plot):
    """Decorate a function that gives a Figure: drawn with STYLE, whatever style the user has chosen."""

    @functools.wraps(plot)
    def plot_on_paper(*args, **kwargs):
        with _style():
            figure = plot(*args, **kwargs)
        figure.set_facecolor(PAPER)
        for ax in figure.axes:  # ticks are made when the figure is drawn, which is later, under the user's style
            ax.tick_params(color=QUIET, labelcolor=INK)
        return figure

    return plot_on_paper
