"""How to tell whether two recordings are by one player, chosen on players of the thirty who are left out of training.

    python tests/benchmarks/verification.py --data-dir data --runs-dir runs/verification [--folds 3] [--steps 1000]

For each fold an encoder is trained (preset laptop, our own resumable loop) without eight of the thirty players; these are then
asked about beside PiJAMA's 63 players of a single album, by the style alone and by verifiers of several kinds. Players whom
style.py asks about take no part. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))

from strangers import Strangers, encoder_alone, players_outside  # noqa: E402
from style_corpus import Corpus  # noqa: E402

from lib.config import preset  # noqa: E402
from lib.style.classifier import StyleClassifier  # noqa: E402
from lib.style.verification import Features  # noqa: E402
from lib.training.loop import train  # noqa: E402
from lib.training.stages import style_encoder as stages  # noqa: E402

LEFT_OUT, MOST = 8, 30  # players a fold; recordings of each that are asked about: Dick Hyman has 284


def notes_alone(features):
    """Without the encoder."""
    return Features(np.zeros((len(features.pooled), 1)), features.statistics, features.counts)


def statistics_alone(features):
    """Note statistics."""
    return dataclasses.replace(notes_alone(features), counts={})


def ngrams_alone(features):
    """n-grams."""
    return dataclasses.replace(notes_alone(features), statistics=np.zeros((len(features.pooled), 1)))


WAYS = {"encoder, whitened": encoder_alone, "note statistics, whitened": statistics_alone, "n-grams, whitened": ngrams_alone,
        "statistics and n-grams": notes_alone, "all three": lambda features: features}  # fmt: skip


def trained_without(players, words):
    """StyleClassifier of an encoder that heard the others of the thirty alone."""
    gather, mark = stages.gather_labelled, hashlib.sha256(",".join(players).encode()).hexdigest()[:8]

    def others(*where):
        return [(store, i) for store, i in gather(*where) if store.pieces[i].pianist not in players]

    config = preset("style_encoder", "laptop", steps=words.steps, mixed_precision=words.mixed_precision, validate_every=500,
                    save_every=250, tracker="none")  # fmt: skip
    with mock.patch.object(stages, "gather_labelled", others):
        result = train(config, words.data_dir, words.runs_dir, run=f"without_{mark}")
    if not result.finished:
        raise SystemExit(result.message)
    return StyleClassifier.of_run(result.run)


def one_fold(words, corpus, players):
    """Figures by what is compared."""
    classifier = trained_without(players, words)
    train_part = [i for i in corpus.part("album_0", "train") if corpus.pieces[i].pianist not in players]
    single = players_outside(corpus)[1]
    strangers = Strangers(classifier, corpus, players, single, train_part, MOST)
    return {"style, cosine": strangers.figures(strangers.styles),
            **{way: strangers.figures(strangers.fitted(part)) for way, part in WAYS.items()}}  # fmt: skip


def main():
    """Print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--runs-dir", type=Path, default=ROOT / "runs" / "verification")
    parser.add_argument("--folds", type=int, choices=(1, 2, 3), default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--mixed-precision", default="auto")
    words = parser.parse_args()
    corpus, rows = Corpus(words.data_dir), []
    order = np.random.default_rng(1).permutation(np.unique(corpus.who(corpus.benchmark)))
    for fold in range(words.folds):
        rows.append(one_fold(words, corpus, order[fold * LEFT_OUT : (fold + 1) * LEFT_OUT].tolist()))
        print(fold, json.dumps(rows[-1]), flush=True)
    for way in rows[0]:
        print(f"{way:26s}", *(f"{np.mean([row[way][key] for row in rows]):.3f} {key}" for key in rows[0][way]))
    figures = {way: {key: [round(row[way][key], 4) for row in rows] for key in rows[0][way]} for way in rows[0]}
    print(json.dumps({"benchmark": "verification", "folds": words.folds, "steps": words.steps, "ways": figures}))


if __name__ == "__main__":
    main()
