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

from lib.apps.evaluate.clip_sets import PAIRED, ClipSets, Missing, Size
from lib.apps.evaluate.intervals import Figure
from lib.apps.evaluate.measurements import SECTIONS
from lib.apps.evaluate.report import make_pairs, write_report
from lib.config import ConfigError
from lib.storage.atomic_write import write_text

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
    """Evaluate a model, write evaluation.json and evaluation.html, and return what the JSON holds.

    Parameters
    ----------
    run : a finished folder, or a run of diffusion or fine_tune; None: the released weights
    data_dir : where note stores are
    folder : of the clips and of what is written; a second evaluation continues with what is there
    size, split : of clip_sets.ClipSets; sources : its base, pianist and corpus
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
        "prompts": [[p["chords"], int(p["metre"].split("/")[0]), p["tempo_bpm"], p["density"]] for p in clip_sets.prompts],
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
        raise ConfigError(f"{path} is not an evaluation of this version ({FORMAT}). Evaluate anew.")
    return evaluation


def name_of(run: Path | str, split: str) -> str:
    """The folder of a run's evaluation: the last two names of its path, and the split."""
    folder = Path(run).resolve()
    return f"{folder.parent.name}-{folder.name}-{split}"
