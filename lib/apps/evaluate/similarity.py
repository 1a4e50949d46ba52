"""How similar two sets of clips are: by attribute, in an embedding, by their nearest neighbours.

Conventions: weights say how often each clip counts, as intervals.estimate hands them in. Densities are Gaussian kernel
estimates with Scott's bandwidth, which no draw changes (scipy.stats.gaussian_kde fits it anew to each draw's weights).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigvals
from scipy.spatial.distance import cdist
from scipy.special import rel_entr
from scipy.stats import norm

from lib.apps.evaluate.intervals import Figure, estimate, weighted_mean
from lib.apps.evaluate.measures import ATTRIBUTES
from lib.style.embeddings import principal_directions

DIRECTIONS = 8  # of the style embedding, the widest of the gallery's recordings: more than a few dozen clips can't fill
POINTS, MARGIN = 256, 1.0  # of the grid of a density, and how far it extends beyond the values, in widths
LEAST = 1e-4  # density that counts as none: of an even spread over the grid
# measure -> the bounds that it keeps; whether drawing with replacement moves it: not where neighbours are found before
DISTANCES = {
    "overlapping_area": ((0, 1), True),
    "divergence": ((0, np.inf), True),
    "frechet_style": ((0, np.inf), True),
    "nearest_style": ((0, 1), False),
    "nearest_attributes": ((0, 1), False),
}


@dataclass(frozen=True)
class ClipMeasures:
    """What is measured of each of N clips, as evaluation.json keeps it."""

    groups: tuple[str, ...]  # the recording of each
    values: dict[str, np.ndarray]  # measure -> float (N,), NaN where a clip says too little
    styles: np.ndarray | None = None  # float (N, S) of the released encoder, NaN for a short clip; None for solos

    @classmethod
    def of_json(cls, row: dict, count: int | None = None) -> ClipMeasures:
        """Those of a set in evaluation.json, of its first so many clips."""
        values = {name: np.array(column[:count], float) for name, column in row["values"].items()}
        styles = np.array(row["styles"][:count], float) if "styles" in row else None
        return cls(tuple(row["groups"][:count]), values, styles)

    def row(self) -> dict:
        """For evaluation.json."""
        row = {"groups": self.groups, "values": self.values}
        return row if self.styles is None else {**row, "styles": self.styles.round(4)}

    @property
    def attributes(self) -> np.ndarray:
        """float (N, len(ATTRIBUTES))."""
        return np.stack([self.values[name] for name in ATTRIBUTES], 1)


class Densities:
    """Two samples of one attribute, float (N,) and (M,)."""

    def __init__(self, values, others):
        samples = [np.asarray(sample, float) for sample in (values, others)]
        both = np.concatenate(samples)
        width = float(np.ptp(both))
        self.grid = np.linspace(both.min() - MARGIN * width, both.max() + MARGIN * width, POINTS)
        self.step = self.grid[1] - self.grid[0]  # 0 where all values are the same
        self.kernels = []  # (N, POINTS), of each value alone; a sample without spread has a thousandth of the width
        for sample in samples:
            deviation = sample.std(ddof=1) if len(sample) > 1 else 0.0
            bandwidth = max(deviation * len(sample) ** -0.2, width / 1000, 1.5 * self.step, 1e-12)
            self.kernels.append(norm.pdf(self.grid, sample[:, None], bandwidth))

    def curves(self, *weights: np.ndarray) -> np.ndarray:
        """(2, POINTS) densities."""
        pairs = zip(weights, self.kernels)
        return np.stack([weight @ kernels / max(weight.sum(), 1e-12) for weight, kernels in pairs])

    def overlapping_area(self, *weights: np.ndarray) -> float:
        """In [0, 1]; 1 where both are distributed alike (Yang & Lerch 2020)."""
        return float(self.curves(*weights).min(0).sum() * self.step) if self.step else 1.0

    def divergence(self, *weights: np.ndarray) -> float:
        """Kullback-Leibler divergence of the first from the second, in nats."""
        floor = LEAST / (self.step * (POINTS - 1)) if self.step else 1.0
        return float(rel_entr(*(self.curves(*weights) + floor)).sum() * self.step)


def frechet_distance(points, others, weights, other_weights) -> float:
    """Between two sets of points (N, D) and (M, D), each taken as a normal distribution (Dowson & Landau 1982)."""
    mean, other_mean = np.average(points, 0, weights), np.average(others, 0, other_weights)
    covariance = np.cov(points.T, ddof=0, aweights=weights)
    other_covariance = np.cov(others.T, ddof=0, aweights=other_weights)
    root_trace = np.sqrt(eigvals(covariance @ other_covariance).real.clip(0)).sum()
    return float(((mean - other_mean) ** 2).sum() + np.trace(covariance + other_covariance) - 2 * root_trace)


def nearest_are_own(points, others, groups, other_groups) -> tuple[np.ndarray, np.ndarray]:
    """Whether each point's nearest neighbour is of its own set, those of its own recording (`groups`) left out.

    Of points (N, D) and others (M, D) as many of each are taken: (bool (K,), bool (K,)). A mean of 0.5 says that nobody
    can tell them apart (two-sample test; Lopez-Paz & Oquab 2017).
    """
    count = min(len(points), len(others))
    both = np.concatenate([points[:count], others[:count]])
    names = np.array([*groups[:count], *other_groups[:count]])
    distance = cdist(both, both)
    distance[names[:, None] == names] = np.inf
    own = (distance.argmin(1) < count) == (np.arange(2 * count) < count)
    return own[:count], own[count:]


def widest_directions(styles: np.ndarray) -> np.ndarray:
    """(S, DIRECTIONS) in which styles (N, S) of many recordings vary most."""
    return principal_directions((styles - styles.mean(0)).astype(float), DIRECTIONS)


class Similarity:
    """Clips beside the real ones. `statistics` are those of DISTANCES that can be given: callables of the weights of
    the clips and of the real ones. For `directions` (S, D) see widest_directions."""

    def __init__(self, clips: ClipMeasures, real: ClipMeasures, directions: np.ndarray):
        self.groups, pair = (clips.groups, real.groups), (clips.attributes, real.attributes)
        columns = zip(*(points.T for points in pair))
        self.densities = {name: Densities(*samples) for name, samples in zip(ATTRIBUTES, columns)}
        self.statistics = {name: self._mean(name) for name in ("overlapping_area", "divergence")}
        known = [~np.isnan(side.styles).any(1) for side in (clips, real)]
        if min(rows.sum() for rows in known) > 1:
            styles = [side.styles[rows] for side, rows in zip((clips, real), known)]
            self.statistics["frechet_style"] = _frechet([points @ directions for points in styles], known)
            self.statistics["nearest_style"] = self._nearest(styles, known)
        if min(map(len, self.groups)) > 1:
            centre, deviation = pair[1].mean(0), pair[1].std(0) + 1e-9
            standardised = [(points - centre) / deviation for points in pair]
            self.statistics["nearest_attributes"] = self._nearest(standardised, [slice(None)] * 2)

    def by_attribute(self) -> dict[str, dict[str, Figure]]:
        """attribute -> overlapping_area and divergence."""
        measures = ("overlapping_area", "divergence")
        return {
            name: {measure: self._estimate(measure, getattr(densities, measure)) for measure in measures}
            for name, densities in self.densities.items()
        }

    def figures(self, draws: int | None = None) -> dict[str, Figure]:
        """dict of DISTANCES -> Figure; those that can't be given are left out."""
        return {name: self._estimate(name, statistic, draws) for name, statistic in self.statistics.items()}

    def _estimate(self, name, statistic, draws=None):
        bounds, centred = DISTANCES[name]
        return estimate(statistic, *self.groups, centred=centred, bounds=bounds, draws=draws)

    def _mean(self, name) -> Callable[..., float]:
        parts = [getattr(densities, name) for densities in self.densities.values()]
        return lambda *weights: float(np.mean([part(*weights) for part in parts]))

    def _nearest(self, points, known) -> Callable[..., float]:
        """Accuracy of naming each clip's set after its nearest neighbour: clips that count more count so here."""
        right = nearest_are_own(*points, *(np.array(names)[rows] for names, rows in zip(self.groups, known)))

        def accuracy(*weights):
            counts = np.concatenate([weight[rows][: len(own)] for weight, rows, own in zip(weights, known, right)])
            return weighted_mean(np.concatenate(right), counts)

        return accuracy


def _frechet(points, known):
    def distance(*weights):
        weights = [weight[rows] for weight, rows in zip(weights, known)]
        return frechet_distance(*points, *weights) if min(map(np.sum, weights)) >= 2 else np.nan

    return distance
