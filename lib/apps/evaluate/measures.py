"""Every measure of a clip in one table: a row a clip, a column a measure.

What a measure is called, what is ideal and what it can't tell stands in captions.py.
"""

from __future__ import annotations

import numpy as np

from lib.apps.evaluate.attributes import attributes
from lib.apps.evaluate.gestures import chord_share, hand_independence, repetition, swing_ratio
from lib.apps.evaluate.intervals import mean_of
from lib.apps.evaluate.standard import muspy_measures
from lib.apps.evaluate.structure import BARS, self_similarity
from lib.music.metrics import describe

PLAIN = ("sounding_notes", "longest_silence_s", "pedal_share")
OURS = {"swing_ratio": swing_ratio, "hand_independence": hand_independence, "chord_share": chord_share}
FORM = ("repetition", *(f"self_similarity_{bars}" for bars in BARS))


def clip_measures(notes, seconds):
    """dict measure -> float of a clip."""
    plain = describe(notes, seconds)
    own = {name: measure(notes, seconds) for name, measure in OURS.items()}
    return {**attributes(notes, seconds), **{name: float(plain[name]) for name in PLAIN}, **own,
            **{f"muspy_{name}": value for name, value in muspy_measures(notes, seconds).items()}}  # fmt: skip


def solo_measures(notes, seconds):
    """dict of FORM -> float of a solo of a minute or so."""
    similar = self_similarity(notes, seconds)
    return {"repetition": repetition(notes, seconds), **{f"self_similarity_{bars}": value for bars, value in similar.items()}}


def table_of(clip_set, measure):
    """dict measure -> float (N,), from a function of clip_measures' kind."""
    rows = [measure(notes, clip_set.seconds) for notes in clip_set.clips]
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def means_of(table, groups):
    """dict measure -> Figure of its mean."""
    return {name: mean_of(values, groups) for name, values in table.items()}
