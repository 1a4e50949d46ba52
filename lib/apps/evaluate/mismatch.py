"""Mismatch agreement: asked for pianist B over the chords, tempo and metre of A, who is heard?

What the agreement of styles alone can't say: whether the judge goes by how the model plays, or by what it was asked to
play, such as the tempos and changes that go with a name.
"""

from __future__ import annotations

import numpy as np

from lib.apps.evaluate.clip_sets import ClipSets, Missing, real_clips
from lib.apps.evaluate.clips import ClipSet
from lib.apps.evaluate.intervals import Figure, mean_of
from lib.apps.evaluate.reference_classifier import log_probabilities
from lib.apps.evaluate.transfer import pianists_of


def mismatch_figures(sets: ClipSets, each: int | None = None) -> dict[str, dict[str, Figure]]:
    """set -> asked and source -> Figure: the share of clips that the judge, choosing among twelve pianists, gives to B,
    and to A. Sets are `generated`, the base model's clips, and `sources`, the control that must do badly: A's real
    ones. There are `each` for each B, by default what the evaluation's size says; Missing where the judge does not know
    the pianists.
    """
    each = sets.size.each if each is None else each
    if not each:
        raise Missing("The size of this evaluation has no clips of twelve styles: --each 0.")
    names = pianists_of(sets.base.improviser, sets.store)
    if not set(names) <= set(sets.reference_classifier.names):
        raise Missing("The released judge does not know the pianists of this model.")
    sources = names[1:] + names[:1]
    real = [real_clips(sets.store, source, "train", each) for source in sources]
    clips = [clip for part in real for clip in part.clips]
    asked, source = (np.repeat(part, [len(row.clips) for row in real]) for part in (names, sources))
    requests = [{**clip.prompt(), "density": None, "style": name} for clip, name in zip(clips, asked)]
    groups = tuple(group for part in real for group in part.groups)
    parts = {"generated": sets.base.play_set("mismatch", requests), "sources": ClipSet(clips, groups)}
    return {key: _named(sets.reference_classifier, part, names, asked, source) for key, part in parts.items()}


def _named(classifier, clips, names, asked, source):
    named = np.array(names)[log_probabilities(classifier, clips.notes, names).argmax(1)]
    return {"asked": mean_of(named == asked, clips.groups), "source": mean_of(named == source, clips.groups)}
