"""Notes of one performance, and the MIDI files they come from and go to.

Conventions: times in seconds from the start of the performance, pitches and velocities as in MIDI
(21-108 on the piano, 1-127). The sustain pedal is a list of intervals in which controller 64 is >= 64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lib.music.midi_file import NEVER, PEDAL_CONTROLLER, MidiError, read_score

MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
MIDDLE_C = 60
PEDAL_DOWN = 64  # the controller's value from which the pedal holds
KEYBOARDS, BASSES = range(8), range(32, 40)  # programs of General MIDI
MAX_PERFORMANCE_S = 24 * 3600.0  # beyond this a tempo or a time is broken
MAX_QUARTERS = 100_000  # of a file that are looked at
REST = ("duration_s", "pitch", "velocity")  # columns of notes besides the onset
SHORTEST_S = 0.005  # of a note that `reorder` has to lengthen
SLOWEST_FASTEST = (20.0, 400.0)  # bpm; a tempo beyond is a slip of the file
DEFAULT_TEMPO = 500_000  # microseconds a quarter where a file says nothing (120 bpm)


@dataclass(frozen=True)
class Notes:
    """One performance, ordered by onset, then pitch.

    Attributes
    ----------
    onset_s, duration_s : float64 (N,), seconds
    pitch, velocity : uint8 (N,), MIDI numbers
    pedal_s : float64 (P, 2), seconds, pedal down and up
    """

    onset_s: np.ndarray
    duration_s: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    pedal_s: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    def __len__(self):
        return len(self.onset_s)

    @property
    def end_s(self) -> float:
        """When the last key is released, in seconds (0 for no notes)."""
        return float((self.onset_s + self.duration_s).max()) if len(self) else 0.0

    def sounding_end_s(self) -> np.ndarray:
        """float64 (N,): the second in which each note stops sounding: key and pedal are up, or the key is struck again.

        A note rings under a pedal that is down when its key goes up, down_s <= end < up_s. piano_roll.sounding_roll has
        the same rule in frames.
        """
        end_s = self.onset_s + self.duration_s
        if len(self.pedal_s):
            down_s, up_s = self.pedal_s.T
            interval = np.searchsorted(down_s, end_s, side="right") - 1  # the last pedal down by then
            end_s = np.where(interval >= 0, np.maximum(end_s, up_s[interval]), end_s)
        order = np.argsort(self.pitch, kind="stable")  # within a pitch by onset
        again = np.flatnonzero(np.diff(self.pitch[order].astype(int)) == 0)
        end_s[order[again]] = np.minimum(end_s[order[again]], self.onset_s[order[again + 1]])
        return end_s

    @classmethod
    def from_arrays(cls, onset_s, duration_s, pitch, velocity, pedal_s=()):
        """Notes from arrays in any order: sorted, typed, notes of no length dropped."""
        onset_s = np.asarray(onset_s, dtype=np.float64)
        duration_s = np.asarray(duration_s, dtype=np.float64)
        pitch, velocity = np.asarray(pitch, dtype=np.uint8), np.asarray(velocity, dtype=np.uint8)
        order = np.lexsort((pitch, onset_s))
        order = order[duration_s[order] > 0]
        pedal_s = np.asarray(pedal_s, dtype=np.float64).reshape(-1, 2)
        return cls(onset_s[order], duration_s[order], pitch[order], velocity[order], pedal_s)

    def between(self, start_s: float, end_s: float) -> Notes:
        """The notes that begin in [start_s, end_s), moved so that start_s is 0.

        A note that rings beyond end_s keeps its length; pedal intervals are cut at both borders.
        """
        first, last = np.searchsorted(self.onset_s, [start_s, end_s])
        pedal_s = np.clip(self.pedal_s, start_s, end_s) - start_s
        part = select(self, slice(first, last))
        return replace(part, onset_s=part.onset_s - start_s, pedal_s=pedal_s[pedal_s[:, 1] > pedal_s[:, 0]])

    def until(self, end_s: float) -> Notes:
        """The notes that begin before end_s, none held beyond it."""
        part = self.between(0.0, end_s)
        return replace(part, duration_s=np.minimum(part.duration_s, end_s - part.onset_s))

    def struck_once(self) -> Notes:
        """The same with each key released before it is struck again; of two struck at a time the later one stays."""
        order = np.lexsort((self.onset_s, self.pitch))
        again, duration_s = np.diff(self.pitch[order].astype(int)) == 0, self.duration_s.copy()
        gap_s = np.diff(self.onset_s[order])[again]
        duration_s[order[:-1][again]] = np.minimum(duration_s[order[:-1][again]], gap_s)
        return Notes.from_arrays(self.onset_s, duration_s, self.pitch, self.velocity, self.pedal_s)

    def without_held(self, others: Notes) -> Notes:
        """The notes whose keys none of the others holds down when they begin."""
        held = np.zeros(len(self), bool)
        ends_s = others.onset_s + others.duration_s
        for row in np.flatnonzero(np.isin(self.pitch, others.pitch)):
            is_same = others.pitch == self.pitch[row]
            held[row] = (is_same & (others.onset_s <= self.onset_s[row]) & (self.onset_s[row] < ends_s)).any()
        return select(self, ~held)

    def followed_by(self, later: Notes, at_s: float) -> Notes:
        """One performance of both, `later` from at_s on; a pedal held until then is released there."""
        pedal_s = self.pedal_s.clip(max=at_s)
        pedal_s = np.concatenate([pedal_s[pedal_s[:, 1] > pedal_s[:, 0]], later.pedal_s + at_s])
        onset_s = np.concatenate([self.onset_s, later.onset_s + at_s])
        rest = [np.concatenate([getattr(self, name), getattr(later, name)]) for name in REST]
        return Notes.from_arrays(onset_s, *rest, pedal_s)


def reorder(notes: Notes, **changes: np.ndarray) -> Notes:
    """The notes with some columns changed, in order of onset, then pitch, none shorter than SHORTEST_S."""
    notes = replace(notes, **changes)
    columns = {name: getattr(notes, name) for name in ("onset_s", *REST)}
    columns["duration_s"] = np.maximum(notes.duration_s, SHORTEST_S)
    return select(replace(notes, **columns), np.lexsort((notes.pitch, notes.onset_s)))


def select(notes: Notes, rows: np.ndarray | slice) -> Notes:
    """Some of the notes (bool (N,), indices in order, or a slice), and all of the pedal."""
    return replace(notes, **{name: getattr(notes, name)[rows] for name in ("onset_s", *REST)})


def read_midi(source: Path | str | bytes) -> Notes:
    """Read a MIDI file; all tracks but drums are taken as one piano.

    Parameters
    ----------
    source : path, or bytes of a MIDI file

    Raises
    ------
    MidiError : not a MIDI file, cut short, or without a single note for piano

    Notes
    -----
    Parsed in ticks and converted here in float64: symusic's seconds are float32, 0.1 ms coarse in a long recital.
    A pedal never released is held until the last key is up (symusic drops it; 89 files of MAESTRO end so).
    """
    return _read(source)[1]


def read_midi_and_quarters(source: str | Path | bytes, holds: bool = True) -> tuple[Notes, np.ndarray]:
    """The notes of a MIDI file (see read_midi), and when its quarters begin, float64 (Q,), seconds, to its end.

    holds : whether a note that is never released lasts until its track ends; else it is left out, as a slip
    """
    score, notes, _ = _read(source, holds=holds)
    seconds = _tick_clock(score)
    count = min(score.end() % NEVER // score.ticks_per_quarter + 2, MAX_QUARTERS)
    return notes, seconds(np.arange(count) * score.ticks_per_quarter)


@dataclass(frozen=True)
class LeftOut:
    """What of a MIDI file is not among its notes, or not as it stands there: what, how many, and why."""

    what: str
    count: int
    reason: str


def look(source: Path | str | bytes, choose_tracks: Callable | None = None) -> tuple[Notes, list[LeftOut]]:
    """The notes of a MIDI file (see read_midi), and what was left out or mended."""
    score, notes, counts = _read(source, choose_tracks or _pitched)
    chosen = (choose_tracks or _pitched)(score)
    others = [track for track in score.tracks if len(track.notes) and track not in chosen]
    rows = [LeftOut(_title_of(track), len(track.notes), "no piano") for track in others]
    if count := counts["never_released"]:
        rows.append(LeftOut("notes that are never released", count, "held until their track ends"))
    if count := counts["no_length"]:
        rows.append(LeftOut("notes of no length", count, "nothing sounds"))
    return notes, rows


def read_piano(source: Path | str | bytes) -> tuple[Notes, list[str]]:
    """The piano of a MIDI file, and what the file holds besides: in a band, another player's bass is no piano.

    Returns
    -------
    (Notes, list of str) : all tracks but drums, or the keyboards' alone if there are any; and what was left out, such
        as "drums (96 notes)". MidiError as read_midi
    """
    notes, rows = look(source, _keyboards)
    return notes, [f"{row.what} ({row.count} notes)" for row in rows if row.reason == "no piano"]


def _title_of(track):
    kind = "drums" if track.is_drum else "bass" if track.program in BASSES else f"program {track.program + 1}"
    return f"{kind}, track {track.name.strip()!r}" if track.name.strip() else kind


def _pitched(score):
    return [track for track in score.tracks if not track.is_drum]


def _keyboards(score):
    keyboards = [track for track in _pitched(score) if track.program in KEYBOARDS and len(track.notes)]
    return keyboards or _pitched(score)


def _read(source, choose_tracks=_pitched, holds=True):
    """(symusic's Score in ticks, Notes of the tracks chosen, {what was mended: how many}), see read_midi."""
    if isinstance(source, bytes):
        score, mended = read_score(source)
        return score, *_notes_of(score, choose_tracks(score), mended.pedal, holds)
    try:
        return _read(Path(source).read_bytes(), choose_tracks, holds)
    except MidiError as error:
        raise MidiError(f"{source} {error}") from error


def _notes_of(score, tracks, more_pedal, holds):
    arrays = [track.notes.numpy() for track in tracks if len(track.notes)]
    if not arrays:
        drums = any(len(track.notes) for track in score.tracks)
        raise MidiError("has drums only" if drums else "has no notes")
    onset, duration, pitch, velocity = (
        np.concatenate([a[key] for a in arrays]) for key in ("time", "duration", "pitch", "velocity")
    )
    release = onset.astype(np.int64) + duration
    is_held = release >= NEVER
    if is_held.any():
        release[is_held] -= NEVER
        rows = slice(None) if holds else ~is_held
        onset, release, pitch, velocity = onset[rows], release[rows], pitch[rows], velocity[rows]
    if not len(onset):
        raise MidiError("has no note that is released")
    seconds = _tick_clock(score)
    pedal_s = seconds(_pedal_ticks(tracks, more_pedal, release.max()))
    onset_s, release_s = seconds(onset), seconds(release)
    if onset.min() < 0 or release.min() < 0 or not release_s.max() <= MAX_PERFORMANCE_S:
        raise MidiError("has notes at impossible times")
    notes = Notes.from_arrays(onset_s, release_s - onset_s, pitch, velocity, pedal_s)
    if not len(notes):
        raise MidiError("has only notes of no length")
    return notes, {"never_released": int(is_held.sum()), "no_length": len(onset) - len(notes)}


def _tick_clock(score):
    """A function from ticks to seconds that follows the file's tempo changes."""
    if score.ticks_per_quarter <= 0:
        raise MidiError(f"has {score.ticks_per_quarter} ticks a quarter")
    tempos = score.tempos.numpy()
    order = np.argsort(tempos["time"], kind="stable")
    ticks = np.concatenate([[0], tempos["time"][order]])
    second_a_tick = np.concatenate([[DEFAULT_TEMPO], tempos["mspq"][order]]) / 1e6 / score.ticks_per_quarter
    starts_s = np.concatenate([[0.0], np.cumsum(np.diff(ticks) * second_a_tick[:-1])])

    def seconds(tick):
        tempo = np.searchsorted(ticks, tick, side="right") - 1
        return starts_s[tempo] + (tick - ticks[tempo]) * second_a_tick[tempo]

    return seconds


def _pedal_ticks(tracks, more_pedal, end):
    """(P, 2) ticks in which any pedal is down, in order, not overlapping; open ones close at end.

    more_pedal : [(tick, whether it is down)] of each channel without notes
    """
    controls = [track.controls.numpy() for track in tracks if len(track.controls)]
    chosen = [control["number"] == PEDAL_CONTROLLER for control in controls]
    rows = [(c["time"][rows], c["value"][rows] >= PEDAL_DOWN) for c, rows in zip(controls, chosen, strict=True)]
    rows += [tuple(map(np.array, zip(*channel, strict=True))) for channel in more_pedal]
    intervals = [_pedal_of(ticks.astype(np.int64), down, end) for ticks, down in rows]
    intervals = np.concatenate([np.zeros((0, 2), dtype=np.int64), *intervals])
    if len(intervals) < 2:
        return intervals
    intervals = intervals[np.argsort(intervals[:, 0], kind="stable")]
    up = np.maximum.accumulate(intervals[:, 1])
    first = np.concatenate([[True], intervals[1:, 0] >= up[:-1]])
    return np.column_stack([intervals[first, 0], up[np.append(first[1:], True)]])


def _pedal_of(ticks, down, end):
    changes = down != np.concatenate([[False], down[:-1]])
    ticks = ticks[changes]
    if len(ticks) % 2:
        ticks = np.append(ticks, max(end, ticks[-1]))
    intervals = ticks.reshape(-1, 2)
    return intervals[intervals[:, 1] > intervals[:, 0]]


def read_metres(source: Path | str | bytes) -> list[tuple[float, int, int]]:
    """[(position in quarters, numerator, denominator)] of a MIDI file's time signatures; 4/4 by default."""
    score, _, _ = _read(source)
    possible = [each for each in score.time_signatures if 0 < each.numerator < 33 and 0 < each.denominator < 33]
    found = sorted(possible, key=lambda metre: metre.time)
    metres = [(each.time / score.ticks_per_quarter, each.numerator, each.denominator) for each in found]
    return metres if metres and metres[0][0] <= 0 else [(0.0, 4, 4), *metres]


def read_tempo(source: Path | str | bytes, at_s: float | None = None) -> float | None:
    """Quarters a minute of a MIDI file (as read_midi takes it) at a time, or at its end; None where it gives none."""
    score, _, _ = _read(source)
    seconds = _tick_clock(score)
    tempos = sorted(score.tempos, key=lambda tempo: tempo.time)
    began = [tempo for tempo in tempos if at_s is None or seconds(np.array([tempo.time]))[0] <= at_s]
    return float(np.clip(began[-1].qpm, *SLOWEST_FASTEST)) if began else None


def read_markers(path: Path | str) -> list[tuple[float, str]]:
    """[(time_s, text)] of the markers of a MIDI file, in order: in ours, the chords. MidiError as read_midi."""
    score, _, _ = _read(path)
    seconds = _tick_clock(score)
    markers = sorted(score.markers, key=lambda marker: marker.time)
    return [(float(seconds(np.array([marker.time]))[0]), marker.text) for marker in markers]
