"""The strip of takes: what was played so far, and what can be done with it."""

from __future__ import annotations

import math

import ipywidgets as widgets

from lib.display.preview import loudness_of, roll_picture
from lib.display.takes import Take

MOST_TAKES = 12  # older ones leave, unless they are kept or ticked
CARD = {"width": "150px", "border": "1px solid #8888", "padding": "4px", "margin": "2px"}
THUMBNAIL_PX = (140, 48)


class TakeStrip(widgets.HBox):
    """Cards of takes, the newest last.

    Parameters
    ----------
    on_hear : callable(Take), where the user wants to hear one
    on_keep : callable(Take), where one is kept
    """

    def __init__(self, on_hear, on_keep):
        super().__init__(layout=widgets.Layout(flex_flow="row wrap", width="100%"))
        self._on_hear, self._on_keep = on_hear, on_keep
        self.cards, self.chosen, self._last_number = [], None, 0

    @property
    def takes(self):
        """list of Take, oldest first."""
        return [card.take for card in self.cards]

    @property
    def ticked(self):
        """Takes that are to be compared."""
        return [card.take for card in self.cards if card.tick.value]

    def add(self, call, solo, audio):
        """A new Take of a Call and what it gave; old ones leave where there are too many."""
        self._last_number += 1
        take = Take(self._last_number, call, solo.notes, solo.chords, audio, solo.begins_s, solo.tempo_map)
        card = Card(take)
        card.hear.on_click(lambda _: self._on_hear(take))
        card.keep.observe(lambda change: change["new"] and self._on_keep(take), "value")
        self.cards.append(card)
        self._drop_old()
        self.children = tuple(self.cards)
        return take

    def _drop_old(self):
        loose = [
            card for card in self.cards[:-1] if not (card.keep.value or card.tick.value or card.take is self.chosen)
        ]
        surplus = loose[: max(0, len(self.cards) - MOST_TAKES)]
        self.cards = [card for card in self.cards if card not in surplus]

    def mark(self, take):
        """Show which one is in the player."""
        self.chosen = take
        for card in self.cards:
            card.hear.button_style = "info" if card.take is take else ""


class Card(widgets.VBox):
    """A take: its picture, and the buttons `hear`, `keep` and `tick`."""

    def __init__(self, take):
        super().__init__(layout=widgets.Layout(**CARD))
        self.take = take
        picture = roll_picture(
            loudness_of(take.notes, take.seconds, THUMBNAIL_PX[0]), take.description, THUMBNAIL_PX[1], cropped=True
        )
        label, hint = f"{take.number}: seed {take.call.request.seed}", f"{take.description}. Click to hear it."
        self.hear = widgets.Button(description=label, tooltip=hint, layout=widgets.Layout(width="auto"))
        self.keep = widgets.ToggleButton(False, description="keep", icon="star", layout=widgets.Layout(width="70px"))
        self.tick = widgets.Checkbox(False, description="A/B", indent=False, layout=widgets.Layout(width="60px"))
        self.children = (widgets.HTML(picture), self.hear, widgets.HBox([self.keep, self.tick]))


class TakeActions(widgets.VBox):
    """What can be done with the take in the player: buttons by name in `buttons`, and the passage they are about.

    Parameters
    ----------
    fault : widget that shows what is wrong with the passage
    can_infill : whether passages can be resampled

    Attributes
    ----------
    selection : hidden widgets.Text; what is selected in the player arrives here as "from_s to_s time" (player/page.js)
    """

    def __init__(self, fault, can_infill):
        super().__init__(layout=widgets.Layout(display="none"))
        wide = widgets.Layout(width="560px", max_width="100%")
        self._passage = widgets.FloatRangeSlider(
            value=(0.0, 1.0), min=0.0, max=1.0, step=0.5, readout_format=".1f", description="passage (s)", layout=wide
        )
        self.selection = widgets.Text(layout=widgets.Layout(display="none"))
        self.selection.add_class("player-selection")
        self.selection.observe(lambda change: self._select(change["new"]), "value")
        self.buttons = {
            "continue": _button("Continue", "arrow-right", "continue from where the passage ends, by the knobs"),
            "resample": _button("Resample", "refresh", "resample the passage; the music around it stays"),
            "vary": _button("Variations", "clone", "the same with the next seeds, to compare"),
            "compare": _button("Compare A/B", "columns", "hear the takes that are ticked, one against the other"),
        }
        self.buttons["resample"].layout.display = "" if can_infill else "none"
        row = widgets.HBox(list(self.buttons.values()), layout=widgets.Layout(flex_flow="row wrap"))
        self.children = (self._passage, self.selection, fault, row)

    @property
    def passage(self):
        """(from_s, to_s)"""
        return tuple(round(float(seconds), 3) for seconds in self._passage.value)

    @passage.setter
    def passage(self, passage):
        self._passage.value = passage

    def _select(self, text):
        """Take over what is selected in the player, in whole beats: one at least."""
        from_s, to_s, _ = map(float, text.split())
        beat_s, beats = self._passage.step, round(self._passage.max / self._passage.step)
        first = min(max(round(from_s / beat_s), 0), beats - 1)
        self.passage = first * beat_s, min(max(round(to_s / beat_s), first + 1), beats) * beat_s

    def be_about(self, take):
        """Offer the passages of a take, in beats; its second half first."""
        beat_s = 60.0 / take.call.request.tempo_bpm
        beats = max(2, math.ceil(take.seconds / beat_s))
        end_s = beats * beat_s
        self._passage.max = max(end_s, self._passage.max)  # bounds that don't hold the value are refused
        self._passage.value = (beats // 2 * beat_s, end_s)
        self._passage.max, self._passage.step = end_s, beat_s
        self.layout.display = ""

    def enable(self, enabled):
        """Let the buttons be pressed, or not."""
        for button in self.buttons.values():
            button.disabled = not enabled


def _button(text, icon, hint):
    return widgets.Button(description=text, icon=icon, tooltip=hint, layout=widgets.Layout(width="auto"))
