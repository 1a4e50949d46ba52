"""Pictures of an evaluation, for its page and for notebooks: figures with intervals, measures over doses."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lib.apps.evaluate.metric_descriptions import SET_TITLES, SIMILARITY
from lib.display.alt_text import described, titled
from lib.display.palette import GENERATED, HUES, PALE, QUIET, REAL, on_paper

COLUMNS = 3
OWN_SETS = ("generated", "solos")  # drawn in the colour of generated music
IDEALS = {"nearest_style": 0.5, "nearest_attributes": 0.5}


@on_paper
def plot_similarity(evaluation: dict, title: str = "") -> Figure:
    """A panel a measure of similarity, a row a set: the value as a dot, its interval as a line, the ideal dotted.

    Parameters
    ----------
    evaluation : dict of evaluation.evaluate, with likeness
    title : str
    """
    sets = evaluation["likeness"]
    measures = [key for key in SIMILARITY if any(key in row for row in sets.values())]
    figure, panels = _panels(measures, 0.9 + 0.26 * len(sets), sharey=True)
    for measure, ax in panels.items():
        for row, (name, figures) in enumerate(sets.items()):
            if measure in figures:
                value, low, high = (_number(figures[measure][key]) for key in ("value", "low", "high"))
                colour = GENERATED if name in OWN_SETS else REAL
                ax.plot([low, high], [row, row], color=colour, linewidth=1.5)
                ax.plot([value], [row], "o", color=colour, markersize=5)
        if measure in IDEALS:
            ax.axvline(IDEALS[measure], color=QUIET, linewidth=1, linestyle=":")
        ax.set_yticks(range(len(sets)), [SET_TITLES[name] for name in sets])
        ax.set_ylim(len(sets) - 0.5, -0.5)
        ax.grid(axis="x", linewidth=0.3, color=PALE)
    summary = "; ".join(
        f"{SIMILARITY[measure].title}: "
        + ", ".join(
            f"{SET_TITLES[name]} {_number(figures[measure]['value']):.3g}"
            for name, figures in sets.items()
            if measure in figures
        )
        for measure in measures
    )
    return described(figure, titled(title, f"Figures with 95 % confidence intervals. {summary}"))


@on_paper
def plot_selfcheck(evaluation: dict) -> Figure:
    """A panel a measure: its value over the dose (a share of the largest one), a line for each kind of damage.

    Parameters
    ----------
    evaluation : dict of evaluation.evaluate, with selfcheck
    """
    rows = evaluation["selfcheck"]["doses"]
    measures = list(rows[0]["figures"])
    damages = list(dict.fromkeys(row["damage"] for row in rows[1:]))
    figure, panels = _panels(measures, 2.3)
    for measure, ax in panels.items():
        for colour, damage in zip(HUES, damages):
            own = [row for row in rows if row["damage"] in ("none", damage)]
            doses = np.array([row["dose"] for row in own]) / own[-1]["dose"]
            values = [_number(row["figures"].get(measure, {}).get("value")) for row in own]
            ax.plot(doses, values, "o-", color=colour, markersize=3, linewidth=1, label=damage)
        ax.set_xlabel("dose, of the largest", fontsize=8)
    next(iter(panels.values())).legend(fontsize=7)
    whole = {measure: _number(rows[0]["figures"][measure]["value"]) for measure in measures}
    summary = "; ".join(f"{SIMILARITY[measure].title}: {value:.3g} whole" for measure, value in whole.items())
    return described(figure, f"What measures say of music that is made worse by {', '.join(damages)}. {summary}")


def _panels(measures, height, **shared):
    """(figure, dict measure -> axes with its title): rows of COLUMNS panels, so many inches high."""
    columns = min(COLUMNS, max(1, len(measures)))
    count = -(-len(measures) // columns) or 1
    size = (3.7 * columns, height * count)
    figure, axes = plt.subplots(count, columns, figsize=size, squeeze=False, layout="constrained", **shared)
    for ax in axes.flat[len(measures) :]:
        ax.set_visible(False)
    panels = dict(zip(measures, axes.flat))
    for measure, ax in panels.items():
        ax.set_title(SIMILARITY[measure].title, fontsize=9)
    return figure, panels


def _number(value):
    """NaN, which isn't drawn, where there is none."""
    return np.nan if value is None else value
