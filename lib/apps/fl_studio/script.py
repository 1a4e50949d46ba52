"""Solos as a script for FL Studio's piano roll: the notes are literals in it, so that it needs no file and no network.

Conventions: a script counts in ticks, TICKS a quarter of its take's own bars, and FL Studio in `score.PPQ` a quarter;
the script brings one to the other, exactly wherever PPQ holds the frame that a solo is made of. It has no sustain pedal
to give, so a note rings as long as the pedal held it.

What a script may do is documented in Image-Line's API stubs (github.com/IL-Group/FL-Studio-API-Stubs,
src/piano_roll_scripting/flpianoroll) and in the reference that FL Studio installs ("Piano roll script reference.txt").
Files: FL Studio 26.1.6 refuses them to scripts, by error or by crash, as others measured (karl-andres/fl-studio-mcp#7).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.config import ConfigError
from lib.music.chords import in_ascii
from lib.music.hands import left_hand
from lib.music.notes import Notes, read_markers, read_metres, read_midi_and_quarters, select
from lib.music.tempo_map import BEATS_ONLY, TempoMap, bar_table

SIGNATURE = "# Written by Brad Mehldau AI (python -m lib fl-studio)."  # by it `uninstall` knows what is ours
TEMPLATE = Path(__file__).parent / "solo.pyscript.txt"
MAX_TAKES, MAX_NOTES = 4, 50_000  # two recitals of 40 minutes: a script of 1.5 MB
LOWEST, HIGHEST = 21, 108  # of a piano; music/piano_roll.py knows them too, but brings torch
TICKS = 960  # a quarter, as FL Studio has them at its finest


def steady(tempo_bpm: float) -> np.ndarray:
    """When quarters begin at a steady tempo, seconds: the first two, which the others follow."""
    return np.array([0.0, 60.0 / tempo_bpm])


@dataclass(frozen=True)
class ScriptTake:
    """A solo to choose in the script."""

    name: str  # what the script calls it
    notes: Notes  # with their pedal
    quarters_s: np.ndarray  # float64 (Q,), when its quarters begin: those become the quarters of the piano roll
    metres: tuple = ((0.0, 4, 4),)  # (quarter, numerator, denominator) of its bars, the first at 0
    chords: tuple = ()  # (time_s, symbol)

    @property
    def tempo_bpm(self) -> float:
        """Quarters a minute, the median."""
        return 60 / float(np.median(np.diff(self.quarters_s)))

    def ticks(self, time_s: np.ndarray) -> np.ndarray:
        """Ticks of times in seconds, int64."""
        quarters = TempoMap(self.quarters_s, bar_table([], [], BEATS_ONLY, 0.0)).to_beats(time_s)
        return np.rint(quarters * TICKS).astype(np.int64)


def read_take(path: Path | str, tempo_bpm: float | None = None) -> ScriptTake:
    """ScriptTake from a MIDI file, its markers as chords, at so many quarters a minute; None: in the file's quarters.
    MidiError as read_midi."""
    path = Path(path)
    (notes, quarters_s), metres = read_midi_and_quarters(path), read_metres(path)
    if tempo_bpm is not None:
        quarters_s, metres = steady(tempo_bpm), metres[:1]
    return ScriptTake(path.stem, notes, quarters_s, tuple(metres), tuple(read_markers(path)))


def ringing(notes: Notes) -> Notes:
    """The performance without its pedal, no two notes of a key at a time: what it held rings until it lets go, or the
    key is struck again.
    """
    return Notes.from_arrays(notes.onset_s, notes.sounding_end_s() - notes.onset_s, notes.pitch, notes.velocity)


def script_text(takes: list[ScriptTake], name: str) -> str:
    """A .pyscript in ASCII, for Python 3.9 and later, whose window has a name; ConfigError where there are none or too
    many takes, too many notes, or a take without a note for the piano.
    """
    if not 1 <= len(takes) <= MAX_TAKES:
        raise ConfigError(f"A script holds 1 to {MAX_TAKES} takes, not {len(takes)}. Write several scripts.")
    notes = [_on_the_piano(take) for take in takes]
    if (total := sum(map(len, notes))) > MAX_NOTES:
        reason = f"A script holds {MAX_NOTES:,} notes at most, these takes have {total:,}"
        raise ConfigError(f"{reason}. Write a script a take.")
    tempos = " / ".join(dict.fromkeys(f"{round(take.tempo_bpm, 2):g}" for take in takes))
    colours = "The right hand has the first colour, the left hand the second."
    texts = {"name": name, "description": f"Set the project's tempo to {tempos} BPM. {colours}"}
    parts = {key: json.dumps(in_ascii(text)) for key, text in texts.items()}
    rows = ",\n".join(_take_text(number, *pair) for number, pair in enumerate(zip(takes, notes), 1))
    parts |= {"signature": SIGNATURE, "takes": f"[\n{rows},\n]", "ticks": str(TICKS)}
    return re.sub(r"\{\{(\w+)\}\}", lambda slot: parts[slot[1]], TEMPLATE.read_text(encoding="ascii"))


def _on_the_piano(take):
    """The take's notes within the 88 keys."""
    within = (take.notes.pitch >= LOWEST) & (take.notes.pitch <= HIGHEST)
    if not within.any():
        raise ConfigError(f"{take.name} has no note between A0 and C8.")
    return select(take.notes, within)


def _take_text(number, take, notes):
    """The take as a dict that Python reads (JSON in ASCII), a line a note."""
    notes = ringing(notes)
    first, last = take.ticks(notes.onset_s), take.ticks(notes.onset_s + notes.duration_s)
    columns = (first, last - first, notes.pitch, notes.velocity, left_hand(notes).astype(int))
    lines = ",\n".join(json.dumps(row) for row in zip(*(column.tolist() for column in columns)))
    times = take.ticks(np.array([time_s for time_s, _ in take.chords]))
    head = {
        "name": in_ascii(f"{number}: {take.name}"[:60].replace(",", " ")),  # commas part the choices of a list
        "quarters_a_second": round(take.tempo_bpm / 60, 6),
        "metres": [(round(at * TICKS), above, below) for at, above, below in take.metres],
        "chords": [(int(tick), in_ascii(symbol[:100])) for tick, (_, symbol) in zip(times, take.chords)],
    }
    return f'{json.dumps(head)[:-1]}, "notes": [\n{lines}\n]}}'
