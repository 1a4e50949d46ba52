"""Pictures of an evaluation, for its page and for notebooks."""

from __future__ import annotations

from lib.apps.evaluate.captions import LIKENESS, SET_TITLES
from lib.apps.evaluate.figure_plots import plot_doses, plot_figures

OWN_SETS = ("generated", "solos")
AIMS = {LIKENESS[key].title: 0.5 for key in ("nearest_style", "nearest_attributes")}


def plot_likeness(found):
    """Figure: a panel a measure of likeness, a row a set.

    Parameters
    ----------
    found : dict of evaluation.evaluate, with likeness
    """
    rows = found["likeness"]
    panels = {caption.title: {SET_TITLES[name]: bounds(row[key]) for name, row in rows.items() if key in row}
              for key, caption in LIKENESS.items() if any(key in row for row in rows.values())}  # fmt: skip
    titles = [SET_TITLES[name] for name in rows]
    return plot_figures(panels, titles, [SET_TITLES[name] for name in OWN_SETS], AIMS)


def plot_selfcheck(found):
    """Figure: what the measures say of music that is made worse and worse.

    Parameters
    ----------
    found : dict of evaluation.evaluate, with selfcheck
    """
    rows = [{**row, "figures": {key: figure["value"] for key, figure in row["figures"].items()}}
            for row in found["selfcheck"]["doses"]]  # fmt: skip
    return plot_doses(rows, {key: caption.title for key, caption in LIKENESS.items()})


def bounds(figure):
    """(value, low, high) of a Figure as a dict; NaN for None."""
    return tuple(float("nan") if figure[key] is None else figure[key] for key in ("value", "low", "high"))
