"""Chord symbols -> pitch classes.

Conventions: pitch classes 0-11 from C; `intervals` are semitones above the root, 0-11; a chord's chroma holds the chord
tones and the bass. Spellings follow lead sheets: Cmaj7 CM7 C^7 CΔ7, Cm7 C-7 Cmi7, Cø Cm7b5, Co7 C°7 Cdim7, C7alt,
C13(b9), C6/9, C7sus4, Cmaj7/E, N.C.; or Harte's syntax (Harte et al. 2005): C:maj7, C:min(9)/b3. An accidental in
brackets alters a degree, never the root: C(b9) is C with a flat ninth, Cb9 is Cb9.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from dataclasses import dataclass

NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"#": 1, "b": -1}
# the qualities that recognition tells apart, and that condition the models: name -> intervals
QUALITIES = {
    "maj": (0, 4, 7),
    "m": (0, 3, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "m7": (0, 3, 7, 10),
    "m7b5": (0, 3, 6, 10),
    "dim7": (0, 3, 6, 9),
    "7sus4": (0, 5, 7, 10),
    "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "mmaj7": (0, 3, 7, 11),
    "aug": (0, 4, 8),
}
QUALITY_NAMES = tuple(QUALITIES)

# the beginning of a suffix: spelling -> (third and fifth, seventh or sixth); the longest that fits is taken
_MAJOR, _MINOR, _HALF, _DIM, _AUG = (4, 7), (3, 7), (3, 6), (3, 6), (4, 8)
_MAJ_WORDS = ("maj", "major", "Maj", "MAJ", "Ma", "MA", "ma", "M", "J", "j", "^")
_MIN_WORDS = ("min", "minor", "Min", "MIN", "Mi", "MI", "mi", "m", "-")
_DIM_WORDS, _AUG_WORDS = ("dim", "diminished", "o"), ("aug", "augmented", "+")
_TENSIONS = {"7": (), "9": (2,), "11": (2, 5), "13": (2, 5, 9)}


def _stems():
    stems = {
        "2": (_MAJOR, (2,)),
        "5": ((7,), ()),
        "7M": (_MAJOR, (11,)),
        "alt": (_MAJOR, (10, "alt")),
        "dom": (_MAJOR, (10,)),
        "h": (_HALF, (10,)),
        "h7": (_HALF, (10,)),
        "h9": (_HALF, (10, 2)),
        "m7M": (_MINOR, (11,)),
        "+M7": (_AUG, (11,)),
        "+maj7": (_AUG, (11,)),
        "augmaj7": (_AUG, (11,)),
    }
    for number, more in _TENSIONS.items():
        over_major = tuple(tension for tension in more if tension != 5)  # no eleventh over a major third
        stems[number] = stems[f"dom{number}"] = (_MAJOR, (10, *over_major))
        for word in _MAJ_WORDS:
            stems[word + number] = (_MAJOR, (11, *over_major))
        for word in _MIN_WORDS:
            stems[word + number] = (_MINOR, (10, *more))
            for major in _MAJ_WORDS:
                stems[word + major + number] = stems[f"{word}/{major}{number}"] = (_MINOR, (11, *more))
        for word in _AUG_WORDS:
            stems[word + number] = (_AUG, (10, *over_major))
    stems["11"] = ((5, 7), (10, 2))  # played without its third
    for words, triad in ((("", *_MAJ_WORDS), _MAJOR), (_MIN_WORDS, _MINOR)):
        for word in words:
            stems[word] = (triad, (11,) if word == "^" else ())
            stems[word + "6"] = (triad, (9,))
            stems[word + "69"] = (triad, (9, 2))
    for word in ("", *_MIN_WORDS):
        stems[word + "6/9"] = stems[word + "69"]
    for word in _DIM_WORDS:
        stems[word], stems[word + "7"] = (_DIM, ()), (_DIM, (9,))
        stems[word + "9"], stems[word + "11"] = (_DIM, (9, 2)), (_DIM, (9, 2, 5))
        for major in _MAJ_WORDS:
            stems[word + major + "7"] = (_DIM, (11,))
    for word in _AUG_WORDS:
        stems[word] = (_AUG, ())
    return stems


STEMS = _stems()
_MODIFIERS = re.compile(
    r"(?P<sus>sus(?:24|42|2|4|9)?)|(?P<add>add(?P<flat>[#b]?)(?P<degree>9|11|13|2|3|4|6|7))"
    r"|(?P<omit>(?:no|omit)(?P<gone>[35]))"
    r"|(?P<alter>(?:[#b]|[+-](?=\d))(?P<what>5|6|7|9|11|13))"
    r"|(?P<late>(?P<which>5|9|11|13)(?P<sign>[+-]))|(?P<seventh>(?:maj|Maj|ma|M|\^)7)|(?P<plus>\+|aug)"
    r"|(?P<alt>alt\.?)"
    r"|(?P<plain>11|13|9|6)|/(?=[#b+\-\d])"
)
IN_LETTERS = (
    ("♯", "#"),
    ("♭", "b"),
    ("[−–—‐‑‒]", "-"),
    (r"[Δ△∆](?=\d)", "maj"),
    ("[Δ△∆]", "maj7"),
    ("[øØ∅⌀]7?", "m7b5"),
    ("[°º˚]", "dim"),
    (r"[^\x20-\x7e]", "?"),
)
# signs, each of which is read as this letter
SIGNS = (("♯", "#"), ("♭", "b"), ("−–—‐‑‒", "-"), ("Δ△∆", "^"), ("øØ∅⌀", "h"), ("°º˚", "o"))
INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060"))
SUSPENDED = {"": {5}, "4": {5}, "2": {2}, "9": {2, 5}, "24": {2, 5}, "42": {2, 5}}
_DEGREES = {"1": 0, "2": 2, "9": 2, "3": 4, "4": 5, "11": 5, "6": 9, "13": 9, "5": 7, "7": 10}
_COMMON = (  # suffixes that a misspelt one is compared with
    *("", "m", "7", "maj7", "m7", "m7b5", "dim", "dim7", "6", "m6", "9", "m9", "maj9", "11", "m11", "13", "7b9", "7#9"),
    *("7#11", "7b13", "7alt", "7sus4", "sus4", "sus2", "aug", "7#5", "7b5", "mmaj7", "69", "add9", "maj7#11"),
)
SYMBOL = re.compile(r"(?P<root>[A-G][#b]{0,2})(?P<suffix>.*?)(?:/(?P<bass>[A-G][#b]{0,2}))?")
BRACKETS = str.maketrans("", "", "()[], ")
NO_CHORD = "N.C."
HARTE = re.compile(
    r"(?P<root>[A-G][#b]*):(?=[a-z\d(])(?P<kind>[a-z]*\d*)(?:\((?P<degrees>[^)]*)\))?"
    r"(?:/(?P<bass>[#b]*\d+|[A-G][#b]*))?"
)
HARTE_DEGREE = re.compile(r"(?P<left_out>\*?)(?P<sign>[#b]*)(?P<degree>1[0-3]|[1-9])")
HARTE_KINDS = {  # its shorthands that are no suffix of lead sheets, or another one
    **{"": "", "maj": "", "min": "m", "hdim7": "m7b5", "minmaj7": "mmaj7", "maj6": "6", "min6": "m6", "hdim": "m7b5"},
    **{"min7": "m7", "min9": "m9", "min11": "m11", "min13": "m13", "sus4": "sus4", "sus2": "sus2", "1": "no3no5"},
}
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
GERMAN = re.compile(r"H(?:is|es)?|[CDFGA]is|[CDFG]es|Es|As(?!us)")


class ChordError(ValueError):
    """A symbol that is no chord, or a chart that can't be read; the message names it and the way out.

    Attributes
    ----------
    reason : the message without the bar
    bar : number of the written bar, from 1; None where it is not one bar's
    """

    def __init__(self, reason: str, bar: int | None = None):
        super().__init__(reason if bar is None else f"bar {bar}: {reason}")
        self.reason, self.bar = reason, bar


@dataclass(frozen=True)
class Chord:
    """A chord.

    Attributes
    ----------
    root, bass : pitch classes 0-11
    intervals : ascending semitones above the root, 0 first
    symbol : as it was written
    """

    root: int
    intervals: tuple[int, ...]
    bass: int
    symbol: str

    @classmethod
    def of(cls, root: int, quality: int, bass: int = -1) -> Chord:
        """The chord of a chord frame (lib.music.chart), by its usual symbol; bass -1: the root."""
        bass, name = root if bass < 0 else bass, QUALITY_NAMES[quality]
        symbol = NAMES[root] + ("" if name == "maj" else name) + (f"/{NAMES[bass]}" if bass != root else "")
        return cls(root, QUALITIES[name], bass, symbol)

    @property
    def frame(self) -> tuple[int, int, int]:
        """Root, quality (index of QUALITY_NAMES) and bass."""
        return self.root, QUALITY_NAMES.index(self.quality), self.bass

    @property
    def chroma(self) -> tuple[int, ...]:
        """Tuple of 12 in {0, 1}: chord tones and bass, from C."""
        tones = {(self.root + interval) % 12 for interval in self.intervals} | {self.bass}
        return tuple(int(pitch_class in tones) for pitch_class in range(12))

    @property
    def quality(self) -> str:
        """The nearest of QUALITIES: what recognition would call it, its tensions left out."""
        tones = set(self.intervals)
        third = 4 if 4 in tones else 3 if 3 in tones else None
        if third == 4:
            triad = "aug" if 8 in tones and 7 not in tones else "maj"
            return "7" if 10 in tones else "maj7" if 11 in tones else "6" if 9 in tones else triad
        if third == 3 and 6 in tones and 7 not in tones:
            return "m7b5" if 10 in tones else "mmaj7" if 11 in tones else "dim7"
        if third == 3:
            return "m7" if 10 in tones else "mmaj7" if 11 in tones else "m6" if 9 in tones else "m"
        return "7sus4" if 5 in tones or 10 in tones else "maj"


def parse_chord(symbol: str) -> Chord:
    """Chord from a symbol.

    Raises
    ------
    ChordError : not a chord; names the nearest spelling that is one
    """
    plain = _plain(symbol)
    if harte := HARTE.fullmatch(plain):
        return _harte_chord(symbol, **harte.groupdict())
    found = SYMBOL.fullmatch(plain)
    intervals = found and _intervals(found["suffix"].translate(BRACKETS))
    if intervals is None:
        raise _unknown(symbol, plain)
    root, bass = _pitch_class(found["root"]), _pitch_class(found["bass"] or found["root"])
    return Chord(root, tuple(sorted(intervals)), bass, symbol)


def is_no_chord(symbol: str) -> bool:
    """Whether a symbol says that no chord sounds: N.C. in its usual spellings, and Harte's N."""
    return symbol.strip("()[] ").replace(".", "").casefold() in ("nc", "n", "no chord", "nochord")


def _harte_chord(symbol, root, kind, degrees, bass):
    """A chord in Harte's syntax: a shorthand, degrees that are added or (*) left out, and the bass, mostly a degree."""
    if kind.isdigit() and kind not in ("1", "5", "7", "9", "11", "13"):
        raise ChordError(f"Unknown chord symbol {symbol!r}: beats are written with /, as in 'C / F /'.")
    intervals = set() if degrees and not kind else _intervals(HARTE_KINDS.get(kind, kind))
    matches = [HARTE_DEGREE.fullmatch(part.strip()) for part in (degrees or "").split(",") if part.strip()]
    if intervals is None or None in matches:
        raise ChordError(f"Unknown chord symbol {symbol!r}: {kind or degrees!r} is not a shorthand of Harte's syntax.")
    for match in matches:
        interval = _harte_interval(match["sign"], match["degree"])
        intervals = intervals - {interval} if match["left_out"] else intervals | {interval}
    pitch_class, over = _pitch_class(root), HARTE_DEGREE.fullmatch(bass or "1")
    over = pitch_class + _harte_interval(over["sign"], over["degree"]) if over else _pitch_class(bass)
    return Chord(pitch_class, tuple(sorted(intervals | {0})), over % 12, symbol)


def _harte_interval(sign, degree):
    return (MAJOR_SCALE[(int(degree) - 1) % 7] + sum(ACCIDENTALS[letter] for letter in sign)) % 12


def in_ascii(symbol: str) -> str:
    """The symbol as files take it that know no other signs: CΔ is Cmaj7, Bø Bm7b5, E♭ Eb."""
    for signs, letters in IN_LETTERS:
        symbol = re.sub(signs, letters, symbol)
    return symbol


def _plain(symbol):
    """One way of writing: ASCII signs, none invisible, no brackets around the whole."""
    text = symbol.translate(INVISIBLE).strip()
    for letters, letter in SIGNS:
        for sign in letters:
            text = text.replace(sign, letter)
    text = unicodedata.normalize("NFKC", text).replace("♮", "")  # superscripts and the like
    return text[1:-1] if re.fullmatch(r"\([^()]*\)|\[[^\[\]]*\]", text) else text


def _pitch_class(name):
    return (LETTERS[name[0]] + sum(ACCIDENTALS[sign] for sign in name[1:])) % 12


def _intervals(suffix):
    """Set of intervals, or None for a suffix that means nothing."""
    suffix = re.sub(r"^5(?:\+|aug)$", "aug", suffix)
    suffix = re.sub(rf"^(?:{'|'.join(map(re.escape, _MIN_WORDS))})\^$", "mmaj7", suffix)  # a triangle is a seventh
    for length in range(len(suffix), -1, -1):
        if suffix[:length] in STEMS:
            triad, more = STEMS[suffix[:length]]
            tones = _modified({0, *triad, *(m for m in more if m != "alt")}, suffix[length:], "alt" in more)
            if tones is not None:
                return tones
    return None


def _modified(tones, text, altered):
    """The tones after all that a text changes about them, or None for a text that is not made of modifiers."""
    position = 0
    while position < len(text):
        match = _MODIFIERS.match(text, position)
        if match is None:
            return None
        position = match.end()
        if match["sus"]:
            tones = (tones - {3, 4}) | SUSPENDED[match["sus"][3:]]
        elif match["add"]:
            tones = tones | {(_DEGREES[match["degree"]] + ACCIDENTALS.get(match["flat"], 0)) % 12}
        elif match["omit"]:
            tones = tones - ({3, 4} if match["gone"] == "3" else {6, 7, 8})
        elif match["alter"]:
            tones = _altered(tones, match["what"], match["alter"][0])
        elif match["late"]:
            tones = _altered(tones, match["which"], match["sign"])
        elif match["seventh"]:
            tones = (tones - {10}) | {11}
        elif match["plus"]:
            tones = (tones - {7}) | {8}
        elif match["plain"]:
            tones = tones | {_DEGREES[match["plain"]]}
        altered = altered or bool(match["alt"])
    return (tones - {7, 2, 9}) | {1, 3, 6, 8, 10} if altered else tones


def _altered(tones, degree, sign):
    """The tones with a degree raised (# or +) or lowered; a thirteenth leaves the sixth or seventh beside it alone."""
    natural = _DEGREES[degree] if degree != "7" else 10 + (sign in "#+")
    if degree == "7":
        return (tones - {10, 11}) | {natural}
    return (tones - ({natural} if degree != "13" else set())) | {(natural + (1 if sign in "#+" else -1)) % 12}


def _unknown(symbol, plain):
    if german := GERMAN.match(plain):
        reason = "H is B, B is Bb, Es is Eb, As is Ab, Fis is F#"
        return ChordError(f"Unknown chord symbol {symbol!r}: {german[0]!r} is German. Write English names: {reason}.")
    letters = [root for root in (*NAMES, "C#", "D#", "Gb", "G#", "A#") if plain[:1].upper() == root[0]] or NAMES
    spellings = [root + suffix for root in letters for suffix in _COMMON]
    close = difflib.get_close_matches(plain[:1].upper() + plain[1:], spellings, n=1, cutoff=0.3)
    nearest = f" Did you mean {close[0]!r}?" if close else " A chord begins with a letter from A to G."
    return ChordError(f"Unknown chord symbol {symbol!r}.{nearest}")
