"""The knobs laid out: the chart as it was understood under its chords, what is wrong under its field."""

from __future__ import annotations

import html
import random

import ipywidgets as widgets

from lib.config import OWN
from lib.display.knobs import FINE, faults_of, make_fault, make_knobs, request_of, say_fault
from lib.music.chart import Chart
from lib.music.chords import NO_CHORD, ChordError
from lib.music.tempo_map import Metre

SEEDS = 10_000  # a die has so many sides: such a seed is easily passed on
CHART_KNOBS = ("chords", "seconds", "tempo_bpm", "metre", "choruses")
BARS_A_LINE, MOST_BARS = 4, 48  # of a chart; more bars are counted only
CELL = "border:1px solid #8888;padding:2px 10px;min-width:5em"


class KnobPanel(widgets.VBox):
    """Knobs, each with its error message below.

    Parameters
    ----------
    request_type : GenerateRequest of lib.generation.request, or a like one
    styles : names of pianists; none: no knob for them
    on_change : callable(), after any knob has moved
    """

    def __init__(self, request_type, styles, on_change):
        super().__init__()
        self.request_type = request_type
        self.knobs, self.chart = make_knobs(request_type, styles), widgets.HTML()
        self.faults = {name: make_fault() for name in self.knobs}
        narrow = widgets.Layout(width="80px")
        self.die = widgets.Button(description="roll", icon="random", tooltip="another seed", layout=narrow)
        self.die.on_click(self._roll)
        for knob in self.knobs.values():
            knob.observe(lambda _: on_change(), "value")
        for name in CHART_KNOBS:
            self.knobs[name].observe(self._draw_chart, "value")
        for name in ("choruses", *(["style_mix"] if styles else [])):
            self.knobs[name].observe(self._show_needed, "value")
        self._show_needed()
        self._draw_chart()
        rows, narrow = [widgets.VBox(self._rows(FINE))], widgets.Layout(max_width="480px")
        fine = widgets.Accordion(rows, selected_index=None, layout=narrow)
        fine.set_title(0, "more knobs")
        self.children = (*self._rows(name for name in self.knobs if name not in FINE), fine)

    def _rows(self, names):
        rows = []
        for name in names:
            beside = {"seed": [self.die]}.get(name, [])
            rows.append(_wrapped(self.knobs[name], *beside) if beside else self.knobs[name])
            rows += [self.faults[name], *([self.chart] if name == "chords" else [])]
        return rows

    def _roll(self, _):
        self.knobs["seed"].value = random.randrange(1, SEEDS)

    def _show_needed(self, _=None):
        """Hide the knobs that another one makes void."""
        needed = {"seconds": not self.knobs["choruses"].value}
        if "style_mix" in self.knobs:
            needed["style_share"] = bool(self.knobs["style_mix"].value)
        for name, is_needed in needed.items():
            self.knobs[name].layout.display = "" if is_needed else "none"

    def _draw_chart(self, _=None):
        values = [self.knobs[name].value for name in CHART_KNOBS]
        try:
            self.chart.value, fault = chart_html(*values), ""
        except ChordError as error:
            self.chart.value, fault = "", str(error)
        say_fault(self.faults["chords"], fault)

    def request(self):
        """GenerateRequest; ConfigError where it can't be one."""
        return request_of(self.request_type, self.knobs)

    def forget_faults(self):
        """Hide all messages but what is still wrong with the chords."""
        for name in self.faults:
            say_fault(self.faults[name], "")
        self._draw_chart()

    def blame(self, error):
        """Show an error under the fields it concerns."""
        for name, text in faults_of(error, list(self.faults)).items():
            say_fault(self.faults[name], text)


def _wrapped(*parts):
    """Beside each other, or below on a narrow screen."""
    return widgets.HBox(list(parts), layout=widgets.Layout(flex_flow="row wrap", max_width="100%"))


def chart_html(text, seconds=None, tempo_bpm=120.0, metre="4/4", choruses=None):
    """A chart as an HTML table, four bars a line; a bar that repeats an earlier one names it.

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
    chart = Chart.parse(text, Metre.parse(metre).pair)
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
