"""The strip of takes: the solos so far, with their actions."""

from __future__ import annotations

import math

import ipywidgets as widgets
import numpy as np

from lib.display.preview import loudness_of, roll_picture
from lib.display.takes import Take

MOST_TAKES = 12  # older ones leave, unless they are kept or ticked
CARD = {"width": "150px", "border": "1px solid #8888", "padding": "4px", "margin": "2px"}
THUMBNAIL_PX = (140, 48)


class TakeStrip(widgets.HBox):
    """Cards of takes, the newest last.

    Parameters
    ----------
    on_hear : callable(Take), called when the user wants to hear one
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
        take = Take(self._last_number, call, solo.notes, solo.chords, solo.tempo_map, audio, solo.begins_s)
        card = Card(take)
        card.hear.on_click(lambda _: self._on_hear(take))
        card.keep.observe(lambda change: change["new"] and self._on_keep(take), "value")
        self.cards.append(card)
        self._drop_old()
        self.children = tuple(self.cards)
        return take

    def _drop_old(self):
        loose = [card for card in self.cards[:-1] if card.take is not self.chosen]
        loose = [card for card in loose if not (card.keep.value or card.tick.value)]
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
        loudness = loudness_of(take.notes, take.seconds, THUMBNAIL_PX[0])
        picture = roll_picture(loudness, take.description, THUMBNAIL_PX[1], cropped=True)
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
        self._passage = widgets.SelectionRangeSlider(options=[""], description="passage (s)", layout=wide)
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
        """(from_s, to_s), each on a beat, rounded down to milliseconds: so that music that begins on it is not late."""
        return tuple(math.floor(seconds * 1000 + 1e-6) / 1000 for seconds in self._passage.value)

    @passage.setter
    def passage(self, passage):
        self._passage.index = tuple(map(self._nearest_beat, passage))

    def _nearest_beat(self, time_s):
        return int(np.abs(np.array([beat_s for _, beat_s in self._passage.options]) - time_s).argmin())

    def _select(self, text):
        """Take over what is selected in the player, in whole beats: one at least."""
        first, last = (self._nearest_beat(float(time_s)) for time_s in text.split()[:2])
        first = min(first, len(self._passage.options) - 2)
        self._passage.index = first, max(last, first + 1)

    def be_about(self, take):
        """Offer the passages of a take, in the beats of its map; its second half first."""
        first, last = take.tempo_map.to_beats([0.0, take.seconds])
        first = math.ceil(first - 1e-6)
        beats_s = take.tempo_map.to_seconds(np.arange(first, max(math.ceil(last - 1e-6), first + 2) + 1)).tolist()
        self._passage.options = [(f"{beat_s:.1f}", beat_s) for beat_s in beats_s]
        self._passage.index = (len(beats_s) - 1) // 2, len(beats_s) - 1
        self.layout.display = ""

    def enable(self, enabled):
        """Let the buttons be pressed, or not."""
        for button in self.buttons.values():
            button.disabled = not enabled


def _button(text, icon, hint):
    return widgets.Button(description=text, icon=icon, tooltip=hint, layout=widgets.Layout(width="auto"))
