"""How similar two sets of clips are: by attribute, in an embedding, by their nearest neighbours.

Conventions: weights say how often each clip counts, as intervals.estimate hands them in. Densities are Gaussian kernel
estimates with Scott's bandwidth, which no draw changes (scipy.stats.gaussian_kde fits it anew to each draw's weights).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import eigvals
from scipy.spatial.distance import cdist
from scipy.special import rel_entr
from scipy.stats import norm

from lib.apps.evaluate.intervals import Figure, estimate
from lib.apps.evaluate.measures import ATTRIBUTES
from lib.music.notes import Notes
from lib.style.classifier import StyleClassifier, TooShort
from lib.style.embeddings import principal_directions

DIRECTIONS = 8  # of the style embedding, the widest of the gallery's recordings: more than a few dozen clips can't fill
POINTS, MARGIN = 256, 1.0  # of the grid of a density, and how far it extends beyond the values, in widths
LEAST = 1e-4  # density that counts as none: of an even spread over the grid
# measure -> the bounds that it keeps
DISTANCES = {
    "overlapping_area": (0, 1),
    "divergence": (0, np.inf),
    "frechet_style": (0, np.inf),
    "nearest_style": (0, 1),
    "nearest_attributes": (0, 1),
}


class Densities:
    """Two samples of one attribute.

    Parameters
    ----------
    values, others : float (N,) and (M,)
    """

    def __init__(self, values, others):
        both = np.concatenate([values, others]).astype(float)
        width = float(np.ptp(both))
        self.same = width == 0
        self.grid = np.linspace(both.min() - MARGIN * width, both.max() + MARGIN * width, POINTS)
        self.step = self.grid[1] - self.grid[0]
        self.kernels = [self._kernels(np.asarray(sample, float), width) for sample in (values, others)]

    def _kernels(self, sample, width):
        """(N, POINTS): the density of each value alone; a sample without spread has a thousandth of the width."""
        deviation = sample.std(ddof=1) if len(sample) > 1 else 0.0
        bandwidth = max(deviation * len(sample) ** -0.2, width / 1000, 1.5 * self.step, 1e-12)
        return norm.pdf(self.grid, sample[:, None], bandwidth)

    def curves(self, weights: np.ndarray, other_weights: np.ndarray) -> np.ndarray:
        """(2, POINTS) densities."""
        pairs = zip((weights, other_weights), self.kernels)
        return np.stack([weight @ kernels / max(weight.sum(), 1e-12) for weight, kernels in pairs])

    def overlapping_area(self, weights: np.ndarray, other_weights: np.ndarray) -> float:
        """In [0, 1]; 1 where both are distributed alike (Yang & Lerch 2020)."""
        return 1.0 if self.same else float(self.curves(weights, other_weights).min(0).sum() * self.step)

    def divergence(self, weights: np.ndarray, other_weights: np.ndarray) -> float:
        """Kullback-Leibler divergence of the first from the second, in nats."""
        if self.same:
            return 0.0
        floor = LEAST / (self.grid[-1] - self.grid[0])
        return float(rel_entr(*(self.curves(weights, other_weights) + floor)).sum() * self.step)


def frechet_distance(points, others, weights, other_weights) -> float:
    """Between two sets of points (N, D) and (M, D), each taken as a normal distribution (Dowson & Landau 1982)."""
    mean, other_mean = np.average(points, 0, weights), np.average(others, 0, other_weights)
    covariance = np.cov(points.T, ddof=0, aweights=weights)
    other_covariance = np.cov(others.T, ddof=0, aweights=other_weights)
    root_trace = np.sqrt(eigvals(covariance @ other_covariance).real.clip(0)).sum()
    return float(((mean - other_mean) ** 2).sum() + np.trace(covariance + other_covariance) - 2 * root_trace)


def nearest_are_own(points, others, groups, other_groups) -> tuple[np.ndarray, np.ndarray]:
    """For each point whether its nearest neighbour is of its own set, recordings of one's own left out.

    Parameters
    ----------
    points, others : (N, D) and (M, D); as many of each are taken
    groups, other_groups : the recording of each

    Returns
    -------
    (bool (K,), bool (K,)) : of the points and of the others; a mean of 0.5 says that nobody can tell them apart
        (two-sample test; Lopez-Paz & Oquab 2017)
    """
    count = min(len(points), len(others))
    both = np.concatenate([points[:count], others[:count]])
    names = np.array([*groups[:count], *other_groups[:count]])
    distance = cdist(both, both)
    distance[names[:, None] == names] = np.inf
    own = (distance.argmin(1) < count) == (np.arange(2 * count) < count)
    return own[:count], own[count:]


def standardised(points, others) -> tuple[np.ndarray, np.ndarray]:
    """Both, each column in deviations of the others'."""
    centre, deviation = others.mean(0), others.std(0) + 1e-9
    return (points - centre) / deviation, (others - centre) / deviation


def widest_directions(styles: np.ndarray, count: int = DIRECTIONS) -> np.ndarray:
    """(S, count) in which styles (N, S) of many recordings vary most."""
    return principal_directions((styles - styles.mean(0)).astype(float), count)


def embedded(classifier: StyleClassifier, clips: Sequence[Notes], size: int) -> np.ndarray:
    """(N, size) style of each clip, of length 1; NaN where it is too short to say anything."""
    styles = np.full((len(clips), size), np.nan)
    for row, notes in zip(styles, clips):
        try:
            row[:] = classifier.predict(notes).style
        except TooShort:
            continue
    return styles


@dataclass(frozen=True)
class ClipFeatures:
    """What similarity is measured on.

    Attributes
    ----------
    attributes : float (N, len(ATTRIBUTES))
    styles : float (N, S), in the released style encoder's embedding; NaN where a clip is too short
    groups : N recordings
    """

    attributes: np.ndarray
    styles: np.ndarray
    groups: tuple

    @cached_property
    def known(self) -> np.ndarray:
        """bool (N,): clips that have a style."""
        return ~np.isnan(self.styles).any(1)


class Similarity:
    """Clips beside the real ones.

    Parameters
    ----------
    clips, real : ClipFeatures
    directions : (S, D), see widest_directions
    """

    def __init__(self, clips: ClipFeatures, real: ClipFeatures, directions: np.ndarray):
        self.clips, self.real, self.directions = clips, real, directions
        columns = zip(clips.attributes.T, real.attributes.T)
        self.densities = dict(zip(ATTRIBUTES, (Densities(*pair) for pair in columns)))

    def by_attribute(self) -> dict[str, dict[str, Figure]]:
        """attribute -> overlapping_area and divergence."""
        measures = ("overlapping_area", "divergence")
        return {
            name: {measure: self._estimate(measure, getattr(densities, measure)) for measure in measures}
            for name, densities in self.densities.items()
        }

    def statistics(self) -> dict[str, Callable[..., float]]:
        """dict of DISTANCES -> callable(weights of clips, weights of real ones)."""
        both = {"overlapping_area": self._mean("overlapping_area"), "divergence": self._mean("divergence")}
        if self.clips.known.sum() > 1 and self.real.known.sum() > 1:
            both["frechet_style"] = self._frechet
            both["nearest_style"] = self._nearest(self.clips.styles, self.real.styles)
        if min(len(self.clips.groups), len(self.real.groups)) > 1:
            both["nearest_attributes"] = self._nearest(*standardised(self.clips.attributes, self.real.attributes))
        return both

    def figures(self, draws: int | None = None) -> dict[str, Figure]:
        """dict of DISTANCES -> Figure; those that can't be given are left out."""
        return {name: self._estimate(name, statistic, draws) for name, statistic in self.statistics().items()}

    def _estimate(self, name, statistic, draws=None):
        groups, centred = (self.clips.groups, self.real.groups), is_centred(name)
        return estimate(statistic, *groups, centred=centred, bounds=DISTANCES[name], draws=draws)

    def _mean(self, name):
        parts = [getattr(densities, name) for densities in self.densities.values()]
        return lambda weights, others: float(np.mean([part(weights, others) for part in parts]))

    def _frechet(self, weights, other_weights):
        sides = (self.clips, self.real)
        kept = [weight[side.known] for weight, side in zip((weights, other_weights), sides)]
        if min(map(np.sum, kept)) < 2:
            return np.nan
        return frechet_distance(*(side.styles[side.known] @ self.directions for side in sides), *kept)

    def _nearest(self, points, others):
        """Accuracy of naming each clip's set after its nearest neighbour: clips that count more count so here."""
        known = [~np.isnan(side).any(1) for side in (points, others)]
        names = [np.array(side.groups)[rows] for side, rows in zip((self.clips, self.real), known)]
        right = nearest_are_own(points[known[0]], others[known[1]], *names)

        def accuracy(*weights):
            pairs = [(weight[rows][: len(own)], own) for weight, rows, own in zip(weights, known, right)]
            total = sum(weight.sum() for weight, _ in pairs)
            return sum(float(weight @ own) for weight, own in pairs) / total if total else np.nan

        return accuracy


def is_centred(name: str) -> bool:
    """Whether drawing with replacement itself moves a measure of DISTANCES: not where neighbours are found before."""
    return not name.startswith("nearest")
