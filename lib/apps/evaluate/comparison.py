"""Two evaluations, clip by clip: the same prompts and seeds, so that what differs is the model.

Conventions: a difference is B less A. Clips are paired by the rank of their prompt; prompts are resampled, and with
them both clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.apps.evaluate.clip_sets import PAIRED, ClipSets, Size
from lib.apps.evaluate.evaluation import JSON_NAME, gather, name_of, read_evaluation
from lib.apps.evaluate.intervals import Figure, estimate, mean_of
from lib.apps.evaluate.similarity import ClipMeasures, Similarity, is_centred, widest_directions
from lib.config import RELEASED, ConfigError
from lib.style.gallery import load_classifier

FEWEST = 6  # pairs: fewer all differ in one direction too often for an interval to mean anything
NO_DIFFERENCE = "no difference found"


@dataclass(frozen=True)
class Difference:
    """What two models differ by: in a measure of a set of clip_sets.PAIRED, the values of A and of B, and B less A."""

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


def compare(
    first: Path, second: Path, data_dir: Path, folder: Path, size: Size | None, split: str = "validation"
) -> list[Difference]:
    """Differences of two models: runs' folders, or evaluations (a folder or its JSON).

    A run is played, in the size and split of the evaluation beside it, else in these, with the clips that `folder`, of
    evaluations, holds. ConfigError where they can't be compared, CheckpointError where one is neither.
    """
    paths = [Path(first), Path(second)]
    known = [path for path in paths if path.suffix == ".json" or (path / JSON_NAME).exists()]
    evaluations = {path: read_evaluation(path) for path in known}
    for evaluation in evaluations.values():
        size, split = Size(**evaluation["size"]), evaluation["split"]
    played = {
        path: ClipSets(path, data_dir, Path(folder) / name_of(path, split), size, split)
        for path in paths
        if path not in evaluations
    }
    pianists = [evaluation["subject"]["pianist"] for evaluation in evaluations.values()]
    pianists += [clip_sets.pianist for clip_sets in played.values()]
    for path, clip_sets in played.items():  # a model that was adapted to nobody is compared as the other one is
        clip_sets.pianist = clip_sets.pianist or next(filter(None, pianists), None)
        evaluations[path] = gather(clip_sets)
    directions = widest_directions(load_classifier(RELEASED)[1].styles)
    return differences_of(*(evaluations[path] for path in paths), directions)


def differences_of(evaluation: dict, other: dict, directions: np.ndarray) -> list[Difference]:
    """Differences of two evaluations, A and B; none of sets of fewer than FEWEST pairs.

    ConfigError where their requests differ, or they have no clips in common. For `directions` see
    similarity.widest_directions.
    """
    _check_comparable(evaluation, other)
    first, second = evaluation["clips"], other["clips"]
    differences = []
    for name in [name for name in PAIRED if name in first and name in second]:
        count = min(len(clips[name]["groups"]) for clips in (first, second))
        sides = [ClipMeasures.of_json(clips[name], count) for clips in (first, second)]
        if count >= FEWEST:
            differences += _of_values(name, *sides)
            if "real" in first and sides[0].styles is not None:
                differences += _of_similarity(name, *sides, ClipMeasures.of_json(first["real"]), directions)
    return differences


def _check_comparable(evaluation, other):
    """ConfigError where two evaluations looked at other recordings, or requested other chords."""
    sides = [(side["split"], side["size"]["solo_beats"]) for side in (evaluation, other)]
    for what, a, b in zip(("splits", "lengths of solos"), *sides):
        if a != b:
            raise ConfigError(f"The two evaluations have different {what} ({a} and {b}): evaluate both alike.")
    if any(prompt != its for prompt, its in zip(evaluation["prompts"], other["prompts"])):
        raise ConfigError(
            "The two evaluations have different prompts, those of other recordings or of another number of clips: "
            "evaluate both with the same --data-dir, --corpus and --clips."
        )
    if not any(name in evaluation["clips"] and name in other["clips"] for name in PAIRED):
        reason = "The two evaluations have no clips in common"
        raise ConfigError(f"{reason}: evaluate both with the same --data-dir and size.")


def _of_values(name, side, other) -> Iterator[Difference]:
    """Of the means over clips."""
    for measure in [measure for measure in side.values if measure in other.values]:
        pairs = np.stack([side.values[measure], other.values[measure]])
        before, after = pairs[:, ~np.isnan(pairs).any(0)]
        if len(before) >= FEWEST:
            figure = mean_of(after - before, range(len(before)))
            yield Difference(name, measure, float(before.mean()), float(after.mean()), figure)


def _of_similarity(name, side, other, real, directions) -> Iterator[Difference]:
    """Of the distances to the held-out recordings, which are those of the first evaluation."""
    groups = range(len(side.groups)), real.groups
    before, after = (Similarity(measured, real, directions).statistics for measured in (side, other))
    for measure in [measure for measure in before if measure in after]:
        a, b = before[measure], after[measure]
        figure = estimate(lambda *weights, a=a, b=b: b(*weights) - a(*weights), *groups, centred=is_centred(measure))
        yield Difference(name, measure, *(float(each(*map(np.ones, map(len, groups)))) for each in (a, b)), figure)


def format_differences(differences: list[Difference]) -> str:
    """The differences as text: those that were found first, then how many were looked at."""
    if not differences:
        return f"Too few clips to say anything: {FEWEST} pairs of a kind at least."
    lines = [f"{'clips':<10}{'measure':<32}{'A':>10}{'B':>10}  B less A, 95 % interval"]
    for row in sorted(differences, key=lambda difference: difference.verdict == NO_DIFFERENCE):
        interval = f"{row.figure.value:+.3g} ({row.figure.low:+.2g} to {row.figure.high:+.2g})"
        values = f"{row.before:>10.3g}{row.after:>10.3g}"
        lines.append(f"{row.clip_set:<10}{row.measure:<32}{values}  {interval}: {row.verdict}")
    count, total = sum(row.verdict != NO_DIFFERENCE for row in differences), len(differences)
    verdict = f"{count} of {total} measures differ" if count else NO_DIFFERENCE
    return "\n".join([*lines, f"{verdict}. By chance alone about {total / 20:.0f} of {total} would seem to."])
