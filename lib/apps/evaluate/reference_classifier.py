"""The reference classifier: a second style classifier that has no part in generation. Reports call it the judge.

One file of weights in half precision; what else it needs stands, sealed, in the file's own header.
tests/benchmarks/release_judge.py makes it of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from lib.checkpoints.config_migration import config_from
from lib.checkpoints.load import fingerprint, frozen
from lib.config import RELEASED, ConfigError
from lib.models.style_encoder import StyleEncoder
from lib.music.notes import Notes
from lib.storage.manifest import DamageError, unsealed
from lib.style.classifier import StyleClassifier, TooShort

JUDGE = RELEASED / "judge.safetensors"
FACTS = "judge"  # of the header


def load_reference_classifier(path: Path = JUDGE) -> StyleClassifier:
    """The StyleClassifier of a reference classifier's file; ConfigError where there is none, DamageError where it is
    something else, or damaged."""
    path = Path(path)
    if not path.exists():
        raise ConfigError(f"{path}: there is no reference classifier. The repository holds one in data/released.")
    try:
        with safe_open(path, "pt") as file:
            facts = unsealed((file.metadata() or {}).get(FACTS), f"{path}: its header")
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamageError(f"{path} can't be read ({error}).") from None
    config, names = config_from("style_encoder", facts["config"], path), tuple(facts["pianists"])
    style_encoder = frozen(StyleEncoder.from_config(config, len(names)), weights, "cpu")
    if fingerprint(style_encoder) != facts["weights"]:
        raise DamageError(f"{path} is damaged (its weights' sha256 differs).")
    return StyleClassifier(style_encoder, names, config.reads, facts["temperature"])


def log_probabilities(
    classifier: StyleClassifier, clips: Sequence[Notes], names: Sequence[str] | None = None
) -> np.ndarray:
    """Log-probabilities (N, names) of each clip; all alike where a clip is too short."""
    rows = []
    for notes in clips:
        try:
            rows.append(classifier.predict(notes).log_probability)
        except TooShort:
            rows.append(np.full(len(classifier.names), -np.log(len(classifier.names))))
    rows = np.stack(rows)
    return rows if names is None else rows[:, [classifier.names.index(name) for name in names]]


def pianist_probability(classifier: StyleClassifier, clips: Sequence[Notes], pianist: str) -> np.ndarray:
    """(N,) probability of the pianist for each clip."""
    return np.exp(log_probabilities(classifier, clips, [pianist]))[:, 0]
