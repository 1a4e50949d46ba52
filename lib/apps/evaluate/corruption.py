"""Music made worse on purpose, by a dose: measures are themselves measured by whether they notice.

Conventions: a dose is in [0, 1] but for jitter, where it is seconds; 0 changes nothing. The same seed spoils alike.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from lib.music.notes import Notes
from lib.music.piano_roll import LOWEST_PITCH, NUM_PITCHES

BAR_S = 1.28  # eight bars a clip of 10.24 s
FURTHEST = 6  # semitones by which a bar is moved
HIGHEST = LOWEST_PITCH + NUM_PITCHES - 1


def jittered(notes, seed, spread_s):
    """Each note begins earlier or later (a normal spread, seconds), as long as before."""
    moved = np.random.default_rng(seed).normal(0, spread_s, len(notes)) if spread_s else 0.0
    onset_s = np.clip(notes.onset_s + moved, 0, None)
    return Notes.from_arrays(onset_s, notes.duration_s, notes.pitch, notes.velocity, notes.pedal_s)


def bars_transposed(notes, seed, share):
    """A share of the bars moved to another key, each to one of its own."""
    generator = np.random.default_rng(seed)
    bar = (notes.onset_s // BAR_S).astype(int)
    bars = int(bar.max(initial=0)) + 1
    steps = generator.integers(1, FURTHEST + 1, bars) * generator.choice([-1, 1], bars)
    steps[generator.permutation(bars)[round(share * bars) :]] = 0
    pitch = notes.pitch.astype(int) + steps[bar]
    pitch += 12 * ((pitch < LOWEST_PITCH).astype(int) - (pitch > HIGHEST))
    return Notes.from_arrays(notes.onset_s, notes.duration_s, pitch, notes.velocity, notes.pedal_s)


def notes_replaced(notes, seed, share):
    """A share of the notes played on any key at all, within the clip's range."""
    generator = np.random.default_rng(seed)
    chosen = generator.random(len(notes)) < share
    low, high = (int(notes.pitch.min()), int(notes.pitch.max())) if len(notes) else (60, 60)
    pitch = np.where(chosen, generator.integers(low, high + 1, len(notes)), notes.pitch)
    return Notes.from_arrays(notes.onset_s, notes.duration_s, pitch, notes.velocity, notes.pedal_s)


# name -> (what is done, doses from least to most, unit)
DOSES = {
    "jitter": (jittered, (0.02, 0.05, 0.1, 0.2), "s"),
    "transposed bars": (bars_transposed, (0.25, 0.5, 1.0), "of the bars"),
    "random notes": (notes_replaced, (0.1, 0.25, 0.5, 1.0), "of the notes"),
}


def bars_shuffled(clip_set, seed=0):
    """The control that must score badly: the bars of all clips, dealt out anew; each bar is real, nothing follows anything."""
    seconds = clip_set.seconds
    starts_s = np.arange(0, seconds - BAR_S / 2, BAR_S)
    bars = [notes.until(seconds).between(start_s, start_s + BAR_S) for notes in clip_set.clips for start_s in starts_s]
    order = np.random.default_rng(seed).permutation(len(bars)).reshape(len(clip_set), -1)
    clips = [_joined([bars[place] for place in row]) for row in order]
    groups = tuple(f"shuffled {number}" for number in range(len(clips)))
    return dataclasses.replace(clip_set, name="shuffled bars", clips=clips, groups=groups, places=())


def _joined(bars):
    whole = bars[0]
    for number, bar in enumerate(bars[1:], 1):
        whole = whole.followed_by(bar, number * BAR_S)
    return whole
