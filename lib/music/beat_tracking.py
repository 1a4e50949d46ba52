"""Beats of a performance by dynamic programming over time and period: activations and onsets in, beats out.

A semi-Markov model. A beat that begins at t and lasts p scores its activation, and every onset inside it by where in
the beat it falls: the log density of its phase under a profile, relative to a flat one. Profiles differ by the kind of
onset (bass, chord, line) and by feel (straight sixteenths, swing, straight eighths). A change of period costs.
Times in seconds; the grid of the search is frames of 1 / hz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.music import metrics

BASS, CHORD, LINE = range(3)  # kinds of onset group
NUM_KINDS = 3
GROUP_GAP_S = 0.03  # onsets closer than this belong together
BASS_BELOW = 53  # MIDI pitch; a group whose lowest note is below is bass
CHORD_NOTES = 3  # a group of at least so many notes is a chord
WEIGHT_RANGE = (0.5, 1.6)  # of a group's loudest velocity over the median
ACTIVATION_HZ = 50  # frames a second of activations
LOGIT_LIMIT = 6.0
PRIOR_SPREAD = 0.45  # of log periods round the favourite one
GRID_LOCK = 0.6  # from which on onsets sit on a grid
IMPOSSIBLE = np.float32(-1e18)


@dataclass(frozen=True)
class Activations:
    """What a network finds: log odds that a beat or a bar begins in each frame, float32 (T,) at ACTIVATION_HZ."""

    beat: np.ndarray
    downbeat: np.ndarray


@dataclass(frozen=True)
class OnsetGroups:
    """Notes struck together, (G,) each: time in seconds, kind (BASS, CHORD or LINE), weight by loudness (about 1)."""

    time_s: np.ndarray
    kind: np.ndarray
    weight: np.ndarray

    def __len__(self):
        return len(self.time_s)

    def part(self, chosen: np.ndarray) -> OnsetGroups:
        """The groups of a mask, bool (G,)."""
        return OnsetGroups(self.time_s[chosen], self.kind[chosen], self.weight[chosen])


def group_index(onset_s: np.ndarray) -> np.ndarray:
    """The onset group of each note, int (N,), by ascending onsets (N,)."""
    return np.cumsum(np.diff(onset_s, prepend=onset_s[:1]) > GROUP_GAP_S)


def group_onsets(onset_s: np.ndarray, pitch: np.ndarray, velocity: np.ndarray) -> OnsetGroups:
    """Onset groups of notes (N,) each, at least one, ordered by onset."""
    group = group_index(onset_s)
    count = np.bincount(group)
    lowest, loudest = np.full(len(count), 128), np.zeros(len(count))
    np.minimum.at(lowest, group, pitch)
    np.maximum.at(loudest, group, velocity)
    kind = np.where(lowest < BASS_BELOW, BASS, np.where(count >= CHORD_NOTES, CHORD, LINE))
    return OnsetGroups(np.bincount(group, onset_s) / count, kind, np.clip(loudest / np.median(loudest), *WEIGHT_RANGE))


@dataclass(frozen=True)
class BeatModel:
    """What the search needs to know.

    Attributes
    ----------
    log_profiles : float (feels, NUM_KINDS, bins), log density of the phase of an onset, relative to a flat one; None:
        onsets do not count
    hz : frames a second of the search's grid
    period_s : shortest and longest beat, seconds
    stiffness : cost of a change of period, nats over squared log ratio
    changes : changes of period from beat to beat that are tried either way, in frames
    feel_change : cost of another feel on the next beat, nats
    beat_weight, beat_offset : a beat scores beat_weight * (its log odds - beat_offset)
    prior_s, prior_weight : favourite period and how much that counts
    """

    log_profiles: np.ndarray | None
    hz: int = 100
    period_s: tuple[float, float] = (0.35, 0.81)
    stiffness: float = 400.0
    changes: tuple[int, ...] = (1, 2, 3, 4)
    feel_change: float = 8.0
    beat_weight: float = 0.0
    beat_offset: float = 0.0
    prior_s: float = 0.48
    prior_weight: float = 0.15

    @property
    def periods(self) -> np.ndarray:
        """Candidate periods in frames, consecutive integers (K,)."""
        return np.arange(int(self.period_s[0] * self.hz), int(self.period_s[1] * self.hz))


@dataclass(frozen=True)
class BeatPath:
    """Beats found: `beats_s` (B + 1,) with the end of the last beat, `feel` (B,)."""

    beats_s: np.ndarray
    feel: np.ndarray


def phase_kernels(model: BeatModel) -> np.ndarray:
    """Score of an onset for beats that begin before it, float32 (NUM_KINDS, feels, K, longest).

    The last axis runs over the beat's start, from `longest - 1` frames before the onset to the onset itself.
    """
    periods, bins = model.periods, model.log_profiles.shape[2]
    elapsed = np.arange(periods[-1])[::-1]
    phase = elapsed / periods[:, None] * bins  # (K, longest)
    low = np.floor(phase).astype(np.int64)
    share = (phase - low).astype(np.float32)
    profiles = model.log_profiles.astype(np.float32)
    kernels = profiles[:, :, low % bins] * (1 - share) + profiles[:, :, (low + 1) % bins] * share
    return np.ascontiguousarray((kernels * (elapsed < periods[:, None])).swapaxes(0, 1))


def onset_scores(groups: OnsetGroups, model: BeatModel, num_frames: int) -> np.ndarray:
    """Score of the onsets inside a beat, float32 (feels, K, num_frames), by the frame in which the beat begins."""
    kernels = phase_kernels(model)
    _, feels, num_periods, longest = kernels.shape
    scores = np.zeros((feels, num_periods, num_frames + longest), dtype=np.float32)
    frame = np.rint(groups.time_s * model.hz).astype(np.int64) + 1
    scaled = np.empty_like(kernels[0])
    for kind, weight, end in zip(groups.kind, groups.weight.astype(np.float32), frame):
        np.multiply(kernels[kind], weight, out=scaled)
        scores[:, :, end : end + longest] += scaled
    return scores[:, :, longest:]


def activation_scores(activations: Activations, model: BeatModel, num_frames: int) -> np.ndarray:
    """Score of a beat of each period by activations, float32 (K, num_frames), by the frame in which it begins."""
    frame_s, log_period = np.arange(num_frames) / model.hz, np.log(model.periods / model.hz)
    beat = model.beat_weight * (at_times(activations.beat, frame_s) - model.beat_offset)
    prior = -0.5 * model.prior_weight * ((log_period - np.log(model.prior_s)) / PRIOR_SPREAD) ** 2
    return beat.astype(np.float32) + prior.astype(np.float32)[:, None]


def at_times(activation: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Log odds at times in seconds, clipped to +-LOGIT_LIMIT."""
    limited = np.clip(activation, -LOGIT_LIMIT, LOGIT_LIMIT)
    return np.interp(np.asarray(time_s) * ACTIVATION_HZ, np.arange(len(limited)), limited)


def decode(groups: OnsetGroups, model: BeatModel, activations: Activations | None = None) -> BeatPath:
    """The best sequence of beats (Viterbi over time, period and feel).

    No beat is shorter than the shortest period, so that as many frames as it has are decided at once. A beat of period
    p that begins at t ends at t + p: since periods are consecutive, row k of `ends` is shifted by k frames, and a
    strided view of it takes a whole block.
    """
    shortest, longest = model.periods[0], model.periods[-1]
    num_frames = int(groups.time_s[-1] * model.hz) + 2
    scores = np.zeros((1, len(model.periods), num_frames), dtype=np.float32)
    if model.log_profiles is not None:
        scores = onset_scores(groups, model, num_frames)
    if activations is not None:
        scores += activation_scores(activations, model, num_frames)
    ends = np.full((*scores.shape[:2], num_frames + longest + 1), IMPOSSIBLE)
    strides = (ends.strides[0], ends.strides[1] + ends.strides[2], ends.strides[2])
    by_start = np.lib.stride_tricks.as_strided(ends[:, :, shortest:], scores.shape, strides)
    costs = change_costs(model)
    for first in range(0, num_frames, shortest):
        block = slice(first, min(first + shortest, num_frames))
        best = best_predecessor(ends[:, :, block], costs, model.feel_change)
        if first < longest:  # the first beat begins anywhere in the longest period
            np.maximum(best, np.where(np.arange(num_frames)[block] < longest, 0, IMPOSSIBLE), out=best)
        np.add(best, scores[:, :, block], out=by_start[:, :, block])
    return _trace_back(ends, model, num_frames)


def change_costs(model: BeatModel) -> list[tuple[int, np.ndarray]]:
    """(d, cost (K - |d|, 1)) of a beat of period k that follows one of period k + d, for d != 0."""
    log_period, costs = np.log(model.periods), []
    for d in sorted({*model.changes, *(-d for d in model.changes)}):
        ratio = log_period[d:] - log_period[:-d] if d > 0 else log_period[:d] - log_period[-d:]
        costs.append((d, (model.stiffness * ratio**2).astype(np.float32)[:, None]))
    return costs


def best_predecessor(ends: np.ndarray, costs: list, feel_change: float) -> np.ndarray:
    """Best score of what precedes a beat of each feel and period: `ends` (feels, K, T) -> the same shape."""
    best = ends.copy()
    for d, cost in costs:
        target, source = (best[:, :-d], ends[:, d:]) if d > 0 else (best[:, -d:], ends[:, :d])
        np.maximum(target, source - cost, out=target)
    if len(best) > 1:
        np.maximum(best, best.max(0, keepdims=True) - np.float32(feel_change), out=best)
    return best


def _trace_back(ends: np.ndarray, model: BeatModel, num_frames: int) -> BeatPath:
    """Follow the best path back from the last beat's end."""
    periods, log_period, longest = model.periods, np.log(model.periods), model.periods[-1]
    tail = ends[:, :, num_frames : num_frames + longest]
    feel, k, frame = np.unravel_index(tail.argmax(), tail.shape)
    frames, feels = [frame + num_frames], []
    changes = np.unique(np.concatenate([[0], model.changes, -np.array(model.changes)]))
    while True:
        frame = frames[-1] - periods[k]
        frames.append(frame)
        feels.append(feel)
        before = (k + changes)[(k + changes >= 0) & (k + changes < len(periods))]
        cost = model.stiffness * (log_period[before] - log_period[k]) ** 2
        totals = ends[:, before, frame] - cost - model.feel_change * (np.arange(len(ends)) != feel)[:, None]
        if frame < longest and totals.max() <= 0:
            return BeatPath(np.array(frames[::-1]) / model.hz, np.array(feels[::-1]))
        feel, index = np.unravel_index(totals.argmax(), totals.shape)
        k = before[index]


def phases_at(time_s: np.ndarray, beats_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(beat index, phase in [0, 1)) of times; -1 for those outside the beats."""
    position = np.interp(time_s, beats_s, np.arange(len(beats_s)), left=-1, right=-1)
    beat = np.floor(position).astype(np.int64)
    return np.where(beat < len(beats_s) - 1, beat, -1), position % 1


def onset_gains(groups: OnsetGroups, path: BeatPath, log_profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(beat index, log density over a flat profile in nats) of each onset group; -1 and 0 outside the beats."""
    bins = log_profiles.shape[2]
    beat, phase = phases_at(groups.time_s, path.beats_s)
    bin_index = np.rint(phase * bins).astype(np.int64) % bins
    return beat, np.where(beat >= 0, log_profiles[path.feel[beat], groups.kind, bin_index], 0.0)


def phase_lock(time_s: np.ndarray, beats_s: np.ndarray, divisions: tuple[int, ...] = (3, 4)) -> np.ndarray:
    """Resultant length R of the onsets' phases at each division of the beat, 0 (uniform) to 1 (on the grid)."""
    beat, phase = phases_at(time_s, beats_s)
    return np.array([metrics.phase_lock(phase[beat >= 0], parts) for parts in divisions])


def sits_on_grid(time_s: np.ndarray, beats_s: np.ndarray) -> bool:
    """Whether onsets sit on the triplets or sixteenths of beats."""
    return len(beats_s) > 2 and bool(phase_lock(time_s, beats_s).max() >= GRID_LOCK)


def keeps_own_grid(onset_s: np.ndarray, own_beats_s: np.ndarray, tracked_beats_s: np.ndarray) -> bool:
    """Whether notes sit on the grid that their file writes: lock at triplets or sixteenths, above the tracker's."""
    better = phase_lock(onset_s, own_beats_s).max() > phase_lock(onset_s, tracked_beats_s).max()
    return sits_on_grid(onset_s, own_beats_s) and bool(better)
