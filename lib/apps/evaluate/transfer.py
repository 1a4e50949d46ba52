"""Synthetic transfer: a classifier trained on generated music alone, in twelve styles, is tested on the real pianists.

Where it names them rightly, the styles that the model plays are those of the real players, not merely different from
each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from lib.apps.evaluate.clip_sets import ClipSets, Missing, real_clips
from lib.apps.evaluate.clips import ClipSet, Prompt, cut, make_orders, passages
from lib.apps.evaluate.intervals import mean_of
from lib.apps.evaluate.players import ClipPlayer
from lib.apps.evaluate.reference_classifier import log_probabilities
from lib.checkpoints.load import Improviser
from lib.data.note_store import NoteStore
from lib.data.tempo_maps import open_tempo_maps
from lib.generation.request import GenerateRequest
from lib.music.notes import Notes
from lib.music.style_features import note_statistics

TWELVE = (
    "Abdullah Ibrahim",
    "Andy Laverne",
    "Art Tatum",
    "Cedar Walton",
    "Dave McKenna",
    "Dick Hyman",
    "Erroll Garner",
    "George Cables",
    "Hank Jones",
    "Horace Parlan",
    "Oscar Peterson",
    "Tete Montoliu",
)
WINDOWS = 12  # of a real recording, evenly spread
FEWEST_NOTES = 10  # less of a window says nothing
STRENGTH = 0.01  # of the classifier's data against its prior, inverse


@dataclass(frozen=True)
class LabelledWindows:
    """Windows to train or test on: features (W, F), pianists (W,), recordings (W,)."""

    features: np.ndarray
    pianists: np.ndarray
    recordings: np.ndarray

    @classmethod
    def of(cls, clips: Sequence[Notes], pianists: Sequence[str], recordings: Sequence[str]) -> LabelledWindows:
        """Of the clips that have enough notes."""
        kept = [index for index, notes in enumerate(clips) if len(notes) >= FEWEST_NOTES]
        features = np.stack([note_statistics(clips[index]) for index in kept]) if kept else np.zeros((0, 0))
        return cls(features, np.array(pianists)[kept], np.array(recordings)[kept])


def transfer_figures(clip_sets: ClipSets) -> dict:
    """Accuracies on held-out recordings of classifiers trained on generated music, and on as much real music.

    Returns
    -------
    dict : pianists, tested, clips_each, chance, judge_agrees; `generated` and `real`: Figures of windows and recordings
        named rightly
    """
    names = pianists_of(clip_sets.base.improviser, clip_sets.store)
    each = clip_sets.size.each
    generated, clips = generated_windows(clip_sets.base, clip_sets.store, names, each)
    held_out = real_windows(clip_sets.store, names, clip_sets.split)
    if not len(held_out.pianists):
        corpus = clip_sets.store.path.parent.name
        raise Missing(f"{corpus} has no {clip_sets.split} recording of the twelve pianists.")
    tested = sorted(set(held_out.pianists))
    figures = {"pianists": names, "tested": tested, "clips_each": each, "chance": 1 / len(names)}
    for key, windows in (("generated", generated), ("real", _as_many(clip_sets.store, names, each))):
        by_window, by_recording, recordings = accuracies(train(windows), held_out)
        figures[key] = {
            "windows": mean_of(by_window, held_out.recordings),
            "recordings": mean_of(by_recording, recordings),
        }
    return {**figures, "judge_agrees": _judge_agrees(clip_sets, names, clips)}


def _as_many(store, names, each):
    """Windows of real training recordings, as many of each pianist as were generated."""
    windows = real_windows(store, names, "train", 4)
    order = np.random.default_rng(0).permutation(len(windows.pianists))
    chosen = [index for name in names for index in order[windows.pianists[order] == name][:each]]
    return LabelledWindows(windows.features[chosen], windows.pianists[chosen], windows.recordings[chosen])


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
    known = [name for name in TWELVE if name in improviser.styles.names and name in store.pianists]
    if len(known) < len(TWELVE) // 2:
        known = [name for name in sorted(improviser.styles.names) if name in store.pianists][: len(TWELVE)]
    if len(known) < 2:
        raise Missing("Synthetic transfer wants two pianists or more whom the model can play like and the corpus has.")
    return known


def generated_windows(
    player: ClipPlayer, store: NoteStore, names: Sequence[str], each: int
) -> tuple[LabelledWindows, ClipSet]:
    """(LabelledWindows, ClipSet) of `each` clips in the style of each, at tempos and in metres of its training
    recordings; Missing where that is 0."""
    if not each:
        raise Missing("The size of this evaluation has no clips of twelve styles: --each 0.")
    requests = []
    for name in names:
        common = {"style": name, "own_changes": True, "chords": GenerateRequest.chords}
        prompts = [Prompt.of(clip) for clip in real_clips(store, name, "train", each).clips]
        requests += [{**prompt.fields(), **common} for prompt in islice(cycle(prompts), each)]
    clips = ClipSet.of_generated("twelve", player.play(make_orders(requests), "twelve styles"))
    return LabelledWindows.of(clips.notes, np.repeat(names, each), clips.groups), clips


def real_windows(store: NoteStore, names: Sequence[str], split: str, most: int = WINDOWS) -> LabelledWindows:
    """Passages in time of real solo recordings of a split, `most` of each recording."""
    clips, pianists, recordings, maps = [], [], [], open_tempo_maps(store)
    for index in store.select(split=split, duets=False):
        piece = store.pieces[index]
        places = passages(maps[index]) if piece.pianist in names else []
        chosen = np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)
        clips += [cut(store, maps[index], index, *places[place]).notes for place in chosen]
        pianists += [piece.pianist] * len(chosen)
        recordings += [piece.member] * len(chosen)
    return LabelledWindows.of(clips, pianists, recordings)


def train(windows: LabelledWindows):
    """A classifier of windows: note statistics and a logistic regression.

    Raises
    ------
    Missing : fewer than two pianists have a window
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(set(windows.pianists)) < 2:
        raise Missing("Too few notes in the clips of twelve styles to tell two pianists apart.")
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=2000, class_weight="balanced"))
    return classifier.fit(windows.features, windows.pianists)


def accuracies(classifier, windows: LabelledWindows) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Whether each window and each recording is named rightly.

    Returns
    -------
    (bool (W,), bool (R,), list of R) : windows; recordings, by the sum of their windows' log-probabilities; their names
    """
    scores = classifier.predict_log_proba(windows.features).clip(-20)
    names = classifier.classes_
    by_window = names[scores.argmax(1)] == windows.pianists
    recordings = list(dict.fromkeys(windows.recordings))
    rows = [windows.recordings == recording for recording in recordings]
    by_recording = np.array([names[scores[row].sum(0).argmax()] == windows.pianists[row][0] for row in rows])
    return by_window, by_recording, recordings
