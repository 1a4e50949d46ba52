"""A chart of chords as a table, four bars a line, as it was understood."""

from __future__ import annotations

import html

from lib.config import OWN
from lib.music.chart import Chart
from lib.music.chords import NO_CHORD
from lib.music.tempo_map import Metre

BARS_A_LINE, MOST_BARS = 4, 48  # more bars are counted only
CELL = "border:1px solid #8888;padding:2px 10px;min-width:5em"


def chart_html(text, seconds=None, tempo_bpm=120.0, metre="4/4", choruses=None):
    """The chart as HTML; a bar that repeats an earlier one names it.

    Parameters
    ----------
    text : of music.chart.Chart.parse, or OWN
    seconds, choruses : length of a solo, the latter before the former; neither: the caption says nothing of it
    tempo_bpm : quarters a minute
    metre : such as 3/4

    Raises
    ------
    ChordError : an unknown symbol, section or form
    """
    if text.strip().lower() == OWN:
        return "<small>changes of the pianist's own</small>"
    metre = Metre.parse(metre)
    chart = Chart.parse(text, (metre.numerator, metre.denominator))
    bars, first = chart.once_through, len(chart.intro)
    sources = [None] * first + [source if source is None else source + first for source in chart.sources()]
    sources += [None] * len(chart.outro)
    cells = [_cell(number, bar, sources[number]) for number, bar in enumerate(bars[:MOST_BARS])]
    lines = ["".join(cells[first : first + BARS_A_LINE]) for first in range(0, len(cells), BARS_A_LINE)]
    table = "".join(f"<tr>{line}</tr>" for line in lines)
    caption = html.escape(_describe(len(bars), float(chart.length(1)) * 60 / tempo_bpm, seconds, choruses))
    label = f'aria-label="chart of {len(bars)} bars"'
    return f'<table {label} style="border-collapse:collapse">{table}</table><small>{caption}</small>'


def _cell(number, bar, source):
    symbols = " &nbsp; ".join(html.escape(NO_CHORD if chord is None else chord.symbol) for _, chord in bar.chords)
    again = "" if source in (None, number) else f' <small title="repeats bar {source + 1}">= {source + 1}</small>'
    section = f" <b>{html.escape(bar.section)}</b>" if bar.section else ""
    return f'<td style="{CELL}"><small style="opacity:.7">{number + 1}</small>{section} {symbols}{again}</td>'


def _describe(bars, chorus_s, seconds, choruses):
    text = f"{bars} bar{'s' * (bars != 1)}, {chorus_s:.1f} s at this tempo"
    text = f"{text}; {bars - MOST_BARS} more than shown" if bars > MOST_BARS else text
    if choruses:
        return f"{text}; {choruses} chorus{'es' * (choruses != 1)}, {choruses * chorus_s:.1f} s"
    return text if seconds is None else f"{text}; played {seconds / chorus_s:.1f} times in {seconds:g} s"
