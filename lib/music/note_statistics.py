"""Note statistics of a passage: histograms and means that tell players apart (after Edwards et al. and Cheston et al.)."""

from __future__ import annotations

import numpy as np

from lib.music.notes import MIDDLE_C
from lib.music.style_features import chords_of


def shares(values, edges):
    """How the values are spread over bins, outliers in the outer ones."""
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(float)
    return counts / max(1.0, counts.sum())


def steps(first, last, count):
    """Edges of logarithmic bins."""
    return np.geomspace(first, last, count + 1)


def statistics(notes):
    """Histograms and means of a recording, 269 numbers."""
    onset_s, duration_s = notes.onset_s, notes.duration_s
    pitch, velocity = notes.pitch.astype(int), notes.velocity.astype(float)
    starts, sizes, top, low = chords_of(notes)
    gaps, left, pedal = np.diff(onset_s[starts]), pitch < MIDDLE_C, notes.pedal_s
    ratio = np.log2(gaps[1:].clip(0.01) / gaps[:-1].clip(0.01)) if len(gaps) > 1 else np.zeros(1)
    seconds, wide = onset_s[-1] + 1, sizes > 1
    parts = [
        shares(pitch, np.arange(21, 110, 4)),
        *(shares(np.diff(line), np.arange(-12.5, 13.5)) for line in (top, low)),
        shares(gaps, steps(0.02, 2, 16)),
        shares(duration_s, steps(0.02, 4, 16)),
        shares(velocity, np.linspace(0, 128, 17)),
        shares(sizes, np.arange(0.5, 9.5)),
        shares(pitch[starts[wide] + 1] - pitch[starts[wide]], np.arange(0.5, 17.5)),
        shares((top - low)[wide], np.arange(0.5, 40, 3)),
        shares(ratio, np.linspace(-3, 3, 13)),
        shares(duration_s[starts[:-1]] / gaps.clip(0.01), steps(0.1, 10, 10)),
        shares(shares(onset_s, np.arange(0, seconds + 1, 1.0)) * len(notes), np.linspace(0, 32, 9)),
        shares(np.diff(velocity[starts]), np.linspace(-40, 40, 11)),
        shares(pedal[:, 1] - pedal[:, 0], steps(0.05, 5, 8)),
    ]
    for hand in (left, ~left):
        parts += [shares(duration_s[hand], steps(0.02, 4, 10)), shares(np.diff(onset_s[hand]), steps(0.01, 2, 10)),
                  shares(velocity[hand], np.linspace(0, 128, 9)), [velocity[hand].mean() if hand.any() else 0.0]]  # fmt: skip
    held = (pedal[:, 1] - pedal[:, 0]).sum()
    parts.append([left.mean(), velocity.std(), *(np.array([held, len(pedal), len(notes), duration_s.sum()]) / seconds)])
    return np.concatenate(parts)
