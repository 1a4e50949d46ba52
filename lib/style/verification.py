"""Speaker verification for pianists: are two recordings by the same player, possibly one outside the training data?

Each recording becomes a vector of length 1; similarity is the scalar product of two. The vector joins the style
encoder's pooled features, note statistics, and n-grams of notes (latent semantic analysis, Deerwester et al. 1990),
whitened by how recordings of one player differ (within-class covariance normalisation, Hatch et al. 2006): what varies
from one of a player's recordings to the next, such as the tune, then counts less than what does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from lib.checkpoints.config_migration import RENAMED, rows
from lib.music.style_features import count_ngrams, note_statistics
from lib.style.embeddings import principal_directions

MOST_WORDS, DIRECTIONS = 3000, 60  # of each kind of n-grams; 5,000 and 150: 0.418 named, not 0.410, twice the size
POOLED_WEIGHT = 2.0  # of the encoder's features beside a kind of n-grams
SHRINKAGE = 0.3  # of the within-class covariance towards a sphere: a thousand directions, and as many recordings
MOST_RECORDINGS = 50  # of a player, or who recorded most would say how players differ
FURTHEST = 5.0  # of a statistic, in deviations
FILE = "verifier.safetensors"


@dataclass(frozen=True)
class Features:
    """What recordings are compared by.

    Attributes
    ----------
    pooled : float (N, 2 C), classifier.Prediction.pooled of each
    statistics : float (N, S), style_features.note_statistics
    counts : dict kind -> CSR (N, BUCKETS), style_features.count_ngrams
    """

    pooled: np.ndarray
    statistics: np.ndarray
    counts: dict

    @classmethod
    def of(cls, predictions, recordings):
        """The features of N recordings (Notes), at least one, and their N Predictions."""
        pooled = np.stack([prediction.pooled for prediction in predictions])
        return cls(pooled, np.stack([note_statistics(notes) for notes in recordings]), count_ngrams(recordings))

    def __getitem__(self, rows):
        """The features of some recordings: bool (N,) or indices."""
        counts = {kind: table[rows] for kind, table in self.counts.items()}
        return Features(self.pooled[rows], self.statistics[rows], counts)


@dataclass(frozen=True)
class Verifier:
    """Makes recordings comparable.

    Attributes
    ----------
    mean_std : float32 (2, S), mean and standard deviation of the square roots of statistics
    ngrams : dict kind -> NGramLsa, of n-grams, in order of their names
    centre : float32 (D,), mean of what it was fitted on
    whitening : float32 (D, D)
    """

    mean_std: np.ndarray
    ngrams: dict
    centre: np.ndarray
    whitening: np.ndarray

    def vectors(self, features):
        """Vectors of length 1, float32 (N, D), of Features."""
        vectors = (np.concatenate(self._parts(features), 1) - self.centre) @ self.whitening
        return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(np.float32)

    def _parts(self, features):
        """[float (N, D of the part)]: pooled features, standard scores of statistics, a part a kind of n-grams."""
        scores = ((_roots(features.statistics) - self.mean_std[0]) / self.mean_std[1]).clip(-FURTHEST, FURTHEST)
        return [features.pooled, scores, *(ngrams.of(features.counts[kind]) for kind, ngrams in self.ngrams.items())]

    @classmethod
    def fit(cls, features, players):
        """Fit on recordings whose players are known.

        Parameters
        ----------
        features : Features of N recordings; kinds of n-grams that are not counted take no part
        players : N names
        """
        players = np.array(players)
        rows = _spread(players)
        ngrams = {kind: NGramLsa.fit(counts) for kind, counts in sorted(features.counts.items())}
        features, players, roots = features[rows], players[rows], _roots(features.statistics[rows])
        mean_std = np.stack([roots.mean(0), roots.std(0) + 1e-6]).astype(np.float32)
        parts = cls(mean_std, ngrams, None, None)._parts(features)
        centre = [part.mean(0) for part in parts]
        parts = [part - mean for part, mean in zip(parts, centre, strict=True)]
        length = [float(np.sqrt((part**2).sum(1).mean())) for part in parts]
        scale = [1 / r if r > 1e-6 else 0.0 for r in length]  # each part counts as much; what never varies, not at all
        scale[0] *= POOLED_WEIGHT
        scales = np.concatenate([np.full(part.shape[1], s) for part, s in zip(parts, scale, strict=True)])
        whitening = scales[:, None] * _whitening(np.concatenate(parts, 1) * scales, players)
        return cls(mean_std, ngrams, np.concatenate(centre).astype(np.float32), whitening.astype(np.float32))

    def save(self, folder):
        """Write FOLDER/FILE, the large tables in half precision."""
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in ("mean_std", "centre")}
        tensors["whitening"] = torch.from_numpy(self.whitening).half()
        for kind, ngrams in self.ngrams.items():
            tensors |= {f"{kind}.{name}": torch.from_numpy(getattr(ngrams, name)) for name in ("buckets", "weight")}
            tensors[f"{kind}.directions"] = torch.from_numpy(ngrams.directions).half().contiguous()
        save_file(tensors, folder / FILE)

    @classmethod
    def load(cls, folder):
        """What `save` wrote; the folder's manifest has been verified."""
        new_names, tensors = rows(RENAMED, cls), {}
        for name, tensor in load_file(folder / FILE).items():
            tensor = tensor.float() if tensor.is_floating_point() else tensor
            tensors[new_names.get(name, name)] = tensor.numpy()
        kinds = sorted({name.partition(".")[0] for name in tensors if "." in name})
        parts = ("buckets", "weight", "directions")
        ngrams = {kind: NGramLsa(*(tensors[f"{kind}.{name}"] for name in parts)) for kind in kinds}
        return cls(tensors["mean_std"], ngrams, tensors["centre"], tensors["whitening"])


@dataclass(frozen=True)
class NGramLsa:
    """One kind of n-grams: which ones count, and the directions in which recordings differ.

    Attributes
    ----------
    buckets : int32 (V,), columns of style_features.count_ngrams
    weight : float32 (V,), inverse document frequencies
    directions : float32 (V, K)
    """

    buckets: np.ndarray
    weight: np.ndarray
    directions: np.ndarray

    @classmethod
    def fit(cls, counts):
        """Of CSR (N, style_features.BUCKETS): the most widespread words, the main directions of their TF-IDF."""
        spread = np.asarray((counts > 0).sum(0)).ravel()
        num_words = min(MOST_WORDS, int((spread > 0).sum()))
        buckets = np.sort(np.argsort(-spread, kind="stable")[:num_words]).astype(np.int32)
        weight = (np.log((1 + counts.shape[0]) / (1 + spread[buckets])) + 1).astype(np.float32)
        directions = principal_directions(_tfidf(counts, buckets, weight), DIRECTIONS)
        return cls(buckets, weight, directions.astype(np.float32))

    def of(self, counts):
        """float (N, K) of CSR (N, style_features.BUCKETS)."""
        return _tfidf(counts, self.buckets, self.weight) @ self.directions


def _roots(values):
    """Square roots, with their signs: of shares, that differ by little where they are small."""
    return np.sign(values) * np.sqrt(np.abs(values))


def _tfidf(counts, buckets, weight):
    """float (N, V): sublinear TF-IDF, rows of length 1 (0 where no word is known)."""
    counts = counts[:, buckets].toarray()
    table = np.log1p(np.maximum(counts - 1, 0)) * weight + (counts > 0) * weight
    return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)


def _spread(players):
    """Rows: at most MOST_RECORDINGS of each player, drawn by a fixed seed."""
    generator = np.random.default_rng(0)
    own = (np.flatnonzero(players == player) for player in np.unique(players))
    return np.sort(np.concatenate([generator.permutation(rows)[:MOST_RECORDINGS] for rows in own]))


def _whitening(features, players):
    """(D, D): makes the shrunk within-class covariance the identity; the identity where recordings don't differ."""
    from sklearn.covariance import shrunk_covariance

    who, player = np.unique(players, return_inverse=True)
    means = np.stack([features[player == p].mean(0) for p in range(len(who))])
    rest, freedom = features - means[player], len(features) - len(who)
    if (rest**2).sum() <= 1e-6 * (features**2).sum():
        return np.eye(features.shape[1])
    spread, axes = np.linalg.eigh(shrunk_covariance(rest.T @ rest / freedom, SHRINKAGE))
    return axes / np.sqrt(spread)
