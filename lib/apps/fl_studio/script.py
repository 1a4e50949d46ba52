"""Solos as a script for FL Studio's piano roll: the notes are literals in it, so that it needs no file and no network.

Conventions: a script counts in beats (quarters) of its take's tempo, and FL Studio in ticks, `score.PPQ` a beat; the
script brings one to the other. It has no sustain pedal to give, so a note rings as long as the pedal held it.

What a script may do is documented in Image-Line's API stubs (github.com/IL-Group/FL-Studio-API-Stubs,
src/piano_roll_scripting/flpianoroll) and in the reference that FL Studio installs ("Piano roll script reference.txt").
Files: FL Studio 26.1.6 refuses them to scripts, by error or by crash, as others measured (karl-andres/fl-studio-mcp#7).
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

from lib.config import ConfigError
from lib.music.chords import in_ascii
from lib.music.hands import left_hand
from lib.music.notes import Notes, read_markers, read_midi, read_tempo

SIGNATURE = "# Written by Brad Mehldau AI (python -m lib fl-studio)."  # by it `uninstall` knows what is ours
TEMPLATE = Path(__file__).parent / "solo.pyscript.txt"
MAX_TAKES, MAX_NOTES = 4, 50_000  # two recitals of 40 minutes: a script of 1.5 MB
LOWEST, HIGHEST = 21, 108  # of a piano; music/piano_roll.py knows them too, but brings torch
DEFAULT_TEMPO_BPM = 120.0  # where a file says nothing


@dataclass(frozen=True)
class ScriptTake:
    """A solo to choose in the script.

    Attributes
    ----------
    name : what the script calls it
    notes : Notes, with their pedal
    tempo_bpm : quarters a minute; the bars of the piano roll are played at it
    chords : list of (time_s, symbol)
    """

    name: str
    notes: Notes
    tempo_bpm: float = DEFAULT_TEMPO_BPM
    chords: tuple = ()


def read_take(path, tempo_bpm=None):
    """ScriptTake from a MIDI file; its tempo where none is given, its markers as chords. MidiError as read_midi."""
    path = Path(path)
    return ScriptTake(path.stem, read_midi(path), tempo_bpm or read_tempo(path) or DEFAULT_TEMPO_BPM, read_markers(path))


def ringing(notes):
    """The performance without its pedal: what it held rings until it lets go, or the key is struck again.

    Parameters
    ----------
    notes : Notes

    Returns
    -------
    Notes, no two of a key at a time
    """
    return Notes.from_arrays(notes.onset_s, notes.sounding_end_s() - notes.onset_s, notes.pitch, notes.velocity)


def script_text(takes, name):
    """A .pyscript in ASCII, for Python 3.9 and later.

    Parameters
    ----------
    takes : list of ScriptTake, 1 to MAX_TAKES
    name : the title of its window

    Raises
    ------
    ConfigError : there are none or too many takes, too many notes, or a take without a note for the piano
    """
    if not 1 <= len(takes) <= MAX_TAKES:
        raise ConfigError(
            f"A script holds 1 to {MAX_TAKES} takes, not {len(takes)}. Write several, each with its --name or --out."
        )
    takes = [dataclasses.replace(take, notes=_on_the_piano(take)) for take in takes]
    if (total := sum(len(take.notes) for take in takes)) > MAX_NOTES:
        raise ConfigError(
            f"A script holds {MAX_NOTES:,} notes at most, these takes have {total:,}. Write a script a take."
        )
    rows = ",\n".join(_take_text(number, take) for number, take in enumerate(takes, 1))
    parts = {
        "signature": SIGNATURE,
        "name": _quoted(name),
        "description": _quoted(_description(takes)),
        "takes": f"[\n{rows},\n]",
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda slot: parts[slot[1]], TEMPLATE.read_text(encoding="ascii"))


def _on_the_piano(take):
    """The take's notes within the 88 keys."""
    notes = take.notes
    within = (notes.pitch >= LOWEST) & (notes.pitch <= HIGHEST)
    if not within.any():
        raise ConfigError(f"{take.name} has no note between A0 and C8.")
    columns = (column[within] for column in (notes.onset_s, notes.duration_s, notes.pitch, notes.velocity))
    return Notes(*columns, notes.pedal_s)


def _take_text(number, take):
    """The take as a dict that Python reads, a line a note."""
    beats, notes = take.tempo_bpm / 60, ringing(take.notes)
    columns = (notes.onset_s * beats, notes.duration_s * beats, notes.pitch, notes.velocity, left_hand(notes))
    lines = [f"({on:.5f},{long:.5f},{p},{v},{hand:d})," for on, long, p, v, hand in zip(*columns)]
    chords = "".join(f"({time_s * beats:.5f},{_quoted(symbol[:100])})," for time_s, symbol in take.chords)
    name = _quoted(f"{number}: {take.name}"[:60].replace(",", " "))  # commas part the choices of a list
    note_text = "\n".join(lines)
    return f'{{"name": {name}, "beats_a_second": {beats:.6f}, "chords": [{chords}], "notes": [\n{note_text}\n]}}'


def _description(takes):
    tempos = " / ".join(dict.fromkeys(f"{take.tempo_bpm:g}" for take in takes))
    return f"Set the project's tempo to {tempos} BPM. The right hand has the first colour, the left hand the second."


def _quoted(text):
    """A Python literal in ASCII, in double quotes."""
    return '"' + in_ascii(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
