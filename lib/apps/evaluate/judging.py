"""Whom clips sound like: the judge's probabilities, and their places in our own style embedding."""

from __future__ import annotations

import numpy as np

from lib.style.classifier import TooShort


def judged(judge, clips, names=None):
    """Log-probabilities (N, names) that a judge gives each clip; too short a clip says nothing: all alike."""
    rows = []
    for notes in clips:
        try:
            rows.append(judge.predict(notes).log_probability)
        except TooShort:
            rows.append(np.full(len(judge.names), -np.log(len(judge.names))))
    rows = np.stack(rows)
    return rows if names is None else rows[:, [judge.names.index(name) for name in names]]


def judge_probability(judge, clips, pianist):
    """(N,) probability of the pianist for each clip."""
    return np.exp(judged(judge, clips, [pianist]))[:, 0]


def embedded(classifier, clips, size):
    """(N, size) style of each clip, of length 1; no numbers where it is too short to say anything."""
    rows = []
    for notes in clips:
        try:
            rows.append(classifier.predict(notes).style)
        except TooShort:
            rows.append(np.full(size, np.nan))
    return np.stack(rows).astype(float)
