"""How like the held-out recordings a set of clips is: overlapping area, divergence, Frechet distance, nearest neighbours, judge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lib.apps.evaluate.attributes import ATTRIBUTES
from lib.apps.evaluate.distances import Densities, frechet_distance, nearest_are_own, standardised
from lib.apps.evaluate.intervals import estimate, mean_of
from lib.style.embeddings import principal_directions

DIRECTIONS = 8  # of the style embedding, the widest of the library's recordings: more than a few dozen clips can't fill
# measure -> the bounds that it keeps
DISTANCES = {"overlapping_area": (0, 1), "divergence": (0, np.inf), "frechet_style": (0, np.inf), "nearest_style": (0, 1),
             "nearest_attributes": (0, 1)}  # fmt: skip


def widest_directions(styles, count=DIRECTIONS):
    """(S, count) in which styles (N, S) of many recordings vary most."""
    return principal_directions((styles - styles.mean(0)).astype(float), count)


@dataclass(frozen=True)
class Heard:
    """What likeness is measured on.

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
    def known(self):
        """bool (N,): clips that have a style."""
        return ~np.isnan(self.styles).any(1)


class Likeness:
    """Clips beside the real ones.

    Parameters
    ----------
    clips, real : Heard
    directions : (S, D), see widest_directions
    """

    def __init__(self, clips, real, directions):
        self.clips, self.real, self.directions = clips, real, directions
        columns = zip(clips.attributes.T, real.attributes.T)
        self.densities = dict(zip(ATTRIBUTES, (Densities(*pair) for pair in columns)))

    def by_attribute(self):
        """dict attribute -> (Figure of the overlapping area, Figure of the divergence)."""
        return {name: tuple(self._estimate(measure, getattr(one, measure)) for measure in ("overlapping_area", "divergence"))
                for name, one in self.densities.items()}  # fmt: skip

    def statistics(self):
        """dict of DISTANCES -> callable(weights of clips, weights of real ones)."""
        both = {"overlapping_area": self._mean("overlapping_area"), "divergence": self._mean("divergence")}
        if self.clips.known.sum() > 1 and self.real.known.sum() > 1:
            both["frechet_style"] = self._frechet()
            both["nearest_style"] = self._nearest(*(one.styles for one in (self.clips, self.real)))
        if min(len(self.clips.groups), len(self.real.groups)) > 1:
            both["nearest_attributes"] = self._nearest(*standardised(self.clips.attributes, self.real.attributes))
        return both

    def figures(self, draws=None):
        """dict of DISTANCES -> Figure; those that can't be given are left out."""
        return {name: self._estimate(name, statistic, draws) for name, statistic in self.statistics().items()}

    def _estimate(self, name, statistic, draws=None):
        return estimate(statistic, self.clips.groups, self.real.groups, centred=is_centred(name), bounds=DISTANCES[name],
                        draws=draws)  # fmt: skip

    def _mean(self, name):
        parts = [getattr(one, name) for one in self.densities.values()]
        return lambda weights, others: float(np.mean([part(weights, others) for part in parts]))

    def _frechet(self):
        sides = [(one.known, one.styles[one.known] @ self.directions) for one in (self.clips, self.real)]

        def distance(weights, others):
            kept = [weight[known] for weight, (known, _) in zip((weights, others), sides)]
            if min(map(np.sum, kept)) < 2:
                return np.nan
            return frechet_distance(sides[0][1], sides[1][1], *kept)

        return distance

    def _nearest(self, points, others):
        """Accuracy of naming each clip's set after its nearest neighbour: clips that count more count so here."""
        kept = [~np.isnan(side).any(1) for side in (points, others)]
        names = [np.array(side.groups)[keep] for side, keep in zip((self.clips, self.real), kept)]
        right = nearest_are_own(points[kept[0]], others[kept[1]], *names)

        def accuracy(weights, other_weights):
            pairs = [(weight[keep][: len(own)], own) for weight, keep, own in zip((weights, other_weights), kept, right)]
            total = sum(weight.sum() for weight, _ in pairs)
            return sum(float(weight @ own) for weight, own in pairs) / total if total else np.nan

        return accuracy


def is_centred(name):
    """Whether drawing with replacement itself moves a measure of DISTANCES: not where neighbours are found before."""
    return not name.startswith("nearest")


def judge_figure(probabilities, groups):
    """Figure of the judge's mean probability of the pianist."""
    return mean_of(probabilities, groups)
