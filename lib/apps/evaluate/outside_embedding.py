"""Fréchet music distance in an embedding that nobody here has trained: CLaMP 2 (Wu et al. 2024), as the package
frechet-music-distance (Retkowski, Stępniak & Modrzejewski 2024) fetches and runs it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lib.apps.evaluate.clip_sets import ClipSets, Missing
from lib.apps.evaluate.clips import ClipSet
from lib.apps.evaluate.intervals import Figure
from lib.apps.evaluate.similarity import Similarity, widest_directions
from lib.music.midi_writer import write_midi
from lib.progress import progress_bar

SETS = ("training", "generated", "base_clips", "others", "markov", "shuffled")
MEASURES = {"frechet_style": "frechet", "nearest_style": "nearest"}  # of Similarity -> what they are called here


def load_embedding() -> Callable[[Path], np.ndarray]:
    """Callable(MIDI file) -> (1, D); Missing where the package or its weights can't be had."""
    if importlib.util.find_spec("frechet_music_distance") is None:
        raise Missing("frechet-music-distance is not installed: pip install frechet-music-distance")
    try:
        from frechet_music_distance.models import CLaMP2Extractor

        return CLaMP2Extractor(verbose=False).extract_feature
    except Exception as error:  # what it imports, and whoever serves the weights, fails in ways of their own
        raise Missing(f"frechet-music-distance can't load CLaMP 2 ({error}).") from error


def embedded(embed: Callable[[Path], np.ndarray], clips: ClipSet) -> np.ndarray:
    """(N, D) of the clips' MIDI files."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = progress_bar(clips.clips, desc="embedding", unit="clip")
        files = [write_midi(clip.notes, Path(folder) / f"{n}.mid", clip.tempo_map) for n, clip in enumerate(pairs)]
        return np.concatenate([np.asarray(embed(path), float).reshape(1, -1) for path in files])


def outside_figures(sets: ClipSets) -> dict[str, dict[str, Figure]]:
    """set -> frechet and nearest -> Figure, against the held-out recordings, as similarity.Similarity has them, in the
    directions in which real clips vary most."""
    embed, clip_sets = load_embedding(), sets.available(("real", *SETS))
    if "real" not in clip_sets:
        raise Missing(sets.missing["real"])
    points = {name: embedded(embed, clips) for name, clips in clip_sets.items()}
    directions = widest_directions(np.concatenate([points[name] for name in ("real", "training") if name in points]))
    measured = {name: dataclasses.replace(sets.measured(name), styles=styles) for name, styles in points.items()}
    real, section = measured.pop("real"), {}
    for name, row in measured.items():
        figures = Similarity(row, real, directions).figures()
        section[name] = {title: figures[key] for key, title in MEASURES.items() if key in figures}
    return section
