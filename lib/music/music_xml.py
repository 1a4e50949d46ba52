"""MusicXML: the chord symbols of a lead sheet, its form, metres and tempo.

Conventions: a chord holds until the next one, in the order in which bars are played. Chords are those of the first part
that has any, in sounding pitch; repeats and jumps may stand in any part. A pickup without a chord is left out; one with
chords is an intro. Degrees are counted from a dominant chord: an added 7 is the minor seventh.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import zipfile
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

from lib.music.chart import Bar, Chart, WrittenBar
from lib.music.chart_text import section_name
from lib.music.chords import NAMES, Chord, ChordError, parse_chord
from lib.music.form import Jump, Marks

KINDS = {  # of MusicXML -> suffix
    **{"major": "", "minor": "m", "augmented": "aug", "diminished": "dim", "dominant": "7", "major-seventh": "maj7"},
    **{"minor-seventh": "m7", "diminished-seventh": "dim7", "augmented-seventh": "aug7", "half-diminished": "m7b5"},
    **{"major-minor": "mmaj7", "major-sixth": "6", "minor-sixth": "m6", "dominant-ninth": "9", "major-ninth": "maj9"},
    **{"minor-ninth": "m9", "dominant-11th": "11", "major-11th": "maj11", "minor-11th": "m11", "dominant-13th": "13"},
    **{"major-13th": "maj13", "minor-13th": "m13", "suspended-second": "sus2", "suspended-fourth": "sus4"},
    **{"power": "5", "pedal": "5"},
}
UNITS = {"whole": 4, "half": 2, "quarter": 1, "eighth": Fraction(1, 2), "16th": Fraction(1, 4)}
MOST_BYTES = 64 << 20  # of a score


@dataclass
class _Measure:
    """A written bar, as far as it is read.

    Attributes
    ----------
    chords : offset in quarters -> Chord or None
    filled : quarters that its notes and rests fill
    is_implicit : whether it is said to be shorter than its metre
    inferred : whether where a chord or sign stands had to be worked out
    repeats : how many bars it repeats, of a sign; 0: none
    """

    metre: tuple[int, int]
    chords: dict[Fraction, Chord | None] = field(default_factory=dict)
    filled: Fraction = Fraction(0)
    is_implicit: bool = False
    repeats: int = 0
    section: str = ""
    inferred: bool = False
    is_half: bool = False
    marks: dict = field(default_factory=dict)

    @property
    def quarters(self):
        return Fraction(4 * self.metre[0], self.metre[1])


def read_music_xml(content: bytes) -> tuple[str, Chart, int]:
    """(title, Chart, semitones) of a MusicXML score, plain or compressed (.mxl).

    The title is "" where it has none; a part of a transposing instrument is moved by so many semitones.

    Raises
    ------
    ChordError : no MusicXML, no chord symbols, or a chord or sign that can't be read, by its bar
    """
    try:
        root = ElementTree.fromstring(_unpacked(content))
    except (ElementTree.ParseError, zipfile.BadZipFile, KeyError, ValueError, LookupError) as error:
        raise ChordError(f"can't be read as MusicXML: {error}") from error
    parts = _parts(root)
    part = next((part for part in parts if any(measure.find("harmony") is not None for measure in part)), None)
    if part is None:
        raise ChordError("holds no chord symbols (MusicXML <harmony>).")
    measures = _ScoreReader().read(part)
    for other in parts:
        if other is not part and len(other) == len(part):
            with contextlib.suppress(ChordError):  # what can't be read there is not played
                _add_signs(measures, _ScoreReader().read(other))
    title = next(
        (text for path in ("work/work-title", "movement-title") if (text := root.findtext(path, "").strip())), ""
    )
    semitones = sum(int(node.text or 0) for node in part[0].iterfind("attributes/transpose/chromatic"))
    return title, _chart(measures, _tempo(root)).transposed(semitones), semitones


def _add_signs(measures, others):
    """The jumps that are written in another part."""
    for measure, other in zip(measures, others, strict=True):
        for name in ("segno", "coda", "to_coda", "fine", "jump"):
            if other.marks.get(name):
                measure.marks.setdefault(name, other.marks[name])


def _unpacked(content):
    """The XML of a score."""
    if content[:2] != b"PK":
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if Path(name).suffix.lower() in (".xml", ".musicxml")]
        if "META-INF/container.xml" in names:
            container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
            named = [node.get("full-path") for node in container.iter() if node.tag.endswith("rootfile")]
            names = [name for name in named if name in names] or names
        scores = [name for name in names if not name.startswith(("META-INF", "__MACOSX"))]
        if not scores or archive.getinfo(scores[0]).file_size > MOST_BYTES:
            raise ValueError("no score in it" if not scores else "it is too large")
        return archive.read(scores[0])


def _parts(root):
    """The measures of each part."""
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]  # without its namespace
    if root.tag == "score-timewise":
        for measure in root.iter("measure"):
            for part in measure:
                part.attrib.update(measure.attrib, id=part.get("id"))
        names = [part.get("id") for part in root.find("measure") or ()]
        return [[part for part in root.iter("part") if part.get("id") == name] for name in names]
    if root.tag != "score-partwise":
        raise ChordError(f"can't be read as MusicXML: it is <{root.tag}>, no score.")
    return [part.findall("measure") for part in root.findall("part")]


def _tempo(root):
    """Quarters a minute of the first tempo that is written, or None."""
    for node in root.iter():
        value = node.get("tempo") if node.tag == "sound" else None
        unit = Fraction(1)
        if node.tag == "metronome" and (minute := node.findtext("per-minute")):
            value, unit = minute, UNITS.get(node.findtext("beat-unit", ""), 1)
            unit *= 2 - Fraction(1, 2 ** len(node.findall("beat-unit-dot")))
        if value and (number := re.search(r"\d+(\.\d+)?", value)):
            return float(number[0]) * float(unit)
    return None


class _ScoreReader:
    """What is carried from one measure to the next."""

    def __init__(self):
        self.metre, self.divisions, self.endings, self.repeats = (4, 4), 1, (), 0
        self.measures: list[_Measure] = []
        self.codas: list[int] = []  # measures with a coda sign of which nothing says what it is for

    def read(self, nodes):
        """The _Measures of a part."""
        for node in nodes:
            try:
                self._read_measure(node)
            except ChordError as error:
                raise ChordError(error.reason, len(self.measures)) from None
            except (ValueError, TypeError, ZeroDivisionError) as error:
                raise ChordError(f"a number in it can't be read ({error}).", len(self.measures)) from error
        has_coda = any(measure.marks.get("coda") for measure in self.measures)
        for number, index in enumerate(self.codas):
            is_target = number == len(self.codas) - 1 and not has_coda
            self.measures[index].marks["coda" if is_target else "to_coda"] = True
        return self.measures

    def _read_measure(self, node):
        measure = _Measure(self.metre, is_implicit=node.get("implicit") == "yes")
        self.measures.append(measure)
        position, stops = Fraction(0), False
        for child in node:
            duration = Fraction(child.findtext("duration") or 0) / self.divisions
            if child.find("rest[@measure='yes']") is not None:
                duration = measure.quarters
            if child.tag == "attributes":
                self._read_attributes(child, measure, is_late=position > 0)
            elif child.tag == "harmony":
                offset = position + Fraction(child.findtext("offset") or 0) / self.divisions
                measure.chords[max(Fraction(0), offset)] = _chord(child)
            elif child.tag in ("direction", "sound"):
                self._read_direction(child, measure, position)
            elif child.tag == "barline":
                stops |= self._read_barline(child, measure)
            elif child.tag == "forward" or child.tag == "note" and child.find("chord") is None:
                position += duration
            elif child.tag == "backup":
                position -= duration
            measure.filled = max(measure.filled, position)
        measure.marks["endings"], measure.repeats = self.endings, self.repeats
        if stops:
            self.endings = ()

    def _read_attributes(self, node, measure, is_late):
        self.divisions = Fraction(node.findtext("divisions") or self.divisions)
        time = node.find("time")
        if time is not None and time.findtext("beats"):
            units = [int(unit.text) for unit in time.findall("beat-type")]
            counts = [sum(map(int, re.findall(r"\d+", beats.text))) for beats in time.findall("beats")]
            unit = max(units)
            self.metre = sum(count * unit // own for count, own in zip(counts, units, strict=True)), unit
            if not 0 < self.metre[0] < 100 or unit not in (1, 2, 4, 8, 16, 32):
                raise ChordError(f"{self.metre[0]}/{unit} is no metre.")
            measure.metre = measure.metre if is_late else self.metre
        for sign in node.iter("measure-repeat"):
            self.repeats = int(sign.text or 1) if sign.get("type") == "start" else 0

    def _read_barline(self, node, measure):
        """Whether an ending ends there."""
        repeat, ending = node.find("repeat"), node.find("ending")
        if repeat is not None and node.get("location") == "middle":
            raise ChordError("a repeat in the middle of a bar can't be followed: split the bar there.")
        if repeat is not None and repeat.get("direction") == "forward":
            measure.marks["repeat_start"] = True
        elif repeat is not None:
            measure.marks["repeat_end"] = True
            measure.marks.setdefault("times", int(repeat.get("times") or 0))
        if node.find("segno") is not None:
            measure.marks["segno"] = True
        if node.find("coda") is not None:
            self.codas.append(len(self.measures) - 1)
        if ending is None:
            return False
        if ending.get("type") == "start":
            self.endings = tuple(int(number) for number in re.findall(r"\d+", ending.get("number", "")))
            if not self.endings:
                raise ChordError(f"the ending {ending.get('number')!r} has no number.")
        return ending.get("type") in ("stop", "discontinue")

    def _read_direction(self, node, measure, position):
        sounds = {name: value for sound in node.iter("sound") for name, value in sound.attrib.items()}
        words = " ".join(text for word in node.iter("words") if (text := (word.text or "").strip()))
        jump = Jump.find(words)
        if jump is None and sounds.keys() & {"dacapo", "dalsegno"}:
            jump = Jump("dalsegno" in sounds)
        plain = words.casefold().rstrip(".")
        if jump is not None:
            measure.marks["jump"] = jump
        elif "fine" in sounds or plain == "fine":
            measure.marks["fine"], measure.inferred = True, measure.inferred or position == 0
        elif "tocoda" in sounds or re.match(r"to\s+coda\b", plain):
            measure.marks["to_coda"], measure.inferred = True, measure.inferred or position == 0
        elif times := re.fullmatch(r"\(?(?:play\s+)?(\d{1,2})\s*(?:x|times)\)?", plain):
            measure.marks["times"] = int(times[1])
        elif "coda" in sounds or plain == "coda":
            measure.marks["coda"] = True
        elif node.find("direction-type/coda") is not None:
            self.codas.append(len(self.measures) - 1)
        if "segno" in sounds or node.find("direction-type/segno") is not None:
            measure.marks["segno"] = True
        for mark in node.iter("rehearsal"):
            measure.section = section_name(mark.text or "")


def _chart(measures, tempo_bpm):
    pickup, first = None, measures[0]
    for half, other in itertools.pairwise(measures):  # a bar that a repeat or a system parts
        if other.is_implicit and half.filled and half.filled + other.filled == half.quarters:
            half.is_implicit = half.is_half = True
    if 0 < first.filled < first.quarters and not first.is_half:
        _, *measures = measures
        signs = {name: first.marks[name] for name in ("repeat_start", "segno") if name in first.marks}
        if not measures:
            raise ChordError("it has a pickup alone.")
        measures[0].marks |= signs
        measures[0].section = measures[0].section or first.section
        pickup = _bar(first, first.filled) if first.chords else None
    written = []
    for number, measure in enumerate(measures):
        repeated = number - measure.repeats
        if measure.repeats and not measure.chords and repeated >= 0:
            measure.chords = measures[repeated].chords
        is_short = measure.is_implicit and 0 < measure.filled < measure.quarters
        length = measure.filled if is_short or measure.filled > measure.quarters else measure.quarters
        written.append(WrittenBar(_bar(measure, length), Marks(**measure.marks)))
    chart = Chart.of_written(written, tempo_bpm)
    if pickup is not None:
        head = replace(chart.bars[0], section=chart.bars[0].section or "Head")
        chart = replace(chart, intro=(replace(pickup, section="Intro"), *chart.intro), bars=(head, *chart.bars[1:]))
    return _carried(chart)


def _bar(measure, quarters):
    """A Bar whose chords may begin later than the bar; those behind its end begin on its last beat."""
    chords, inferred, metre = {}, measure.inferred, measure.metre
    if quarters != measure.quarters:
        metre = (quarters.numerator, 4 * quarters.denominator)
    for offset, chord in sorted(measure.chords.items()):
        inferred |= offset >= quarters
        chords[offset if offset < quarters else max(Fraction(0), quarters - Fraction(4, metre[1]))] = chord
    return Bar(tuple(sorted(chords.items(), key=lambda item: item[0])), metre, measure.section, inferred)


def _carried(chart):
    """The chart with the chord before at the beginning of each bar that has none of its own there."""
    chord, parts = None, {}  # nothing is known before the first chord
    for name in ("intro", "bars", "outro"):
        bars = []
        for bar in getattr(chart, name):
            if not bar.chords or bar.chords[0][0]:
                bar = replace(bar, chords=((Fraction(0), chord), *bar.chords))
            chord = bar.chords[-1][1]
            bars.append(bar)
        parts[name] = tuple(bars)
    return replace(chart, **parts)


def _chord(node):
    """Chord of a <harmony>, None for no chord."""
    kinds = node.findall("kind")
    kind = (kinds[0].text or "").strip() if kinds else ""
    if kind == "none":
        return None
    root = _pitch(node.find("root"), "root")
    if len(kinds) != 1 or not root:
        raise ChordError("a chord without a root, or of several chords, can't be read.")
    if kind not in KINDS:
        raise ChordError(f"chords of the kind {kind!r} can't be read: write its notes as another kind.")
    degrees = ",".join(_degree(degree) for degree in node.findall("degree"))
    bass = _pitch(node.find("bass"), "bass")
    if not bass and (inversion := int(node.findtext("inversion") or 0)):
        bass = _inverted(parse_chord(root + KINDS[kind]), inversion)
    over = f"/{bass}" if bass and bass != root else ""
    return parse_chord(root + KINDS[kind] + f"({degrees})" * bool(degrees) + over)


def _inverted(chord, inversion):
    """The name of a chord's third, fifth or seventh; "" where it has none."""
    steps = ((3, 4, 2, 5), (7, 6, 8), (10, 11, 9))[min(inversion, 3) - 1]
    tones = [interval for interval in steps if interval in chord.intervals]
    return NAMES[(chord.root + tones[0]) % 12] if tones else ""


def _pitch(node, name):
    if node is None:
        return ""
    alter = int(float(node.findtext(f"{name}-alter") or 0))
    return node.findtext(f"{name}-step", "").strip().upper() + ("#" * alter if alter > 0 else "b" * -alter)


def _degree(node):
    """A degree that is added, altered or left out, as in a symbol."""
    degree, semitones = node.findtext("degree-value", "").strip(), int(float(node.findtext("degree-alter") or 0))
    if node.findtext("degree-type") == "subtract":
        return f"no{degree}"
    if degree == "7":
        return "maj7" if semitones == 1 else "add7" if semitones == 0 else "add6"
    sign = "b" * max(0, -semitones) + "#" * max(0, semitones)
    return f"{sign}{degree}" if sign else f"add{degree}"
