"""What hands do: swing, how far they are independent, how often a figure comes again.

Conventions: measures of a clip (Notes, seconds) -> float, NaN where there is too little to say.
"""

from __future__ import annotations

import numpy as np

from lib.music.hands import left_hand
from lib.music.metrics import TOGETHER_S
from lib.music.style_features import chord_starts, top_line

EIGHTHS_S = (0.3, 1.0)  # a pair of melody notes lasts so long, if it is a beat of two eighths
EVENEST, MOST_UNEVEN = 1.0, 4.0  # long over short; more is a dotted rhythm or a rest
FEWEST_PAIRS, FEWEST_NOTES = 6, 6
FIGURE = 4  # melody steps that make a figure
GAP_EDGES_S = (0.1, 0.16, 0.25, 0.4, 0.7)


def swing_ratio(notes, seconds):
    """Long over short: the median over neighbouring gaps of the melody that last about a beat together; 1 is straight, 2 triplets.

    Where the beats are is not known, so that any uneven pair counts.
    """
    gaps = np.diff([onset_s for onset_s, _ in top_line(notes)])
    pairs = np.stack([gaps[:-1], gaps[1:]], 1) if len(gaps) > 1 else np.zeros((0, 2))
    pairs = pairs[(pairs.sum(1) > EIGHTHS_S[0]) & (pairs.sum(1) < EIGHTHS_S[1])]
    ratio = pairs.max(1) / pairs.min(1)
    ratio = ratio[ratio < MOST_UNEVEN]
    return float(np.median(ratio)) if len(ratio) >= FEWEST_PAIRS else np.nan


def hand_independence(notes, seconds):
    """Share of the hands' attacks that the other hand does not share; 1: they never strike together, 0: always."""
    left = left_hand(notes)
    if min(left.sum(), (~left).sum()) < FEWEST_NOTES:
        return np.nan
    starts = [_attacks(notes.onset_s[hand]) for hand in (left, ~left)]
    shared = sum(int((np.abs(one - other[:, None]).min(0) <= TOGETHER_S).sum()) for one, other in (starts, starts[::-1]))
    return 1 - shared / (len(starts[0]) + len(starts[1]))


def _attacks(onset_s):
    return onset_s[np.diff(onset_s, prepend=-np.inf) > TOGETHER_S]


def repetition(notes, seconds):
    """Share of the melody's figures (four steps, by interval and rhythm) that were played before in the same clip, in any key."""
    line = top_line(notes)
    if len(line) < FIGURE + FEWEST_NOTES:
        return np.nan
    onset_s, pitch = np.array(line).T
    steps = list(zip(np.diff(pitch).astype(int).tolist(), np.searchsorted(GAP_EDGES_S, np.diff(onset_s)).tolist(), strict=True))
    figures = [tuple(steps[place : place + FIGURE]) for place in range(len(steps) - FIGURE + 1)]
    return 1 - len(set(figures)) / len(figures)


def chord_share(notes, seconds):
    """Share of attacks of three notes or more."""
    starts = chord_starts(notes)
    return float((np.diff(np.append(starts, len(notes))) >= 3).mean()) if len(starts) else np.nan
