"""How far apart two sets of clips are: by attribute, in an embedding, by their nearest neighbours.

Conventions: weights say how often each clip counts, as intervals.estimate hands them in; rows without numbers are left out
before. Densities are Gaussian kernel estimates with Scott's bandwidth.
"""

from __future__ import annotations

import numpy as np

POINTS, MARGIN = 256, 1.0  # of the grid of a density, and how far it goes beyond the values, in widths
LEAST = 1e-4  # density that counts as none: of an even spread over the grid


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
        return np.exp(-0.5 * ((self.grid - sample[:, None]) / bandwidth) ** 2) / (bandwidth * np.sqrt(2 * np.pi))

    def curves(self, weights, other_weights):
        """(2, POINTS) densities."""
        pairs = zip((weights, other_weights), self.kernels)
        return np.stack([weight @ kernels / max(weight.sum(), 1e-12) for weight, kernels in pairs])

    def overlapping_area(self, weights, other_weights):
        """In [0, 1]; 1 where both are distributed alike (Yang & Lerch 2020)."""
        return 1.0 if self.same else float(self.curves(weights, other_weights).min(0).sum() * self.step)

    def divergence(self, weights, other_weights):
        """Kullback-Leibler divergence of the first from the second, in nats."""
        if self.same:
            return 0.0
        floor = LEAST / (self.grid[-1] - self.grid[0])
        own, other = self.curves(weights, other_weights) + floor
        return float((own * np.log(own / other)).sum() * self.step)


def frechet_distance(points, others, weights, other_weights):
    """Between two sets of points (N, D) and (M, D), each taken as a normal distribution (Dowson & Landau 1982)."""
    (mean, spread), (other_mean, other_spread) = _moments(points, weights), _moments(others, other_weights)
    root = _root(spread)
    shared = np.sqrt(np.linalg.eigvalsh(root @ other_spread @ root).clip(0)).sum()
    return float(((mean - other_mean) ** 2).sum() + np.trace(spread) + np.trace(other_spread) - 2 * shared)


def _moments(points, weights):
    weights = weights / weights.sum()
    mean = weights @ points
    centred = points - mean
    return mean, (weights[:, None] * centred).T @ centred


def _root(matrix):
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def nearest_are_own(points, others, groups, other_groups):
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
    distance = ((both[:, None] - both[None]) ** 2).sum(-1)
    distance[names[:, None] == names] = np.inf
    own = (distance.argmin(1) < count) == (np.arange(2 * count) < count)
    return own[:count], own[count:]


def standardised(points, others):
    """Both, each column in deviations of the others'."""
    centre, deviation = others.mean(0), others.std(0) + 1e-9
    return (points - centre) / deviation, (others - centre) / deviation
