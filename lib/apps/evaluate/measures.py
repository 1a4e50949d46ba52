"""Every measure of a clip or a solo: attributes, performance features, MusPy's measures, form, chords.

Conventions: a measure is a function Clip -> float, NaN where there is too little to say. What each is called, what is
ideal and what it can't tell stands in metric_descriptions.py. Beats and bars are those of the clip's tempo map: of a
real one as they were found, of a generated one as they were asked for. Similarity of beats is the cosine of smoothed
chroma and rhythm. Chords are compared a beat at a time, by root and class of quality.
"""

from __future__ import annotations

import math
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.stats import entropy

from lib.apps.evaluate.clips import Clip
from lib.apps.evaluate.copying import own_copying
from lib.apps.evaluate.metric_descriptions import MEANS
from lib.apps.evaluate.structure import structure_measures
from lib.generation.request import Order
from lib.generation.sliding_window import Conditioning
from lib.models.conditions import SECOND_EIGHTH
from lib.music.chart import NO_CHORD_FRAME, Chart, chord_frames
from lib.music.chords import QUALITY_NAMES
from lib.music.hands import left_hand
from lib.music.metrics import TOGETHER_S, describe
from lib.music.midi_writer import write_midi
from lib.music.piano_roll import FRAMES_PER_BEAT, LATENTS_PER_BEAT
from lib.music.style_features import chord_starts, top_line

ATTRIBUTES = ("pitch_range", "pitch_class_entropy", "note_density", "inter_onset", "duration", "velocity", "polyphony")
DESCRIBED = ("sounding_notes", "longest_silence_s", "pedal_share")  # of metrics.describe
FEWEST_NOTES = 6
FIGURE = 4  # melody steps that make a figure
GAP_EDGES = (0.21, 0.29, 0.42, 0.58, 0.83, 1.5)  # beats: between thirds, quarters, sixths and so on
MUSPY = tuple(name.removeprefix("muspy_") for name in MEANS if name.startswith("muspy_"))
BARS = (4, 8, 16)  # at which form is measured
FEWEST_BEATS = 8
RHYTHM = 4  # onsets are counted in quarters of a beat
RHYTHM_WEIGHT = 0.5
QUALITY_CLASSES = (("maj", "maj7", "6", "aug"), ("m", "m7", "m6", "mmaj7"), ("7", "7sus4"), ("dim7", "m7b5"))
CLASS_OF = np.array([next(n for n, names in enumerate(QUALITY_CLASSES) if name in names) for name in QUALITY_NAMES])


def clip_measures(clip: Clip) -> dict[str, float]:
    """All measures of a clip."""
    described = describe(clip.notes, clip.seconds)
    return {
        **attributes(clip),
        **{name: float(described[name]) for name in DESCRIBED},
        "swing_ratio": swing_ratio(clip),
        "hand_independence": hand_independence(clip),
        "chord_share": chord_share(clip),
        **{f"muspy_{name}": value for name, value in muspy_measures(clip).items()},
    }


def solo_measures(clip: Clip) -> dict[str, float]:
    """Measures of form, of a solo of a minute or so."""
    by_bars = {f"self_similarity_{bars}": value for bars, value in self_similarity(clip).items()}
    structure = structure_measures(clip, beat_features(clip))
    return {"repetition": repetition(clip), **by_bars, **structure, **own_copying(clip)}


def attributes(clip: Clip) -> dict[str, float]:
    """What sets of clips are compared by (Yang & Lerch 2020).

    A dict of ATTRIBUTES: semitones; bits; onsets a second; mean logarithm of the seconds between onsets, and of how
    long keys are down, in bits; mean velocity; mean keys down where any is.
    """
    notes, seconds = clip.notes, clip.seconds
    if not len(notes):
        return dict(zip(ATTRIBUTES, (0.0, 0.0, 0.0, math.log2(seconds), math.log2(TOGETHER_S), 0.0, 0.0), strict=True))
    gaps = np.diff(notes.onset_s)
    gaps = gaps[gaps > TOGETHER_S] if (gaps > TOGETHER_S).any() else np.array([seconds])
    end_s = (notes.onset_s + notes.duration_s).clip(max=seconds)
    covered_to_s = np.append(0.0, np.maximum.accumulate(end_s)[:-1])  # until when a key is down before each note
    added_s = end_s - np.maximum(notes.onset_s, covered_to_s)
    down_s = float(np.where(notes.onset_s > covered_to_s, added_s, added_s.clip(0)).sum())
    return {
        "pitch_range": float(np.ptp(notes.pitch)),
        "pitch_class_entropy": float(entropy(np.bincount(notes.pitch % 12), base=2)),
        "note_density": len(notes) / seconds,
        "inter_onset": float(np.log2(gaps).mean()),
        "duration": float(np.log2(notes.duration_s).mean()),
        "velocity": float(notes.velocity.mean()),
        "polyphony": float((end_s - notes.onset_s).sum()) / down_s if down_s else 0.0,
    }


def swing_ratio(clip: Clip) -> float:
    """Long over short: how the second eighth of the melody divides the beat, the median. 1 is straight, 2 triplets."""
    phase = clip.tempo_map.to_beats([onset_s for onset_s, _ in top_line(clip.notes)]) % 1
    first, stop = ((frame - 0.5) / FRAMES_PER_BEAT for frame in (SECOND_EIGHTH.start, SECOND_EIGHTH.stop))
    second = phase[(phase >= first) & (phase < stop)]
    return float(np.median(second / (1 - second))) if len(second) >= FEWEST_NOTES else np.nan


def hand_independence(clip: Clip) -> float:
    """Share of the hands' attacks that the other hand does not share; 1: they never strike together, 0: always."""
    notes, left = clip.notes, left_hand(clip.notes)
    if min(left.sum(), (~left).sum()) < FEWEST_NOTES:
        return np.nan
    onsets_s = [notes.onset_s[hand] for hand in (left, ~left)]
    attacks = [onset_s[np.diff(onset_s, prepend=-np.inf) > TOGETHER_S] for onset_s in onsets_s]
    apart = np.abs(np.subtract.outer(*attacks))
    shared = sum(int((apart.min(axis) <= TOGETHER_S).sum()) for axis in (0, 1))
    return 1 - shared / sum(map(len, attacks))


def repetition(clip: Clip) -> float:
    """Share of the melody's figures (four steps, by interval and rhythm) that came before in the clip, in any key."""
    line = top_line(clip.notes)
    if len(line) < FIGURE + FEWEST_NOTES:
        return np.nan
    onset_s, pitch = np.array(line).T
    rhythm = np.searchsorted(GAP_EDGES, np.diff(clip.tempo_map.to_beats(onset_s)))
    steps = list(zip(np.diff(pitch).astype(int).tolist(), rhythm.tolist(), strict=True))
    figures = [tuple(steps[first : first + FIGURE]) for first in range(len(steps) - FIGURE + 1)]
    return 1 - len(set(figures)) / len(figures)


def chord_share(clip: Clip) -> float:
    """Share of attacks of three notes or more."""
    starts = chord_starts(clip.notes)
    return float((np.diff(np.append(starts, len(clip.notes))) >= 3).mean()) if len(starts) else np.nan


def muspy_measures(clip: Clip) -> dict[str, float]:
    """MusPy's measures of a clip (Dong et al., ISMIR 2020), times rounded to frames: dict of MUSPY -> float."""
    import muspy

    notes = clip.in_beats
    if not len(notes):
        return dict.fromkeys(MUSPY, np.nan)
    onset, release = (np.rint(np.minimum(x, clip.beats) * FRAMES_PER_BEAT) for x in (notes.onset, notes.release))
    length = (release - onset).clip(1)
    rows = zip(onset.astype(int).tolist(), notes.pitch.tolist(), length.astype(int).tolist(), notes.velocity.tolist())
    track = muspy.Track(notes=[muspy.Note(*row) for row in rows])
    music = muspy.Music(resolution=FRAMES_PER_BEAT, tempos=[muspy.Tempo(0, clip.felt_bpm)], tracks=[track])
    return {name: float(getattr(muspy, name)(music)) for name in MUSPY}


def smg_measures(clip: Clip) -> dict[str, float]:
    """smg-metrics' single-file measures of a clip, as a second opinion; {} where it has no notes."""
    from smg_metrics import single_file_harmony, single_file_quality, single_file_rhythm

    if not len(clip.notes):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = write_midi(clip.notes, Path(folder) / "clip.mid", clip.tempo_map)
        parts = [measure(path).to_dict() for measure in (single_file_harmony, single_file_rhythm, single_file_quality)]
    return {f"smg_{name}": float(value) for part in parts for name, value in part.items()}


def self_similarity(clip: Clip) -> dict[int, float]:
    """Bars -> how much more a solo resembles itself so many bars later than at other distances, in cosines; NaN where
    it is too short or has too few notes."""
    features, beats, bar = beat_features(clip), clip.beats, clip.beats_per_bar
    lags = np.arange(bar, beats - FEWEST_BEATS)
    if not len(lags) or len(clip.notes) < FEWEST_BEATS:
        return dict.fromkeys(BARS, np.nan)
    matrix = features @ features.T
    by_lag = np.array([np.diagonal(matrix, lag).mean() for lag in range(beats)])
    mean = by_lag[lags].mean()
    return {bars: float(by_lag[bars * bar] - mean) if bars * bar in lags else np.nan for bars in BARS}


def beat_features(clip: Clip) -> np.ndarray:
    """(B, 12 + RHYTHM) of length 1: what sounds and when notes begin in the bar around each beat."""
    beats, notes, edges = clip.beats, clip.in_beats, np.arange(clip.beats + 1)
    held = np.minimum(notes.release[:, None], edges[1:]) - np.maximum(notes.onset[:, None], edges[:-1])
    chroma = np.zeros((12, beats))
    np.add.at(chroma, notes.pitch % 12, held.clip(0))
    quarter = (notes.onset * RHYTHM).astype(int)
    rhythm = np.bincount(quarter[quarter < beats * RHYTHM], minlength=beats * RHYTHM).reshape(beats, RHYTHM)
    bar = clip.beats_per_bar
    chroma, rhythm = (
        _unit(uniform_filter1d(part, bar, axis=0, mode="nearest", origin=-(bar // 2)))  # each beat and those after it
        for part in (np.sqrt(chroma.T), rhythm.astype(float))
    )
    return _unit(np.concatenate([chroma, RHYTHM_WEIGHT * rhythm], 1))


def _unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def required_chords(chart: Chart, beats: int) -> np.ndarray:
    """int8 (beats, 3): the chord frame that a chart has in each beat, a quarter each."""
    return chord_frames(chart.frames(beats, Fraction(1))[0]).numpy()


def agreements(chart: Chart, clip: Clip) -> np.ndarray:
    """bool (M,): for each beat with a chord, whether the one recognised has its root and class of quality."""
    required, played = required_chords(chart, clip.beats), clip.chords()
    same_class = CLASS_OF[played[:, 1]] == CLASS_OF[required[:, 1]]
    return ((played[:, 0] == required[:, 0]) & same_class)[required[:, 0] != NO_CHORD_FRAME[0]]


def rule_losses(order: Order, clip: Clip) -> dict[str, float]:
    """dict rule -> loss of a clip under the rules of an Order."""
    conditioning = Conditioning.of(order.request, order.request.parsed_chart(), clip.beats * LATENTS_PER_BEAT)
    return {rule.name: float(rule.loss(clip.piano_roll)[0]) for rule in conditioning.rules()}
