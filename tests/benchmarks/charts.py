"""Whether charts are read as they are written: forms drawn at random, tunes unfolded by hand, another program's reading.

    python tests/benchmarks/charts.py [--forms 2000] [--seed 1] [--playlist FILE --reference DIR]

Forms are drawn from what each format can write, with the bars that are to be played known by construction; each is
written as typed text, as an iReal Pro address and as MusicXML, and read back. With `--reference` the tunes of a playlist
of your own are compared with another program's MusicXML of them, DIR/TITLE.musicxml. A table of refusals by reason comes
first: of signs strewn at random, and of the playlist. The last line is JSON:

- `exact_typed`, `exact_ireal`, `exact_musicxml`: share of the forms whose bars, metres, chords and beats are all right
- `forms`: of each format; `exact_by_hand`: share of the tunes in tests/fixtures/charts/right.json; `tunes_by_hand`
- `signs_strewn`, `signs_refused`: charts of random signs, and how many of them are refused
- `reference_bars`, `reference_exact`: share of the playlist's tunes with as many bars, and with every chord on its
  beat; `reference_tunes`, `reference_refused`
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.music.chart import Chart  # noqa: E402
from lib.music.chart_files import find_tunes, read_chart  # noqa: E402
from lib.music.chords import ChordError, parse_chord  # noqa: E402
from lib.music.ireal import MUSIC, beat_quarters, ireal_tunes, unscrambled  # noqa: E402
from lib.music.music_xml import KINDS, read_music_xml  # noqa: E402

RIGHT = ROOT / "tests" / "fixtures" / "charts" / "right.json"
METRES = ((4, 4), (3, 4), (5, 4), (6, 8), (12, 8), (7, 8), (2, 2), (2, 4))
ROOTS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
SUFFIXES = ("", "m", "7", "maj7", "m7", "m7b5", "dim7", "6", "9", "13", "sus4", "7(b9)", "mmaj7", "aug")
IREAL = {"m": "-", "maj7": "^7", "m7": "-7", "m7b5": "h7", "dim7": "o7", "sus4": "sus", "7(b9)": "7b9", "mmaj7": "-^7", "aug": "+"}
XML = {suffix: kind for kind, suffix in KINDS.items() if kind not in ("pedal",)} | {"7(b9)": "dominant"}
JUMPS = ("", "", "", "fine", "coda", "ending", "outro")


@dataclass(frozen=True)
class Sheet:
    """A bar that is written: [(beats, root, suffix, bass)], with beats as charts count them."""

    metre: tuple[int, int]
    chords: tuple[tuple[int, str, str, str], ...]


@dataclass
class Block:
    """Bars between two signs, with how often they are played, or the endings that they lead to."""

    bars: list[Sheet]
    times: int = 1
    endings: list[list[Sheet]] = field(default_factory=list)

    def played(self, straight=False):
        if self.endings:
            return [bar for ending in (self.endings[-1:] if straight else self.endings) for bar in (*self.bars, *ending)]
        return self.bars * (1 if straight else self.times)


@dataclass
class Form:
    """Blocks with a jump: `first` and `last` are the blocks that are played after it; a coda may follow."""

    blocks: list[Block]
    jump: str = ""
    to_segno: bool = False
    first: int = 0
    last: int = 0
    coda: list[Sheet] = field(default_factory=list)

    def played(self):
        bars = [bar for block in self.blocks for bar in block.played()]
        if self.jump in ("fine", "coda", "ending"):
            bars += [bar for block in self.blocks[self.first : self.last + 1] for bar in block.played(straight=True)]
        return bars + self.coda


def draw_bar(random, metre):
    total = int(Fraction(4 * metre[0], metre[1]) / beat_quarters(metre))
    count = int(random.integers(1, min(total, 4) + 1)) if random.random() < 0.5 else 1
    cuts = np.sort(random.choice(np.arange(1, total), count - 1, replace=False)) if count > 1 else np.array([], int)
    beats = np.diff([0, *cuts, total])
    chords = []
    for number in beats:
        bass = str(random.choice(ROOTS)) if random.random() < 0.15 else ""
        chords.append((int(number), str(random.choice(ROOTS)), str(random.choice(SUFFIXES)), bass))
    return Sheet(metre, tuple(chords))


def draw_form(random):
    """A Form with one to four blocks, in one or several metres."""
    metre, blocks = METRES[random.integers(len(METRES))], []

    def bars(most=4):
        drawn = []
        for _ in range(random.integers(1, most + 1)):
            drawn.append(drawn[-1] if drawn and random.random() < 0.2 else draw_bar(random, metre))
        return drawn

    for _ in range(random.integers(1, 5)):
        if random.random() < 0.2:
            metre = METRES[random.integers(len(METRES))]
        kind = random.random()
        if kind < 0.4:
            blocks.append(Block(bars()))
        elif kind < 0.65:
            blocks.append(Block(bars(), int(random.integers(2, 5))))
        else:
            blocks.append(Block(bars(), 1, [bars(2) for _ in range(random.integers(2, 4))]))
    jump = JUMPS[random.integers(len(JUMPS))]
    if jump == "ending" and not any(block.endings for block in blocks):
        jump = ""
    last = int(random.integers(len(blocks)))
    if jump == "ending":
        last = [number for number, block in enumerate(blocks) if block.endings][0]
    first = int(random.integers(last + 1)) if jump and random.random() < 0.5 else 0
    return Form(blocks, jump, first > 0, first, last, bars(3) if jump in ("coda", "outro") else [])


# --- Writing -----------------------------------------------------------------------------------------------------


@dataclass
class Written:
    """A bar with its signs, for the writers."""

    bar: Sheet
    start: bool = False
    end: bool = False
    times: int = 0
    ending: int = 0
    last_of_ending: bool = False
    segno: bool = False
    fine: bool = False
    to_coda: bool = False
    coda: bool = False
    jump: str = ""


def written_bars(form):
    rows = []
    for number, block in enumerate(form.blocks):
        begin = len(rows)
        rows += [Written(bar) for bar in block.bars]
        if block.times > 1:
            rows[begin].start = rows[-1].end = True
            rows[-1].times = block.times
        for index, ending in enumerate(block.endings):
            rows[begin].start = True
            rows += [Written(bar, ending=index + 1) for bar in ending]
            rows[-1].end, rows[-1].last_of_ending = index < len(block.endings) - 1, True
        rows[begin].segno = form.to_segno and number == form.first
        if number == form.last:
            rows[-1].fine, rows[-1].to_coda = form.jump == "fine", form.jump == "coda"
    count = len(form.blocks[form.last].endings) if form.jump == "ending" else 0
    name = f"{count}{['st', 'nd', 'rd'][count - 1]} ending" if count else form.jump.title()
    if form.jump in ("fine", "coda", "ending"):
        rows[-1].jump = f"D.{'S' if form.to_segno else 'C'}. al {name}"
    begin = len(rows)
    rows += [Written(bar) for bar in form.coda]
    if form.coda:
        rows[begin].coda = True
    return rows


def symbol(chord, suffixes=None):
    _, root, suffix, bass = chord
    return root + ((suffixes or {}).get(suffix, suffix)) + (f"/{bass}" if bass else "")


def as_text(form, random):
    text, metre = "", (4, 4)
    for number, row in enumerate(written_bars(form)):
        text += " |: " if row.start else "\n" if number % 4 == 0 else " | "
        text += (
            f"{row.ending}. "
            if row.ending and (number == 0 or text.rstrip(" |:\n")[-1:] is not None and is_new(form, number))
            else ""
        )
        text += "<Segno> " * row.segno + "[Coda] " * row.coda
        if row.bar.metre != metre:
            metre = row.bar.metre
            text += "T{}/{} ".format(*metre)
        parts = [[symbol(chord)] + [str(random.choice(["/", "."]))] * (chord[0] - 1) for chord in row.bar.chords]
        again = number > 0 and row.bar is written_bars(form)[number - 1].bar and random.random() < 0.7
        text += "%" if again else " ".join(sum(parts, []))
        text += " <Fine>" * row.fine + " <To Coda>" * row.to_coda + f" <{row.jump}>" * bool(row.jump)
        text += " :|" if row.end else ""
        text += f" x{row.times}" if row.times > 2 else ""
        text += " ||" if row.last_of_ending and not row.end else ""
    return text


def is_new(form, number):
    """Whether an ending begins with a written bar."""
    rows = written_bars(form)
    return number == 0 or rows[number - 1].ending != rows[number].ending


def as_ireal(form, random):
    music, metre, before = "", None, ""
    for number, row in enumerate(written_bars(form)):
        if row.start:
            music += "{"
        elif not before.endswith(("}", "]")) or row.ending:
            music += "|" if number and not before.endswith("}") else "" if number else "["
        else:
            music += "["
        music += f"N{row.ending}" if row.ending and is_new(form, number) else ""
        if row.bar.metre != metre:
            metre = row.bar.metre
            music += "T12" if metre == (12, 8) else "T{}{}".format(*metre)
        music += "S" * row.segno + "Q" * row.coda
        cells = [symbol(chord, IREAL) + " " * (chord[0] - 1) for chord in row.bar.chords]
        if len(cells) == 1:
            cells = [symbol(row.bar.chords[0], IREAL) + " " * int(random.integers(0, 4))]
        if number > 0 and row.bar is written_bars(form)[number - 1].bar and random.random() < 0.7:
            cells = [" x  "]
        music += "".join(cell if cell.endswith(" ") or index == len(cells) - 1 else f"{cell}," for index, cell in enumerate(cells))
        music += "Q" * row.to_coda + "<Fine>" * row.fine + f"<{row.jump}>" * bool(row.jump)
        music += f"<{row.times}x>" if row.times > 2 else ""
        before = "}" if row.end else "]" if row.last_of_ending else ""
        music += before
    music += "Z"
    music = music.replace("   ", "XyQ").replace(" |", "LZ")
    fields = ("Ours", "Nobody", "", "Swing", "C", "", MUSIC + unscrambled(music), "", "120", "3")
    return "irealb://" + urllib.parse.quote("=".join(fields), safe="")


def as_music_xml(form, random):
    measures, metre = [], None
    rows = written_bars(form)
    for number, row in enumerate(rows):
        inner, before = "", ""
        if row.bar.metre != metre:
            metre = row.bar.metre
            time = "<time><beats>{}</beats><beat-type>{}</beat-type></time>".format(*metre)
            inner += f"<attributes><divisions>4</divisions>{time}</attributes>"
        if row.start or row.ending and is_new(form, number):
            sign = "<repeat direction='forward'/>" * row.start
            ending = f"<ending number='{row.ending}' type='start'/>" * bool(row.ending and is_new(form, number))
            before = f"<barline location='left'>{ending}{sign}</barline>"
        inner += "<direction><direction-type><segno/></direction-type></direction>" * row.segno
        inner += "<direction><direction-type><coda/></direction-type><sound coda='c'/></direction>" * row.coda
        beat = beat_quarters(metre) * 4
        for beats, root, suffix, bass in row.bar.chords:
            inner += harmony(root, suffix, bass) + f"<note><rest/><duration>{beats * beat}</duration></note>"
        inner += "<direction><direction-type><words>Fine</words></direction-type><sound fine='yes'/></direction>" * row.fine
        inner += "<direction><direction-type><words>To Coda</words></direction-type><sound tocoda='c'/></direction>" * row.to_coda
        if row.jump:
            inner += f"<direction><direction-type><words>{row.jump}</words></direction-type></direction>"
        end = f"<ending number='{row.ending}' type='{'stop' if row.end else 'discontinue'}'/>" * row.last_of_ending
        end += f"<repeat direction='backward'{f' times=%s{row.times}%s' % (chr(39), chr(39)) if row.times > 2 else ''}/>" * row.end
        inner += f"<barline location='right'>{end}</barline>" * bool(end)
        measures.append(f"<measure number='{number + 1}'>{before}{inner}</measure>")
    return f"<?xml version='1.0'?><score-partwise><part id='P1'>{''.join(measures)}</part></score-partwise>"


def harmony(root, suffix, bass):
    def pitch(name, note):
        alter = {"#": 1, "b": -1}.get(note[1:], 0)
        return f"<{name}><{name}-step>{note[0]}</{name}-step><{name}-alter>{alter}</{name}-alter></{name}>"

    flat = "<degree><degree-value>9</degree-value><degree-alter>-1</degree-alter><degree-type>add</degree-type></degree>"
    low = pitch("bass", bass) if bass else ""
    return f"<harmony>{pitch('root', root)}<kind>{XML[suffix]}</kind>{low}{flat * (suffix == '7(b9)')}</harmony>"


# --- Comparing ---------------------------------------------------------------------------------------------------


def facts(bars):
    """[(quarters, [(offset, root, intervals, bass)])] of bars of a Chart."""
    return [(bar.quarters, [(at, c and (c.root, c.intervals, c.bass)) for at, c in bar.chords]) for bar in bars]


def expected_facts(form):
    rows = []
    for bar in form.played():
        beat, at, chords = beat_quarters(bar.metre), 0, []
        for chord in bar.chords:
            read = parse_chord(symbol(chord))
            chords.append((beat * at, (read.root, read.intervals, read.bass)))
            at += chord[0]
        rows.append((Fraction(4 * bar.metre[0], bar.metre[1]), chords))
    return rows


READERS = {
    "typed": (as_text, lambda text: Chart.parse(text)),
    "ireal": (as_ireal, lambda text: ireal_tunes(text)[0].chart()),
    "musicxml": (as_music_xml, lambda text: read_music_xml(text.encode())[1]),
}


def exact_share(name, count, seed, shows=0):
    """Share of the forms that a format's reader gets wholly right; the first failures are printed."""
    (write, read), exact = READERS[name], 0
    for number in range(count):
        random = np.random.default_rng((seed, number))
        form = draw_form(random)
        text = write(form, random)
        try:
            right = facts(read(text).once_through) == expected_facts(form)
            reason = "" if right else "other bars"
        except ChordError as error:
            right, reason = False, str(error)
        exact += right
        if not right and shows:
            shows -= 1
            print(f"{name} {number} {reason}: {urllib.parse.unquote(text)}")
    return exact / count


def strewn(count, seed):
    """Reasons of refusal of charts whose signs are strewn at random."""
    reasons = Counter()
    signs = ("|:", ":|", "1. ", "2. ", "<Fine>", "<D.C. al Fine>", "<D.S. al Coda>", "<Segno>", "<To Coda>", "<Coda>", "x3", "||")
    for number in range(count):
        random = np.random.default_rng((seed, number, 1))
        drawn = [str(random.choice(signs)) if random.random() < 0.6 else "" for _ in range(6)]
        parts = [f"| C7 |{sign} F7" if sign[:1].isdigit() else f"| C7 | F7 {sign}" for sign in drawn]
        try:
            Chart.parse(" ".join(parts))
            reasons["read"] += 1
        except ChordError as error:
            reasons[re.sub(r"\d+", "N", error.reason)] += 1
    return reasons


def by_hand():
    """(share of the tunes of right.json that are read right, how many there are)."""
    rows = json.loads(RIGHT.read_text(encoding="utf-8"))
    right = 0
    for source, title, text in rows:
        path = RIGHT.parent / source
        tune = read_chart(path if path.is_file() else source, title)
        right += tune.chart.text() == text
    return right / len(rows), len(rows)


def against_reference(playlist, folder):
    """Figures of a playlist beside another program's MusicXML of its tunes."""
    counts, reasons = Counter(), Counter()
    for tune in find_tunes(playlist):
        other = folder / f"{tune.title}.musicxml"
        if not other.is_file():
            continue
        counts["tunes"] += 1
        try:
            mine = facts(tune.read().once_through)
        except ChordError as error:
            counts["refused"] += 1
            reasons[re.sub(r"\d+", "N", error.reason)] += 1
            continue
        theirs = facts(read_chart(other).chart.once_through)
        counts["bars"] += len(mine) == len(theirs)
        counts["exact"] += roots(mine) == roots(theirs)
    read = max(1, counts["tunes"] - counts["refused"])
    shares = {"reference_bars": counts["bars"] / read, "reference_exact": counts["exact"] / read}
    return {**shares, "reference_tunes": counts["tunes"], "reference_refused": counts["refused"]}, reasons


def roots(bars):
    """Where the root changes, in quarters: programs spell qualities in their own ways."""
    changes, start = [], Fraction(0)
    for quarters, chords in bars:
        for at, chord in chords:
            if not changes or changes[-1][1] != (chord and chord[0]):
                changes.append((start + at, chord and chord[0]))
        start += quarters
    return changes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", type=int, default=2000, help="of each format")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--playlist", type=Path)
    parser.add_argument("--reference", type=Path)
    words = parser.parse_args()
    figures = {f"exact_{name}": exact_share(name, words.forms, words.seed, shows=3) for name in READERS}
    hand, tunes = by_hand()
    reasons = strewn(500, words.seed)
    figures |= {"forms": words.forms, "exact_by_hand": hand, "tunes_by_hand": tunes}
    figures |= {"signs_strewn": reasons.total(), "signs_refused": reasons.total() - reasons["read"]}
    if words.reference:
        more, refusals = against_reference(words.playlist, words.reference)
        figures |= more
        reasons += refusals
    for reason, count in reasons.most_common():
        print(f"{count:5}  {reason}")
    print(json.dumps({"benchmark": "charts", **figures}))


if __name__ == "__main__":
    main()
