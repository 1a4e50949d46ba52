"""Every measure of a clip or a solo: attributes, performance features, MusPy's measures, form.

Conventions: a measure is a function (Notes, seconds) -> float, NaN where there is too little to say. What each is
called, what is ideal and what it can't tell stands in metric_descriptions.py. Performances have no bars: MusPy's "beat"
is half a second, and form reads its beat off the onsets' autocorrelation, for generated and real solos alike.
Similarity of beats is the cosine of smoothed chroma and rhythm.
"""

from __future__ import annotations

import importlib.util
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import entropy

from lib.apps.evaluate.clip_sets import ClipSet
from lib.apps.evaluate.metric_descriptions import MEANS
from lib.music.hands import left_hand
from lib.music.metrics import TOGETHER_S, describe
from lib.music.notes import Notes, write_midi
from lib.music.style_features import chord_starts, top_line

ATTRIBUTES = ("pitch_range", "pitch_class_entropy", "note_density", "inter_onset", "duration", "velocity", "polyphony")
DESCRIBED = ("sounding_notes", "longest_silence_s", "pedal_share")  # of metrics.describe
EIGHTHS_S = (0.3, 1.0)  # a pair of melody notes lasts so long, if it is a beat of two eighths
MOST_UNEVEN = 4.0  # long over short; more is a dotted rhythm or a rest
FEWEST_PAIRS, FEWEST_NOTES = 6, 6
FIGURE = 4  # melody steps that make a figure
GAP_EDGES_S = (0.1, 0.16, 0.25, 0.4, 0.7)
RESOLUTION = 50  # MusPy's time steps in a beat of half a second
MUSPY = tuple(name.removeprefix("muspy_") for name in MEANS if name.startswith("muspy_"))
SMG_MISSING = "smg-metrics is not installed: pip install -r requirements-evaluate.txt"
BARS = (4, 8, 16)  # at which form is measured
BEATS_A_BAR = 4
RATE_HZ = 50.0
BEAT_S = (0.25, 1.2)  # shortest and longest
PRIOR_S, OCTAVES = 0.5, 0.9  # a beat is likeliest so long, within so many octaves (Ellis 2007)
FEWEST_BEAT_NOTES, FEWEST_BEATS = 20, 8
RHYTHM = 4  # onsets are counted in quarters of a beat
RHYTHM_WEIGHT = 0.5
TOLERANCE = 0.03  # of a lag: tempo drifts
REFINED = 4  # beats over which the length of one is measured more finely


# --- Tables ----------------------------------------------------------------------------------------------------


def clip_measures(notes: Notes, seconds: float) -> dict[str, float]:
    """All measures of a clip."""
    described = describe(notes, seconds)
    return {
        **attributes(notes, seconds),
        **{name: float(described[name]) for name in DESCRIBED},
        "swing_ratio": swing_ratio(notes, seconds),
        "hand_independence": hand_independence(notes, seconds),
        "chord_share": chord_share(notes, seconds),
        **{f"muspy_{name}": value for name, value in muspy_measures(notes, seconds).items()},
    }


def solo_measures(notes: Notes, seconds: float) -> dict[str, float]:
    """Measures of form, of a solo of a minute or so."""
    by_bars = {f"self_similarity_{bars}": value for bars, value in self_similarity(notes, seconds).items()}
    return {"repetition": repetition(notes, seconds), **by_bars}


def table_of(clip_set: ClipSet, measure: Callable[[Notes, float], dict[str, float]]) -> dict[str, np.ndarray]:
    """dict measure -> float (N,), from a function of clip_measures' kind."""
    rows = [measure(notes, clip_set.seconds) for notes in clip_set.clips]
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}


# --- Attributes and performance features -----------------------------------------------------------------------


def attributes(notes: Notes, seconds: float) -> dict[str, float]:
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
    if not count:
        return dict(zip(ATTRIBUTES, (0.0, 0.0, 0.0, math.log2(seconds), math.log2(TOGETHER_S), 0.0, 0.0), strict=True))
    gaps = np.diff(notes.onset_s)
    gaps = gaps[gaps > TOGETHER_S] if (gaps > TOGETHER_S).any() else np.array([seconds])
    end_s = (notes.onset_s + notes.duration_s).clip(max=seconds)
    covered_to_s = np.append(0.0, np.maximum.accumulate(end_s)[:-1])  # until when a key is down before each note
    added_s = end_s - np.maximum(notes.onset_s, covered_to_s)
    down_s = float(np.where(notes.onset_s > covered_to_s, added_s, added_s.clip(0)).sum())
    values = (
        float(np.ptp(notes.pitch)),
        float(entropy(np.bincount(notes.pitch % 12), base=2)),
        count / seconds,
        float(np.log2(gaps).mean()),
        float(np.log2(notes.duration_s).mean()),
        float(notes.velocity.mean()),
        float((end_s - notes.onset_s).sum()) / down_s if down_s else 0.0,
    )
    return dict(zip(ATTRIBUTES, values, strict=True))


def swing_ratio(notes: Notes, seconds: float) -> float:
    """Long over short: the median over neighbouring gaps of the melody that last about a beat together.

    1 is straight, 2 triplets. Where the beats are is not known, so that any uneven pair counts.
    """
    gaps = np.diff([onset_s for onset_s, _ in top_line(notes)])
    pairs = np.stack([gaps[:-1], gaps[1:]], 1) if len(gaps) > 1 else np.zeros((0, 2))
    pairs = pairs[(pairs.sum(1) > EIGHTHS_S[0]) & (pairs.sum(1) < EIGHTHS_S[1])]
    ratio = pairs.max(1) / pairs.min(1)
    ratio = ratio[ratio < MOST_UNEVEN]
    return float(np.median(ratio)) if len(ratio) >= FEWEST_PAIRS else np.nan


def hand_independence(notes: Notes, seconds: float) -> float:
    """Share of the hands' attacks that the other hand does not share; 1: they never strike together, 0: always."""
    left = left_hand(notes)
    if min(left.sum(), (~left).sum()) < FEWEST_NOTES:
        return np.nan
    onsets_s = [notes.onset_s[hand] for hand in (left, ~left)]
    attacks = [onset_s[np.diff(onset_s, prepend=-np.inf) > TOGETHER_S] for onset_s in onsets_s]
    apart = np.abs(np.subtract.outer(*attacks))
    shared = sum(int((apart.min(axis) <= TOGETHER_S).sum()) for axis in (0, 1))
    return 1 - shared / sum(map(len, attacks))


def repetition(notes: Notes, seconds: float) -> float:
    """Share of the melody's figures (four steps, by interval and rhythm) that came before in the clip, in any key."""
    line = top_line(notes)
    if len(line) < FIGURE + FEWEST_NOTES:
        return np.nan
    onset_s, pitch = np.array(line).T
    rhythm = np.searchsorted(GAP_EDGES_S, np.diff(onset_s))
    steps = list(zip(np.diff(pitch).astype(int).tolist(), rhythm.tolist(), strict=True))
    figures = [tuple(steps[first : first + FIGURE]) for first in range(len(steps) - FIGURE + 1)]
    return 1 - len(set(figures)) / len(figures)


def chord_share(notes: Notes, seconds: float) -> float:
    """Share of attacks of three notes or more."""
    starts = chord_starts(notes)
    return float((np.diff(np.append(starts, len(notes))) >= 3).mean()) if len(starts) else np.nan


# --- Measures that others keep ---------------------------------------------------------------------------------


def muspy_measures(notes: Notes, seconds: float) -> dict[str, float]:
    """MusPy's measures of a clip (Dong et al., ISMIR 2020), times rounded to 10 ms: dict of MUSPY -> float."""
    import muspy

    if not len(notes):
        return dict.fromkeys(MUSPY, np.nan)
    rate_hz = 2 * RESOLUTION
    onset, length = np.rint(notes.onset_s * rate_hz), np.rint(notes.duration_s * rate_hz).clip(1)
    length = np.minimum(length, round(seconds * rate_hz) - onset).clip(1)
    rows = zip(onset.astype(int).tolist(), notes.pitch.tolist(), length.astype(int).tolist(), notes.velocity.tolist())
    track = muspy.Track(notes=[muspy.Note(*row) for row in rows])
    music = muspy.Music(resolution=RESOLUTION, tempos=[muspy.Tempo(0, 120.0)], tracks=[track])
    return {name: float(getattr(muspy, name)(music)) for name in MUSPY}


def has_second_opinion() -> bool:
    """Whether smg-metrics is installed."""
    return importlib.util.find_spec("smg_metrics") is not None


def smg_measures(notes: Notes) -> dict[str, float]:
    """smg-metrics' single-file measures of a clip, as a second opinion; {} where it has no notes."""
    from smg_metrics import single_file_harmony, single_file_quality, single_file_rhythm

    if not len(notes):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = write_midi(notes, Path(folder) / "clip.mid")
        parts = [measure(path).to_dict() for measure in (single_file_harmony, single_file_rhythm, single_file_quality)]
    return {f"smg_{name}": float(value) for part in parts for name, value in part.items()}


# --- Form over minutes -----------------------------------------------------------------------------------------


def beat_s(notes: Notes, seconds: float) -> float | None:
    """Length of a beat, in seconds; None where there are too few notes to say.

    The peak of the autocorrelation of the onsets, weighted by a log-normal prior (Ellis, "Beat Tracking by Dynamic
    Programming", 2007).
    """
    if len(notes) < FEWEST_BEAT_NOTES:
        return None
    frames = (notes.onset_s * RATE_HZ).astype(int)
    strength = np.bincount(frames, notes.velocity.astype(float), int(seconds * RATE_HZ) + 1)
    strength = np.convolve(strength, np.hanning(5), "same")
    strength = strength - strength.mean()
    lags = np.arange(round(BEAT_S[0] * RATE_HZ), round(BEAT_S[1] * RATE_HZ) + 1)
    lags = lags[lags < len(strength) // 2]
    prior = np.exp(-0.5 * (np.log2(lags / RATE_HZ / PRIOR_S) / OCTAVES) ** 2)
    several = REFINED * lags[(_autocorrelation(strength, lags) * prior).argmax()]
    near = np.arange(several - REFINED // 2, several + REFINED // 2 + 1)
    near = near[near < len(strength) // 2]
    return float(near[_autocorrelation(strength, near).argmax()] if len(near) else several) / REFINED / RATE_HZ


def _autocorrelation(strength, lags):
    """At these lags, over as many frames as overlap."""
    return np.array([strength[lag:] @ strength[:-lag] / (len(strength) - lag) for lag in lags])


def self_similarity(notes: Notes, seconds: float, length_s: float | None = None) -> dict[int, float]:
    """How much more a solo resembles itself so many bars later than at other distances.

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
    features = np.zeros((0, 1)) if length_s is None else beat_features(notes, seconds, length_s)
    beats = len(features)
    lags = np.arange(BEATS_A_BAR, beats - FEWEST_BEATS)
    if not len(lags):
        return dict.fromkeys(BARS, np.nan)
    matrix = features @ features.T
    by_lag = np.array([np.diagonal(matrix, lag).mean() for lag in range(beats)])
    similarity = {}
    for bars in BARS:
        lag = bars * BEATS_A_BAR
        reach = max(1, round(lag * TOLERANCE))
        enough = lag + reach in lags  # of the solo is left
        peak = by_lag[lag - reach : lag + reach + 1].mean() if enough else np.nan
        similarity[bars] = float(peak) - by_lag[lags].mean()
    return similarity


def beat_features(notes: Notes, seconds: float, length_s: float) -> np.ndarray:
    """(B, 12 + RHYTHM) of length 1: what sounds and when notes begin in the bar around each beat."""
    beats = int(seconds / length_s)
    edges_s = np.arange(beats + 1) * length_s
    ends_s = np.minimum(notes.onset_s + notes.duration_s, seconds)
    held_s = np.minimum(ends_s[:, None], edges_s[1:]) - np.maximum(notes.onset_s[:, None], edges_s[:-1])
    chroma = np.zeros((12, beats))
    np.add.at(chroma, notes.pitch % 12, held_s.clip(0))
    quarter = (notes.onset_s / length_s * RHYTHM).astype(int)
    rhythm = np.bincount(quarter[quarter < beats * RHYTHM], minlength=beats * RHYTHM).reshape(beats, RHYTHM)
    chroma, rhythm = (_unit(_over_a_bar(part)) for part in (np.sqrt(chroma.T), rhythm.astype(float)))
    return _unit(np.concatenate([chroma, RHYTHM_WEIGHT * rhythm], 1))


def _over_a_bar(rows):
    """The mean of each row and the three after it."""
    padded = np.concatenate([rows, np.repeat(rows[-1:], BEATS_A_BAR - 1, 0)])
    return np.mean([padded[shift : shift + len(rows)] for shift in range(BEATS_A_BAR)], 0)


def _unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
