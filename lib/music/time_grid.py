"""Time grids: finds the time step of a performance, and moves performances to another grid.

A file of MIDI has ticks, a transcriber frames, a sequencer fractions of a beat; a packed corpus may have rounded all.
Times and steps are seconds; a step of 0 is no grid.
"""

from __future__ import annotations

import numpy as np

from lib.music.notes import Notes, reorder, select

TOLERANCE_S = 6e-5  # of an onset on a grid: note stores round to 0.1 ms
ON_GRID = 0.99  # share of onsets that lie on the grid of a performance
FINEST_S = 1e-4  # of a note store
MILLISECOND_GRIDS_S = (0.001, 0.005, 0.010, 0.020)
TICKS_PER_QUARTER = (96, 120, 192, 220, 240, 384, 480, 960)
FILE_TEMPOS_BPM = (50.0, 220.0)  # a recording in a file has any tempo, often 120
FRAMES_PER_BEAT = (12, 24)
PLAYED_TEMPOS_BPM = (75.0, 170.0)
GRID_SHARES = (0.2, 0.15, 0.15, 0.5)  # none, milliseconds, ticks, frames of a beat
PARTS_OF_A_BEAT = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, *TICKS_PER_QUARTER)
PLAIN_STEPS_S = (0.05, 0.04, 0.025, *MILLISECOND_GRIDS_S, *(0.5 / ticks for ticks in TICKS_PER_QUARTER))


def time_resolution_s(onset_s: np.ndarray, beat_s: float | None = None) -> float:
    """The coarsest grid on which 99 % of the onsets lie.

    Parameters
    ----------
    onset_s : (N,), seconds from the beginning of the file
    beat_s : seconds a beat of the file; None: fractions of a beat are not tried

    Returns
    -------
    float : seconds; FINEST_S where they lie on no grid that is tried
    """
    if not len(onset_s):
        return FINEST_S
    steps_s = PLAIN_STEPS_S if beat_s is None else (*PLAIN_STEPS_S, *(beat_s / parts for parts in PARTS_OF_A_BEAT))
    for step_s in sorted(steps_s, reverse=True):
        off_s = np.abs(onset_s - np.rint(onset_s / step_s) * step_s)
        if (off_s <= TOLERANCE_S).mean() >= ON_GRID:
            return float(step_s)
    return FINEST_S


def put_on_grid(notes: Notes, step_s: float, phase: float = 0.0) -> Notes:
    """Onsets, releases and pedals rounded to a grid; a note lasts a step at least, a key is struck once a step.

    Parameters
    ----------
    step_s : the grid's; 0: nothing changes
    phase : where the grid begins, in steps
    """
    if not step_s:
        return notes

    def rounded(times_s):
        return (np.rint(times_s / step_s - phase) + phase) * step_s

    onset_s = rounded(notes.onset_s)
    duration_s = np.maximum(rounded(notes.onset_s + notes.duration_s) - onset_s, step_s)
    notes = reorder(notes, onset_s=onset_s, duration_s=duration_s, pedal_s=merge_spans(rounded(notes.pedal_s)))
    repeated = (np.diff(notes.onset_s) < step_s / 2) & (np.diff(notes.pitch.astype(np.int64)) == 0)
    return select(notes, np.concatenate([[True], ~repeated])) if repeated.any() else notes


def draw_grid(generator: np.random.Generator) -> float:
    """The step of a grid on which music is found: none (0), milliseconds, ticks of a file, or frames of a beat."""
    kind = generator.choice(len(GRID_SHARES), p=GRID_SHARES)
    if kind == 0:
        return 0.0
    if kind == 1:
        return float(generator.choice(MILLISECOND_GRIDS_S))
    parts, tempos_bpm = (TICKS_PER_QUARTER, FILE_TEMPOS_BPM) if kind == 2 else (FRAMES_PER_BEAT, PLAYED_TEMPOS_BPM)
    slowest, fastest = tempos_bpm  # uniform in the period: slow tempos have the widest grids
    return float(generator.uniform(60.0 / fastest, 60.0 / slowest)) / int(generator.choice(parts))


def put_on_random_grid(notes: Notes, generator: np.random.Generator) -> Notes:
    """The notes on a grid of any kind, of any phase."""
    return put_on_grid(notes, draw_grid(generator), generator.random())


def merge_spans(spans_s: np.ndarray) -> np.ndarray:
    """Spans (P, 2) in any order as ordered, disjoint ones; empty ones are left out."""
    spans_s = spans_s[spans_s[:, 1] > spans_s[:, 0]]
    if len(spans_s) < 2:
        return spans_s
    spans_s = spans_s[np.argsort(spans_s[:, 0], kind="stable")]
    end_s = np.maximum.accumulate(spans_s[:, 1])
    first = np.concatenate([[True], spans_s[1:, 0] > end_s[:-1]])
    return np.column_stack([spans_s[first, 0], end_s[np.append(first[1:], True)]])
