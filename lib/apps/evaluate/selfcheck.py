"""The measures, measured: real against real is what can be reached, and more of a damage must rank lower."""

from __future__ import annotations

from lib.apps.evaluate.corruption import DOSES
from lib.progress import progress_bar

BETTER_HIGH = {"overlapping_area": True, "divergence": False, "frechet_style": False, "nearest_style": False,
               "nearest_attributes": False, "judge": True}  # fmt: skip


def dose_response(clip_set, measure):
    """What the measures say of real clips that are made worse and worse.

    Parameters
    ----------
    clip_set : ClipSet of real clips
    measure : callable(ClipSet) -> dict measure -> Figure

    Returns
    -------
    list of dict : damage, dose, unit, figures (measure -> Figure); the first is without any
    """
    cases = [("none", 0.0, "", clip_set)]
    for name, (change, doses, unit) in DOSES.items():
        cases += [(name, dose, unit, clip_set.changed(name, lambda notes, seed, c=change, d=dose: c(notes, seed, d)))
                  for dose in doses]  # fmt: skip
    bar = progress_bar(cases, desc="doses", unit="dose")
    return [{"damage": name, "dose": dose, "unit": unit, "figures": measure(damaged)} for name, dose, unit, damaged in bar]


def is_worse(measure, value, other):
    """Whether a value says less like the pianist than another."""
    return bool(value < other if BETTER_HIGH[measure] else value > other)


def verdicts(rows):
    """dict measure -> dict damage -> whether the largest dose ranks below none, and how well ranks follow doses.

    Parameters
    ----------
    rows : of dose_response

    Returns
    -------
    dict measure -> dict damage -> (bool, Spearman's correlation of badness with dose)
    """
    found = {}
    for measure in rows[0]["figures"]:
        sign = -1 if BETTER_HIGH[measure] else 1
        badness = {damage: [(0.0, sign * rows[0]["figures"][measure].value)] for damage in DOSES}
        for row in (row for row in rows[1:] if measure in row["figures"]):
            badness[row["damage"]].append((row["dose"], sign * row["figures"][measure].value))
        found[measure] = {damage: (pairs[-1][1] > pairs[0][1], _rank_correlation(pairs)) for damage, pairs in badness.items()}
    return found


def _rank_correlation(pairs):
    from scipy.stats import spearmanr

    doses, values = zip(*pairs)
    return float(spearmanr(doses, values).statistic) if len(set(values)) > 1 else 0.0
