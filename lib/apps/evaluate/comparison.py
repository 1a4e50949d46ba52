"""Two evaluations, clip by clip: the same prompts and seeds, so that what differs is the model.

Conventions: a difference is B less A. Clips are paired by their prompt's place; drawn anew are prompts, and with them both clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.apps.evaluate.attributes import ATTRIBUTES
from lib.apps.evaluate.heard import PAIRED
from lib.apps.evaluate.intervals import Figure, estimate
from lib.apps.evaluate.likeness import DISTANCES, Heard, Likeness, is_centred
from lib.config import ConfigError

FEWEST = 6  # pairs: of fewer, all differ one way by chance too often for an interval to mean anything


@dataclass(frozen=True)
class Difference:
    """What two models differ by in a measure.

    Attributes
    ----------
    clip_set : one of heard.PAIRED
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
    def verdict(self):
        """A few words."""
        if np.isnan(self.figure.value) or self.figure.includes_zero:
            return "no difference found"
        return "B is higher" if self.figure.value > 0 else "B is lower"


def compare(found, other, directions):
    """Differences of two evaluations.

    Parameters
    ----------
    found, other : dict of evaluation.read_evaluation, A and B
    directions : likeness.widest_directions of the released library

    Returns
    -------
    list of Difference; none of sets of fewer than FEWEST pairs

    Raises
    ------
    ConfigError : they were not asked for the same, or have no clips in common
    """
    check_comparable(found, other)
    pairs = {name: [side["clips"][name] for side in (found, other)] for name in PAIRED
             if all(name in side["clips"] for side in (found, other))}  # fmt: skip
    if not pairs:
        raise ConfigError("The two evaluations have no clips in common: evaluate both with the same --data-dir and size.")
    differences = []
    for name, sides in pairs.items():
        count = min(len(side["groups"]) for side in sides)
        if count >= FEWEST:
            differences += _of_values(name, *sides, count)
            if "real" in found["clips"] and all("styles" in side for side in sides):
                differences += _of_likeness(name, *sides, found["clips"]["real"], count, directions)
    return differences


def check_comparable(found, other):
    """ConfigError where two evaluations looked at other recordings, or asked for other chords."""
    for what, sides in (("splits", [side["split"] for side in (found, other)]),
                        ("lengths of solos", [side["size"]["solo_s"] for side in (found, other)])):  # fmt: skip
        if sides[0] != sides[1]:
            raise ConfigError(f"The two evaluations have different {what} ({sides[0]} and {sides[1]}): evaluate both alike.")
    if any(prompt != its for prompt, its in zip(found["prompts"], other["prompts"])):
        raise ConfigError("The two evaluations asked for other chords, those of other recordings or of another number of clips: "
                          "evaluate both with the same --data-dir, --corpus and --clips.")  # fmt: skip


def _of_values(name, side, other, count):
    """Of the means over clips."""
    for measure, values in side["values"].items():
        pairs = np.array([values[:count], other["values"].get(measure, [None] * count)[:count]], float)
        known = ~np.isnan(pairs).any(0)
        if known.sum() >= FEWEST:
            before, after = pairs[:, known]
            figure = estimate(lambda weights, d=after - before: float(weights @ d / weights.sum()), range(int(known.sum())))
            yield Difference(name, measure, float(before.mean()), float(after.mean()), figure)


def _of_likeness(name, side, other, real, count, directions):
    """Of the distances to the held-out recordings, which are those of the first evaluation."""
    reference = heard_of(real)
    statistics = [Likeness(heard_of(one, count), reference, directions).statistics() for one in (side, other)]
    for measure in DISTANCES:
        if all(measure in one for one in statistics):
            before, after = (one[measure] for one in statistics)
            ones = np.ones(count), np.ones(len(reference.groups))
            figure = estimate(lambda w, r, a=after, b=before: a(w, r) - b(w, r), range(count), reference.groups,
                              centred=is_centred(measure))  # fmt: skip
            yield Difference(name, measure, float(before(*ones)), float(after(*ones)), figure)


def heard_of(clips, count=None):
    """Heard of the clips of an evaluation, or of the first so many."""
    rows = np.array([clips["values"][attribute][:count] for attribute in ATTRIBUTES], float).T
    return Heard(rows, np.array(clips["styles"][:count], float), tuple(clips["groups"][:count]))


def in_words(differences):
    """The differences as text: those that were found first, then how many were looked at."""
    if not differences:
        return f"Too few clips to say anything: {FEWEST} pairs of a kind at least."
    found = [one for one in differences if one.verdict != "no difference found"]
    lines = [f"{'clips':<10}{'measure':<32}{'A':>10}{'B':>10}  B less A, 95 % interval"]
    for one in [*found, *(one for one in differences if one not in found)]:
        bounds = f"{one.figure.value:+.3g} ({one.figure.low:+.2g} to {one.figure.high:+.2g})"
        lines.append(f"{one.clip_set:<10}{one.measure:<32}{one.before:>10.3g}{one.after:>10.3g}  {bounds}: {one.verdict}")
    chance = len(differences) / 20
    verdict = f"{len(found)} of {len(differences)} measures differ" if found else "no difference found"
    lines.append(f"{verdict}. By chance alone about {chance:.0f} of {len(differences)} would seem to.")
    return "\n".join(lines)
