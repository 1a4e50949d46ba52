"""Knobs for a solo, as ipywidgets."""

from __future__ import annotations

import ipywidgets as widgets

from lib.config import GUIDED_CANDIDATES, GenerateRequest, build
from lib.display.player import framed, player_html
from lib.music.audio import render_audio

WIDE = {"style": {"description_width": "110px"}, "layout": widgets.Layout(width="440px")}


def solo_controls(improvise, styles=(), soundfont=None):
    """Knobs, a button that plays, and the player.

    Parameters
    ----------
    improvise : callable(GenerateRequest, callback) -> something with notes and chords (generate.Solo)
    styles : names of pianists to choose from; none: no such knob
    soundfont : path of an .sf2, or None

    Returns
    -------
    ipywidgets.VBox; its `knobs` are the widgets by the name of what they set, its `play` the button
    """
    knobs = _knobs(styles)
    play = widgets.Button(description="Generate", button_style="primary", icon="music")
    progress = widgets.FloatProgress(min=0, max=1, layout=widgets.Layout(width="280px", visibility="hidden"))
    message, player = widgets.Label(), widgets.HTML(layout=widgets.Layout(width="100%"))

    def on_progress(state):
        progress.value = (state["window"] + state["step"] / state["num_steps"]) / state["num_windows"]

    def on_click(_):
        play.disabled, message.value, progress.value = True, "", 0.0
        progress.layout.visibility = "visible"
        try:
            solo = improvise(request_of(knobs), on_progress)
            audio = render_audio(solo.notes, soundfont)
            player.value = framed(player_html(solo.notes, audio, knobs["chords"].value, solo.chords))
            message.value = f"{len(solo.notes)} notes"
        except ValueError as error:  # a misspelt chord, a value out of range: say it and wait for the next try
            message.value = str(error)
        finally:
            play.disabled, progress.layout.visibility = False, "hidden"

    play.on_click(on_click)
    panel = widgets.VBox([*knobs.values(), widgets.HBox([play, progress, message]), player])
    panel.knobs, panel.play, panel.message, panel.player = knobs, play, message, player
    return panel


def _knobs(styles):
    default = GenerateRequest()
    knobs = {
        "chords": widgets.Text(default.chords, description="chords", **WIDE),
        "seconds": widgets.FloatSlider(10.0, min=5, max=120, step=5, description="seconds", **WIDE),
        "tempo_bpm": widgets.FloatSlider(default.tempo_bpm, min=40, max=280, step=1, description="tempo", **WIDE),
        "seed": widgets.BoundedIntText(default.seed, min=0, max=2**31 - 1, description="seed", **WIDE),
        "density": widgets.FloatSlider(0, min=0, max=16, step=0.5, description="notes/s (0 free)", **WIDE),
        "guidance_scale": widgets.FloatSlider(default.guidance_scale, min=1, max=5, step=0.1, description="guidance", **WIDE),
        "temperature": widgets.FloatSlider(default.temperature, min=0.2, max=1.5, step=0.05, description="temperature", **WIDE),
    }
    if styles:
        choices = [("the run's own", ""), *((name, name) for name in styles)]
        knobs["style"] = widgets.Dropdown(options=choices, description="style", **WIDE)
    return knobs


def request_of(knobs):
    """GenerateRequest from the knobs; a density asks for guidance, 0 and "" leave the choice to the model."""
    values = {name: knob.value for name, knob in knobs.items()}
    density, style = values.pop("density"), values.pop("style", "")
    wishes = {"density": density, "num_candidates": GUIDED_CANDIDATES} if density else {}
    return build(GenerateRequest, {**values, **wishes, **({"style": style} if style else {})})
