"""Figures with their intervals, side by side; and how measures answer to doses of damage."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from lib.display.alt_text import described, titled
from lib.display.palette import GENERATED, HUES, PALE, QUIET, REAL, on_paper


@on_paper
def plot_figures(panels, sets, own=(), aims=None, title=""):
    """A panel a measure, a row a set: the value as a dot, its interval as a line.

    Parameters
    ----------
    panels : dict measure -> dict set -> (value, low, high)
    sets : names of the rows, from the top
    own : sets that are drawn in the colour of generated music
    aims : dict measure -> the ideal, drawn as a line; measures without one have none
    title : str
    """
    columns = min(3, max(1, len(panels)))
    count = -(-len(panels) // columns) or 1
    size = (3.7 * columns, count * (0.9 + 0.26 * len(sets)))
    figure, axes = plt.subplots(count, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    for ax, (measure, rows) in zip(axes.flat, panels.items(), strict=False):
        for row, name in enumerate(sets):
            if name in rows:
                value, low, high = rows[name]
                colour = GENERATED if name in own else REAL
                ax.plot([low, high], [row, row], color=colour, linewidth=1.5)
                ax.plot([value], [row], "o", color=colour, markersize=5)
        if measure in (aims or {}):
            ax.axvline(aims[measure], color=QUIET, linewidth=1, linestyle=":")
        ax.set_yticks(range(len(sets)), sets)
        ax.set_ylim(len(sets) - 0.5, -0.5)
        ax.grid(axis="x", linewidth=0.3, color=PALE)
        ax.set_title(measure, fontsize=9)
    for ax in list(axes.flat)[len(panels) :]:
        ax.set_visible(False)
    summary = "; ".join(
        f"{measure}: {', '.join(f'{name} {row[0]:.3g}' for name, row in rows.items())}"
        for measure, rows in panels.items()
    )
    return described(figure, titled(title, f"Figures with 95 % confidence intervals. {summary}"))


@on_paper
def plot_doses(rows, titles=None):
    """A panel a measure: its value over the dose (a share of the largest one), a line for each kind of damage.

    Parameters
    ----------
    rows : list of dict damage, dose, figures (measure -> value); the first is without damage
    titles : dict measure -> title
    """
    measures = list(rows[0]["figures"])
    columns = min(3, len(measures))
    count = -(-len(measures) // columns)
    figure, axes = plt.subplots(
        count, columns, figsize=(3.7 * columns, 2.3 * count), squeeze=False, layout="constrained"
    )
    damages = list(dict.fromkeys(row["damage"] for row in rows[1:]))
    for ax, measure in zip(axes.flat, measures, strict=False):
        for colour, damage in zip(HUES, damages):
            own = [row for row in rows if row["damage"] == damage]
            doses = np.array([0.0, *(row["dose"] for row in own)]) / own[-1]["dose"]
            ax.plot(
                doses, _values([rows[0], *own], measure), "o-", color=colour, markersize=3, linewidth=1, label=damage
            )
        ax.set_title((titles or {}).get(measure, measure), fontsize=9)
        ax.set_xlabel("dose, of the largest", fontsize=8)
    for ax in list(axes.flat)[len(measures) :]:
        ax.set_visible(False)
    axes[0, 0].legend(fontsize=7)
    summary = "; ".join(f"{measure}: {_values(rows[:1], measure)[0]:.3g} whole" for measure in measures)
    return described(figure, f"What measures say of music that is made worse by {', '.join(damages)}. {summary}")


def _values(rows, measure):
    """A measure's values; NaN, which isn't drawn, where there is none."""
    return [np.nan if row["figures"].get(measure) is None else row["figures"][measure] for row in rows]
