"""A style encoder into the release: weights, gallery with its verifier, and the projection to the improviser's vectors.

    python tests/benchmarks/release_style.py --run runs/style/album_0 --data-dir data --earlier EARLIER [--out data/released]

EARLIER is the folder of a release whose style encoder the improviser was trained with. The improviser keeps its named
vectors; a ridge regression from the new encoder's vectors to the earlier one's, of the same training passages, takes
users' styles there. Its strength is chosen on validation passages. Of OUT the files of the style encoder, the pianists'
vectors (with the projection), the gallery and the manifest are written, nothing else. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib import config as configs  # noqa: E402
from lib.checkpoints.load import Styles, config_of, load_improviser, styles_tensors  # noqa: E402
from lib.checkpoints.run_dependencies import require  # noqa: E402
from lib.config import RELEASED  # noqa: E402
from lib.data.corpora import gather_pieces, open_corpus  # noqa: E402
from lib.data.note_store import resolution_ms  # noqa: E402
from lib.keyed_random import keyed_generator  # noqa: E402
from lib.music.note_windows import LONGEST_PASSAGE_S  # noqa: E402
from lib.storage.manifest import read_manifest, write_manifest  # noqa: E402
from lib.style.classifier import FEWEST_NOTES, StyleClassifier  # noqa: E402
from lib.style.gallery import GALLERY, make_gallery  # noqa: E402
from lib.training.stages.diffusion import embed_pianists  # noqa: E402

PASSAGES = 4  # of a recording
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)  # of the ridge


def passages_of(pieces):
    """Passages (Notes) of recordings, drawn by a seed."""
    for index, (store, i) in enumerate(pieces):
        notes, generator = store.piece_notes(i), keyed_generator(0, "passage", index=index)
        for start_s in generator.uniform(0, max(0.0, notes.end_s - 30), PASSAGES):
            passage = notes.between(start_s, start_s + LONGEST_PASSAGE_S)
            if len(passage) >= FEWEST_NOTES:
                yield passage


def styles_of(classifiers, pieces):
    """[float (N, S)]: styles of the same passages, by each classifier."""
    passages = list(passages_of(pieces))
    return [classifier._classify(passages)[0].numpy() for classifier in classifiers]


def fit_projection(new, earlier, validation_new, validation_earlier):
    """((S, S), its mean cosine on validation)."""
    from sklearn.linear_model import Ridge

    found = []
    for strength in STRENGTHS:
        projection = Ridge(alpha=strength, fit_intercept=False).fit(new, earlier).coef_.T
        projected = validation_new @ projection
        cosine = (projected * validation_earlier).sum(1) / np.linalg.norm(projected, axis=1)
        found.append((float(cosine.mean()), strength, projection))
    return max(found, key=lambda row: row[0])


def main():
    """Print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--earlier", type=Path, default=RELEASED)
    parser.add_argument("--out", type=Path, default=RELEASED)
    words = parser.parse_args()
    improviser, new = load_improviser(words.earlier), StyleClassifier.of_run(words.run)
    style_config = config_of(require(words.run, "style_encoder"))
    earlier = StyleClassifier.of_improviser(improviser)
    train, validation = (gather_pieces(style_config, words.data_dir, split) for split in ("train", "validation"))
    (rows, targets), held_out = (styles_of((new, earlier), pieces) for pieces in (train, validation))
    cosine, strength, projection = fit_projection(rows, targets, *held_out)
    styles = Styles(improviser.styles.names, improviser.styles.vectors, torch.from_numpy(projection).float())
    own = embed_pianists(new.style_encoder, style_config, train, improviser.configs["dit"])
    named = torch.stack([styles.vector(name) for name in own.names])
    nearest = (styles.project(own.vectors) @ functional.normalize(named, dim=-1).T).argmax(1)
    figures = {
        "time_resolution_ms": {name: resolution_ms(open_corpus(name, words.data_dir)) for name in style_config.corpora},
        "projection_cosine_validation": cosine,
        "projection_strength": strength,
        "pianists_nearest_to_their_named_vector": float((nearest == torch.arange(len(nearest))).float().mean()),
        "pianists": len(nearest),
    }
    print(json.dumps(figures), flush=True)
    for name, tensors in {"style_encoder": new.style_encoder.state_dict(), "styles": styles_tensors(styles)}.items():
        halves = {key: value.detach().half().contiguous() for key, value in tensors.items()}
        save_file(halves, words.out / f"{name}.safetensors")
    facts = {key: value for key, value in read_manifest(words.out).items() if key not in ("sha256", "manifest_sha256")}
    facts["configs"]["style_encoder"], facts["classes"] = configs.as_values(style_config), list(new.names)
    write_manifest(words.out, facts)
    shutil.rmtree(words.out / GALLERY, ignore_errors=True)
    classifier, gallery = make_gallery(words.out, words.data_dir)
    figures |= {"temperature": classifier.temperature, "enrolled": len(gallery.pianists)}
    figures["known"] = {f"{row.seconds:.0f}": [round(row.known_rate, 3), round(row.unknown_rate, 3)] for row in gallery.known}
    print(json.dumps({"benchmark": "release_style", **figures}))


if __name__ == "__main__":
    main()
