"""The judge: a second classifier that has no part in generation, so that a solo is judged by who did not help to make it.

One file of weights in half precision; what else it needs stands, sealed, in the file's own header.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lib import config as configs
from lib.checkpoints.config_migration import config_from
from lib.checkpoints.load import config_of, fingerprint, frozen
from lib.checkpoints.run_dependencies import require
from lib.config import RELEASED, ConfigError
from lib.models.style_encoder import StyleEncoder
from lib.storage.manifest import DamageError, sealed, unsealed
from lib.style.classifier import StyleClassifier
from lib.style.gallery import tempered

JUDGE = RELEASED / "judge.safetensors"
FACTS = "judge"  # of the header


def save_judge(run, data_dir, path, licence=""):
    """Write a run of style_encoder as a judge, its probabilities tempered on validation recordings.

    Returns
    -------
    StyleClassifier : as `load_judge` will give it

    Raises
    ------
    CheckpointError : not a run of style_encoder; CorpusError : its corpus is not there
    """
    config = config_of(require(run, "style_encoder"))
    classifier, _ = tempered(StyleClassifier.of_run(run), config, data_dir)
    weights = {key: value.half().contiguous() for key, value in classifier.style_encoder.state_dict().items()}
    facts = {"config": configs.as_values(config), "pianists": list(classifier.names), "temperature": classifier.temperature,
             "weights": fingerprint(classifier.style_encoder), "licence": licence}  # fmt: skip
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata={FACTS: sealed(facts)})
    return load_judge(path)


def load_judge(path=JUDGE, device="cpu"):
    """The StyleClassifier of a judge's file.

    Raises
    ------
    ConfigError : there is no such file; DamageError : it is not a judge, or not as it was written
    """
    path = Path(path)
    if not path.exists():
        raise ConfigError(f"{path}: there is no judge. The repository holds one in data/released.")
    try:
        with safe_open(path, "pt") as file:
            facts = unsealed((file.metadata() or {}).get(FACTS), f"{path}: its header")
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamageError(f"{path} can't be read ({error}).") from None
    config, names = config_from("style_encoder", facts["config"], path), tuple(facts["pianists"])
    style_encoder = frozen(StyleEncoder.from_config(config, len(names)), weights, device)
    if fingerprint(style_encoder) != facts["weights"]:
        raise DamageError(f"{path} is damaged (its weights' sha256 differs).")
    return StyleClassifier(style_encoder, names, config.reads, facts["temperature"])
