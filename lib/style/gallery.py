"""The enrolment gallery: recordings that a new one is compared with, and the calibration learnt on held-out recordings.

A gallery is a folder beside the style encoder's weights. It keeps their fingerprint, and fits no other weights.
"""

from __future__ import annotations

import dataclasses
import logging
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
from lib.keyed_random import keyed_generator
from lib.music.style_features import style_descriptors
from lib.progress import progress_bar
from lib.storage.manifest import MANIFEST, verify, write_manifest
from lib.style.classifier import StyleClassifier, TooShort, from_first_onset
from lib.style.verification import Features, Verifier

GALLERY = "library"  # name of the folder, the same since version 0.1
CLIP_S = (10.0, 30.0, 60.0)  # lengths, besides whole recordings, at which the boundary of known players is learnt
CLIP_PURPOSE = "clip of {seconds:g} s"  # of random numbers: data, see keyed_random
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Boundary:
    """Between players that a classifier knows and others, learnt on performances of one length.

    Attributes
    ----------
    seconds : the length; of whole recordings the median
    threshold : similarity at which a player is as likely known as not
    steepness : of the logistic curve through it
    known_rate, unknown_rate : shares of the sample on the right side, in [0, 1]
    """

    seconds: float
    threshold: float
    steepness: float
    known_rate: float
    unknown_rate: float

    @classmethod
    def between(cls, known: np.ndarray, unknown: np.ndarray, seconds: float) -> Boundary | None:
        """Where as many known players are lost, by similarity, as unknown ones let in; None: they do not differ."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import roc_curve

        similarity = np.concatenate([known, unknown]).astype(np.float64)
        is_known = np.arange(len(similarity)) < len(known)
        if similarity.std() < 1e-6 or known.mean() <= unknown.mean():
            return None
        scaled = (similarity / similarity.std())[:, None]
        slope = LogisticRegression(class_weight="balanced").fit(scaled, is_known).coef_[0, 0] / similarity.std()
        let_in, kept, thresholds = roc_curve(is_known, similarity, drop_intermediate=False)
        threshold = float(thresholds[np.argmin(np.abs(let_in - (1 - kept)))])
        rates = float((known >= threshold).mean()), float((unknown < threshold).mean())
        return cls(seconds, threshold, float(slope), *rates)


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
    known : tuple of Boundary by rising length; empty where there were no unknown players to learn from
    """

    pianists: tuple[str, ...]
    albums: tuple[str, ...]
    titles: tuple[str, ...]
    styles: np.ndarray
    vectors: np.ndarray
    verifier: Verifier
    habits: np.ndarray
    known: tuple[Boundary, ...] = ()

    def by_pianist(self):
        """Styles: each pianist's mean recording, length 1."""
        names, styles = tuple(sorted(set(self.pianists))), torch.from_numpy(self.styles).float()
        means = [styles[torch.from_numpy(np.array(self.pianists) == name)].mean(0) for name in names]
        return Styles(names, functional.normalize(torch.stack(means), dim=-1))

    def similarity_to_known(self, vectors, names):
        """float (N,): cosine similarity of vectors (N, D) to the nearest of these pianists' mean recordings."""
        pianists = np.array(self.pianists)
        means = np.stack([self.vectors[pianists == name].mean(0) for name in names if name in self.pianists])
        return (vectors @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).max(1)

    def boundary(self, seconds: float) -> Boundary | None:
        """Of performances of this length, between those learnt; None where none was learnt."""
        if not self.known:
            return None
        rows = np.array([dataclasses.astuple(boundary) for boundary in self.known])
        lengths = np.log(rows[:, 0])
        return Boundary(seconds, *(float(np.interp(np.log(seconds), lengths, column)) for column in rows.T[1:]))

    def probability_of_known(self, vector, names, seconds: float):
        """The probability in [0, 1] that a performance of this length, by its vector (D,), is one of these pianists'.

        None where that was not learnt.
        """
        if (boundary := self.boundary(seconds)) is None:
            return None
        above = self.similarity_to_known(vector[None], names)[0] - boundary.threshold
        return float(1 / (1 + np.exp(-boundary.steepness * above)))

    def save(self, folder, classifier):
        """Write FOLDER/library with the classifier's fingerprint and temperature; embeddings in half precision."""
        folder = Path(folder) / GALLERY
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: torch.from_numpy(getattr(self, name)).half() for name in ("styles", "vectors")}
        save_file({**tensors, "habits": torch.from_numpy(self.habits).float()}, folder / "library.safetensors")
        self.verifier.save(folder)
        names = {"pianists": self.pianists, "albums": self.albums, "titles": self.titles}
        names["known"] = [dataclasses.asdict(boundary) for boundary in self.known]
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
        piece of all others. The boundaries between known and unknown players, of clips and of whole recordings, best
        separate the validation pieces from unknown players with a single album; nothing was fitted on either

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
        strangers = [row for row, is_single in zip(enrolled, single, strict=True) if is_single]
        gallery = dataclasses.replace(gallery, known=_boundaries(classifier, gallery, held_out, strangers))
    return classifier, gallery


def _boundaries(classifier, gallery, known, unknown):
    """A Boundary for clips of each length, and for whole recordings, of [(Piece, Notes, Prediction)] of either kind."""

    def similarity(rows):
        return gallery.similarity_to_known(gallery.verifier.vectors(_features(rows)), classifier.names)

    boundaries = []
    for seconds in CLIP_S:
        samples = [_clips(classifier, rows, seconds) for rows in (known, unknown)]
        if all(samples):
            boundaries.append(Boundary.between(*map(similarity, samples), seconds))
    whole_s = max(float(np.median([notes.end_s for _, notes, _ in known])), 2 * CLIP_S[-1])
    boundaries.append(Boundary.between(similarity(known), similarity(unknown), whole_s))
    return tuple(boundary for boundary in boundaries if boundary is not None)


def _clips(classifier, rows, seconds):
    """[(Piece, Notes, Prediction)] of a clip of each recording, drawn anywhere, that is long enough."""
    clips, purpose = [], CLIP_PURPOSE.format(seconds=seconds)
    for index, (piece, notes, _) in enumerate(progress_bar(rows, desc=purpose, unit="piece")):
        start_s = keyed_generator(0, purpose, index=index).uniform(0, max(0, notes.end_s - seconds))
        try:
            clip = from_first_onset(notes.between(start_s, start_s + seconds))
            clips.append((piece, clip, classifier.predict(clip)))
        except TooShort:
            continue
    return clips


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
    if manifest["known"] and not isinstance(manifest["known"][0], dict):
        log.warning("%s was made by an earlier version: it can't answer 'none of these'. %s", folder / GALLERY, way_out)
        manifest["known"] = []
    known = tuple(Boundary(**values) for values in manifest["known"] or ())
    styles, vectors = (tensors[name].float().numpy() for name in ("styles", "vectors"))
    gallery = Gallery(*names, styles, vectors, Verifier.load(folder / GALLERY), tensors["habits"].numpy(), known)
    return dataclasses.replace(classifier, temperature=manifest["temperature"]), gallery
