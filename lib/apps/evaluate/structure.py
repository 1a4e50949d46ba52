"""Form over minutes: how much a solo is like itself 4, 8 and 16 bars later, beyond how like itself it is anyway.

Conventions: a bar is four beats at one tempo, read off the onsets' autocorrelation, for generated and real solos alike: where
beats are written nowhere, both are measured with the same rule. Similarity is the cosine of smoothed chroma and rhythm.
"""

from __future__ import annotations

import numpy as np

BARS = (4, 8, 16)
BEATS_A_BAR = 4
RATE_HZ = 50.0
BEAT_S = (0.25, 1.2)  # shortest and longest
USUAL_S, OCTAVES = 0.5, 0.9  # a beat is likeliest so long, within so many octaves (Ellis 2007)
FEWEST_NOTES, FEWEST_BEATS = 20, 8
RHYTHM = 4  # onsets are counted in quarters of a beat
RHYTHM_WEIGHT = 0.5
TOLERANCE = 0.03  # of a lag: tempo drifts
REFINED = 4  # beats over which the length of one is measured more finely


def beat_s(notes, seconds):
    """Length of a beat, in seconds; None where there are too few notes to say.

    The peak of the autocorrelation of the onsets, weighted by a log-normal prior (Ellis, "Beat Tracking by Dynamic Programming",
    2007).
    """
    if len(notes) < FEWEST_NOTES:
        return None
    strength = np.bincount((notes.onset_s * RATE_HZ).astype(int), notes.velocity.astype(float), int(seconds * RATE_HZ) + 1)
    strength = np.convolve(strength, np.hanning(5), "same")
    strength = strength - strength.mean()
    lags = np.arange(round(BEAT_S[0] * RATE_HZ), round(BEAT_S[1] * RATE_HZ) + 1)
    lags = lags[lags < len(strength) // 2]
    prior = np.exp(-0.5 * (np.log2(lags / RATE_HZ / USUAL_S) / OCTAVES) ** 2)
    several = REFINED * lags[(_alike(strength, lags) * prior).argmax()]
    near = np.arange(several - REFINED // 2, several + REFINED // 2 + 1)
    near = near[near < len(strength) // 2]
    return float(near[_alike(strength, near).argmax()] if len(near) else several) / REFINED / RATE_HZ


def _alike(strength, lags):
    """Autocorrelation at these lags."""
    return np.array([strength[lag:] @ strength[:-lag] / (len(strength) - lag) for lag in lags])


def self_similarity(notes, seconds, length_s=None):
    """How much more a solo is like itself so many bars later than at other distances.

    Parameters
    ----------
    notes : Notes
    seconds : length of the solo
    length_s : of a beat; None: as `beat_s` finds it

    Returns
    -------
    dict bars -> float, in cosines; NaN where the solo is too short or has too few notes
    """
    length_s = length_s or beat_s(notes, seconds)
    nothing = dict.fromkeys(BARS, np.nan)
    if length_s is None:
        return nothing
    features = beat_features(notes, seconds, length_s)
    matrix = features @ features.T
    beats = len(matrix)
    by_lag = np.array([np.diagonal(matrix, lag).mean() for lag in range(beats)])
    known = np.arange(BEATS_A_BAR, beats - FEWEST_BEATS)
    if not len(known):
        return nothing
    usual = by_lag[known].mean()
    return {bars: _peak(by_lag, bars * BEATS_A_BAR, known) - usual for bars in BARS}


def _peak(by_lag, lag, known):
    """The likeness around a lag; NaN where too little of the solo is left."""
    reach = max(1, round(lag * TOLERANCE))
    near = np.arange(lag - reach, lag + reach + 1)
    return float(by_lag[near].mean()) if near[-1] in known else np.nan


def beat_features(notes, seconds, length_s):
    """(B, 12 + RHYTHM) of length 1: what sounds and when notes begin in the bar around each beat."""
    beats = int(seconds / length_s)
    edges_s = np.arange(beats + 1) * length_s
    chroma = np.zeros((beats, 12))
    ends_s = np.minimum(notes.onset_s + notes.duration_s, seconds)
    for pitch_class in range(12):
        own = notes.pitch % 12 == pitch_class
        held = np.minimum(ends_s[own][:, None], edges_s[1:]) - np.maximum(notes.onset_s[own][:, None], edges_s[:-1])
        chroma[:, pitch_class] = held.clip(0).sum(0)
    place = (notes.onset_s / length_s * RHYTHM).astype(int)
    rhythm = np.bincount(place[place < beats * RHYTHM], minlength=beats * RHYTHM).reshape(beats, RHYTHM)
    parts = [_unit(_over_a_bar(part)) for part in (np.sqrt(chroma), rhythm.astype(float))]
    return _unit(np.concatenate([parts[0], RHYTHM_WEIGHT * parts[1]], 1))


def _over_a_bar(rows):
    """The mean of each row and the three after it."""
    padded = np.concatenate([rows, np.repeat(rows[-1:], BEATS_A_BAR - 1, 0)])
    return np.mean([padded[shift : shift + len(rows)] for shift in range(BEATS_A_BAR)], 0)


def _unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
