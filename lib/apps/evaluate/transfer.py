"""Synthetic transfer: a classifier trained only on generated music in twelve styles is tested on the real pianists.

Where it names them rightly, the styles that the model plays are those of the real players, not merely different from
each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, cycle, islice

import numpy as np

from lib.apps.evaluate.clip_sets import OWN_CHANGES, ClipSets, Missing, evenly, pieces_in_time, real_clips
from lib.apps.evaluate.clips import ClipPlayer, ClipSet
from lib.apps.evaluate.intervals import mean_of
from lib.apps.evaluate.reference_classifier import log_probabilities
from lib.checkpoints.load import Improviser
from lib.data.note_store import NoteStore
from lib.music.style_features import note_statistics

TWELVE = (
    "Abdullah Ibrahim", "Andy Laverne", "Art Tatum", "Cedar Walton", "Dave McKenna", "Dick Hyman",
    "Erroll Garner", "George Cables", "Hank Jones", "Horace Parlan", "Oscar Peterson", "Tete Montoliu",
)
WINDOWS = 12  # of a real recording, evenly spread
FEWEST_NOTES = 10  # less of a window says nothing
STRENGTH = 0.01  # of the classifier's data against its prior, inverse


def transfer_figures(clip_sets: ClipSets) -> dict:
    """Accuracies on held-out recordings of classifiers trained on generated music, and on as much real music.

    A dict of pianists, tested, clips_each, chance, judge_agrees; `generated` and `real`: Figures of windows and
    recordings named rightly.
    """
    store, each = clip_sets.store, clip_sets.size.each
    names = pianists_of(clip_sets.base.improviser, store)
    clips = generated_clips(clip_sets.base, store, names, each)
    held_out = real_windows(store, names, clip_sets.split)
    if not len(held_out[1]):
        raise Missing(f"{store.path.parent.name} has no {clip_sets.split} recording of the twelve pianists.")
    features, pianists, _ = real_windows(store, names, "train", 4)  # as many of each as were generated
    order = np.random.default_rng(0).permutation(len(pianists))
    chosen = [index for name in names for index in order[pianists[order] == name][:each]]
    learnt = {"generated": windows_of(clips, np.repeat(names, each)), "real": (features[chosen], pianists[chosen])}
    figures = {"pianists": names, "tested": sorted(set(held_out[1])), "clips_each": each, "chance": 1 / len(names)}
    for key, (features, pianists, *_) in learnt.items():
        by_window, by_recording, recordings = accuracies(train(features, pianists), *held_out)
        figures[key] = {"windows": mean_of(by_window, held_out[2]), "recordings": mean_of(by_recording, recordings)}
    return {**figures, "judge_agrees": _judge_agrees(clip_sets, names, clips)}


def _judge_agrees(clip_sets, names, clips):
    """Share of clips whose style the reference classifier names, among these; None where it does not know all."""
    try:
        classifier = clip_sets.reference_classifier
    except Missing:
        return None
    if not set(names) <= set(classifier.names):
        return None
    named = log_probabilities(classifier, clips.notes, names).argmax(1)
    return mean_of(named == np.repeat(np.arange(len(names)), clip_sets.size.each), clips.groups)


def pianists_of(improviser: Improviser, store: NoteStore) -> list[str]:
    """Twelve names at most that the model knows and the corpus has: TWELVE, where it has most of them."""
    known = sorted(set(improviser.styles.names) & set(store.pianists))
    twelve = [name for name in TWELVE if name in known]
    if len(known) < 2:
        raise Missing("Synthetic transfer wants two pianists or more whom the model can play like and the corpus has.")
    return twelve if len(twelve) >= len(TWELVE) // 2 else known[: len(TWELVE)]


def generated_clips(player: ClipPlayer, store: NoteStore, names: Sequence[str], each: int) -> ClipSet:
    """`each` clips in each style, at tempos and in metres of its training recordings; Missing where that is 0."""
    if not each:
        raise Missing("The size of this evaluation has no clips of twelve styles: --each 0.")
    requests = []
    for name in names:
        prompts = [clip.prompt() for clip in real_clips(store, name, "train", each).clips]
        requests += [{**prompt, **OWN_CHANGES, "style": name} for prompt in islice(cycle(prompts), each)]
    return player.play_set("twelve styles", requests)


def windows_of(clips: ClipSet, pianists: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features (W, F), pianists (W,), recordings (W,)) of the clips that have enough notes."""
    kept = [index for index, notes in enumerate(clips.notes) if len(notes) >= FEWEST_NOTES]
    features = np.stack([note_statistics(clips.notes[index]) for index in kept]) if kept else np.zeros((0, 0))
    return features, np.array(pianists)[kept], np.array(clips.groups)[kept]


def real_windows(store: NoteStore, names: Sequence[str], split: str, most: int = WINDOWS):
    """`windows_of` passages in time of real solo recordings of a split, `most` of each recording."""
    chosen = (evenly(piece, most) for piece in pieces_in_time(store, split, lambda name: name in names))
    clips = ClipSet.cut(store, chain(*chosen))
    return windows_of(clips, [store.pieces[index].pianist for index in clips.pieces])


def train(features: np.ndarray, pianists: np.ndarray):
    """A logistic regression of windows' note statistics; Missing where fewer than two pianists have a window."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(set(pianists)) < 2:
        raise Missing("Too few notes in the clips of twelve styles to tell two pianists apart.")
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=2000, class_weight="balanced"))
    return classifier.fit(features, pianists)


def accuracies(classifier, features, pianists, recordings) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(bool (W,), bool (R,), R names): whether each window, and each recording, by the sum of its windows'
    log-probabilities, is named rightly; and the recordings."""
    scores, names = classifier.predict_log_proba(features).clip(-20), classifier.classes_
    by_window, titles = names[scores.argmax(1)] == pianists, list(dict.fromkeys(recordings))
    rows = [recordings == title for title in titles]
    by_recording = np.array([names[scores[row].sum(0).argmax()] == pianists[row][0] for row in rows])
    return by_window, by_recording, titles
