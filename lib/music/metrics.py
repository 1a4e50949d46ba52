"""Figures of a performance, and how much of it another one preserves.

Conventions: notes a second count onsets; "sounding" counts keys that are down, the pedal left out; phase lock counts
onsets in felt beats of a tempo map; F1 as transcription is measured (mir_eval; Raffel et al. 2014): onsets within a
tolerance, offsets within 20 % of the length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.music.notes import MIDDLE_C, Notes

TOGETHER_S = 0.035  # notes that begin within it are one chord
MATCHED_VELOCITY = 0.1  # of the range, after the best linear fit (Hawthorne et al. 2018)
CURVE_WINDOW_S, CURVE_HOP_S = 4.0, 0.5
# parts of a beat that onsets may be locked to; nobody plays fifths, so that they are a control
PARTS_OF_BEAT = {"eighths": 2, "triplets": 3, "sixteenths": 4, "fifths": 5}


@dataclass(frozen=True)
class NoteF1:
    """F1 in [0, 1] of notes by onset and pitch, by these and the offset, by these and the velocity."""

    onset: float
    onset_offset: float
    onset_velocity: float


def describe(notes: Notes, seconds: float | None = None) -> dict[str, float | None]:
    """What a passage is like.

    Parameters
    ----------
    seconds : its length; None: until the last release

    Returns
    -------
    dict : notes, notes_per_s, sounding_notes (mean keys down), pitch_low, pitch_high (None without notes),
        velocity_mean, velocity_std, longest_silence_s (no key down and no pedal held), pedal_share, left_hand_share
        (onsets below middle C)
    """
    seconds = float(notes.end_s if seconds is None else seconds) or 1e-9
    count = len(notes)
    pedal_s = np.clip(notes.pedal_s, 0, seconds)
    end_s = np.clip(notes.onset_s + notes.duration_s, 0, seconds)
    figures = {
        "notes": count,
        "notes_per_s": count / seconds,
        "sounding_notes": float(end_s.sum() - notes.onset_s.sum()) / seconds,
        "pitch_low": int(notes.pitch.min()) if count else None,
        "pitch_high": int(notes.pitch.max()) if count else None,
        "velocity_mean": float(notes.velocity.mean()) if count else 0.0,
        "velocity_std": float(notes.velocity.std()) if count else 0.0,
        "longest_silence_s": longest_silence_s(notes, seconds),
        "pedal_share": float((pedal_s[:, 1] - pedal_s[:, 0]).sum() / seconds),
        "left_hand_share": float((notes.pitch < MIDDLE_C).mean()) if count else 0.0,
    }
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}


def longest_silence_s(notes: Notes, seconds: float) -> float:
    """The longest time in [0, seconds] in which no key is down and no pedal holds a note that was struck."""
    starts = np.append(notes.onset_s, seconds).clip(0, seconds)
    ends = np.maximum.accumulate(np.insert(notes.sounding_end_s(), 0, 0.0)).clip(0, seconds)
    return float((starts - ends).max(initial=0.0).clip(min=0))


def mean_phase(positions: np.ndarray, parts: int) -> complex:
    """Mean of exp(2 pi i h x) over positions x (N,) in beats, h parts a beat; 0 for none.

    Its modulus is the phase lock R: 1 where all lie at one phase of a part, near 1 / sqrt(N) where they lie anywhere.
    """
    return complex(np.exp(2j * np.pi * parts * positions).mean()) if len(positions) else 0j


def phase_lock(positions: np.ndarray, parts: int) -> float:
    """R in [0, 1], see `mean_phase`."""
    return abs(mean_phase(positions, parts))


def spread_of_twelfths(positions: np.ndarray) -> float:
    """Standard deviation of positions (N,) in beats from the nearest twelfth of a beat, in beats; 0 for none."""
    return float(np.std(positions * 12 - np.rint(positions * 12)) / 12) if len(positions) else 0.0


def density_and_velocity(
    notes: Notes, window_s: float = CURVE_WINDOW_S
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How a performance develops, in windows that slide.

    Parameters
    ----------
    window_s : seconds of a window; one begins every CURVE_HOP_S. No window reaches beyond the performance:
        those at the ends are shorter

    Returns
    -------
    (times_s, notes_per_s, velocity) : each (W,): the windows' middles, onsets a second, mean MIDI velocity, NaN without
        onsets
    """
    end_s = max(notes.end_s, CURVE_HOP_S)
    times_s = np.arange(0.0, end_s + CURVE_HOP_S / 2, CURVE_HOP_S)
    starts_s, ends_s = (times_s - window_s / 2).clip(min=0), (times_s + window_s / 2).clip(max=end_s)
    first, last = np.searchsorted(notes.onset_s, starts_s), np.searchsorted(notes.onset_s, ends_s)
    total = np.concatenate([[0.0], np.cumsum(notes.velocity, dtype=float)])
    count = last - first
    velocity = np.where(count > 0, (total[last] - total[first]) / np.maximum(1, count), np.nan)
    return times_s, count / np.maximum(ends_s - starts_s, CURVE_HOP_S), velocity


def note_f1(reference: Notes, estimate: Notes, onset_tolerance_s: float = 0.04) -> NoteF1:
    """How many notes of the reference the estimate has, and it of the reference.

    Parameters
    ----------
    onset_tolerance_s : seconds an onset may be off

    Returns
    -------
    NoteF1; all 1 where both are empty, all 0 where one is
    """
    if not len(reference) or not len(estimate):
        both = float(len(reference) == len(estimate))
        return NoteF1(both, both, both)
    pairs = match_notes(reference, estimate, onset_tolerance_s)
    with_offset = match_notes(reference, estimate, onset_tolerance_s, offset_ratio=0.2)
    kept = (len(pairs), len(with_offset), int(_same_velocity(reference, estimate, pairs).sum()))
    return NoteF1(*(2 * count / (len(reference) + len(estimate)) for count in kept))


def match_notes(
    reference: Notes, estimate: Notes, onset_tolerance_s: float = 0.04, offset_ratio: float | None = None
) -> np.ndarray:
    """Pairs of notes that are the same, each in one pair at most, as many pairs as there can be.

    Parameters
    ----------
    onset_tolerance_s : seconds an onset may be off
    offset_ratio : share of its length by which an offset may be off (50 ms at least); None: offsets don't matter

    Returns
    -------
    int (M, 2) : indices in reference and estimate. mir_eval's matching, a pitch at a time: across pitches there are
    no pairs, and its matrices grow with the square of the notes
    """
    from mir_eval import transcription

    pairs = [np.zeros((0, 2), int)]
    for pitch in np.intersect1d(reference.pitch, estimate.pitch):
        own = [np.flatnonzero(notes.pitch == pitch) for notes in (reference, estimate)]
        views = [view for notes, rows in zip((reference, estimate), own) for view in _intervals(notes, rows)]
        found = transcription.match_notes(*views, onset_tolerance=onset_tolerance_s, offset_ratio=offset_ratio)
        if found:
            pairs.append(np.stack([own[side][np.array(found)[:, side]] for side in (0, 1)], 1))
    return np.concatenate(pairs)


def _same_velocity(reference, estimate, pairs):
    """bool (M,): pairs whose velocities agree after the best linear fit (mir_eval.transcription_velocity's rule)."""
    low, high = int(reference.velocity.min()), int(reference.velocity.max())
    wanted = (reference.velocity[pairs[:, 0]].astype(float) - low) / max(1, high - low)
    played = estimate.velocity[pairs[:, 1]].astype(float)
    design = np.stack([played, np.ones(len(played))], 1)
    fit = np.linalg.lstsq(design, wanted, rcond=None)[0]
    return np.abs(design @ fit - wanted) < MATCHED_VELOCITY


def _intervals(notes, rows):
    """mir_eval's view of some notes: (N, 2) seconds and (N,) Hz."""
    hz = 440.0 * 2.0 ** ((notes.pitch[rows].astype(np.float64) - 69) / 12)
    return np.column_stack([notes.onset_s, notes.onset_s + notes.duration_s])[rows], hz
