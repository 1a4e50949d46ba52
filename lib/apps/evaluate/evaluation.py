"""An evaluation: every figure of a model, as one dict that is JSON, each part where what it needs is there.

Beside the figures stand the values of every clip, so that two evaluations can be compared clip by clip: the same
prompts and seeds, so that what differs is the model. A difference is B less A. Clips are paired by the rank of their
prompt; prompts are resampled, and with them both clips.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic_core import to_jsonable_python

from lib.apps.evaluate.clip_sets import PAIRED, ClipSets, Missing, Size
from lib.apps.evaluate.intervals import Figure, estimate, mean_of
from lib.apps.evaluate.measurements import SECTIONS
from lib.apps.evaluate.report import make_pairs, write_report
from lib.apps.evaluate.similarity import DISTANCES, ClipMeasures, Similarity, widest_directions
from lib.config import RELEASED, ConfigError
from lib.storage.atomic_write import write_text
from lib.style.gallery import load_classifier

FORMAT = "evaluation 2"
JSON_NAME, PAGE_NAME = "evaluation.json", "evaluation.html"
FEWEST = 6  # pairs: fewer all differ in one direction too often for an interval to mean anything
NO_DIFFERENCE = "no difference found"
SOUNDING = 4  # pairs of the page that have a sound: each is some 300 kB


def evaluate(
    run: Path | str | None,
    data_dir: Path | str,
    folder: Path | str,
    size: Size,
    split: str = "validation",
    names: Iterable[str] = SECTIONS,
    sounding: int = SOUNDING,
    say: Callable[[str], None] = print,
    **sources,
) -> dict:
    """Evaluate a model, write evaluation.json and evaluation.html, and return what the JSON holds.

    Parameters
    ----------
    run, data_dir, size, split, sources (base, pianist, corpus) : of clip_sets.ClipSets
    folder : of the clips and of what is written; a second evaluation continues with what is there
    names : of SECTIONS
    sounding : so many pairs on the page get a sound
    say : called with what can't be given

    Raises
    ------
    ConfigError, CheckpointError : there is no such model
    """
    clip_sets, folder = ClipSets(run, data_dir, folder, size, split, **sources), Path(folder)
    evaluation = gather(clip_sets, names, say)
    write_text(folder / JSON_NAME, json.dumps(evaluation, ensure_ascii=False, allow_nan=False))
    pairs = ()
    if "copying" in evaluation:
        nearest = evaluation["copying"]["generated"]["nearest"]
        pairs = make_pairs(clip_sets["generated"].clips, nearest, clip_sets.training_pieces, sounding)
    write_report(folder / PAGE_NAME, evaluation, pairs)
    return evaluation


def gather(clip_sets: ClipSets, names: Iterable[str] = (), say: Callable[[str], None] = print) -> dict:
    """The dict of an evaluation: what was measured of which clips, and these of SECTIONS (none for a comparison); `say`
    is called with what can't be given."""
    began = time.monotonic()
    evaluation = {
        "format": FORMAT,
        "subject": {
            "model": str(clip_sets.run),
            "pianist": clip_sets.pianist,
            "weights": clip_sets.player.fingerprint[:12],
            "parameters": sum(parameter.numel() for parameter in clip_sets.tuned.dit.parameters()),
        },
        "size": dataclasses.asdict(clip_sets.size),
        "split": clip_sets.split,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "prompts": [
            [prompt["chords"], int(prompt["metre"].split("/")[0]), prompt["tempo_bpm"], prompt["density"]]
            for prompt in clip_sets.prompts
        ],
    }
    missing = {}
    for name in names:
        try:
            evaluation[name] = SECTIONS[name](clip_sets)
        except Missing as reason:
            missing[name] = str(reason)
            say(f"{name}: not given. {reason}")
    evaluation["clips"] = {name: clip_sets.measured(name).row() for name in clip_sets.available(("real", *PAIRED))}
    evaluation["missing"] = {**clip_sets.missing, **missing}
    evaluation["seconds"] = round(time.monotonic() - began, 1)
    return plain(evaluation)


def plain(value):
    """The value as JSON has it: dataclasses as dicts, numpy's numbers as Python's, NaN and infinity as None."""
    return to_jsonable_python(value, inf_nan_mode="null", fallback=lambda array: array.tolist())


def read_evaluation(path: Path | str) -> dict:
    """The dict of an evaluation.json, or of the folder that holds it; ConfigError where there is none."""
    path = Path(path)
    path = path / JSON_NAME if path.is_dir() else path
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no evaluation. Make it: python -m lib evaluate RUN") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not an evaluation ({error}).") from None
    if not isinstance(evaluation, dict) or evaluation.get("format") != FORMAT:
        raise ConfigError(f"{path} is not an evaluation of this version ({FORMAT}). Evaluate again.")
    return evaluation


def name_of(run: Path | str, split: str) -> str:
    """The folder of a run's evaluation: the last two names of its path, and the split."""
    folder = Path(run).resolve()
    return f"{folder.parent.name}-{folder.name}-{split}"


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
    evaluated = [path for path in paths if path.suffix == ".json" or (path / JSON_NAME).exists()]
    evaluations = {path: read_evaluation(path) for path in evaluated}
    for evaluation in evaluations.values():
        size, split = Size(**evaluation["size"]), evaluation["split"]
    played = {}
    for path in [path for path in paths if path not in evaluations]:
        played[path] = ClipSets(path, data_dir, Path(folder) / name_of(path, split), size, split)
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
        figure = estimate(lambda *weights, a=a, b=b: b(*weights) - a(*weights), *groups, centred=DISTANCES[measure][1])
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
    return "\n".join([*lines, f"{verdict}. By chance, about {total / 20:.0f} of {total} would seem to differ."])
