"""Figures with 95 % bootstrap intervals over recordings.

Conventions: a statistic is a function of weights, one array for each sample: how often an item counts (1 for the figure
itself). Whole recordings are resampled, for clips of one resemble each other; a generated clip is a recording of its
own. scipy.stats.bootstrap resamples items, not recordings, and can't give two samples of the same recordings the same
draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS, BOUNDS = 400, (0.025, 0.975)


@dataclass(frozen=True)
class Figure:
    """A value, the bounds of its 95 % interval, and from how many items it is."""

    value: float
    low: float
    high: float
    count: int

    @property
    def includes_zero(self) -> bool:
        """Whether the interval does."""
        return not (self.low > 0 or self.high < 0)


def draw_weights(groups: Sequence, generator: np.random.Generator, draws: int) -> np.ndarray:
    """int (draws, N): how often each of N items counts when as many recordings are drawn as there are. `groups` are the
    recordings' names; where all items are of one, each counts as a recording of its own."""
    names, recordings = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) == 1:
        names = recordings = np.arange(len(recordings))
    return generator.multinomial(len(names), np.full(len(names), 1 / len(names)), draws)[:, recordings]


def estimate(
    statistic: Callable[..., float],
    *groups: Sequence,
    centred: bool = False,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    draws: int | None = None,
    seed: int = 0,
) -> Figure:
    """A statistic, callable(weights (N,), ...) -> float, with its bootstrap interval.

    Parameters
    ----------
    groups : the recording of each item, a sequence for each sample; samples of the same recordings are drawn together
    centred : for distances between samples, which drawing with replacement makes larger: how far draws lie from their
        mean is put around the value, so that the interval says what another set of this size would give; else the
        draws' percentiles
    bounds : that the statistic keeps
    draws : how many; None: DRAWS
    """
    value = float(statistic(*(np.ones(len(sample)) for sample in groups)))
    generator, weights = np.random.default_rng(seed), []
    for sample in groups:
        same = bool(weights) and list(sample) == list(groups[0])
        weights.append(weights[0] if same else draw_weights(sample, generator, draws or DRAWS))
    drawn = np.array([statistic(*row) for row in zip(*weights)], float)
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Figure(value, np.nan, np.nan, len(groups[0]))
    drawn = drawn - drawn.mean() + value if centred else drawn
    low, high = np.quantile(drawn, BOUNDS).clip(*bounds)
    return Figure(value, float(low), float(high), len(groups[0]))


def mean_of(values: Sequence[float], groups: Sequence, **options) -> Figure:
    """The mean of values (N,), those that are no numbers left out, as a Figure; options of `estimate`."""
    values = np.asarray(values, float)
    known = ~np.isnan(values)
    if not known.any():
        return Figure(np.nan, np.nan, np.nan, 0)
    values, groups = values[known], np.asarray(groups)[known]
    return estimate(lambda weights: weighted_mean(values, weights), groups, **options)


def ratio_of(values: Sequence[float], others: Sequence[float]) -> Figure:
    """The mean of values over that of others, each item a recording of its own, as a Figure."""
    values, others = np.asarray(values, float), np.asarray(others, float)

    def ratio(weights, other_weights):
        return weighted_mean(values, weights) / max(weighted_mean(others, other_weights), 1e-9)

    return estimate(ratio, range(len(values)), range(len(others)))


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> float:
    """NaN where nothing weighs."""
    total = weights.sum()
    return weights @ values / total if total else np.nan
