"""Finds the beats that begin bars: evidence at each beat, and a hidden Markov model over the position in the bar.

The evidence counts beats, not seconds: bass, chords, loudness and lengths in each quarter of the beat, how much harmony
and bass change there, and how alike the music is some beats before. What it says of bar lines is learnt elsewhere; here
its log odds of a downbeat come in, and bars of 3, 4 or 5 beats come out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lib.music.beat_tracking import LOGIT_LIMIT
from lib.music.notes import Notes
from lib.music.tempo_map import BEATS_ONLY, FREE_BPM, IN_BARS, NO_BEAT, Metre, TempoMap, bar_table
from lib.music.viterbi import viterbi

BASS_BELOW = 55  # MIDI pitch
SLOTS = 4  # parts of a beat
EARLY = 0.14  # a note this part of a beat early belongs to the next beat
ANTICIPATION = 0.5  # the same for harmony: chords are often played an eighth ahead
CHANGE_SPANS = (1, 2, 4)  # beats on either side whose harmony is compared
LAGS = (2, 3, 4, 5, 6, 8)  # beats back with which a beat is compared
MAX_LENGTH = 1.5  # beats; longer notes count as this long
NUM_EVIDENCE = 4 * SLOTS + 2 + 4 * len(CHANGE_SPANS) + 2 * len(LAGS) + 1


@dataclass(frozen=True)
class BarModel:
    """The kinds of bars and what a change costs.

    Attributes
    ----------
    lengths, length_scores : beats a bar, and what a bar of each length scores, nats
    length_change, slip : cost of another length at a bar line, of a beat too many or too few
    downbeat_weight : how much the log odds of a downbeat count; below 1, since neighbours say the same thing
    """

    lengths: tuple[int, ...] = (3, 4, 5)
    length_scores: tuple[float, ...] = (0.0, 0.0, -1.0)
    length_change: float = 8.0
    slip: float = 8.0
    downbeat_weight: float = 0.1


@dataclass(frozen=True)
class BarPath:
    """Beat in the bar from 0, beats a bar, and the probability that both are right: (B,) each."""

    beat_in_bar: np.ndarray
    length: np.ndarray
    probability: np.ndarray


def beat_positions(onset_s: np.ndarray, beats_s: np.ndarray) -> np.ndarray:
    """Positions in beats (N,) of times; far outside where they lie beyond the beats and one beat after the last."""
    grid = np.append(beats_s, 2 * beats_s[-1] - beats_s[-2])
    return np.interp(onset_s, grid, np.arange(len(grid)), left=-9, right=len(grid) + 9)


def chroma_by_beat(position: np.ndarray, length: np.ndarray, pitch: np.ndarray, num_beats: int, early: float):
    """Lengths in beats of the notes that begin in each beat, by pitch class: float (num_beats, 12)."""
    beat = np.floor(position + early).astype(np.int64)
    inside = (beat >= 0) & (beat < num_beats)
    chroma = np.zeros((num_beats, 12))
    np.add.at(chroma, (beat[inside], pitch[inside] % 12), length[inside])
    return chroma


def harmonic_change(chroma: np.ndarray, span: int) -> np.ndarray:
    """1 - cosine similarity of the `span` beats before each beat and from it on (B,); 1 where either is silent."""
    total = np.concatenate([np.zeros((1, chroma.shape[1])), np.cumsum(chroma, 0)])
    here = np.arange(len(chroma))
    before = total[here] - total[np.maximum(here - span, 0)]
    after = total[np.minimum(here + span, len(chroma))] - total[here]
    return 1 - _cosine(before, after)


def _cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine similarity of rows, 0 where either is empty."""
    size = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.where(size > 1e-9, (one * other).sum(1) / np.maximum(size, 1e-9), 0.0)


def likeness(patterns: np.ndarray, lag: int) -> np.ndarray:
    """Cosine similarity of each beat's pattern with the one `lag` beats before, (B,); 0 where there is none."""
    alike = np.zeros(len(patterns))
    alike[lag:] = _cosine(patterns[lag:], patterns[:-lag])
    return alike


def bar_evidence(notes: Notes, beats_s: np.ndarray) -> np.ndarray:
    """Evidence of bar lines at each beat, float32 (B, NUM_EVIDENCE).

    Count, loudness, presence of bass and lowest pitch in each quarter of the beat; the longest note and bass note on
    the beat; changes of harmony and bass over CHANGE_SPANS, taken sharply and with anticipations; likeness of harmony
    and rhythm at LAGS; log of the beat's length. The same in every key.
    """
    num_beats, period = len(beats_s), np.diff(beats_s, append=2 * beats_s[-1] - beats_s[-2])
    position = beat_positions(notes.onset_s, beats_s)
    beat = np.floor(position + EARLY).astype(np.int64)
    inside = (beat >= 0) & (beat < num_beats)
    position, beat = position[inside], beat[inside]
    pitch, velocity = notes.pitch[inside].astype(np.int64), notes.velocity[inside].astype(np.float64)
    length = np.clip(notes.duration_s[inside] / period[beat], 0.05, MAX_LENGTH)
    slot = np.minimum(((position + EARLY - beat) * SLOTS).astype(np.int64), SLOTS - 1)
    low, on_beat = pitch < BASS_BELOW, slot == 0
    count, loudest = np.zeros((2, num_beats, SLOTS))
    lowest = np.full((num_beats, SLOTS), 108)
    np.add.at(count, (beat, slot), 1)
    np.maximum.at(loudest, (beat, slot), velocity)
    np.minimum.at(lowest, (beat, slot), pitch)
    usual = np.median(loudest[loudest > 0]) if len(beat) else 0
    longest = np.zeros((num_beats, 2))
    np.maximum.at(longest[:, 0], beat[on_beat], length[on_beat])
    np.maximum.at(longest[:, 1], beat[on_beat & low], length[on_beat & low])
    columns = [np.log1p(count), np.where(count > 0, (loudest - usual) / 20, -2), lowest < BASS_BELOW]
    columns += [(108 - lowest) / 40, longest]
    for early in (EARLY, ANTICIPATION):
        for chosen in (pitch >= 0, low):
            chroma = chroma_by_beat(position[chosen], length[chosen], pitch[chosen], num_beats, early)
            columns.append(np.stack([harmonic_change(chroma, span) for span in CHANGE_SPANS], 1))
    chroma = chroma_by_beat(position, length, pitch, num_beats, ANTICIPATION)
    rhythm = np.concatenate([np.log1p(count), count > 0], 1)
    columns += [np.stack([likeness(pattern, lag) for lag in LAGS], 1) for pattern in (chroma, rhythm)]
    return np.concatenate([*columns, np.log(period / 0.5)[:, None]], 1).astype(np.float32)


def transitions(model: BarModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The states (beat in the bar (S,), beats a bar (S,)) and log scores (S, S) from one beat to the next."""
    lengths = np.concatenate([np.full(m, m) for m in model.lengths])
    beats = np.concatenate([np.arange(m) for m in model.lengths])
    same = lengths[:, None] == lengths[None]
    follows = beats[None] == (beats[:, None] + 1) % lengths[:, None]
    bar_line = (beats[:, None] == lengths[:, None] - 1) & (beats[None] == 0)
    scores = np.where(same & follows, 0.0, -model.slip - ~same * model.length_change)
    return beats, lengths, np.where(bar_line & ~same, -model.length_change, scores)


def find_bars(downbeat_logits: np.ndarray, model: BarModel) -> BarPath:
    """The best bars (Viterbi), and how sure each beat of them is (forward and backward).

    Parameters
    ----------
    downbeat_logits : (B,) log odds that a bar begins on each beat, less their usual level
    """
    beats, lengths, matrix = transitions(model)
    score = np.concatenate([np.full(m, s) for m, s in zip(model.lengths, model.length_scores)])
    limited = np.clip(downbeat_logits, -LOGIT_LIMIT, LOGIT_LIMIT)[:, None]
    scores = (beats == 0) * (limited * model.downbeat_weight + score)
    ways = torch.from_numpy(matrix)
    states = viterbi(torch.from_numpy(scores), lambda totals, beat: (totals[:, None] + ways).max(0)).numpy()
    weights, steps = np.exp(scores), np.exp(matrix)
    forward, backward = weights.copy(), np.ones_like(scores)  # each beat scaled to a sum of 1
    for beat in range(1, len(scores)):
        forward[beat] *= forward[beat - 1] @ steps
        forward[beat] /= forward[beat].sum()
    for beat in range(len(scores) - 2, -1, -1):
        backward[beat] = steps @ (weights[beat + 1] * backward[beat + 1])
        backward[beat] /= backward[beat].sum()
    posterior = forward * backward
    posterior /= posterior.sum(1, keepdims=True)
    return BarPath(beats[states], lengths[states], posterior[np.arange(len(scores)), states])


# --- Tempo maps of what was tracked -----------------------------------------------------------------------------


def map_from_beats(
    beats_s: np.ndarray, confidence: np.ndarray, in_time: np.ndarray, bars: BarPath, sure: float
) -> TempoMap:
    """The tempo map of tracked beats.

    Parameters
    ----------
    beats_s : (B + 1,) tracked beats, seconds, with the end of the last one
    confidence : (B,) nats an onset that each beat gains
    in_time : bool (B,); elsewhere the map runs at FREE_BPM, or as near to it as a whole number of beats allows
    bars : of the beats (B,)
    sure : mean probability from which on a bar is written down; others stay unknown
    """
    beats, table = [beats_s[:1]], []
    edges = np.flatnonzero(np.diff(in_time, prepend=~in_time[:1], append=~in_time[-1:]))
    for first, last in zip(edges[:-1], edges[1:]):
        start = sum(map(len, beats)) - 1
        if in_time[first]:
            table += _bars_of_run(first, last, start - first, confidence, bars, sure)
            beats.append(beats_s[first + 1 : last + 1])
        else:
            count = max(1, round((beats_s[last] - beats_s[first]) * FREE_BPM / 60))
            table.append(bar_table([start], [count], NO_BEAT, 0.0))
            beats.append(np.linspace(beats_s[first], beats_s[last], count + 1)[1:])
    return TempoMap(np.concatenate(beats), np.concatenate(table))


def _bars_of_run(first, last, shift, confidence, bars, sure) -> list[np.ndarray]:
    """Bar tables of the tracked beats first..last, which lie `shift` further on in the map."""
    tables, beat, unknown = [], first, first

    def close(until):
        if until > unknown:
            mean = float(np.mean(confidence[unknown:until]))
            tables.append(bar_table([unknown + shift], [until - unknown], BEATS_ONLY, mean))

    while beat < last:
        length = int(bars.length[beat])
        span = slice(beat, beat + length)
        whole = beat + length <= last and np.array_equal(bars.beat_in_bar[span], np.arange(length))
        if whole and (bars.length[span] == length).all() and bars.probability[span].mean() >= sure:
            close(beat)
            mean = float(np.mean(confidence[span]))
            tables.append(bar_table([beat + shift], [length], IN_BARS, mean, Metre(length, 4)))
            beat = unknown = beat + length
        else:
            beat += 1
    close(last)
    return tables
