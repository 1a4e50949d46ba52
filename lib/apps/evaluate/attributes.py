"""The seven attributes by which sets of clips are compared."""

from __future__ import annotations

import math

import numpy as np

from lib.music.metrics import TOGETHER_S

ATTRIBUTES = ("pitch_range", "pitch_class_entropy", "note_density", "inter_onset", "duration", "velocity", "polyphony")


def attributes(notes, seconds):
    """What sets of clips are compared by (Yang & Lerch 2020).

    Parameters
    ----------
    notes : Notes
    seconds : length of the clip

    Returns
    -------
    dict of ATTRIBUTES: semitones; bits; onsets a second; mean logarithm of the seconds between onsets, and of how long
        keys are down, in bits; mean velocity; mean keys down where any is
    """
    count = len(notes)
    gaps = np.diff(notes.onset_s)
    gaps = gaps[gaps > TOGETHER_S] if (gaps > TOGETHER_S).any() else np.array([seconds])
    share = np.bincount(notes.pitch % 12, minlength=12) / max(1, count)
    share = share[share > 0]
    down_s = float(np.diff(_covered(notes, seconds)).sum())
    held_s = (notes.onset_s + notes.duration_s).clip(max=seconds) - notes.onset_s
    values = (
        float(np.ptp(notes.pitch)) if count else 0.0,
        float(-(share * np.log2(share)).sum()),
        count / seconds,
        float(np.log2(gaps).mean()),
        float(np.log2(notes.duration_s).mean()) if count else math.log2(TOGETHER_S),
        float(notes.velocity.mean()) if count else 0.0,
        float(held_s.sum()) / down_s if down_s else 0.0,
    )
    return dict(zip(ATTRIBUTES, values, strict=True))


def _covered(notes, seconds):
    """(M, 2): the stretches of time in which a key is down."""
    order = np.argsort(notes.onset_s, kind="stable")
    first, last = notes.onset_s[order], (notes.onset_s + notes.duration_s)[order].clip(max=seconds)
    latest = np.maximum.accumulate(last) if len(last) else last
    begins = np.flatnonzero(first > np.append(-1.0, latest[:-1])) if len(first) else np.zeros(0, int)
    ends = np.append(begins[1:], len(first)) - 1 if len(first) else begins
    return np.stack([first[begins], latest[ends]], 1) if len(first) else np.zeros((0, 2))
