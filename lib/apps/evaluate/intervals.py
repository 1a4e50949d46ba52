"""Figures with what chance may have done to them: bootstrap intervals over recordings.

Conventions: a statistic is a function of weights, one array for each sample: how often an item counts (1 for the figure itself).
What is drawn anew are whole recordings, for clips of one are alike; a generated clip is a recording of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRAWS, COVER = 400, 0.95


@dataclass(frozen=True)
class Figure:
    """A value, the bounds of its 95 % interval, and from how many items it is."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self):
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"

    @property
    def includes_zero(self):
        """Whether the interval does."""
        return not (self.low > 0 or self.high < 0)


def places_of(groups):
    """int (N,): the number of each item's recording; of the item itself, where all are of one."""
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    return np.arange(len(place)) if len(names) == 1 else place


def draw_weights(place, generator, draws):
    """int (draws, N): how often each item counts when as many recordings are drawn as there are; see places_of."""
    count = int(place.max()) + 1
    return generator.multinomial(count, np.full(count, 1 / count), draws)[:, place]


def estimate(statistic, *groups, centred=False, bounds=(-np.inf, np.inf), draws=None, seed=0):
    """A statistic with its bootstrap interval.

    Parameters
    ----------
    statistic : callable(weights (N,), ...) -> float, one array of weights for each of `groups`
    groups : the recording of each item, a sequence for each sample; samples of the same recordings are drawn together
    centred : for distances between samples, which drawing with replacement makes larger: how far draws lie from their mean
        is put around the value, so that the interval says what another set of this size would give; else the draws' percentiles
    bounds : that the statistic keeps
    draws, seed : how many (None: DRAWS), and of the generator

    Returns
    -------
    Figure
    """
    value = float(statistic(*(np.ones(len(one)) for one in groups)))
    drawn = zip(*_draw(groups, np.random.default_rng(seed), draws or DRAWS))
    found = np.array([statistic(*weights) for weights in drawn], float)
    found = found[~np.isnan(found)]
    if not len(found):
        return Figure(value, np.nan, np.nan, len(groups[0]))
    found = found - found.mean() + value if centred else found
    low, high = np.quantile(found, [(1 - COVER) / 2, (1 + COVER) / 2]).clip(*bounds)
    return Figure(value, float(low), float(high), len(groups[0]))


def _draw(groups, generator, draws):
    """Weights (draws, N) of each sample; those of the same recordings as the first have its weights."""
    first = draw_weights(places_of(groups[0]), generator, draws)
    others = (None if list(one) == list(groups[0]) else places_of(one) for one in groups[1:])
    return [first, *(first if place is None else draw_weights(place, generator, draws) for place in others)]


def mean_of(values, groups, **options):
    """The mean of values (N,), those that are no numbers left out, as a Figure."""
    values = np.asarray(values, float)
    known = ~np.isnan(values)
    if not known.any():
        return Figure(np.nan, np.nan, np.nan, 0)
    values, groups = values[known], np.asarray(groups)[known]
    return estimate(lambda weights: weighted_mean(values, weights), groups, **options)


def weighted_mean(values, weights):
    """Along the first axis; no number where nothing weighs."""
    total = weights.sum()
    return weights @ values / total if total else np.nan
