"""Whether a model plays the chords of its chart, and what its rules cost it.

Conventions: chords are compared a beat at a time, by root and class of quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from lib.apps.evaluate.clips import Clip
from lib.generation.generate import Order
from lib.generation.sliding_window import Conditioning
from lib.music.chart import NO_CHORD_FRAME, Chart, chord_frames
from lib.music.chords import QUALITY_NAMES
from lib.music.piano_roll import LATENTS_PER_BEAT

QUALITY_CLASSES = {
    "major": ("maj", "maj7", "6", "aug"),
    "minor": ("m", "m7", "m6", "mmaj7"),
    "dominant": ("7", "7sus4"),
    "diminished": ("dim7", "m7b5"),
}
CLASSES = list(QUALITY_CLASSES.values())
CLASS_OF = np.array([next(n for n, members in enumerate(CLASSES) if name in members) for name in QUALITY_NAMES])


def required_chords(chart: Chart, beats: int) -> np.ndarray:
    """int8 (beats, 3): the chord frame that a chart has in each beat, a quarter each."""
    return chord_frames(chart.frames(beats, Fraction(1))[0]).numpy()


def agreements(chart: Chart, clip: Clip) -> np.ndarray:
    """bool (M,): for each beat with a chord, whether the one recognised has its root and class of quality."""
    required, played = required_chords(chart, clip.beats), clip.chords()
    same_class = CLASS_OF[played[:, 1]] == CLASS_OF[required[:, 1]]
    return ((played[:, 0] == required[:, 0]) & same_class)[required[:, 0] != NO_CHORD_FRAME[0]]


def agreement(charts: Sequence[Chart], clips: Sequence[Clip]) -> float:
    """Share of the beats of all clips that agree with their charts."""
    return float(np.concatenate([agreements(*pair) for pair in zip(charts, clips, strict=True)]).mean())


def rule_losses(order: Order, clip: Clip) -> dict[str, float]:
    """dict rule -> loss of a clip under the rules of an Order."""
    conditioning = Conditioning.of(order.request, order.request.parsed_chart(), clip.beats * LATENTS_PER_BEAT)
    return {rule.name: float(rule.loss(clip.piano_roll)[0]) for rule in conditioning.rules()}
