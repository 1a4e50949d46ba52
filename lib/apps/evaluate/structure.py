"""Form by what comes back: the structure index of three ranges of lengths, fitness scape plots, and bars that recur.

Conventions: a segment is a number of whole bars of the clip's tempo map. Its fitness says how well its repetitions, the
segment itself among them, explain the whole (Müller, Jiang & Grosche 2013, "A robust fitness measure for capturing
repetitions in music recordings"); the structure index of a range of lengths is the fittest of its segments (Wu & Yang
2020, "The Jazz Transformer on the front line"). Beats are compared by `measures.beat_features`, chroma and rhythm of
notes, not of a sound. Keys are not moved: what comes back in another key is new.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from lib.apps.evaluate.clips import Clip, from_zero
from lib.apps.evaluate.copying import ALIKE, rows_of_beats
from lib.display.alt_text import described
from lib.display.palette import on_paper
from lib.music.notes import Notes
from lib.music.tempo_map import in_seconds

RANGES = {"2_8": (2, 8), "8_16": (8, 16), "16": (16, np.inf)}  # bars, the last one left out
FEWEST_NOTES = 8
KEPT, PENALTY = 0.2, -2.0  # of the similarities the highest count, the others are punished (as Müller et al.)
EQUAL = 1e-6  # similarities that differ by less are the same
LOOP_BARS = 2  # of the loop bot


def structure_measures(clip: Clip, features: np.ndarray) -> dict[str, float]:
    """structure_2_8, structure_8_16, structure_16 and bar_recurrence of a solo, given its features (beats, F) of length
    1; NaN where it is too short or has too few notes."""
    scape = fitness_scape(clip, features)
    ranges = {name: scape[first - 1 : None if last == np.inf else last - 1] for name, (first, last) in RANGES.items()}
    indices = {f"structure_{name}": np.nanmax(rows) if rows.size else np.nan for name, rows in ranges.items()}
    return {**indices, "bar_recurrence": bar_recurrence(clip)}


def fitness_scape(clip: Clip, features: np.ndarray) -> np.ndarray:
    """float (L, B) of a solo of B bars, L = B // 2: the fitness in [0, 1) of the segment of row + 1 bars that begins in
    the bar of the column; NaN where none does, and empty for too few notes."""
    bar = clip.beats_per_bar
    bars = clip.beats // bar if len(clip.notes) >= FEWEST_NOTES else 0
    scape = np.full((bars // 2, bars), np.nan)
    matrix = _enhanced(features[: bars * bar])
    for length in range(2, len(scape) + 1):
        starts = np.arange(bars - length + 1)
        scape[length - 1, starts] = _fitness(matrix, starts * bar, length * bar)
    return scape


def _enhanced(features):
    """The similarities (B, B) of beats: the highest in [0, 1], PENALTY for the others."""
    matrix = features @ features.T
    if not matrix.size:
        return matrix
    threshold, highest = np.quantile(matrix, 1 - KEPT), matrix.max()
    if highest - threshold < EQUAL:  # a loop
        return np.where(matrix > highest - EQUAL, 1.0, PENALTY)
    return np.where(matrix > threshold, (matrix - threshold) / (highest - threshold), PENALTY)


def _fitness(matrix, starts, length):
    """Fitness (S,) of the segments of `length` beats from `starts` (S,) in `matrix` (B, B).

    Of each cell, a beat of the music and one of the segment, (score, cells, beats of the music) of the best family of
    paths up to there; a path leads through the whole segment, by steps (1, 1), (2, 1) and (1, 2).
    """
    columns, size = starts[:, None] + np.arange(length), (len(starts), length)
    between, nowhere = np.zeros((3, len(starts))), np.concatenate([np.full((1, *size), -np.inf), np.zeros((2, *size))])
    last, before = nowhere, nowhere  # the cells of the beat before, and of the one before that
    for row in matrix:
        steps = [_moved(last, 1), _moved(before, 1), _moved(last, 2)]
        steps[1][2] += 1
        between = _better(between, last[..., -1])
        steps[0][..., 0] = between
        last, before = _better(*steps), last
        last += 1
        last[0] += row[columns] - 1
    score, cells, beats = _better(between, last[..., -1])
    score, coverage = (score - length) / np.maximum(cells, 1), (beats - length) / len(matrix)
    return np.where((score > 0) & (coverage > 0), 2 * score * coverage / np.maximum(score + coverage, 1e-9), 0.0)


def _moved(cells, columns):
    moved = np.full_like(cells, -np.inf)
    moved[..., columns:] = cells[..., :-columns]
    return moved


def _better(first, *others):
    """Of cells (3, ...), those of the highest score."""
    for other in others:
        first = np.where(other[0] > first[0], other, first)
    return first


def bar_recurrence(clip: Clip) -> float:
    """Share of the bars with notes, from the second on, that are like an earlier bar: in Jaccard's similarity of the
    keys that are down, ALIKE or more. NaN for fewer than two bars with notes."""
    bar = clip.beats_per_bar
    rows = rows_of_beats(clip.in_beats, clip.beats)
    bars = rows[: len(rows) // bar * bar].reshape(len(rows) // bar, -1).astype(np.float32)
    bars = bars[bars.any(1)]
    both, size = bars @ bars.T, bars.sum(1)
    similarity = np.tril(both / np.maximum(size[:, None] + size - both, 1), -1)
    return float((similarity[1:].max(1) >= ALIKE).mean()) if len(bars) > 1 else np.nan


def looped(clip: Clip) -> Notes:
    """The loop bot: the first LOOP_BARS bars of a clip, again and again in its beats."""
    beats = LOOP_BARS * clip.beats_per_bar
    loop, notes = clip.in_beats.between(0, beats), clip.notes.between(0, 0)
    for first in range(0, clip.beats, beats):
        at_s = float(clip.tempo_map.to_seconds(first))
        notes = notes.followed_by(in_seconds(loop, from_zero(clip.tempo_map, first)).until(clip.seconds - at_s), at_s)
    return notes


@on_paper
def plot_scapes(scapes: dict[str, np.ndarray]) -> plt.Figure:
    """A fitness scape plot a solo, title -> `fitness_scape`: over the bar in the middle of a segment, its length; the
    darker, the fitter."""
    size = (3.7 * len(scapes), 2.4)
    figure, axes = plt.subplots(1, len(scapes), figsize=size, squeeze=False, sharey=True, layout="constrained")
    for ax, (title, scape) in zip(axes.flat, scapes.items()):
        scape = np.array(scape, float)  # NaN for None
        row, column = np.nonzero(~np.isnan(scape))
        shades = {"c": scape[row, column], "cmap": "Greys", "vmin": 0, "vmax": 1}
        dots = ax.scatter(column + row / 2, row + 1, s=9, marker="s", **shades)
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("middle of the segment, bar", fontsize=8)
    axes.flat[0].set_ylabel("its length, bars", fontsize=8)
    figure.colorbar(dots, ax=axes, label="fitness")
    fittest = ", ".join(f"{title} {np.nanmax(np.array(scape, float)):.2f}" for title, scape in scapes.items())
    return described(figure, f"How well the repetitions of each segment explain a solo. The fittest: {fittest}")
