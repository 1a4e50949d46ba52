"""A user's performance with its beats: those of its file, or tracked ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lib import config as configs
from lib.config import RELEASED, build
from lib.generation.request import GenerateRequest, Order
from lib.models.beat_tracker import BeatTracker
from lib.music.beat_tracking import phase_lock, sits_on_grid
from lib.music.chart import Timing
from lib.music.notes import SLOWEST_FASTEST, Notes, read_metres, read_midi_and_quarters
from lib.music.piano_roll import FRAMES_PER_BEAT
from lib.music.tempo_map import BEATS_ONLY, IN_BARS, NO_BEAT, UNITS, BeatNotes, Metre, TempoMap, bar_table, in_beats

TRACKER = RELEASED / "beat_tracker.safetensors"
ON_FRAMES = 0.9  # lock of onsets to frames, as our solos have it and no recording
TEMPO_BEATS = 4  # before new music, of which its tempo is taken
SAME_QUARTER = 1e-3  # quarters by which a bar may be short and still be whole

load_tracker = lru_cache(maxsize=1)(BeatTracker.load)


def read_performance(source: Path | str | bytes) -> tuple[Notes, TempoMap]:
    """The notes of a MIDI file and their tempo map.

    Where the notes sit on the triplets or sixteenths of the file's own beats, or exactly on its frames, its tempos and
    time signatures are the map: a file of a DAW, or a solo of ours. Otherwise (a recording, whose file says 120
    whatever was played) beats and bars are tracked.

    Parameters
    ----------
    source : as of music.notes.read_midi, which raises MidiError
    """
    notes, quarters_s = read_midi_and_quarters(source)
    if _are_plausible(quarters_s):
        written = written_map(quarters_s, read_metres(source))
        on_frames = phase_lock(notes.onset_s, written.beats_s, (FRAMES_PER_BEAT,))[0] >= ON_FRAMES
        if on_frames or sits_on_grid(notes.onset_s, quarters_s):
            return notes, written
    return notes, load_tracker(TRACKER).track(notes)


def _are_plausible(quarters_s):
    """Whether quarters come one after another, at a tempo that music has."""
    gaps_s = np.diff(quarters_s)
    slowest, fastest = SLOWEST_FASTEST
    return len(gaps_s) > 0 and gaps_s.min() > 0 and slowest <= 60 / np.median(gaps_s) <= fastest


def tempo_and_metre(tempo_map: TempoMap, second: float) -> dict:
    """What a map says of the music before a second, as fields of a GenerateRequest: tempo_bpm and metre where known."""
    at = float(np.clip(tempo_map.to_beats(second), 1, tempo_map.num_beats - 1))
    index = int(np.clip(tempo_map.bar_index(at - SAME_QUARTER), 0, len(tempo_map.bars) - 1))
    bar, first = tempo_map.bars[index], max(0.0, at - TEMPO_BEATS)
    if bar["kind"] == NO_BEAT:
        return {}
    felt_bpm = 60 * (at - first) / (tempo_map.to_seconds(at) - tempo_map.to_seconds(first))
    found = {"tempo_bpm": round(float(np.clip(felt_bpm * tempo_map.quarters_per_beat[index], *SLOWEST_FASTEST)), 2)}
    if bar["kind"] == IN_BARS and bar["numerator"]:
        found["metre"] = f"{bar['numerator']}/{bar['denominator']}"
    return found


def order_of(
    values: Mapping[str, Any], notes: Notes | None = None, tempo_map: TempoMap | None = None, **about: Any
) -> Order:
    """The Order of what a user asks for; what is left out is decided: tempo and metre, and how many candidates.

    Parameters
    ----------
    values : fields of a GenerateRequest; None: left out
    notes, tempo_map : the performance that is continued or infilled, as of read_performance; it has a tempo and a metre
    about : other fields of Order

    Raises
    ------
    ConfigError : a field, or a value that it can't have
    """
    values = {name: value for name, value in values.items() if value is not None}
    if notes is not None:
        from_s = about.get("from_s")
        values = {**tempo_and_metre(tempo_map, notes.end_s if from_s is None else from_s), **values}
    request = build(GenerateRequest, values)
    if request.asks_for_rules and "num_candidates" not in values:
        request = replace(request, num_candidates=configs.GUIDED_CANDIDATES)
    return Order(request, notes, tempo_map=tempo_map, **about)


def as_theme(notes: Notes, tempo_map: TempoMap) -> BeatNotes:
    """A performance as a theme: in beats, from the bar (or beat) of its first note on."""
    in_file = in_beats(notes, tempo_map)
    first = max(0.0, float(in_file.onset[0]))
    bar = tempo_map.bars[int(np.clip(tempo_map.bar_index(first), 0, len(tempo_map.bars) - 1))]
    return in_file.between(float(bar["start"]) if bar["kind"] == IN_BARS else np.floor(first), np.inf)


def written_map(quarters_s: np.ndarray, metres: list[tuple[float, int, int]]) -> TempoMap:
    """The map of written bars: beats as they are felt, 75 to 170 a minute.

    Parameters
    ----------
    quarters_s : (Q,) when quarters begin, in seconds
    metres : (position in quarters, numerator, denominator), the first at 0
    """
    (_, *first), end = metres[0], len(quarters_s) - 1
    metre = Metre.parse("{}/{}".format(*first)) if first[1] in UNITS else Metre(4, 4)
    per_quarter = Timing.of(60 / float(np.median(np.diff(quarters_s))), metre).beats_per_quarter
    tables, edges = [], [start for start, *_ in metres[1:]] + [end]
    for (start, numerator, denominator), last in zip(metres, edges, strict=True):
        length = 4 * numerator / denominator  # quarters
        starts = np.arange(start, min(last, end) - SAME_QUARTER, length)
        quarters = np.diff(np.append(starts, last if last < end else start + length * len(starts)))
        table = bar_table(starts * float(per_quarter), quarters * float(per_quarter), IN_BARS, 1.0)
        is_whole = np.abs(quarters - length) < SAME_QUARTER
        table["kind"] = np.where(is_whole, IN_BARS, BEATS_ONLY)
        table["numerator"], table["denominator"] = (
            np.where(is_whole & (denominator in UNITS), number, 0) for number in (numerator, denominator)
        )
        tables.append(table)
    bars, felt = np.concatenate(tables), Fraction(1, 4) / per_quarter
    bars["felt"] = felt.numerator, felt.denominator
    num_beats = max(2, int(end * per_quarter) + 1)
    beats_s = np.interp(np.arange(num_beats) / float(per_quarter), np.arange(len(quarters_s)), quarters_s)
    return TempoMap(beats_s, bars)
