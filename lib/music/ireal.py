"""iReal Pro: addresses (irealb://, irealbook://) and the tunes in them.

A chart is rows of 16 cells: a chord, a sign or nothing stands in each. Where in a bar a chord begins is not written;
iReal Pro's own rule is unpublished. Ours: a chord lasts one beat at least, a small one exactly one; each empty cell
adds one to the chord before; what is left of the bar is dealt out from the first chord on, and where there are more
cells than beats, these are shared in proportion. A beat is a dotted quarter
in 6/8, 9/8 and 12/8, an eighth in other eighths, else a quarter. Bars of several chords whose cells and metre disagree
are listed as inferred. Alternative chords (in brackets) and comments are not played.
"""

from __future__ import annotations

import html
import math
import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from lib.music.chart import Bar, Chart, WrittenBar
from lib.music.chords import Chord, ChordError, parse_chord
from lib.music.form import Jump, Marks

MUSIC = "1r34LbKcu7"  # before the scrambled chords of irealb
ABBREVIATIONS = (("XyQ", "   "), ("LZ", " |"), ("Kcl", "| x"), ("K", "|"))
SECTIONS = {"i": "Intro", "V": "Verse"}
CLOSING = ("]", "}", "Z")
QUALITY = r"(?:sus|alt|add|[+\-^\dhob#])*"
TOKEN = re.compile(
    r"(?P<line>[|\[\]{}Z])|(?P<section>\*[A-Za-z])|T(?P<metre>\d\d)|N(?P<ending>\d)|(?P<comment><[^>]*>)"
    rf"|(?P<chord>[A-GW][b#]?{QUALITY}(?:\*(?P<own>[^*]*)\*)?(?:/[A-G][b#]?)?)|(?P<other>\([^)]*\))|(?P<cell> )"
    r"|(?P<sign>[SQfYrxpnUlsv,]|\*)"
)
TUNE = re.compile(
    rf"(?P<head>[^\n]*?)={MUSIC}(?P<music>[^=]*)(?:=(?P<style>[^=]*)=(?P<bpm>\d*)=(?P<repeats>\d*)(?==|\s|$))?=*"
)


@dataclass(frozen=True)
class IRealTune:
    """A tune as its address has it.

    Attributes
    ----------
    title : str
    music : chords and signs, unscrambled
    tempo_bpm : quarters a minute; 0: not given
    transposition : semitones up by which the player is to transpose it
    """

    title: str
    music: str
    tempo_bpm: float = 0.0
    transposition: int = 0

    def chart(self) -> Chart:
        """Its Chart, transposed as is saved; ChordError: a sign that can't be read or followed, by its bar."""
        return Chart.of_written(_IRealReader().read(self.music), self.tempo_bpm).transposed(self.transposition)


def ireal_tunes(text: str) -> list[IRealTune]:
    """The tunes of all addresses in a text, such as the HTML that iReal Pro shares; [] where there is none."""
    tunes = []
    for is_book, address in _addresses(text):
        body = urllib.parse.unquote(html.unescape(address))
        tunes += _plain_tunes(body) if is_book else _scrambled_tunes(body)
    return tunes


def _addresses(text):
    """(whether it is irealbook, what follows the colon) of each address.

    An address ends at the quotation mark that it began after, else at a blank, or with its line where it has blanks.
    """
    for match in re.finditer(r"(?P<quote>[\"']?)irealb(?P<book>ook)?://", text, re.IGNORECASE):
        rest = text[match.end() :]
        if match["quote"] == '"':
            rest = rest.partition('"')[0]
        elif match["quote"]:  # the apostrophe of a title is followed by a letter, a sign or a blank of its own
            rest = re.split(r"'(?=\s*>|\s*$)", rest)[0]
        else:
            rest = rest.splitlines()[0] if rest else ""
            if re.search("%(20|3D)", rest, re.IGNORECASE):
                rest = re.split(r"[\s\"<>]", rest)[0]
                rest = rest[:-1] if rest.endswith(")") and rest.count(")") > rest.count("(") else rest
        yield bool(match["book"]), rest


def _scrambled_tunes(body):
    for match in TUNE.finditer(body):
        title, *fields = match["head"].lstrip("=").split("=")
        moved = re.fullmatch(r"[+-]?\d+", fields[-1]) if fields else None
        tempo_bpm, transposition = float(match["bpm"] or 0), int(moved[0]) if moved else 0
        yield IRealTune(title.strip(), unscrambled(match["music"]), tempo_bpm, transposition)


def _plain_tunes(body):
    """irealbook: title, composer, style, key, "n" and the music, over and over."""
    fields = body.split("=")
    for first in range(0, len(fields) - 5, 6):
        yield IRealTune(fields[first].strip(), fields[first + 5])


def unscrambled(music: str) -> str:
    """Music as it is written: of each 50 characters that more than one follows, two groups are mirrored."""
    blocks = [music[first : first + 50] for first in range(0, len(music), 50)]
    for number, block in enumerate(blocks[:-1]):
        if number < len(blocks) - 2 or len(blocks[-1]) > 1:
            mirrored = block[::-1]
            blocks[number] = (
                mirrored[:5] + block[5:10] + mirrored[10:24] + block[24:26] + mirrored[26:40] + block[40:45]
            )
            blocks[number] += mirrored[45:]
    return "".join(blocks)


@dataclass
class _Cells:
    """A chord of a bar, and the empty cells behind it."""

    chord: Chord | None
    is_small: bool = False
    empty: int = 0


@dataclass
class _IRealReader:
    """Written bars, as far as they are read."""

    bars: list[WrittenBar] = field(default_factory=list)
    metre: tuple[int, int] = (4, 4)
    endings: tuple[int, ...] = ()
    is_small: bool = False
    opened: str = "|"  # the bar line before the bar that is being read
    cells: list[_Cells] = field(default_factory=list)  # its chords
    leading: int = 0  # empty cells before them
    again: str = ""  # its sign of repetition: x, or r for two bars
    skips_blank: bool = False  # the second bar of r is not filled
    marks: dict = field(default_factory=dict)
    section: str = ""
    codas: list[tuple[int, bool]] = field(default_factory=list)  # (bar, whether the sign stands before its chords)
    end_bar: int | None = None  # of the sign END
    later: list[re.Match] = field(default_factory=list)  # signs of the next bar

    def read(self, music):
        """The WrittenBars of a tune."""
        for short, long in ABBREVIATIONS:
            music = music.replace(short, long)
        position = 0
        while position < len(music):
            match = TOKEN.match(music, position)
            try:
                if match is None:
                    raise ChordError(f"the sign {music[position]!r} is unknown.")
                self._read(match)
            except ChordError as error:
                raise ChordError(error.reason, len(self.bars) + 1) from None
            position = match.end()
        self._end_bar("Z")
        if not self.bars:
            raise ChordError("it has no bars.")
        self._set_codas()
        return self.bars

    def _read(self, match):
        is_begun = bool(self.cells or self.again)
        if is_begun and (match["section"] or match["metre"] or match["ending"]):
            self.later.append(match)  # behind the chords of a bar: of the next one
        elif match["line"]:
            self._end_bar(match["line"])
            self.later, later = [], self.later
            for sign in later:
                self._read(sign)
        elif match["section"]:
            letter = match["section"][1]
            self.section, self.endings = SECTIONS.get(letter, letter.upper()), ()
        elif match["metre"]:
            self.metre = (12, 8) if match["metre"] == "12" else (int(match["metre"][0]), int(match["metre"][1]))
            if not all(self.metre) or self.metre[1] not in (1, 2, 4, 8):
                raise ChordError(f"the metre T{match['metre']} is none.")
        elif match["ending"]:
            self.endings = (int(match["ending"]) or self._next_ending(),)
        elif match["comment"]:
            self._read_comment(match["comment"][1:-1])
        elif match["chord"]:
            self.cells.append(_Cells(self._chord(match), self.is_small))
        elif match["cell"] or match["sign"] == "p":
            self._hold(match["sign"] == "p")
        elif match["sign"]:
            self._read_sign(match["sign"], is_begun)

    def _read_sign(self, sign, is_begun):
        if sign in "sl":
            self.is_small = sign == "s"
        elif sign == "n":
            self.cells.append(_Cells(None, self.is_small))
        elif sign in "xr":
            self.again = sign
        elif sign == "S":
            self.marks["segno"] = True
        elif sign == "Q":
            self.codas.append((len(self.bars), not is_begun))
        elif sign == "U":
            self.end_bar = len(self.bars)

    def _read_comment(self, text):
        text = re.sub(r"^\*\d\d", "", text).strip()  # how far below the chords it stands
        if jump := Jump.find(text):
            self.marks["jump"] = jump
        elif text.casefold().rstrip(".") == "fine":
            self.marks["fine"] = True
        elif times := re.fullmatch(r"(\d{1,2})\s*x", text, re.IGNORECASE):
            self.marks["times"] = int(times[1])

    def _next_ending(self):
        """The number of an ending without one."""
        numbers = [number for bar in self.bars for number in bar.marks.endings]
        return numbers[-1] + 1 if numbers and self.bars[-1].marks.repeat_end else 1

    def _last_chord(self):
        return self.cells[-1].chord if self.cells else self.bars[-1].bar.chords[-1][1] if self.bars else None

    def _chord(self, match):
        symbol = re.sub(r"\*([^*]*)\*", r"\1", match["chord"])
        if symbol.startswith("W"):  # the chord before, over another bass
            before = self._last_chord()
            if before is None:
                raise ChordError(f"{symbol!r} stands for the chord before, but there is none.")
            symbol = before.symbol.partition("/")[0] + symbol[1:]
        return parse_chord(symbol)

    def _hold(self, is_slash):
        """A cell that holds the chord before."""
        if self.cells:
            self.cells[-1].empty += 1
        elif is_slash or self.opened not in CLOSING:  # what follows these fills up a row
            self.leading += 1
            if is_slash and not self.bars:
                raise ChordError("a slash holds the chord before, but there is none.")

    def _end_bar(self, line):
        blank = not self.cells and not self.again
        if not blank or self.opened in "|[{" and self.leading > 1 and not self.skips_blank and self.bars:
            self._add_bars()
        elif self.bars:
            ends = {name: self.marks.pop(name) for name in ("jump", "fine", "times") if name in self.marks}
            self._mark(len(self.bars), **ends)
        self.skips_blank = self.again == "r" or self.skips_blank and blank and not self.leading
        self.cells, self.leading, self.again, self.opened = [], 0, "", line
        if line == "}":
            if not self.bars:
                raise ChordError("a repeat ends, but no bar is before it.")
            self._mark(len(self.bars), repeat_end=True)
        if line == "{":
            self.marks["repeat_start"] = True
        if line != "|":
            self.endings = ()

    def _mark(self, index, **marks):
        """Marks of a bar, or of the last one before it."""
        index = min(index, len(self.bars) - 1)
        self.bars[index] = self.bars[index].marked(**marks)

    def _add_bars(self):
        if self.again and self.cells:
            raise ChordError(f"{self.again!r} repeats bars, but chords stand beside it.")
        count = {"r": 2, "x": 1}.get(self.again, 0)
        if count > len(self.bars):
            raise ChordError(f"{self.again!r} repeats {count} bar{'s' * (count > 1)}, but fewer are before it.")
        copies = [written.bar for written in self.bars[len(self.bars) - count :]] or [None]
        for number, copy in enumerate(copies):
            if copy is None or copy.metre != self.metre:
                chords, inferred = self._dealt()
            else:
                chords, inferred = copy.chords, copy.inferred
            marks = Marks(endings=self.endings, **(self.marks if number == 0 else {}))
            self.bars.append(WrittenBar(Bar(chords, self.metre, self.section, inferred), marks))
            self.marks, self.section = {}, ""

    def _dealt(self):
        """((offset, chord) of a bar, whether its cells disagree with its metre)."""
        cells = list(self.cells)
        if self.bars and (self.leading or not cells):
            before = self.bars[-1].bar.chords[-1][1]
            cells.insert(0, _Cells(before, empty=max(0, self.leading - 1)))
        beat = beat_quarters(self.metre)
        total = int(Fraction(4 * self.metre[0], self.metre[1]) / beat)
        lengths, fits = deal_beats([(cell.empty, cell.is_small) for cell in cells], total)
        offsets = [beat * sum(lengths[:number], Fraction(0)) for number in range(len(cells))]
        return tuple(zip(offsets, (cell.chord for cell in cells), strict=True)), not fits and len(cells) > 1

    def _set_codas(self):
        """Of several coda signs the last one is where the coda begins, all others are where one leaves for it."""
        for number, (index, is_first) in enumerate(self.codas):
            if number < len(self.codas) - 1:
                index, marks = index - (is_first and index > 0), {"to_coda": True}
            else:
                index, marks = index + (not is_first), {"coda": True}
            self._mark(index, **marks)
        all_marks = [bar.marks for bar in self.bars]
        wants_fine = any(marks.jump and marks.jump.until == "fine" for marks in all_marks)
        if self.end_bar is not None and wants_fine and not any(marks.fine for marks in all_marks):
            self._mark(self.end_bar, fine=True)


def beat_quarters(metre: tuple[int, int]) -> Fraction:
    """Quarters of a beat as charts count it: dotted in 6/8, 9/8, 12/8, an eighth in other eighths, else a quarter."""
    beats, unit = metre
    if unit == 8:
        return Fraction(3, 2) if beats % 3 == 0 and beats > 3 else Fraction(1, 2)
    return Fraction(1)


def deal_beats(cells: Sequence[tuple[int, bool]], total: int) -> tuple[list[Fraction], bool]:
    """How many beats each chord of a bar lasts.

    Parameters
    ----------
    cells : (empty cells behind it, whether it is small) of each chord
    total : beats of the bar

    Returns
    -------
    (beats of each chord, whether the cells are as many as the beats)
    """
    count = sum(1 + empty for empty, _ in cells)
    fits = count == total
    if len(cells) > total:
        return [Fraction(total, len(cells))] * len(cells), False
    beats = [Fraction(1 if is_small else 1 + empty) for empty, is_small in cells]
    if sum(beats) > total:  # in proportion, the rest to whom most is missing
        exact = [length * total / sum(beats) for length in beats]
        beats = [Fraction(max(1, math.floor(length))) for length in exact]
        order = sorted(range(len(beats)), key=lambda number: beats[number] - exact[number])
        for number in order[: max(0, total - int(sum(beats)))]:
            beats[number] += 1
        while sum(beats) > total:
            beats[beats.index(max(beats))] -= 1
    left = total - int(sum(beats))
    large = [number for number, (_, is_small) in enumerate(cells) if not is_small] or list(range(len(cells)))
    for turn in range(left):
        beats[large[turn % len(large)]] += 1
    return beats, fits
