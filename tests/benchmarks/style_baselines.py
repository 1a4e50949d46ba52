"""Two plain ways of naming a pianist from a recording's notes, for style.py to beat.

After Edwards et al. and Cheston et al.: statistics of notes with a logistic regression; TF-IDF of n-grams with a linear
SVM. Strength of regularisation by validation.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import hstack, vstack
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from lib.music.style_features import count_ngrams, note_statistics

FURTHEST = 5.0  # deviations
KINDS = ("melody", "bass", "rhythm", "lengths", "moves", "chords", "successions")  # pitch intervals, durations and chords


class Baseline:
    """Features of recordings (kept from split to split), and the best of some classifiers on validation."""

    kept: dict

    def fit(self, corpus, train, validation):
        """Fit on recordings of `train`, choose on those of `validation`."""
        who, held = corpus.who(train), corpus.who(validation)
        features = self.prepared(corpus, train, fit=True)
        fitted = [classifier.fit(features, who) for classifier in self.classifiers()]
        features = self.prepared(corpus, validation)
        self.best = max(fitted, key=lambda classifier: classifier.score(features, held))
        self.names = self.best.classes_

    def scores(self, corpus, recordings):
        """float (N, P): how much speaks for each pianist."""
        return self.best.decision_function(self.prepared(corpus, recordings))


class StatisticsBaseline(Baseline):
    """Note statistics, logistic regression."""

    name, kept = "statistics", {}

    def classifiers(self):
        """Strengths of regularisation."""
        return [LogisticRegression(C=c, max_iter=1000, class_weight="balanced") for c in (0.01, 0.03, 0.1)]

    def prepared(self, corpus, recordings, fit=False):
        """Standardised statistics."""
        for i in recordings:
            if i not in self.kept:
                self.kept[i] = note_statistics(corpus.notes[i])
        table = np.stack([self.kept[i] for i in recordings])
        self.scaler = StandardScaler().fit(table) if fit else self.scaler
        return self.scaler.transform(table).clip(-FURTHEST, FURTHEST)


class NGramBaseline(Baseline):
    """TF-IDF of n-grams, linear SVM."""

    name, kept = "ngrams", {}

    def classifiers(self):
        """Strengths of regularisation."""
        return [LinearSVC(C=c, class_weight="balanced", random_state=0) for c in (0.3, 1.0)]

    def prepared(self, corpus, recordings, fit=False):
        """Sublinear TF-IDF of each kind of words, side by side: on validation .84, of all in one bag .79."""
        for i in recordings:
            if i not in self.kept:
                counts = count_ngrams([corpus.notes[i]])
                self.kept[i] = [counts[kind] for kind in KINDS]
        tables = [vstack(kind) for kind in zip(*(self.kept[i] for i in recordings), strict=True)]
        if fit:
            self.weights = [TfidfTransformer(sublinear_tf=True).fit(table) for table in tables]
        return hstack([weight.transform(table) for weight, table in zip(self.weights, tables, strict=True)]).tocsr()
