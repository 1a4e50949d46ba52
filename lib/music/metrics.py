"""Figures of a performance, and how much of one survives in another.

Conventions: notes a second count onsets; "sounding" counts keys that are down, the pedal left out; F1 as
transcription is measured (mir_eval; Raffel et al. 2014): onsets within a tolerance, offsets within 20 % of the length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIDDLE_C = 60
VELOCITY_TOLERANCE = 0.1  # of the range, after the best linear fit (Hawthorne et al. 2018)


@dataclass(frozen=True)
class NoteF1:
    """F1 in [0, 1] of notes by onset and pitch, by these and the offset, by these and the velocity."""

    onset: float
    onset_offset: float
    onset_velocity: float


def describe(notes, seconds=None):
    """What a passage is like.

    Parameters
    ----------
    notes : Notes
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
    figures = {
        "notes": count,
        "notes_per_s": count / seconds,
        "sounding_notes": float(np.clip(notes.onset_s + notes.duration_s, 0, seconds).sum() - notes.onset_s.sum()) / seconds,
        "pitch_low": int(notes.pitch.min()) if count else None,
        "pitch_high": int(notes.pitch.max()) if count else None,
        "velocity_mean": float(notes.velocity.mean()) if count else 0.0,
        "velocity_std": float(notes.velocity.std()) if count else 0.0,
        "longest_silence_s": longest_silence_s(notes, seconds),
        "pedal_share": float((pedal_s[:, 1] - pedal_s[:, 0]).sum() / seconds),
        "left_hand_share": float((notes.pitch < MIDDLE_C).mean()) if count else 0.0,
    }
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}


def longest_silence_s(notes, seconds):
    """The longest time in [0, seconds] in which no key is down and no pedal holds a note that was struck."""
    release_s = notes.onset_s + notes.duration_s
    for down_s, up_s in notes.pedal_s:
        held = (release_s > down_s) & (release_s < up_s)
        release_s = np.where(held, up_s, release_s)
    order = np.argsort(notes.onset_s)
    starts = np.append(notes.onset_s[order], seconds).clip(0, seconds)
    ends = np.maximum.accumulate(np.insert(release_s[order], 0, 0.0)).clip(0, seconds)
    return float((starts - ends).max(initial=0.0).clip(min=0))


def note_f1(reference, estimate, onset_tolerance_s=0.04):
    """How many notes of the reference the estimate has, and it of the reference.

    Parameters
    ----------
    reference, estimate : Notes
    onset_tolerance_s : seconds an onset may be off

    Returns
    -------
    NoteF1; all 1 where both are empty, all 0 where one is
    """
    if not len(reference) or not len(estimate):
        both = float(len(reference) == len(estimate))
        return NoteF1(both, both, both)
    from mir_eval import transcription, transcription_velocity

    one, other = _intervals(reference), _intervals(estimate)
    plain = {"onset_tolerance": onset_tolerance_s}
    f1 = transcription.precision_recall_f1_overlap
    onset = f1(*one, *other, offset_ratio=None, **plain)[2]
    offset = f1(*one, *other, **plain)[2]
    (spans, hz), (spans2, hz2) = one, other
    louder = transcription_velocity.precision_recall_f1_overlap(
        spans, hz, reference.velocity.astype(float), spans2, hz2, estimate.velocity.astype(float),
        offset_ratio=None, velocity_tolerance=VELOCITY_TOLERANCE, **plain,
    )[2]  # fmt: skip
    return NoteF1(float(onset), float(offset), float(louder))


def _intervals(notes):
    """mir_eval's view: (N, 2) seconds and (N,) Hz."""
    hz = 440.0 * 2.0 ** ((notes.pitch.astype(np.float64) - 69) / 12)
    return np.column_stack([notes.onset_s, notes.onset_s + notes.duration_s]), hz
