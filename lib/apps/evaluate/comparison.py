"""Two evaluations, clip by clip: the same prompts and seeds, so that what differs is the model.

Conventions: a difference is B less A. Clips are paired by the rank of their prompt; prompts are resampled, and with
them both clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lib.apps.evaluate.clip_sets import PAIRED
from lib.apps.evaluate.intervals import Figure, estimate, mean_of
from lib.apps.evaluate.measures import ATTRIBUTES
from lib.apps.evaluate.similarity import DISTANCES, ClipFeatures, Similarity, is_centred
from lib.config import ConfigError

FEWEST = 6  # pairs: fewer all differ in one direction too often for an interval to mean anything
NO_DIFFERENCE = "no difference found"


@dataclass(frozen=True)
class Difference:
    """What two models differ by in a measure.

    Attributes
    ----------
    clip_set : one of clip_sets.PAIRED
    measure : its key
    before, after : value of A and of B
    figure : Figure of B less A
    """

    clip_set: str
    measure: str
    before: float
    after: float
    figure: Figure

    @property
    def verdict(self) -> str:
        """A few words."""
        if np.isnan(self.figure.value) or self.figure.includes_zero:
            return NO_DIFFERENCE
        return "B is higher" if self.figure.value > 0 else "B is lower"


def compare(evaluation: dict, other: dict, directions: np.ndarray) -> list[Difference]:
    """Differences of two evaluations.

    Parameters
    ----------
    evaluation, other : dict of evaluation.read_evaluation, A and B
    directions : similarity.widest_directions of the released gallery

    Returns
    -------
    list of Difference; none of sets of fewer than FEWEST pairs

    Raises
    ------
    ConfigError : their requests differ, or they have no clips in common
    """
    _check_comparable(evaluation, other)
    first, second = evaluation["clips"], other["clips"]
    names = [name for name in PAIRED if name in first and name in second]
    if not names:
        raise ConfigError(
            "The two evaluations have no clips in common: evaluate both with the same --data-dir and size."
        )
    differences = []
    for name in names:
        sides = (first[name], second[name])
        count = min(len(side["groups"]) for side in sides)
        if count >= FEWEST:
            differences += _of_values(name, *sides, count)
            if "real" in first and all("styles" in side for side in sides):
                differences += _of_similarity(name, *sides, first["real"], count, directions)
    return differences


def _check_comparable(evaluation, other):
    """ConfigError where two evaluations looked at other recordings, or requested other chords."""
    for what, pair in (
        ("splits", [side["split"] for side in (evaluation, other)]),
        ("lengths of solos", [side["size"]["solo_beats"] for side in (evaluation, other)]),
    ):
        if pair[0] != pair[1]:
            raise ConfigError(
                f"The two evaluations have different {what} ({pair[0]} and {pair[1]}): evaluate both alike."
            )
    if any(prompt != its for prompt, its in zip(evaluation["prompts"], other["prompts"])):
        raise ConfigError(
            "The two evaluations have different prompts, those of other recordings or of another number of clips: "
            "evaluate both with the same --data-dir, --corpus and --clips."
        )


def _of_values(name, side, other, count) -> Iterator[Difference]:
    """Of the means over clips."""
    for measure, values in side["values"].items():
        pairs = np.array([values[:count], other["values"].get(measure, [None] * count)[:count]], float)
        before, after = pairs[:, ~np.isnan(pairs).any(0)]
        if len(before) >= FEWEST:
            figure = mean_of(after - before, range(len(before)))
            yield Difference(name, measure, float(before.mean()), float(after.mean()), figure)


def _of_similarity(name, side, other, real, count, directions) -> Iterator[Difference]:
    """Of the distances to the held-out recordings, which are those of the first evaluation."""
    reference = features_of(real)
    ones = np.ones(count), np.ones(len(reference.groups))
    before, after = (Similarity(features_of(one, count), reference, directions).statistics() for one in (side, other))
    for measure in [measure for measure in DISTANCES if measure in before and measure in after]:
        a, b = before[measure], after[measure]
        figure = estimate(
            lambda w, r, a=a, b=b: b(w, r) - a(w, r), range(count), reference.groups, centred=is_centred(measure)
        )
        yield Difference(name, measure, float(a(*ones)), float(b(*ones)), figure)


def features_of(clips: dict, count: int | None = None) -> ClipFeatures:
    """ClipFeatures of the clips of an evaluation, or of the first so many."""
    rows = np.array([clips["values"][attribute][:count] for attribute in ATTRIBUTES], float).T
    return ClipFeatures(rows, np.array(clips["styles"][:count], float), tuple(clips["groups"][:count]))


def format_differences(differences: list[Difference]) -> str:
    """The differences as text: those that were found first, then how many were looked at."""
    if not differences:
        return f"Too few clips to say anything: {FEWEST} pairs of a kind at least."
    ranked = sorted(differences, key=lambda difference: difference.verdict == NO_DIFFERENCE)
    lines = [f"{'clips':<10}{'measure':<32}{'A':>10}{'B':>10}  B less A, 95 % interval"]
    for row in ranked:
        interval = f"{row.figure.value:+.3g} ({row.figure.low:+.2g} to {row.figure.high:+.2g})"
        values = f"{row.before:>10.3g}{row.after:>10.3g}"
        lines.append(f"{row.clip_set:<10}{row.measure:<32}{values}  {interval}: {row.verdict}")
    count, total = sum(row.verdict != NO_DIFFERENCE for row in differences), len(differences)
    verdict = f"{count} of {total} measures differ" if count else NO_DIFFERENCE
    return "\n".join([*lines, f"{verdict}. By chance alone about {total / 20:.0f} of {total} would seem to."])
