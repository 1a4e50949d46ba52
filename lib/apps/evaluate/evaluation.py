"""An evaluation: every figure of a model, as one dict that is JSON, each part where what it needs is there.

Beside the figures stand the values of every clip, so that two evaluations can be compared clip by clip.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from lib.apps.evaluate import comparison, copying
from lib.apps.evaluate.clip_sets import ClipSets, Missing, Size
from lib.apps.evaluate.intervals import Figure
from lib.apps.evaluate.measurements import SECTIONS, Measurements
from lib.apps.evaluate.report import write_report
from lib.apps.evaluate.similarity import widest_directions
from lib.config import RELEASED, ConfigError
from lib.storage.atomic_write import write_text
from lib.style.gallery import load_classifier

FORMAT = "evaluation 2"
JSON_NAME, PAGE_NAME = "evaluation.json", "evaluation.html"
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
    """Evaluate a model and write evaluation.json and evaluation.html.

    Parameters
    ----------
    run : a finished folder, or a run of diffusion or fine_tune; None: the released weights
    data_dir : where note stores are
    folder : where the clips are kept and the figures written; a second evaluation continues with what is there
    size : clip_sets.Size
    split : "validation" or "test"
    names : of SECTIONS
    sounding : so many pairs on the page get a sound
    say : called with what can't be given
    sources : base, pianist, corpus of clip_sets.ClipSets

    Returns
    -------
    dict, as `read_evaluation` gives it

    Raises
    ------
    ConfigError, CheckpointError : there is no such model
    """
    clip_sets, folder = ClipSets(run, data_dir, folder, size, split, **sources), Path(folder)
    evaluation = gather(Measurements(clip_sets), names, say)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / JSON_NAME, json.dumps(evaluation, ensure_ascii=False, allow_nan=False))
    pairs = ()
    if "copying" in evaluation:
        nearest = evaluation["copying"]["generated"]["nearest"]
        pairs = copying.pairs_of(clip_sets.generated, nearest, clip_sets.training_pieces, sounding)
    write_report(folder / PAGE_NAME, evaluation, pairs)
    return evaluation


def gather(measurements: Measurements, names: Iterable[str] = (), say: Callable[[str], None] = print) -> dict:
    """The dict of an evaluation: what was measured of which clips, and these sections of figures.

    Parameters
    ----------
    measurements : Measurements
    names : of SECTIONS; for a comparison the clips' own values are enough
    say : called with what can't be given
    """
    began, clip_sets = time.monotonic(), measurements.clip_sets
    subject = {
        "model": str(clip_sets.run),
        "pianist": clip_sets.pianist,
        "weights": clip_sets.player.fingerprint[:12],
        "parameters": sum(parameter.numel() for parameter in clip_sets.tuned.dit.parameters()),
    }
    evaluation = {
        "format": FORMAT,
        "subject": subject,
        "size": dataclasses.asdict(clip_sets.size),
        "split": clip_sets.split,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "prompts": [prompt.values() for prompt in clip_sets.prompts],
    }
    missing = {}
    for name in names:
        try:
            evaluation[name] = SECTIONS[name](measurements)
        except Missing as reason:
            missing[name] = str(reason)
            say(f"{name}: not given. {reason}")
    evaluation["clips"] = measurements.rows()
    evaluation["missing"] = {**measurements.missing, **missing}
    evaluation["seconds"] = round(time.monotonic() - began, 1)
    return plain(evaluation)


def plain(value):
    """The value as JSON has it: Figures as dicts, numpy's numbers as Python's, NaN and infinity as None."""
    if isinstance(value, Figure):
        return plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(inner) for inner in value]
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if math.isfinite(value) else None
    return value


def read_evaluation(path: Path | str) -> dict:
    """The dict of an evaluation.json, or of the folder that holds it.

    Raises
    ------
    ConfigError : there is none, or it is something else
    """
    path = Path(path)
    path = path / JSON_NAME if path.is_dir() else path
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no evaluation. Make it: python -m lib evaluate RUN") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not an evaluation ({error}).") from None
    if not isinstance(evaluation, dict) or evaluation.get("format") != FORMAT:
        raise ConfigError(f"{path} is not an evaluation of this version ({FORMAT}). Evaluate anew.")
    return evaluation


def name_of(run: Path | str, split: str) -> str:
    """The folder of a run's evaluation: the last two names of its path, and the split."""
    folder = Path(run).resolve()
    return f"{folder.parent.name}-{folder.name}-{split}"


def compare(
    first: Path, second: Path, data_dir: Path, folder: Path, size: Size | None, split: str = "validation"
) -> list[comparison.Difference]:
    """Differences of two models; evaluations are read, runs are played (clips that `folder` holds are kept).

    Parameters
    ----------
    first, second : a run's folder, or an evaluation's folder or JSON
    data_dir, size, split : for runs; where one of the two is an evaluation, the other is played in its size and split
    folder : of evaluations

    Raises
    ------
    ConfigError : they can't be compared; CheckpointError : one is neither
    """
    paths = (Path(first), Path(second))
    known = {path: read_evaluation(path) for path in paths if (path / JSON_NAME).exists() or path.suffix == ".json"}
    for evaluation in known.values():
        size, split = Size(**evaluation["size"]), evaluation["split"]
    runs = {
        path: ClipSets(path, data_dir, Path(folder) / name_of(path, split), size, split)
        for path in paths
        if path not in known
    }
    names = [evaluation["subject"]["pianist"] for evaluation in known.values()]
    names += [clip_sets.pianist for clip_sets in runs.values()]
    for clip_sets in runs.values():  # a model that was adapted to nobody is compared as the other one is
        clip_sets.pianist = clip_sets.pianist or next(filter(None, names), None)
    sides = [known[path] if path in known else gather(Measurements(runs[path])) for path in paths]
    return comparison.compare(*sides, widest_directions(load_classifier(RELEASED)[1].styles))
