"""Players whom a style encoder never heard: same or different, and named from one recording each."""

from __future__ import annotations

import numpy as np

from lib.style.verification import Features, Verifier

DRAWS = 20  # of the recordings enrolled


class Strangers:
    """Recordings of players whom a classifier does not know, and what it was trained on: nothing is fitted on the former.

    Parameters
    ----------
    classifier : StyleClassifier
    corpus : style.Corpus
    asked : names of players with two albums or more
    others : names of players who are enrolled beside them, but not asked about
    train : recordings that the classifier was trained on
    most : recordings of each player asked about, at most
    """

    def __init__(self, classifier, corpus, asked, others, train, most=None):
        everyone = {name: [] for name in (*asked, *others)}
        for i in np.random.default_rng(0).permutation(list(corpus.notes)):
            if (own := everyone.get(corpus.pieces[i].pianist)) is not None:
                own.append(int(i))
        recordings = sorted(i for name, own in everyone.items() for i in (own[:most] if name in asked else own))
        self.asked = sorted(asked)
        self.who, self.album = corpus.who(recordings), np.array([corpus.pieces[i].album for i in recordings])
        heard, known = [[classifier.predict(corpus.notes[i]) for i in part] for part in (recordings, train)]
        self.styles = np.stack([h.style for h in heard])
        self.features = Features.of(heard, [corpus.notes[i] for i in recordings])
        self.known, self.players = Features.of(known, [corpus.notes[i] for i in train]), corpus.who(train)

    def fitted(self, part=lambda features: features):
        """(N, D) of the strangers' recordings, by a Verifier fitted on what the classifier was trained on, or on part of it."""
        return Verifier.fit(part(self.known), self.players).vectors(part(self.features))

    def figures(self, vectors, mark=""):
        """eer_unseen: same player or not, albums differ; fewshot_top1: mean over seeded draws of what is enrolled."""
        rows = np.isin(self.who, self.asked)
        who, album, similarity = self.who[rows], self.album[rows], vectors[rows] @ vectors[rows].T
        above, alike = np.triu(np.ones_like(similarity, bool), 1), who[:, None] == who
        eer = equal_error_rate(similarity[alike & (album[:, None] != album) & above], similarity[~alike & above])
        generator, hits, names = np.random.default_rng(0), [], np.array(list(dict.fromkeys(self.who)))
        for _ in range(DRAWS):
            gallery = {name: int(generator.choice(np.flatnonzero(self.who == name))) for name in names}
            enrolled = vectors[list(gallery.values())]
            for name in self.asked:
                queries = (self.who == name) & (self.album != self.album[gallery[name]])
                hits += list(names[(vectors[queries] @ enrolled.T).argmax(1)] == name)
        return {f"eer_unseen{mark}": eer, f"fewshot_top1_{len(names)}{mark}": float(np.mean(hits))}


def encoder_alone(features):
    """Pooled features without what is read off the notes."""
    return Features(features.pooled, np.zeros((len(features.pooled), 1)), {})


def equal_error_rate(same, different):
    """Where as many same pairs are refused as different ones are accepted."""
    scores = np.concatenate([same, different])
    truth = np.concatenate([np.ones(len(same)), np.zeros(len(different))])[np.argsort(-scores, kind="stable")]
    accepted = np.cumsum(1 - truth) / len(different)
    refused = 1 - np.cumsum(truth) / len(same)
    place = int(np.argmin(np.abs(accepted - refused)))
    return float((accepted[place] + refused[place]) / 2)


def players_outside(corpus):
    """(names with several albums, names with one) of the players outside the benchmark."""
    albums, known = {}, set(corpus.who(corpus.benchmark))
    for i in corpus.notes:
        albums.setdefault(corpus.pieces[i].pianist, set()).add(corpus.pieces[i].album)
    several = sorted(name for name, own in albums.items() if len(own) > 1 and name not in known)
    return several, sorted(set(albums) - set(several) - known)
