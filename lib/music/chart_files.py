"""Charts of other programs: iReal Pro (irealb:// or its HTML) and MusicXML.

Conventions: repeats, endings and codas are played out; a bar's chords share it as the file says, beat by beat; a chart
is in the metre that the file begins in.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lib.music.chart import Bar, Chart
from lib.music.chords import Chord, ChordError, parse_chord

MUSIC_XML = (".musicxml", ".xml", ".mxl")
IREAL = re.compile(r"irealb://[^\"'<>\s]+")
# how far the player is to transpose; pyRealParser 0.1.0 stumbles over it
IREAL_KEY = re.compile(r"(?:=|%3D)-?\d+(?:=|%3D)(?=1r34LbKcu7)", re.IGNORECASE)
IREAL_CHORD = re.compile(r"n|[A-GW][b#]?[^A-GWn/]*(?:/[A-G][b#]?)?")
IREAL_METRES = {(1, 2): (12, 8)}  # written T12
OTHER_KINDS = {"power": "5", "pedal": "5", "seventh-flat-five": "7b5"}  # of MusicXML, by another name here
SLOWEST_BPM, FASTEST_BPM = 20, 400  # a tempo beyond is none


@dataclass(frozen=True)
class ChartFile:
    """A tune.

    Attributes
    ----------
    title : str
    chart : Chart, its bars of one metre
    """

    title: str
    chart: Chart

    @property
    def metre(self) -> str:
        """Such as "3/4"."""
        return "{}/{}".format(*self.chart.bars[0].metre)


def read_chart(path: Path | str, tune: str | None = None) -> ChartFile:
    """A tune of an iReal Pro or MusicXML file.

    Parameters
    ----------
    path : of a .musicxml, .xml or .mxl file; any other holds an irealb:// address, such as the HTML that iReal Pro
        shares
    tune : title, or part of one, where the file holds several

    Raises
    ------
    ChordError : no chart in it, several and none chosen, or a chord that means nothing
    FileNotFoundError : there is no such file
    """
    path = Path(path)
    if path.suffix.lower() in MUSIC_XML:
        return _music_xml(path)
    tunes = _ireal_tunes(path)
    chosen = [one for one in tunes if tune is None or tune.casefold() in one.title.casefold()]
    exact = [one for one in chosen if tune is not None and tune.casefold() == one.title.casefold()]
    chosen = exact or chosen
    if len(chosen) != 1:
        titles = [one.title for one in chosen or tunes]
        shown = "; ".join(titles[:20]) + (f"; and {len(titles) - 20} more" if len(titles) > 20 else "")
        which = f"has no tune {tune!r}" if tune is not None and not chosen else f"holds {len(titles)} tunes"
        raise ChordError(f"{path} {which}: say which by its title. It holds: {shown}.")
    return _ireal(chosen[0], path)


def _ireal_tunes(path):
    from pyRealParser import Tune

    found = IREAL.findall(path.read_text(encoding="utf-8", errors="replace"))
    addresses = [IREAL_KEY.sub("==", address) for address in found]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it reads
        tunes = [tune for address in addresses for tune in Tune.parse_ireal_url(address)]
    if not tunes:
        readable = f"an irealb:// address of iReal Pro nor MusicXML ({', '.join(MUSIC_XML)})"
        raise ChordError(f"{path} holds no chart: neither {readable}.")
    return tunes


def _ireal(tune, path):
    bars, before, metre = [], "n", IREAL_METRES.get(tune.time_signature, tune.time_signature)
    for measure in tune.measures_as_strings:
        chords, where = [], f"{path}, {tune.title}, bar {len(bars) + 1}"
        for symbol in IREAL_CHORD.findall(measure.replace("7at", "7alt")):  # pyRealParser takes every l for "large"
            if symbol.startswith("W"):  # the chord before, over another bass
                symbol = before.partition("/")[0] + symbol[1:]
            chords.append(None if symbol == "n" else _known(symbol, where))
            before = symbol
        if not chords and not bars:
            raise ChordError(f"{where}: an empty bar repeats the bar before, but there is none.")
        bars.append(Bar.of(chords, metre) if chords else bars[-1])
    # pyRealParser skips what is empty, here the style of accompaniment: all that follows moves up
    no_accompaniment = str(tune.comp_style or "").isdigit()
    tempo_bpm = _tempo(tune.comp_style if no_accompaniment else tune.bpm)
    return ChartFile(tune.title, Chart(tuple(bars), tempo_bpm=tempo_bpm))


def _music_xml(path):
    from music21 import converter, harmony, tempo
    from music21.exceptions21 import Music21Exception

    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        score = converter.parse(str(path.resolve()), format="musicxml", forceSource=True)
        parts = [part for part in score.parts if part.recurse().getElementsByClass(harmony.ChordSymbol)]
        part = _played_out(parts[0]) if parts else None
    except (Music21Exception, SyntaxError, ValueError, OSError) as error:  # SyntaxError: of XML
        raise ChordError(f"{path} can't be read as MusicXML: {error}") from error
    if part is None:
        raise ChordError(f"{path} holds no chord symbols (MusicXML <harmony>).")
    measures = list(part.getElementsByClass("Measure"))
    signature = part.recurse().getElementsByClass("TimeSignature").first()
    metre = (4, 4) if signature is None else (signature.numerator, signature.denominator)
    marks = [mark.getQuarterBPM() for mark in score.recurse().getElementsByClass(tempo.MetronomeMark)]
    bars, chord = [], None  # nothing is known before the first chord
    for number, measure in enumerate(measures):
        bars.append(_bar(measure, metre, chord, f"{path}, bar {number + 1}"))
        chord = bars[-1].chords[-1][1]
    title = score.metadata.bestTitle if score.metadata else None
    return ChartFile(title or path.stem, Chart(tuple(bars), tempo_bpm=_tempo(marks[0] if marks else None)))


def _played_out(part):
    """The part with its repeats as they are heard; as it is written where they make no sense."""
    from music21.repeat import ExpanderException

    try:
        return part.expandRepeats()
    except ExpanderException:
        return part


def _bar(measure, metre, chord, where):
    """A bar in which the chord before continues until another comes, on a beat as the metre counts them."""
    from music21 import harmony

    beats, unit = metre
    chords = {Fraction(0): chord}
    for symbol in measure.getElementsByClass(harmony.ChordSymbol):
        beat = Fraction(4 * min(beats - 1, int(symbol.offset * unit / 4 + 0.01)), unit)
        chords[beat] = None if isinstance(symbol, harmony.NoChord) else _spelled(symbol, where)
    return Bar(tuple(sorted(chords.items(), key=lambda item: item[0])), metre)


def _spelled(symbol, where):
    """Chord of a music21 ChordSymbol."""
    from music21 import harmony

    root, bass = (pitch.name.replace("-", "b") for pitch in (symbol.root(), symbol.bass()))
    steps = "".join(_step(step, where) for step in symbol.chordStepModifications)
    over = "" if bass == root else f"/{bass}"
    known = harmony.CHORD_TYPES.get(symbol.chordKind, (None, [symbol.chordKind]))[1]
    kinds = [OTHER_KINDS[symbol.chordKind]] if symbol.chordKind in OTHER_KINDS else known
    for kind in kinds:
        with contextlib.suppress(ChordError):
            return parse_chord(root + kind + steps + over)
    return _known(root + kinds[0] + steps + over, where)


def _step(step, where):
    """A degree that is added, altered or left out, as in a symbol."""
    semitones = 0 if step.interval is None else round(step.interval.semitones)
    sign = "b" * max(0, -semitones) + "#" * max(0, semitones)
    if step.modType == "subtract":
        return f"no{step.degree}"
    return f"{sign}{step.degree}" if sign else f"add{step.degree}"


def _known(symbol, where) -> Chord:
    try:
        return parse_chord(symbol)
    except ChordError as error:
        raise ChordError(f"{where}: {error}") from None


def _tempo(value):
    try:
        return float(value) if SLOWEST_BPM <= float(value) <= FASTEST_BPM else None
    except (TypeError, ValueError):
        return None
