"""The knobs of a solo and their errors, with widgets that ipywidgets 7 and 8 share."""

from __future__ import annotations

import dataclasses
import html

import ipywidgets as widgets

from lib.config import GUIDED_CANDIDATES, build
from lib.display.palette import WARNING
from lib.music.chords import NAMES, ChordError

METRES, FEELS = ("4/4", "3/4", "6/8", "12/8", "5/4", "7/8"), ("free", "straight", "swing")
RULES_ASKED, RULES_ALWAYS, RULES_OFF = "asked", "always", "off"
RULE_CHOICES = [("where one is set", RULES_ASKED), ("for the chords too", RULES_ALWAYS), ("off", RULES_OFF)]
FINE = ("guidance_scale", "temperature", "num_candidates", "rules")  # knobs that few need


def make_knobs(request_type, styles=()):
    """dict name -> widget: fields of the request's type, and `rules`, `style_mix` and `style_share`."""
    default = request_type()
    knobs = {
        "chords": widgets.Textarea(
            default.chords, description="chords", rows=2, **_wide()
        ),  # line breaks are bar lines
        "choruses": widgets.IntSlider(0, min=0, max=16, description="choruses (0 off)", **_wide()),
        "seconds": _slider(10.0, 5, 120, 5, ".0f", "seconds"),
        "tempo_bpm": _slider(default.tempo_bpm, 40, 280, 1, ".0f", "tempo"),
        "metre": widgets.Dropdown(options=METRES, value=default.metre, description="metre", **_wide()),
        "feel": widgets.Dropdown(options=FEELS, value=default.feel, description="feel", **_wide()),
        **{name: _rule_knob(name, *spec) for name, spec in _rule_fields(request_type).items()},
        "seed": widgets.BoundedIntText(default.seed, min=0, max=2**31 - 1, description="seed", **_wide()),
        "guidance_scale": _slider(default.guidance, 1, 5, 0.1, ".1f", "guidance"),
        "temperature": _slider(default.temperature, 0.2, 1.5, 0.05, ".2f", "temperature"),
        "rules": widgets.Dropdown(options=RULE_CHOICES, value=RULES_ASKED, description="rules", **_wide()),
        "num_candidates": widgets.IntSlider(GUIDED_CANDIDATES, min=2, max=16, description="candidates", **_wide()),
    }
    return {**_style_knobs(styles), **knobs} if styles else knobs


def _rule_fields(request_type):
    """dict name -> (lowest, highest, step, "pitch" or nothing) of the fields that ask for a rule and have a knob."""
    knobs = {field.name: field.metadata.get("knob") for field in dataclasses.fields(request_type)}
    return {name: knob for name, knob in knobs.items() if knob}


def _rule_knob(name, low, high, step, unit=""):
    """A slider of which the first value, 0, leaves the choice to the model."""
    text = name.replace("_", " ")
    if low == 0:
        return _slider(0.0, 0, high, step, ".1f", "notes/s (0 free)" if name == "density" else f"{text} (0 free)")
    values = [round(low + step * count, 6) for count in range(int((high - low) / step + 1e-9) + 1)]
    names = [f"{NAMES[value % 12]}{value // 12 - 1}" if unit == "pitch" else f"{value:g}" for value in values]
    return widgets.SelectionSlider(options=[("free", 0), *zip(names, values)], value=0, description=text, **_wide())


def _slider(value, low, high, step, form, text):
    return widgets.FloatSlider(value, min=low, max=high, step=step, readout_format=form, description=text, **_wide())


def _wide():
    """A layout for each: one that is shared would hide all knobs with one of them."""
    return {"style": {"description_width": "110px"}, "layout": widgets.Layout(width="440px", max_width="100%")}


def _style_knobs(styles):
    names = [(name, name) for name in styles]
    return {
        "style": widgets.Dropdown(options=[("the run's own", ""), *names], value="", description="style", **_wide()),
        "style_mix": widgets.Dropdown(options=[("nobody", ""), *names], value="", description="mixed with", **_wide()),
        "style_share": _slider(0.5, 0.05, 0.95, 0.05, ".2f", "share of the 2nd"),
    }


def request_of(request_type, knobs):
    """A request from the knobs; 0 and "" leave the choice to the model, or length to seconds. Raises ConfigError."""
    values = {name: knob.value for name, knob in knobs.items()}
    rounded = {name: round(value, 3) for name, value in values.items() if isinstance(value, float)}
    values |= rounded  # browsers add 1e-14
    values.pop("seconds" if values["choruses"] else "choruses")
    style = _style(*(values.pop(name, "") for name in ("style", "style_mix", "style_share")))
    rules, candidates = values.pop("rules"), values.pop("num_candidates")
    rule_values = {name: value for name in _rule_fields(request_type) if (value := values.pop(name))}
    if rules == RULES_ALWAYS or rules == RULES_ASKED and rule_values:
        rule_values["num_candidates"] = candidates
    return build(request_type, {**values, **rule_values, **({"style": style} if style else {})})


def _style(first, second, share):
    """A name, or a mix as lib.checkpoints.load.parse_mix reads it."""
    if not second or first == second:
        return first or second
    return f"{first}:{1 - share:.2f},{second}:{share:.2f}" if first else second


def make_fault():
    """The error message of the field above; see `say_fault`."""
    return widgets.HTML(layout=widgets.Layout(display="none", max_width="100%"))


def say_fault(fault, text):
    """Show the text under its field; "" takes it away."""
    style = f"background:#fff1e8;color:{WARNING};border-radius:4px;padding:2px 8px;margin-left:114px;line-height:1.5"
    fault.value = f'<div role="alert" style="{style}">{html.escape(text)}</div>' if text else ""
    fault.layout.display = "" if text else "none"


def faults_of(error, names):
    """Which fields an error concerns.

    Parameters
    ----------
    error : ConfigError or ChordError, of lib.config.build or of generation
    names : of the fields there are

    Returns
    -------
    dict name -> text; empty where it concerns none of them
    """
    fields = {"chords": str(error)} if isinstance(error, ChordError) else getattr(error, "fields", {})
    fields = {"style" if name == "pianist" else name: text for name, text in fields.items()}
    return {name: text for name, text in fields.items() if name in names}
