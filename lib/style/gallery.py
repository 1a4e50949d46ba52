"""The enrolment gallery: recordings that a new one is compared with, and the calibration learnt on held-out recordings.

A gallery is a folder beside the style encoder's weights. It keeps their fingerprint, and fits no other weights.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from lib.checkpoints.load import Styles, config_of, fingerprint
from lib.checkpoints.run_dependencies import locate, require
from lib.config import ConfigError
from lib.data.corpora import gather_labelled, gather_pieces
from lib.music.style_features import style_descriptors
from lib.progress import progress_bar
from lib.storage.manifest import MANIFEST, verify, write_manifest
from lib.style.classifier import StyleClassifier, TooShort
from lib.style.verification import Features, Verifier

GALLERY = "library"  # name of the folder, the same since version 0.1


@dataclass(frozen=True)
class Gallery:
    """Enrolled recordings.

    Attributes
    ----------
    pianists, albums, titles : N strings
    styles : float (N, S) of length 1
    vectors : float (N, D) of length 1, of the verifier: their products say how alike recordings are
    verifier : Verifier
    habits : float (N, len(STYLE_DESCRIPTORS))
    known : (threshold, steepness) of `probability_of_known`; None where there were no unknown players to learn from
    """

    pianists: tuple[str, ...]
    albums: tuple[str, ...]
    titles: tuple[str, ...]
    styles: np.ndarray
    vectors: np.ndarray
    verifier: Verifier
    habits: np.ndarray
    known: tuple[float, float] | None = None

    def by_pianist(self):
        """Styles: each pianist's mean recording, length 1."""
        names, styles = tuple(sorted(set(self.pianists))), torch.from_numpy(self.styles).float()
        means = [styles[torch.from_numpy(np.array(self.pianists) == name)].mean(0) for name in names]
        return Styles(names, functional.normalize(torch.stack(means), dim=-1))

    def nearest_similarity(self, vectors, names):
        """float (N,): cosine similarity of vectors (N, D) to the nearest recording by one of these pianists."""
        return (vectors @ self.vectors[np.isin(self.pianists, names)].T).max(1)

    def probability_of_known(self, vector, names):
        """The probability in [0, 1] that a vector (D,) is one of these pianists'; None where that was not learnt."""
        if self.known is None:
            return None
        threshold, steepness = self.known
        return float(1 / (1 + np.exp(-steepness * (self.nearest_similarity(vector[None], names)[0] - threshold))))

    def save(self, folder, classifier):
        """Write FOLDER/library with the classifier's fingerprint and temperature; embeddings in half precision."""
        folder = Path(folder) / GALLERY
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: torch.from_numpy(getattr(self, name)).half() for name in ("styles", "vectors")}
        save_file({**tensors, "habits": torch.from_numpy(self.habits).float()}, folder / "library.safetensors")
        self.verifier.save(folder)
        names = {"pianists": self.pianists, "albums": self.albums, "titles": self.titles, "known": self.known}
        made_by = fingerprint(classifier.style_encoder)
        facts = {"kind": "library", "temperature": classifier.temperature, "style_encoder": made_by}
        write_manifest(folder, {**facts, **names})


def make_gallery(run, data_dir, device="cpu"):
    """Enrol the corpora of a style_encoder run in RUN/library: (StyleClassifier, Gallery).

    Raises
    ------
    CheckpointError : not a run of style_encoder; CorpusError : a corpus is not there
    """
    config = config_of(require(run, "style_encoder"))
    classifier, gallery = enrol_corpora(StyleClassifier.of_run(run, device), config, data_dir)
    gallery.save(run, classifier)
    return classifier, gallery


def enrol_corpora(classifier, config, data_dir):
    """Enrol the corpora of a StyleEncoderConfig, and calibrate the classifier on their validation split.

    Returns
    -------
    (StyleClassifier, Gallery) : the classifier with its temperature, learnt on validation pieces by pianists it can
        name. The gallery holds the training pieces of these pianists, on which the verifier is fitted, and every solo
        piece of all others. The boundary between known and unknown players is the one that best separates the
        validation pieces from unknown players with a single album; nothing was fitted on either

    Raises
    ------
    ConfigError : no training piece is long enough
    """
    unknown = [piece for split in ("train", "validation", "test") for piece in gather_pieces(config, data_dir, split)]
    unknown = [
        (store, i) for store, i in unknown
        if store.pieces[i].pianist not in ("", *classifier.names) and not store.pieces[i].duet
    ]
    enrolled = _predictions(classifier, gather_labelled(config, data_dir, "train") + unknown, "gallery")
    known = np.array([piece.pianist in classifier.names for piece, _, _ in enrolled], bool)
    if not known.any():
        corpora = ", ".join(config.corpora)
        raise ConfigError(f"{corpora} in {data_dir} hold no training recording long enough for a gallery.")
    columns = [tuple(getattr(piece, name) for piece, _, _ in enrolled) for name in ("pianist", "album", "title")]
    descriptors = [list(style_descriptors(notes).values()) for _, notes, _ in enrolled]
    styles = np.stack([prediction.style for _, _, prediction in enrolled])
    features, single = _features(enrolled), _single_album(classifier, enrolled)
    verifier = Verifier.fit(features[known], np.array(columns[0])[known])
    gallery = Gallery(*columns, styles, verifier.vectors(features), verifier, np.array(descriptors))
    classifier, held_out = tempered(classifier, config, data_dir)
    if held_out and single.any():
        samples = (verifier.vectors(_features(held_out)), gallery.vectors[single])
        boundary = _boundary(*(gallery.nearest_similarity(vectors, classifier.names) for vectors in samples))
        gallery = dataclasses.replace(gallery, known=boundary)
    return classifier, gallery


def tempered(classifier, config, data_dir):
    """The classifier at the temperature that fits the validation pieces by pianists it can name, and these.

    Returns
    -------
    (StyleClassifier, list of (Piece, Notes, Prediction))
    """
    held_out = gather_labelled(config, data_dir, "validation")
    held_out = [(store, i) for store, i in held_out if store.pieces[i].pianist in classifier.names]
    held_out = _predictions(classifier, held_out, "held out")
    if held_out:
        log_probability = np.stack([prediction.log_probability for _, _, prediction in held_out])
        classifier = classifier.calibrated(log_probability, [piece.pianist for piece, _, _ in held_out])
    return classifier, held_out


def _predictions(classifier, pieces, what):
    """[(Piece, Notes, Prediction)] of those that are long enough."""
    predictions = []
    for store, i in progress_bar(pieces, desc=what, unit="piece"):
        notes = store.piece_notes(i)
        try:
            predictions.append((store.pieces[i], notes, classifier.predict(notes)))
        except TooShort:
            continue
    return predictions


def _single_album(classifier, enrolled):
    """bool (N,): which recordings are by an unknown player who has a single album."""
    albums = defaultdict(set)
    for piece, _, _ in enrolled:
        albums[piece.pianist].add(piece.album)
    single = [piece.pianist not in classifier.names and len(albums[piece.pianist]) == 1 for piece, _, _ in enrolled]
    return np.array(single, bool)


def _features(rows):
    """Features of [(Piece, Notes, Prediction)]."""
    return Features.of([prediction for _, _, prediction in rows], [notes for _, notes, _ in rows])


def _boundary(above, below):
    """(threshold, steepness) of the logistic curve between two samples, each counting as much; None where it falls."""
    x = torch.from_numpy(np.concatenate([above, below]).astype(np.float64))
    y = torch.cat([torch.ones(len(above)), torch.zeros(len(below))]).double()
    weight = torch.cat([torch.full((n,), 0.5 / n) for n in (len(above), len(below))]).double()
    centre, spread = x.mean(), x.std().clamp(min=1e-6)
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        logits = line[0] * (x - centre) / spread + line[1]
        loss = functional.binary_cross_entropy_with_logits(logits, y, weight, reduction="sum")
        loss = loss + 1e-4 * line.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    slope, offset = line.tolist()
    return (float(centre - spread * offset / slope), float(slope / spread)) if slope > 1e-3 else None


def load_classifier(folder, device="cpu"):
    """(StyleClassifier, Gallery) of released weights, or of a run of style_encoder with a gallery (see `make_gallery`).

    Raises
    ------
    ConfigError : there is no gallery, or it is another style encoder's; DamageError, CheckpointError : nothing usable
    """
    way_out = "python -m lib identify --make-library --run RUN (of style_encoder) --data-dir data"
    folder = locate(folder)
    if not (folder / GALLERY / MANIFEST).exists():
        raise ConfigError(f"{folder} has no gallery of recordings to compare with. Make one: {way_out}")
    classifier = StyleClassifier.of_run(folder, device)
    manifest = verify(folder / GALLERY)
    if manifest["style_encoder"] != fingerprint(classifier.style_encoder):
        reason = f"{folder / GALLERY} was made with other weights than {folder} has now"
        raise ConfigError(f"{reason}. Make it again: {way_out}")
    tensors = load_file(folder / GALLERY / "library.safetensors")
    if "vectors" not in tensors:
        raise ConfigError(f"{folder / GALLERY} was made by an earlier version. Make it again: {way_out}")
    names = [tuple(manifest[name]) for name in ("pianists", "albums", "titles")]
    known = tuple(manifest["known"]) if manifest["known"] else None
    styles, vectors = (tensors[name].float().numpy() for name in ("styles", "vectors"))
    gallery = Gallery(*names, styles, vectors, Verifier.load(folder / GALLERY), tensors["habits"].numpy(), known)
    return dataclasses.replace(classifier, temperature=manifest["temperature"]), gallery
