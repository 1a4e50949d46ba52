"""The strip of takes, and the passage that its buttons are about."""

from dataclasses import dataclass

import numpy as np
import pytest

from lib.display.knobs import make_fault
from lib.display.take_strip import MOST_TAKES, TakeActions, TakeStrip
from lib.display.takes import Call, Take
from lib.generation.request import GenerateRequest
from lib.music.notes import Notes
from lib.music.tempo_map import IN_BARS, Metre, TempoMap, bar_table


@dataclass
class Played:
    notes: Notes
    chords: list
    tempo_map: TempoMap
    begins_s: float = 0.0


def steady(tempo_bpm=120.0):
    return TempoMap.constant(tempo_bpm, Metre(4, 4), 2)


def played(seconds):
    return Played(Notes.from_arrays([0.0], [seconds], [60], [64]), [], steady())


def strip():
    heard, kept = [], []
    return TakeStrip(heard.append, kept.append), heard, kept


def call(seed=1):
    return Call(GenerateRequest(seed=seed))


def test_cards_call_back():
    takes, heard, kept = strip()
    first, second = (takes.add(call(seed), played(4.0), None) for seed in (1, 2))
    assert takes.takes == [first, second] and [card.take for card in takes.children] == [first, second]
    takes.cards[0].hear.click()
    takes.cards[1].keep.value = True
    takes.cards[1].keep.value = False
    assert heard == [first] and kept == [second], "kept once; no longer to keep it is no event"
    assert "alt=\"Take 2: seed 2, 1 notes in 4 s\"" in takes.cards[1].children[0].value
    takes.mark(second)
    assert [card.hear.button_style for card in takes.cards] == ["", "info"] and takes.chosen is second


def test_the_oldest_leave_but_those_that_matter():
    takes, _, _ = strip()
    for seed in range(3):
        takes.add(call(seed), played(1.0), None)
    takes.mark(takes.takes[0])
    takes.cards[1].tick.value = True
    for seed in range(3, MOST_TAKES + 1):
        takes.add(call(seed), played(1.0), None)
    assert [take.number for take in takes.takes] == [1, 2, *range(4, MOST_TAKES + 2)]
    assert takes.ticked == [takes.takes[1]]


@pytest.mark.parametrize(("tempo_bpm", "passage"), [(120, (3.5, 7.5)), (60, (4.0, 8.0)), (100, (3.6, 7.8))])
def test_passages_are_in_beats(tempo_bpm, passage):
    actions = TakeActions(make_fault(), True)
    for seconds in (40.0, 7.3):  # a shorter take after a longer one
        actions.be_about(Take(1, call(), played(seconds).notes, [], steady(tempo_bpm)))
    assert actions.passage == passage and actions.layout.display == ""
    beats = np.arange(round(passage[1] * tempo_bpm / 60) + 1)
    assert [beat_s for _, beat_s in actions._passage.options] == pytest.approx(beats * 60 / tempo_bpm)
    actions.be_about(Take(1, call(), Notes.from_arrays([], [], [], []), [], steady(tempo_bpm)))
    assert actions.passage == pytest.approx((60 / tempo_bpm, 120 / tempo_bpm))


def test_passages_follow_a_tempo_that_changes():
    """From a map that begins before the notes do, to beyond its last beat."""
    tempo_map = TempoMap(np.array([-0.7, 0.3, 1.3, 1.9, 2.4]), bar_table([0], [4], IN_BARS, 1.0, Metre(4, 4)))
    actions = TakeActions(make_fault(), True)
    actions.be_about(Take(1, call(), played(3.0).notes, [], tempo_map))
    assert [label for label, _ in actions._passage.options] == ["0.3", "1.3", "1.9", "2.4", "2.9", "3.4"]
    assert actions.passage == (1.9, 3.4)
    actions.selection.value = "1.0 1.7 7.5"
    assert actions.passage == (1.3, 1.9)
    actions.passage = (0.0, 9.0)
    assert actions.passage == (0.3, 3.4)


def test_a_passage_ends_no_later_than_its_beat():
    """A note held until there would else end after the beat, and new music would begin on the next one."""
    actions = TakeActions(make_fault(), True)
    actions.be_about(Take(1, call(), played(5.0).notes, [], steady(90.0)))
    for number in range(8):
        actions.passage = (0.0, number * 60 / 90)
        assert 0 <= number * 60 / 90 - actions.passage[1] < 1e-3


@pytest.mark.parametrize(("selected", "passage"), [("1.1 2.9 7.5", (1.0, 3.0)), ("3.1 3.2 8", (3.0, 3.5)),
                                                  ("7.4 9.9 9", (7.0, 7.5)), ("0 0.1 10", (0.0, 0.5))])  # fmt: skip
def test_what_is_selected_in_the_player_becomes_the_passage(selected, passage):
    actions = TakeActions(make_fault(), True)
    actions.be_about(Take(1, call(), played(7.3).notes, [], steady()))
    actions.selection.value = selected
    assert actions.passage == passage


def test_buttons_rest_while_something_is_played():
    actions = TakeActions(make_fault(), False)
    actions.enable(False)
    assert all(button.disabled for button in actions.buttons.values())
    actions.enable(True)
    assert not any(button.disabled for button in actions.buttons.values())
    assert actions.buttons["resample"].layout.display == "none"
