"""Charts with a form: sections that come again, and a few forms that every jazz musician knows.

A chart is bars of chords (chords.parse_progression), or sections with the order in which they are played, parted by ";":

    A: Cmaj7 | Am7 | Dm7 | G7; B: Em7b5 | A7 | Dm7 | G7; AABA

A section in capitals takes up what was played when it first came; one in small letters has its chords and is played anew:
`AaaA` is head, two choruses, head. "blues in F", "minor blues in C" and "rhythm changes in Bb" are charts too, and "own" leaves
the changes to the pianist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lib.music.chart import parse_progression
from lib.music.chords import NAMES, ChordError, parse_chord

FORMS = {  # degrees over C
    "blues": "C7 | F7 | C7 | Gm7 C7 | F7 | F#dim7 | C7 | Em7b5 A7 | Dm7 | G7 | C7 A7 | Dm7 G7",
    "minor blues": "Cm7 | Fm7 | Cm7 | C7 | Fm7 | % | Cm7 | % | Ab7 | G7 | Cm7 | Dm7b5 G7",
    "rhythm changes": "A: Cmaj7 A7 | Dm7 G7 | Em7 A7 | Dm7 G7 | Gm7 C7 | Fmaj7 Fm7 | Em7 A7 | Dm7 G7; "
                      "B: E7 | % | A7 | % | D7 | % | G7 | %; AABA",
}  # fmt: skip
OWN = "own"  # changes that the pianist invents (music/changes.py): until then nothing is known of them
NAMED = re.compile(r"\s*(.+?)\s+in\s+([A-G][b#]?)\s*")
SECTION, ORDER = re.compile(r"\s*([A-Z])\s*:(.*)", re.DOTALL), re.compile(r"\s*([A-Za-z]+)\s*")


@dataclass(frozen=True)
class Chart:
    """Bars, and what takes up what.

    Attributes
    ----------
    bars : list of bars, each a list of Chord or None
    source : for each bar the bar that it takes up, itself where it is the first of its kind; None: it is played anew
    """

    bars: list
    source: list


def parse_chart(text):
    """Chart of a text, see the module.

    Raises
    ------
    ChordError : an unknown symbol, section or form
    """
    if text.strip().lower() == OWN:
        return Chart([[None]], [None])
    if named := NAMED.fullmatch(text):
        return _named(*named.groups())
    parts = [part for part in text.split(";") if part.strip()]
    if not any(SECTION.fullmatch(part) for part in parts):
        bars = parse_progression(text)
        return Chart(bars, [None] * len(bars))
    return _ordered(parts)


def _named(form, key):
    if form.lower() not in FORMS:
        raise ChordError(f"No form {form!r}. Known: {', '.join(f'{name} in C' for name in FORMS)}.")
    chart, semitones = parse_chart(FORMS[form.lower()]), parse_chord(key).root
    return Chart([[_moved(chord, semitones) for chord in bar] for bar in chart.bars], chart.source)


def _moved(chord, semitones):
    """A chord so many semitones up, by its usual name."""
    suffix = chord.symbol[len(re.match(r"[A-G][b#]?", chord.symbol).group()) :]
    return parse_chord(NAMES[(chord.root + semitones) % 12] + suffix)


def _ordered(parts):
    sections = {match.group(1): parse_progression(match.group(2)) for part in parts if (match := SECTION.fullmatch(part))}
    orders = [part for part in parts if not SECTION.fullmatch(part)]
    if len(orders) > 1 or orders and not ORDER.fullmatch(orders[0]):
        raise ChordError(f"{orders[-1].strip()!r} is no order of sections. Write 'A: Cmaj7 | G7; B: Fmaj7 | Dm7; AABA'.")
    order = orders[0].strip() if orders else "".join(sections)
    bars, source, first = [], [], {}
    for letter in order:
        if letter.upper() not in sections:
            raise ChordError(f"Section {letter.upper()!r} of {order!r} has no chords. Known: {', '.join(sections)}.")
        own = sections[letter.upper()]
        known = first.setdefault(letter, len(bars)) if letter.isupper() else None
        source += [None if known is None else known + place for place in range(len(own))]
        bars += own
    return Chart(bars, source)


def recalled(chart, num_frames, frame_rate_hz, tempo_bpm, beats_per_bar=4):
    """For each frame the earlier one that its bar takes up; -1 for none. The chart repeats until the end.

    Returns
    -------
    list of num_frames int
    """
    bar_s, places = beats_per_bar * 60.0 / tempo_bpm, []
    for frame in range(num_frames):
        bar = int((frame + 0.5) / frame_rate_hz / bar_s)
        earlier = chart.source[bar % len(chart.bars)]
        back = 0 if earlier is None else round((bar - earlier) * bar_s * frame_rate_hz)
        places.append(frame - back if back else -1)
    return places
