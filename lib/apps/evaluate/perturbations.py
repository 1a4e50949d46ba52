"""Real music damaged on purpose, more and more, to test whether the measures notice.

Conventions: a dose is in [0, 1] but for jitter, where it is seconds; 0 changes nothing. The same seed perturbs alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from lib.apps.evaluate.clips import Clip, ClipSet
from lib.apps.evaluate.intervals import Figure
from lib.music.notes import Notes
from lib.music.piano_roll import LOWEST_PITCH, NUM_PITCHES
from lib.progress import progress_bar

FURTHEST = 6  # semitones by which a bar is moved
HIGHEST = LOWEST_PITCH + NUM_PITCHES - 1
BETTER_HIGH = ("overlapping_area", "judge")  # of the other measures of similarity less is better


def jittered(clip: Clip, seed: int, spread_s: float) -> Notes:
    """Each note begins earlier or later (a normal spread, seconds), as long as before."""
    moved_s = np.random.default_rng(seed).normal(0, spread_s, len(clip.notes))
    return _changed(clip.notes, onset_s=(clip.notes.onset_s + moved_s).clip(0))


def bars_transposed(clip: Clip, seed: int, share: float) -> Notes:
    """A share of the bars moved to another key, each to one of its own."""
    generator, bar = np.random.default_rng(seed), (clip.in_beats.onset // clip.beats_per_bar).astype(int)
    bars = int(bar.max(initial=0)) + 1
    steps = generator.integers(1, FURTHEST + 1, bars) * generator.choice([-1, 1], bars)
    steps[generator.permutation(bars)[round(share * bars) :]] = 0
    pitch = clip.notes.pitch.astype(int) + steps[bar]
    return _changed(clip.notes, pitch=pitch + 12 * ((pitch < LOWEST_PITCH).astype(int) - (pitch > HIGHEST)))


def notes_replaced(clip: Clip, seed: int, share: float) -> Notes:
    """A share of the notes played on any key at all, within the clip's range."""
    generator, pitch = np.random.default_rng(seed), clip.notes.pitch.astype(int)
    is_replaced = generator.random(len(pitch)) < share
    low, high = (pitch.min(), pitch.max()) if len(pitch) else (LOWEST_PITCH, HIGHEST)
    return _changed(clip.notes, pitch=np.where(is_replaced, generator.integers(low, high + 1, len(pitch)), pitch))


def _changed(notes, **columns):
    return Notes.from_arrays(**{**vars(notes), **columns})


# name -> (what is done, doses from least to most, unit)
DOSES = {
    "jitter": (jittered, (0.02, 0.05, 0.1, 0.2), "s"),
    "transposed bars": (bars_transposed, (0.25, 0.5, 1.0), "of the bars"),
    "random notes": (notes_replaced, (0.1, 0.25, 0.5, 1.0), "of the notes"),
}


def dose_response(clip_set: ClipSet, measure: Callable[[ClipSet], dict[str, Figure]]) -> list[dict]:
    """What the measures say of real clips that are made worse and worse, the first time without any damage: dicts of
    damage, dose, unit, figures (measure -> Figure)."""
    rows = [{"damage": "none", "dose": 0.0, "unit": "", "figures": measure(clip_set)}]
    cases = [(name, change, dose, unit) for name, (change, doses, unit) in DOSES.items() for dose in doses]
    for name, change, dose, unit in progress_bar(cases, desc="doses", unit="dose"):
        damaged = clip_set.changed(lambda clip, seed, change=change, dose=dose: change(clip, seed, dose))
        rows.append({"damage": name, "dose": dose, "unit": unit, "figures": measure(damaged)})
    return rows


def badness(measure: str, value: float) -> float:
    """A value with its sign turned so that more is less like the pianist."""
    return -value if measure in BETTER_HIGH else value


def verdicts(rows: list[dict]) -> dict[str, dict[str, tuple[bool, float]]]:
    """Of rows of dose_response: measure -> damage -> (whether the largest dose ranks below none, Spearman's correlation
    of badness with dose)."""

    def verdict(measure, damage):
        own = [row for row in rows if row["damage"] in ("none", damage) and measure in row["figures"]]
        values = [badness(measure, row["figures"][measure].value) for row in own]
        is_flat = len(set(values)) == 1
        rank = 0.0 if is_flat else float(spearmanr([row["dose"] for row in own], values).statistic)
        return values[-1] > values[0], rank

    return {measure: {damage: verdict(measure, damage) for damage in DOSES} for measure in rows[0]["figures"]}
