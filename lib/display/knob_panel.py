"""The knobs laid out: the chart under its chords, what is wrong under its field."""

from __future__ import annotations

import random

import ipywidgets as widgets

from lib.display.chart import chart_html
from lib.display.knobs import FINE, faults_of, make_fault, make_knobs, request_of, say_fault
from lib.music.chords import ChordError

SEEDS = 10_000  # a die has so many sides: such a seed is easily passed on
CHART_KNOBS = ("chords", "seconds", "tempo_bpm", "metre", "choruses")


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
