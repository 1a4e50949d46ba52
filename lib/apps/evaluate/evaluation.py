"""An evaluation: every figure of a model, as one dict that is JSON, each part where what it needs is there.

Beside the figures stand the values of every clip, so that two evaluations can be compared clip by clip.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path

import numpy as np

from lib.apps.evaluate import comparison, copying, sections
from lib.apps.evaluate.clips import Missing
from lib.apps.evaluate.heard import Measured
from lib.apps.evaluate.intervals import Figure
from lib.apps.evaluate.likeness import widest_directions
from lib.apps.evaluate.material import Material, Size
from lib.apps.evaluate.report import write_report
from lib.config import RELEASED, ConfigError
from lib.storage.atomic_write import write_text
from lib.style.gallery import load_classifier

FORMAT = "evaluation 1"
JSON_NAME, PAGE_NAME = "evaluation.json", "evaluation.html"
SOUNDING = 4  # pairs of the page that have a sound: each is some 300 kB
# name -> function of Measured that gives that section of the evaluation
SECTIONS = {"likeness": sections.likeness, "attributes": sections.attributes, "means": sections.means, "form": sections.form,
            "codec": sections.codec, "obedience": sections.obedience, "transfer": sections.synthetic_transfer,
            "copying": sections.copied, "selfcheck": sections.self_check, "second_opinion": sections.second_opinion}  # fmt: skip


def evaluate(run, data_dir, folder, size, split="validation", names=None, sounding=SOUNDING, say=print, **sources):
    """Evaluate a model and write evaluation.json.

    Parameters
    ----------
    run : a finished folder, or a run of diffusion or fine_tune; None: the released weights
    data_dir : where note stores are
    folder : where the clips are kept and the figures written; a second evaluation goes on with what is there
    size : material.Size
    split : "validation" or "test"
    names : of SECTIONS; None: all
    sounding : so many pairs on the page get a sound
    say : callable(str), told what can't be given
    sources : base, pianist, corpus of material.Material

    Returns
    -------
    dict, as `read_evaluation` gives it

    Raises
    ------
    ConfigError, CheckpointError : there is no such model
    """
    measured = Measured(Material(run, data_dir, folder, size, split, **sources))
    found = gather(measured, SECTIONS if names is None else names, say)
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_text(Path(folder) / JSON_NAME, json.dumps(found, ensure_ascii=False, allow_nan=False))
    write_report(Path(folder) / PAGE_NAME, found, _pairs(measured, found, sounding))
    return found


def gather(measured, names=(), say=print):
    """The dict of an evaluation: what was measured of which clips, and these sections of figures.

    Parameters
    ----------
    measured : heard.Measured
    names : of SECTIONS; for a comparison the clips' own values are enough
    say : callable(str), told what can't be given
    """
    began, material = time.monotonic(), measured.material
    prompts = [[chart.text(), density] for chart, density in material.charts]
    found = {"format": FORMAT, "subject": subject(material), "size": dataclasses.asdict(material.size), "split": material.split,
             "made": time.strftime("%Y-%m-%d %H:%M"), "prompts": prompts}  # fmt: skip
    missing = {}
    for name in names:
        try:
            found[name] = SECTIONS[name](measured)
        except Missing as reason:
            missing[name] = str(reason)
            say(f"{name}: not given. {reason}")
    found["clips"] = measured.clips()
    found["missing"] = {**measured.missing, **missing}
    found["seconds"] = round(time.monotonic() - began, 1)
    return plain(found)


def _pairs(measured, found, sounding):
    """Pairs of the model's clips and the training passages most like them; none where copying could not be measured."""
    if "copying" not in found:
        return ()
    nearest = found["copying"]["generated"]["nearest"]
    return copying.pairs_of(measured.material.generated, nearest, measured.material.training_pieces, sounding)


def subject(material):
    """What is evaluated."""
    return {"model": str(material.run), "pianist": material.pianist, "weights": material.player.mark[:12],
            "parameters": sum(parameter.numel() for parameter in material.tuned.dit.parameters())}  # fmt: skip


def plain(value):
    """The value as JSON has it: Figures as dicts, numpy's numbers as Python's, what is no number as None."""
    if isinstance(value, Figure):
        return plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(one) for one in value]
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if math.isfinite(value) else None
    return value


def read_evaluation(path):
    """The dict of an evaluation.json, or of the folder that holds it.

    Raises
    ------
    ConfigError : there is none, or it is something else
    """
    path = Path(path)
    path = path / JSON_NAME if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no evaluation. Make it: python -m lib evaluate RUN") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not an evaluation ({error}).") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ConfigError(f"{path} is not an evaluation of this version ({FORMAT}).")
    return found


def name_of(run, split):
    """The folder of a run's evaluation: the last two names of its path, and the split."""
    place = Path(run).resolve()
    return f"{place.parent.name}-{place.name}-{split}"


def compare(first, second, data_dir, folder, size, split="validation"):
    """Differences of two models; runs are played now (what was played before in `folder` is kept), evaluations are read.

    Parameters
    ----------
    first, second : a run's folder, or an evaluation's folder or JSON
    data_dir, size, split : for runs; where one of the two is an evaluation, the other is played in its size and split
    folder : of evaluations

    Returns
    -------
    list of comparison.Difference

    Raises
    ------
    ConfigError : they can't be compared; CheckpointError : one is neither
    """
    known = {path: read_evaluation(path) for path in (first, second) if is_evaluation(path)}
    for found in known.values():
        size, split = Size(**found["size"]), found["split"]
    runs = {path: Material(path, data_dir, Path(folder) / name_of(path, split), size, split)
            for path in (first, second) if path not in known}  # fmt: skip
    names = [found["subject"]["pianist"] for found in known.values()] + [material.pianist for material in runs.values()]
    for material in runs.values():  # a model that was adapted to nobody is compared as the other one is
        material.pianist = material.pianist or next(filter(None, names), None)
    sides = [known[path] if path in known else gather(Measured(runs[path])) for path in (first, second)]
    return comparison.compare(*sides, widest_directions(load_classifier(RELEASED)[1].styles))


def is_evaluation(path):
    """Whether a path is a JSON file, or a folder with an evaluation."""
    path = Path(path)
    return (path / JSON_NAME).exists() or path.suffix == ".json"
