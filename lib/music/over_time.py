"""How a performance goes on: its density and loudness, and where it comes back to what it was.

Conventions: times in seconds; a curve is (W,), a value for each middle of a window that slides.
"""

from __future__ import annotations

import numpy as np

WINDOW_S, HOP_S = 4.0, 0.5  # of the curves
PLACES = 8  # of a bar in which its notes are told apart


def arcs(notes, window_s=WINDOW_S, hop_s=HOP_S):
    """Density and loudness over time.

    Parameters
    ----------
    notes : Notes
    window_s, hop_s : length of a window, and from one to the next

    Returns
    -------
    (times_s, notes_per_s, velocity), each (W,); the velocity of a window without onsets is NaN. Windows reach beyond neither
    end of the performance: those at the ends are shorter
    """
    times_s = np.arange(0.0, max(notes.end_s, hop_s) + hop_s / 2, hop_s)
    starts_s, ends_s = (times_s - window_s / 2).clip(min=0), (times_s + window_s / 2).clip(max=max(notes.end_s, hop_s))
    first, last = np.searchsorted(notes.onset_s, starts_s), np.searchsorted(notes.onset_s, ends_s)
    loud = np.concatenate([[0.0], np.cumsum(notes.velocity, dtype=float)])
    count = last - first
    velocity = np.where(count > 0, (loud[last] - loud[first]) / np.maximum(1, count), np.nan)
    return times_s, count / np.maximum(ends_s - starts_s, hop_s), velocity


def self_similarity(notes, bar_s=2.0):
    """How alike any two bars are: which pitch classes they have, and where in the bar these begin.

    Parameters
    ----------
    notes : Notes
    bar_s : length of a bar

    Returns
    -------
    float (bars, bars) in [0, 1], 1 on the diagonal; a bar without onsets is like no other
    """
    bars = max(1, int(np.ceil(round(notes.end_s / bar_s, 6))))
    bar = np.minimum((notes.onset_s / bar_s).astype(int), bars - 1)
    place = np.rint((notes.onset_s / bar_s - bar) * PLACES).astype(int).clip(0, PLACES - 1)
    pattern = np.zeros((bars, PLACES, 12))
    np.add.at(pattern, (bar, place, notes.pitch.astype(int) % 12), 1.0)
    parts = [_unit(np.sqrt(part)) for part in (pattern.sum(1), pattern.reshape(bars, -1))]
    alike = sum(part @ part.T for part in parts) / len(parts)
    np.fill_diagonal(alike, 1.0)
    return alike.clip(0, 1)


def _unit(rows):
    return rows / np.maximum(1e-9, np.linalg.norm(rows, axis=1, keepdims=True))
