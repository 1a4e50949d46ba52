"""A style encoder into the release as its reference classifier, the judge of evaluations.

    python tests/benchmarks/release_judge.py --run runs/judge/style_encoder --data-dir data --licence cc-by-nc-4.0 [--out FILE]

It must be another one than the released style encoder. Its probabilities are tempered on validation recordings.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib import config as configs  # noqa: E402
from lib.apps.evaluate.reference_classifier import FACTS, JUDGE, load_reference_classifier  # noqa: E402
from lib.checkpoints.load import config_of, fingerprint  # noqa: E402
from lib.checkpoints.run_dependencies import require  # noqa: E402
from lib.storage.manifest import sealed  # noqa: E402
from lib.style.classifier import StyleClassifier  # noqa: E402
from lib.style.gallery import tempered  # noqa: E402


def save_reference_classifier(run, data_dir, path, licence=""):
    """Write a run of style_encoder as a reference classifier, and load it."""
    config = config_of(require(run, "style_encoder"))
    classifier, _ = tempered(StyleClassifier.of_run(run), config, data_dir)
    weights = {key: value.half().contiguous() for key, value in classifier.style_encoder.state_dict().items()}
    facts = {
        "config": configs.as_values(config),
        "pianists": list(classifier.names),
        "temperature": classifier.temperature,
        "weights": fingerprint(classifier.style_encoder),
        "licence": licence,
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata={FACTS: sealed(facts)})
    return load_reference_classifier(path)


def main():
    """Write the file and say what it knows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--licence", required=True)
    parser.add_argument("--out", type=Path, default=JUDGE)
    words = parser.parse_args()
    judge = save_reference_classifier(words.run, words.data_dir, words.out, words.licence)
    print(f"{words.out}: {len(judge.names)} pianists, temperature {judge.temperature:.2f}")


if __name__ == "__main__":
    main()
