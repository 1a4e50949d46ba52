"""The tunes of the demo corpus: invented titles over progressions that belong to everybody.

Conventions: a chord's pitches are semitones above its root; beats are counted from the start of the performance.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ROOTS = {"C": 0, "Db": 1, "D": 2, "Eb": 3, "E": 4, "F": 5, "Gb": 6, "G": 7, "Ab": 8, "A": 9, "Bb": 10, "B": 11}
QUALITIES = {  # chord tones (1 3 5 7), the ninth a voicing takes, the scale a line runs on
    "maj7": ((0, 4, 7, 11), 14, (0, 2, 4, 6, 7, 9, 11)),
    "6": ((0, 4, 7, 9), 14, (0, 2, 4, 5, 7, 9, 11)),
    "7": ((0, 4, 7, 10), 14, (0, 2, 4, 5, 7, 9, 10)),
    "7b9": ((0, 4, 7, 10), 13, (0, 1, 3, 4, 6, 7, 9, 10)),
    "m7": ((0, 3, 7, 10), 14, (0, 2, 3, 5, 7, 9, 10)),
    "m6": ((0, 3, 7, 9), 14, (0, 2, 3, 5, 7, 9, 11)),
    "m7b5": ((0, 3, 6, 10), 12, (0, 2, 3, 5, 6, 8, 10)),
    "dim7": ((0, 3, 6, 9), 14, (0, 2, 3, 5, 6, 8, 9, 11)),
}


@dataclass(frozen=True)
class TuneChord:
    """A chord that sounds for `beats` beats from `start` on."""

    start: float
    beats: float
    root: int
    quality: str

    @property
    def tones(self):
        return QUALITIES[self.quality][0]

    @property
    def ninth(self):
        return QUALITIES[self.quality][1]

    def ladder(self, low, high, chord_tones_only=False):
        """Ascending MIDI pitches in [low, high] of the chord's scale, or of the chord alone."""
        steps = self.tones if chord_tones_only else QUALITIES[self.quality][2]
        return [p for p in range(low, high + 1) if (p - self.root) % 12 in steps]


@dataclass(frozen=True)
class Tune:
    """A form to play over; `home` is the chord it ends on."""

    title: str
    changes: str
    home: str
    tempo_bpm: float
    feel: str = "swing"  # swing, straight or ballad
    beats_per_bar: int = 4

    def bars(self):
        """The form as bars of chord symbols, '%' repeating the bar before."""
        bars = []
        for bar in self.changes.split("|"):
            bars.append(bars[-1] if bar.strip() == "%" else bar.split())
        return bars

    def chords(self, num_bars, key):
        """The chords of num_bars bars, `key` semitones up, and a last bar at home.

        Returns
        -------
        list of TuneChord, in order of start
        """
        form = self.bars()
        bars = [form[bar % len(form)] for bar in range(num_bars)] + [[self.home]]
        chords = []
        for bar, symbols in enumerate(bars):
            beats = self.beats_per_bar / len(symbols)
            for position, symbol in enumerate(symbols):
                root, quality = re.fullmatch(r"([A-G]b?)(.+)", symbol).groups()
                start = bar * self.beats_per_bar + position * beats
                chords.append(TuneChord(start, beats, (ROOTS[root] + key) % 12, quality))
        return chords


_BRIDGE = "D7 | % | G7 | % | C7 | % | F7 | %"
_LADDER = "Bb6 G7b9 | Cm7 F7 | Dm7 G7b9 | Cm7 F7 | Bb6 Bb7 | Eb6 Edim7 | Dm7 G7b9 | Cm7 F7"

TUNES = (
    Tune("Kettle Blues", "F7|Bb7|F7|Cm7 F7|Bb7|Bdim7|F7|D7b9|Gm7|C7|F7 D7b9|Gm7 C7", "F7", 138),
    Tune("Cold Kettle", "Cm7|Fm7|Cm7|C7b9|Fm7|%|Cm7|%|Ab7|G7b9|Cm7|Dm7b5 G7b9", "Cm6", 150),
    Tune("Ladder Changes", f"{_LADDER}|{_LADDER}|{_BRIDGE}|{_LADDER}", "Bb6", 176),
    Tune("Twelve Doors", "Dm7|G7|Cmaj7|%|Cm7|F7|Bbmaj7|%|Bbm7|Eb7|Abmaj7|%|Dm7b5|G7b9|Cmaj7|A7b9", "Cmaj7", 144),
    Tune("Two Weathers", "Dm7|%|%|%|%|%|%|%|Ebm7|%|%|%|Dm7|%|%|%", "Dm7", 156, "straight"),
    Tune(
        "Lamp in the Hall",
        "Ebmaj7 C7b9|Fm7 Bb7|Gm7 C7b9|Fm7 Bb7|Bbm7 Eb7|Abmaj7 Db7|Gm7 C7b9|Fm7 Bb7",
        "Ebmaj7",
        72,
        "ballad",
    ),
    Tune("Harbour Waltz", "Gmaj7|Em7|Am7|D7|Bm7|E7b9|Am7|D7|Dm7|G7|Cmaj7|Cm6|Bm7|E7b9|Am7|D7", "Gmaj7", 148, "swing", 3),
    Tune("Nobody's October", "Cm7|F7|Bbmaj7|Ebmaj7|Am7b5|D7b9|Gm6|%", "Gm6", 132),
    Tune("Salt and Straight", "Am7|%|Bm7b5|E7b9|Am7|Dm7 G7|Cmaj7|Fmaj7|Bm7b5|E7b9|Am7|%", "Am6", 128, "straight"),
    Tune("Slow Ferry", "Dbmaj7|Gm7b5 C7b9|Fm7|Ebm7 Ab7|Dbmaj7 Bbm7|Ebm7 Ab7|Fm7 Bb7b9|Ebm7 Ab7", "Dbmaj7", 66, "ballad"),
)
