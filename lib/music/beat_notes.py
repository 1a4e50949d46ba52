"""Notes in beats: what a tempo map makes of notes in seconds, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.music.notes import Notes
from lib.music.tempo_map import FREE_BPM, NO_BEAT, TempoMap, bar_table


@dataclass(frozen=True)
class BeatNotes:
    """Notes whose times are positions in felt beats.

    Attributes
    ----------
    onset, release : float64 (N,), beats, ordered by onset
    pitch, velocity : (N,), MIDI numbers
    pedal : float64 (P, 2), beats, pedal down and up
    """

    onset: np.ndarray
    release: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    pedal: np.ndarray

    def __len__(self) -> int:
        return len(self.onset)

    @property
    def end(self) -> float:
        """When the last key or pedal is released, in beats (0 for no notes)."""
        return float(max([0.0, *self.release, *self.pedal[:, 1]]))

    def between(self, first: float, last: float) -> BeatNotes:
        """The notes that begin in [first, last), moved so that `first` is 0; pedals are cut at both borders."""
        part = slice(*np.searchsorted(self.onset, [first, last]))
        pedal = np.clip(self.pedal, first, last) - first
        columns = (self.onset[part] - first, self.release[part] - first, self.pitch[part], self.velocity[part])
        return BeatNotes(*columns, pedal[pedal[:, 1] > pedal[:, 0]])


def in_beats(notes: Notes, tempo_map: TempoMap) -> BeatNotes:
    """The notes by a map; onset, release and pedal each for itself, so that a change of tempo bends no length."""
    onset, release = tempo_map.to_beats(notes.onset_s), tempo_map.to_beats(notes.onset_s + notes.duration_s)
    return BeatNotes(onset, release, notes.pitch, notes.velocity, tempo_map.to_beats(notes.pedal_s))


def in_seconds(notes: BeatNotes, tempo_map: TempoMap) -> Notes:
    """Inverse of `in_beats`."""
    onset_s, release_s = tempo_map.to_seconds(notes.onset), tempo_map.to_seconds(notes.release)
    columns = (onset_s, release_s - onset_s, notes.pitch, notes.velocity)
    return Notes.from_arrays(*columns, tempo_map.to_seconds(notes.pedal))


STEADY = TempoMap(np.array([0.0, 60.0 / FREE_BPM]), bar_table([], [], NO_BEAT, 0.0))  # for ever, from 0 on
