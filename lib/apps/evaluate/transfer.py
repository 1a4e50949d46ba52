"""Synthetic transfer: a classifier that has heard only generated music in twelve styles, tested on the real pianists.

Where it names them rightly, the styles that the model plays are those of the real players, not merely different from each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.apps.evaluate.clips import ClipSet, Missing
from lib.apps.evaluate.playing import ask
from lib.music.piano_roll import CHUNK_S
from lib.music.style_features import note_statistics

TWELVE = ("Abdullah Ibrahim", "Andy Laverne", "Art Tatum", "Cedar Walton", "Dave McKenna", "Dick Hyman", "Erroll Garner",
          "George Cables", "Hank Jones", "Horace Parlan", "Oscar Peterson", "Tete Montoliu")  # fmt: skip
WINDOWS = 12  # of a real recording, evenly spread
FEWEST_NOTES = 10  # less of a window says nothing
STRENGTH = 0.01  # of the classifier's data against its prior, inverse


@dataclass(frozen=True)
class Windows:
    """Windows to learn from or to be tested on: features (W, F), who plays (W,), recordings (W,)."""

    features: np.ndarray
    who: np.ndarray
    recordings: np.ndarray


def pianists_of(improviser, store):
    """Twelve names at most whom the model can play like and the corpus has: TWELVE, where it has most of them."""
    known = [name for name in TWELVE if name in improviser.styles.names and name in store.pianists]
    if len(known) < len(TWELVE) // 2:
        known = [name for name in sorted(improviser.styles.names) if name in store.pianists][: len(TWELVE)]
    if len(known) < 2:
        raise Missing("Synthetic transfer wants two pianists or more whom the model can play like and the corpus has.")
    return known


def generated_windows(player, names, each):
    """(Windows, ClipSet) of `each` clips in the style of each; Missing where that is 0."""
    if not each:
        raise Missing("No clips of twelve styles were asked for: --each 0.")
    wishes = [{"style": name, "own_changes": True} for name in names for _ in range(each)]
    clips = player.play(ask(wishes), "twelve styles")
    who = np.repeat(names, each)
    return _windows(clips, who, [f"clip {number}" for number in range(len(clips))]), ClipSet.of_generated("twelve", clips)


def real_windows(store, names, split, most=WINDOWS):
    """Windows of real solo recordings of a split, CHUNK_S each, `most` of each recording."""
    clips, who, recordings = [], [], []
    for i in store.select(split=split, duets=False):
        piece = store.pieces[i]
        if piece.pianist in names and piece.seconds > CHUNK_S:
            places_s = np.linspace(piece.start_s, piece.end_s - CHUNK_S, min(most, int(piece.seconds // CHUNK_S)))
            clips += [store.piece_notes(i, start_s, start_s + CHUNK_S) for start_s in places_s]
            who += [piece.pianist] * len(places_s)
            recordings += [piece.member] * len(places_s)
    return _windows(clips, who, recordings)


def _windows(clips, who, recordings):
    kept = [place for place, notes in enumerate(clips) if len(notes) >= FEWEST_NOTES]
    features = np.stack([note_statistics(clips[place]) for place in kept]) if kept else np.zeros((0, 0))
    return Windows(features, np.array(who)[kept], np.array(recordings)[kept])


def train(windows):
    """A classifier of windows: note statistics and a logistic regression.

    Raises
    ------
    Missing : fewer than two pianists have a window
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(set(windows.who)) < 2:
        raise Missing("Too few notes in the clips of twelve styles to learn two pianists from.")
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=2000, class_weight="balanced"))
    return classifier.fit(windows.features, windows.who)


def namings(classifier, windows):
    """Whether each window and each recording is named rightly.

    Returns
    -------
    (bool (W,), bool (R,), list of R) : windows; recordings, by the sum of their windows' log-probabilities; and their names
    """
    scores = classifier.predict_log_proba(windows.features).clip(-20)
    names = classifier.classes_
    by_window = names[scores.argmax(1)] == windows.who
    recordings = list(dict.fromkeys(windows.recordings))
    rows = [windows.recordings == recording for recording in recordings]
    by_recording = np.array([names[scores[row].sum(0).argmax()] == windows.who[row][0] for row in rows])
    return by_window, by_recording, recordings
