"""Two plain ways of naming a pianist from a recording's notes, for style.py to beat.

After Edwards et al. and Cheston et al.: statistics of notes with a logistic regression; TF-IDF of n-grams with a linear
SVM. Strength of regularisation by validation.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import hstack, vstack
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from lib.evaluate.note_statistics import chords_of, statistics

GAPS_S = (0.06, 0.1, 0.15, 0.22, 0.33, 0.5, 0.8)
LENGTHS_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6)
WIDEST, FURTHEST = 24, 5.0  # semitones; deviations


def words(notes):
    """n-grams of a recording by kind, dict kind -> list of words.

    Intervals of melody and bass, rhythms, lengths, melody with its rhythm, chords, and chord successions.
    """
    starts, sizes, top, low = chords_of(notes)
    gaps = np.searchsorted(GAPS_S, np.diff(notes.onset_s[starts]))
    lengths = np.searchsorted(LENGTHS_S, notes.duration_s)
    melody, bass = (np.diff(line).clip(-WIDEST, WIDEST) for line in (top, low))
    moves = [f"{step}/{gap}" for step, gap in zip(melody, gaps, strict=True)]
    pitch = notes.pitch.astype(int)
    chords = ["-".join(map(str, np.sort(pitch[s : s + size]) - pitch[s : s + size].min())) for s, size in zip(starts, sizes)]
    pairs = zip(chords, chords[1:], bass, sizes, sizes[1:])
    return {
        "melody": grams(melody, 1, 2, 3, 4),
        "bass": grams(bass, 1, 2, 3),
        "rhythm": grams(gaps, 1, 2, 3, 4),
        "lengths": grams(lengths, 1, 2, 3, 4),
        "moves": grams(moves, 1, 2, 3),
        "chords": [chord for chord, size in zip(chords, sizes, strict=True) if size > 1],
        "successions": [f"{one}>{step}>{next_}" for one, next_, step, size, other in pairs if max(size, other) > 1],
    }


def grams(symbols, *lengths):
    """Runs of so many symbols as words."""
    symbols = [str(symbol) for symbol in symbols]
    return [",".join(symbols[i : i + n]) for n in lengths for i in range(len(symbols) - n + 1)]


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
                self.kept[i] = statistics(corpus.notes[i])
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
        count = HashingVectorizer(analyzer=lambda found: found, n_features=2**18, alternate_sign=False, norm=None)
        for i in recordings:
            if i not in self.kept:
                self.kept[i] = [count.transform([found]) for found in words(corpus.notes[i]).values()]
        tables = [vstack(kind) for kind in zip(*(self.kept[i] for i in recordings), strict=True)]
        if fit:
            self.weights = [TfidfTransformer(sublinear_tf=True).fit(table) for table in tables]
        return hstack([weight.transform(table) for weight, table in zip(self.weights, tables, strict=True)]).tocsr()
