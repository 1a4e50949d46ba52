"""Measures that others keep: MusPy's (Dong et al., ISMIR 2020), and smg-metrics' as a second opinion.

Conventions: performances have no bars, so that a "beat" is half a second; times are rounded to 10 ms. NaN where a measure has
nothing to say.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import numpy as np

from lib.music.notes import write_midi

RESOLUTION = 50  # time steps a beat of half a second
STEPS_PER_S = 2 * RESOLUTION
MUSPY = ("pitch_range", "n_pitches_used", "n_pitch_classes_used", "polyphony", "polyphony_rate", "pitch_entropy",
         "pitch_class_entropy", "scale_consistency", "empty_beat_rate")  # fmt: skip
SMG_MISSING = "smg-metrics is not installed: pip install -r requirements-evaluate.txt"


def to_muspy(notes, seconds):
    """muspy.Music of a clip: one piano track."""
    import muspy

    onset, length = np.rint(notes.onset_s * STEPS_PER_S), np.rint(notes.duration_s * STEPS_PER_S).clip(1)
    length = np.minimum(length, round(seconds * STEPS_PER_S) - onset).clip(1)
    rows = zip(onset.astype(int).tolist(), notes.pitch.tolist(), length.astype(int).tolist(), notes.velocity.tolist())
    track = muspy.Track(notes=[muspy.Note(*row) for row in rows])
    return muspy.Music(resolution=RESOLUTION, tempos=[muspy.Tempo(0, 120.0)], tracks=[track])


def muspy_measures(notes, seconds):
    """dict of MUSPY -> float."""
    import muspy

    if not len(notes):
        return dict.fromkeys(MUSPY, np.nan)
    music = to_muspy(notes, seconds)
    return {name: float(getattr(muspy, name)(music)) for name in MUSPY}


def has_second_opinion():
    """Whether smg-metrics is installed."""
    return importlib.util.find_spec("smg_metrics") is not None


def smg_measures(notes):
    """dict of smg-metrics' single-file measures of a clip; {} where it has no notes."""
    from smg_metrics import single_file_harmony, single_file_quality, single_file_rhythm

    if not len(notes):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = write_midi(notes, Path(folder) / "clip.mid")
        found = [measure(path).to_dict() for measure in (single_file_harmony, single_file_rhythm, single_file_quality)]
    return {f"smg_{name}": float(value) for part in found for name, value in part.items()}
