"""Charts as people type and paste them.

Bars are parted by "|" or line breaks; the chords of a bar share it equally, "/" or "." holds the chord for another
share; "%" or an empty bar is the bar before once more; "N.C." is no chord. Repeats, endings, double bars, sections,
jumps and metres as they are usually written:

    Cmaj7 | Dm7 G7 | % | N.C.
    |: Dm7 | G7 |1. Cmaj7 | A7 :|2. Cmaj7 | % ||
    [A] Dm7 | G7 | Cmaj7 | %                          also "A:", "*A", or A on a line of its own
    T34 Fmaj7 | T44 Bb7 / / Eb7 | <D.C. al Fine>      also 3/4; <Fine>, <Segno>, <To Coda>, <Coda>, x3
    A: Cmaj7 | Am7 | Dm7 | G7; B: Em7b5 | A7 | Dm7 | G7; AABA
    blues in F                                        or a form that every jazz musician knows

The bars of a section called intro are played once, at the beginning; those from an outro, or a coda that no jump leads
to, once, at the end. What can't be read is refused by its bar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction

from lib.music.chart import OUTRO, Bar, Chart, WrittenBar
from lib.music.chords import INVISIBLE, NO_CHORD, ChordError, is_no_chord, parse_chord
from lib.music.form import Jump, Marks

FORMS = {  # degrees over C
    "blues": "C7 | F7 | C7 | Gm7 C7 | F7 | F#dim7 | C7 | Em7b5 A7 | Dm7 | G7 | C7 A7 | Dm7 G7",
    "minor blues": "Cm7 | Fm7 | Cm7 | C7 | Fm7 | % | Cm7 | % | Ab7 | G7 | Cm7 | Dm7b5 G7",
    "rhythm changes": (
        "A: Cmaj7 A7 | Dm7 G7 | Em7 A7 | Dm7 G7 | Gm7 C7 | Fmaj7 Fm7 | Em7 A7 | Dm7 G7; "
        "B: E7 | % | A7 | % | D7 | % | G7 | %; AABA"
    ),
}
KEY = r"(?P<key>[A-Ga-g][b#♭♯]?)\s*(?P<minor>m|min|minor|-)?"
STRANGE_KEY = re.compile(rf"(?:minor )?(?:{'|'.join(FORMS)})\s+in\s+(?P<key>[^\s|]+)", re.IGNORECASE)
NAMED = tuple(re.compile(p) for p in (rf"(?P<form>[^|]+?)\s+in\s+{KEY}", rf"{KEY}\s+(?P<form>{'|'.join(FORMS)})"))
NAMES = (
    *("intro", "verse", "chorus", "bridge", "head", "solo", "solos", "interlude", "refrain", "vamp", "turnaround"),
    *("pre-chorus", "instrumental", "theme", "release", "hook", "break", "section", "part", *OUTRO),
)
LETTER = r"[A-Za-z]['’]?\d?['’]?"
NAME = rf"(?:(?:{'|'.join(NAMES)})(?:\s+(?:\d+|(?![x×]){LETTER}))?|{LETTER})"
NUMBERED = re.compile(r"[A-Ha-h]['’]?[1-4]['’]?")  # a section's letter with its number, though A2 is a chord, too
LABEL = re.compile(
    rf"\s*(?:\*(?P<star>{LETTER})\b|(?P<colon>{NAME})\s*[:)](?=$|[\s|%(/.<{{\[]|(?-i:[A-HN]))"
    rf"|\((?P<round>{LETTER})\)(?=\s|$)|(?P<alone>{NAME})\s*$)",
    re.IGNORECASE,
)
ORDER = re.compile(
    r"\s*(?P<prefix>(?:form|order)\s*:)?\s*(?P<letters>[A-Za-z]+|[A-Za-z](?:[\s,-]+[A-Za-z])+)\s*", re.IGNORECASE
)
TOKEN = re.compile(
    rf"(?P<label>\[\s*(?P<name>{NAME})\s*:?\s*\]:?(?=$|[\s|A-H%N(/.<{{]))"
    r"|(?P<count>\[[^\]|]*\b(?:[x×]\s?\d+|\d+\s?[x×])\s*\])"
    r"|(?P<mark><[^>]*>|d(?:a\s+capo|al\s+segno)(?:\s+al\s+[\w.]+)?|\(fine\)"
    r"|D\.\s?[CS]\.?(?:\s+al\s+[\w.]+(?:\s+end(?:ing)?\.?)?)?|\bD[CS]\b(?:\s+al\s+[\w.]+)?"
    r"|to coda\b|fine\b"
    r"|coda\b|segno\b|[𝄋𝄌])"
    r"|(?P<line>\[?[|:{}]*[|{}][|:{}]*\]?)"
    r"|(?P<ending>\[?(?P<passes>\d(?:\s*[,\-–&]\s*\d)*)\s*(?:[.):](?!\d)|(?<=\[\d)\]?(?=\s)|(?<=[|:]\d)(?=\s)))"
    r"|(?P<times>[(\[]?(?:[x×]\s?(?P<after>\d{1,2})|(?P<before>\d{1,2})\s?[x×])[)\]]?(?=$|[\s|]))"
    r"|(?P<metre>(?:T\d{1,2}/\d{1,2}|T\d{2,3}|\(?\d{1,2}/(?:2|4|8|16)\)?)(?=$|[\s|]))"
    r"|(?P<none>\(?(?:n\.?\s?c\.?|no chord)\)?(?=$|[\s|,]))"
    r"|(?P<two>\.//\.|%%)|(?P<again>%|\./\.)|(?P<hold>[/.]+(?=$|[\s|,]))"
    r"|(?P<symbol>(?:\([^)|]*\)|:(?![|:])|\s(?=\((?:[#b♯♭+-]?\d|add|sus|no|maj))|[^\s|:{}<,])+)",
    re.IGNORECASE,
)
SPELLINGS = str.maketrans(
    {"‖": "||", "𝄀": "|", "𝄁": "||", "𝄂": "||", "│": "|", "｜": "|", "𝄆": "|:", "𝄇": ":|", ";": "\n"}
)
HOLD, AGAIN = object(), object()  # in place of a chord: the one before; alone in a bar: the bar before


def read_text(text: str, metre: tuple[int, int] = (4, 4)) -> Chart:
    """The Chart of a text, see the module and Chart.parse."""
    text = text.translate(INVISIBLE).translate(SPELLINGS).strip()
    for pattern in NAMED:
        if match := pattern.fullmatch(text):
            return _named(**match.groupdict(), metre=metre)
    if match := STRANGE_KEY.fullmatch(text):
        parse_chord(match["key"][0].upper())
        raise ChordError(f"No key {match['key']!r}. Write it as in 'blues in Bb' or 'minor blues in F#'.")
    lines = [line for line in text.splitlines() if line.strip()]
    order = _order_of(lines)
    has_signs = "|" in text or any(_is_label(line) for line in lines)
    reader = _TextReader(metre, has_signs, next_letter="A" if lines and lines[0].strip() == "A" else "")
    for line in lines[: len(lines) - (order is not None)]:
        reader.read_line(line)
    if not reader.bars:
        raise ChordError(f"No chord in {text!r}. Write something like 'Cmaj7 | Dm7 G7'.")
    return _ordered(reader.sections(), order) if order is not None else Chart.of_written(reader.finished())


def format_text(chart: Chart, metre: tuple[int, int] = (4, 4)) -> str:
    """The bars of a Chart once through, as `read_text` reads them back in this metre."""
    bars = []
    for name, part in (("Intro", chart.intro), ("", chart.bars), ("Outro", chart.outro)):
        for number, bar in enumerate(part):
            section = bar.section
            if name and number == 0 and not section.casefold().startswith((name.casefold(), *OUTRO)):
                section = name
            signs = [f"[{section}]"] if section else []
            if bar.metre != metre:
                metre = bar.metre
                signs.append("T{}/{}".format(*metre) if max(metre) > 9 else "T{}{}".format(*metre))
            bars.append(" ".join([*signs, *_shares(bar)]))
    return " | ".join(bars)


def leading_metre(text: str) -> str | None:
    """The metre that is written before the first chord of a text, such as "3/4"; None: none is."""
    for match in TOKEN.finditer(text):
        if match["metre"]:
            return "{}/{}".format(*_metre(match["metre"]))
        if not (match["label"] or match["line"] or match["mark"]):
            return None
    return None


def section_name(text: str) -> str:
    """A section's name as a chart's text may write it; "" where it may not."""
    text = text.strip()
    if not re.fullmatch(NAME, text, re.IGNORECASE):
        return ""
    return text if len(text) < 4 and text[:1].isupper() or len(text) == 1 else text.capitalize()


def _shares(bar):
    """The fewest signs that say the bar where they share it equally."""
    parts = 1
    while any(offset * parts % bar.quarters for offset, _ in bar.chords):
        parts += 1
    signs = ["/"] * parts
    for offset, chord in bar.chords:
        signs[int(offset * parts / bar.quarters)] = NO_CHORD if chord is None else chord.symbol
    return signs


def _named(form, key, minor, metre):
    name = " ".join(form.lower().split())
    name = f"minor {name}" if minor and not name.startswith("minor") else name
    if name not in FORMS:
        raise ChordError(f"No form {name!r}. Known: {', '.join(f'{known} in C' for known in FORMS)}.")
    return read_text(FORMS[name], metre).transposed(parse_chord(key[0].upper() + key[1:]).root)


def _is_chord(text):
    try:
        return bool(parse_chord(text))
    except ChordError:
        return False


def _is_label(line):
    """Whether a line begins with a section's name that can't be a chord."""
    if match := LABEL.match(line):
        return not match["alone"] or not _is_chord(match["alone"])
    return bool((match := TOKEN.match(line.strip())) and match["label"])


def _order_of(lines):
    """The letters of the last line where it is an order of sections, such as AABA; None: there is none."""
    match = ORDER.fullmatch(lines[-1]) if lines else None
    if match is None:
        return None
    letters, labels = (
        re.sub(r"[\s,-]", "", match["letters"]),
        [LABEL.match(line) or TOKEN.match(line.strip()) for line in lines[:-1]],
    )
    names = {(found["colon"] if found.re is LABEL else found["name"]) or "" for found in labels if found}
    has_sections = any(len(name) == 1 for name in names)
    is_name = re.fullmatch(NAME, letters, re.IGNORECASE) and letters not in names
    return letters if match["prefix"] or has_sections and not is_name and not _is_chord(letters * 2) else None


@dataclass
class _TextReader:
    """Written bars, as far as they are read."""

    metre: tuple[int, int]
    has_signs: bool  # of bars or sections: then a letter on a line of its own is no chord by itself
    next_letter: str  # of sections whose letters stand on lines of their own, as in a text that begins so; "": none do
    bars: list[WrittenBar] = field(default_factory=list)
    shares: list = field(default_factory=list)  # of the bar that is being read: Chord, None, HOLD or AGAIN
    marks: dict = field(default_factory=dict)  # of that bar
    section: str = ""  # that begins with it
    endings: tuple[int, ...] = ()
    has_sections: bool = False  # so far

    def read_line(self, line):
        """A line of bars, perhaps with a label before them."""
        try:
            position = self._read_label(line)
            previous, end = None, position
            while position < len(line):
                if line[position].isspace() or line[position] == ",":
                    position += 1
                    continue
                match = TOKEN.match(line, position)
                if match is None:
                    raise ChordError(f"{line[position]!r} can't be read.")
                is_empty = previous == match["line"] == "|" and match.start() > end and not self.shares
                if is_empty:
                    self.shares.append(AGAIN)
                self._read(match)
                previous, position = match["line"], match.end()
                end = position
            self._end_bar()
        except ChordError as error:
            raise ChordError(error.reason, len(self.bars) + 1) from None

    def finished(self):
        """The bars, once all lines are read."""
        if self.section:
            raise ChordError(f"Section {self.section!r} has no bars.")
        return self.bars

    def sections(self):
        """[(name, bars)] of the sections, in order."""
        parts = []
        for bar in self.finished():
            if bar.bar.section or not parts:
                parts.append((bar.bar.section, []))
            parts[-1][1].append(bar)
        return parts

    def _read_label(self, line):
        """Where the line continues behind its label."""
        match = LABEL.match(line)
        if match is None:
            if title := re.match(r"\s*([A-Za-z][\w ]+):\s", line):
                raise ChordError(f"{title[1]!r} is not a section name: write [A]; remove what is no bar.")
            return 0
        name = match["star"] or match["colon"] or match["round"] or match["alone"]
        if match["round"] and line[match.end() :].strip():
            raise ChordError(f"'({name})' before bars: write [{name}] for a section, {name} for a chord.")
        if match["alone"] and _is_chord(name) and not (self.has_sections and NUMBERED.fullmatch(name)):
            if len(name) > 1 or not self.has_signs:
                return 0
            if not self.next_letter or name > self.next_letter:
                raise ChordError(f"{name!r} on a line of its own: write [{name}] for a section, {name} | for a chord.")
            self.next_letter = max(self.next_letter, chr(ord(name) + 1))
        self._begin_section(name)
        return match.end()

    def _begin_section(self, name):
        self._end_bar()
        if self.section:
            raise ChordError(f"section {self.section!r} has no bars.")
        self.section, self.endings, self.has_sections = section_name(name), (), True
        if self.section.casefold().startswith(OUTRO):
            self.marks["coda"] = True

    def _read(self, match):
        if self.shares and (sign := match["ending"] or match["metre"]):
            raise ChordError(f"{sign!r} in the middle of a bar.")
        is_chord = match["label"] and len(match["name"]) > 1 and _is_chord(match["name"])
        if match["count"]:
            raise ChordError(f"{match['count']!r}: a section that is played several times is written |: ... :| x2.")
        if match["two"]:
            raise ChordError(f"{match['two']!r} repeats two bars: write them.")
        if is_chord and not NUMBERED.fullmatch(match["name"]):
            self.shares.append(parse_chord(match["name"]))
        elif match["label"]:
            self._begin_section(match["name"])
        elif match["mark"]:
            self._read_mark(match["mark"].strip("<>()").strip())
        elif match["line"]:
            self._read_bar_line(match["line"])
        elif match["ending"]:
            self.endings = _passes(match["passes"])
        elif match["times"]:
            self._mark_end(times=int(match["after"] or match["before"]))
        elif match["metre"]:
            self.metre = _metre(match["metre"])
        elif match["hold"]:
            self.shares += [HOLD] * len(match["hold"])
        elif match["again"]:
            self.shares.append(AGAIN)
        elif match["none"] or is_no_chord(match["symbol"]):
            self.shares.append(None)
        elif not (symbol := match["symbol"]).strip("-–—_"):
            raise ChordError(f"{symbol!r} is not a chord. Separate bars with |, and repeat a chord with /.")
        else:
            chord = symbol.rstrip("/")  # held by what is glued to it
            self.shares += [parse_chord(chord), *[HOLD] * (len(symbol) - len(chord))]

    def _read_mark(self, text):
        plain = text.casefold()
        if jump := Jump.find(text):
            self._mark_end(jump=jump)
            self.endings = () if not self.shares else self.endings
        elif plain in ("fine", "end"):
            self._mark_end(fine=True)
        elif plain in ("to coda", "al coda"):
            self._mark_end(to_coda=True)
        elif plain in ("segno", "𝄋"):
            self.marks["segno"] = True
        elif plain == "coda":
            self.marks["coda"] = True
        elif match := re.fullmatch(r"(\d+)\s*x|x\s*(\d+)", plain):
            self._mark_end(times=int(match[1] or match[2]))
        else:
            raise ChordError(
                f"{text!r} can't be read: write <D.C. al Fine>, <Fine>, <Segno>, <To Coda>, <Coda> or <3x>."
            )

    def _read_bar_line(self, line):
        signs = line.replace("{", "|:").replace("}", ":|").strip("[]")
        inner = signs.strip(":")
        if ":" in inner and not re.fullmatch(r"\|+:+\|+", inner):
            raise ChordError(f"{line!r} is not a bar line.")
        ends, starts = signs.startswith(":") or ":" in inner, signs.endswith(":") or ":" in inner
        self._end_bar()
        if ends:
            self._mark_end(repeat_end=True)
        if starts:
            self.marks["repeat_start"] = True
        if ends or starts or "||" in signs or line.endswith("]"):
            self.endings = ()

    def _mark_end(self, **marks):
        """Signs at the end of a bar: of the one that is being read, else of the one before."""
        if self.shares:
            self.marks |= marks
        elif not self.bars:
            raise ChordError(f"{next(iter(marks)).replace('_', ' ')}, but no bar before it.")
        else:
            self.bars[-1] = self.bars[-1].marked(**marks)

    def _end_bar(self):
        if not self.shares:
            return
        before = self.bars[-1].bar if self.bars else None
        if self.shares == [AGAIN]:
            if before is None:
                raise ChordError("this bar repeats the one before, but it is the first.")
            chords = before.chords if before.metre == self.metre else ((Fraction(0), before.chords[-1][1]),)
        else:
            chords = self._chords(before)
        bar = Bar(chords, self.metre, self.section)
        self.bars.append(WrittenBar(bar, Marks(endings=self.endings, **self.marks)))
        self.shares, self.marks, self.section = [], {}, ""

    def _chords(self, before):
        share, chords = Bar((), self.metre).quarters / len(self.shares), []
        for number, sign in enumerate(self.shares):
            if sign not in (HOLD, AGAIN):
                chords.append((share * number, sign))
            elif not chords:
                if before is None:
                    raise ChordError("'/' repeats the chord before, but there is none.")
                chords.append((Fraction(0), before.chords[-1][1]))
        return tuple(chords)


def _passes(text):
    """The numbers of "1,2" or "1-3"."""
    numbers = []
    for part in re.split(r"[,&]", text):
        first, _, last = re.sub(r"\s|–", lambda sign: "-" if sign[0] == "–" else "", part).partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def _metre(text):
    """(beats, unit) of T34, T128, T3/4 or 3/4; T12 is twelve eighths, as iReal Pro has it."""
    digits = text.strip("()Tt")
    if "/" not in digits:
        digits = "12/8" if digits == "12" else f"{digits[:-1]}/{digits[-1]}"
    beats, unit = map(int, digits.split("/"))
    if not 0 < beats < 33 or unit not in (1, 2, 4, 8, 16, 32):
        raise ChordError(f"{text!r} is not a metre: write T34, T68, T128 or 3/4.")
    return beats, unit


def _ordered(sections, order):
    """The chart whose sections are played in an order of letters."""
    charts, intro, outro = {}, (), ()
    for name, written in sections:
        bars = Chart.of_written([bar.marked(coda=False) for bar in written]).bars
        letter = name.upper() if len(name) == 1 else name
        if letter in charts:
            raise ChordError(f"Section {letter!r} is written twice, but the order {order!r} needs it once.")
        if name.casefold().startswith("intro"):
            intro = bars
        elif name.casefold().startswith(OUTRO):
            outro = bars
        elif len(name) != 1:
            raise ChordError(f"The order {order!r} leaves out {name or 'the bars before the first section'!r}.")
        else:
            charts[letter] = bars
    if left_out := charts.keys() - set(order.upper()):
        raise ChordError(f"The order {order!r} leaves out section {min(left_out)!r}.")
    bars = []
    for letter in order:
        if letter.upper() not in charts:
            raise ChordError(f"Section {letter.upper()!r} of {order!r} has no chords. Known: {', '.join(charts)}.")
        first, *rest = charts[letter.upper()]
        bars += [replace(first, section=letter), *rest]
    return Chart(tuple(bars), outro, intro)
