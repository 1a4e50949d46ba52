"""The phrase: notes out of messages, and its end."""

import pytest
from mido import Message

from lib.apps.live.duet_request import parse_cue
from lib.apps.live.phrase import Phrase
from lib.config import ConfigError


def played(phrase, *events):
    """Play (beat, type, values)."""
    for beat, kind, values in events:
        phrase.receive(Message(kind, **values), beat)
    return phrase


def note(pitch, on, off, velocity=80):
    return [(on, "note_on", {"note": pitch, "velocity": velocity}), (off, "note_off", {"note": pitch})]


def test_messages_become_notes_with_their_pedal():
    down, up = ({"control": 64, "value": value} for value in (127, 0))
    phrase = played(Phrase(), (9.0, "control_change", down), *note(60, 10, 10.5, 70), (10.6, "control_change", up),
                    (11, "note_on", {"note": 64, "velocity": 90}))  # fmt: skip
    notes = phrase.notes(11.25)
    assert notes.onset.tolist() == [10, 11] and notes.release.tolist() == [10.5, 11.25]
    assert notes.pitch.tolist() == [60, 64] and notes.velocity.tolist() == [70, 90]
    assert notes.pedal.tolist() == [[10, 10.6]]


def test_a_note_on_of_velocity_0_ends_a_note():
    phrase = played(Phrase(), (1, "note_on", {"note": 60, "velocity": 9}), (2, "note_on", {"note": 60, "velocity": 0}))
    assert len(phrase) == 1 and not phrase.down and phrase.notes(5).release.tolist() == [2]


def test_silence_counts_from_the_last_key():
    phrase = Phrase(silence_beats=2)
    assert not phrase.has_ended(50)
    played(phrase, (1, "note_on", {"note": 60, "velocity": 9}), *note(64, 1, 1.5))
    assert not phrase.has_ended(30), "a key is down"
    played(phrase, (31, "note_off", {"note": 60}))
    assert not phrase.may_have_ended(31.05) and phrase.may_have_ended(31.11)
    assert not phrase.has_ended(32.99) and phrase.has_ended(33.0)


def test_a_phrase_ends_when_the_keyboard_is_unplugged_under_the_fingers():
    phrase = Phrase(silence_beats=2)
    played(phrase, (1, "control_change", {"control": 64, "value": 127}), (1, "note_on", {"note": 60, "velocity": 9}))
    phrase.release_all(3.0)
    assert phrase.has_ended(5.0) and phrase.notes(9).release.tolist() == [3] and phrase.notes(9).pedal.tolist() == [[1, 3]]


def test_a_pedal_that_is_held_goes_into_the_next_phrase():
    phrase = played(Phrase(), (1, "control_change", {"control": 64, "value": 127}), *note(60, 1, 2))
    phrase.clear()
    assert not len(phrase.notes(3)) and not len(phrase.notes(3).pedal)
    played(phrase, *note(62, 0, 1), (2, "control_change", {"control": 64, "value": 0}))  # on a new grid
    assert phrase.notes(3).pedal.tolist() == [[0, 2]]


@pytest.mark.parametrize(("words", "cue"), [
    ("pedal", (3, "control_change", {"control": 67, "value": 127})), ("cc:20", (3, "control_change", {"control": 20, "value": 64})),
    ("key:21", (3, "note_on", {"note": 21, "velocity": 60})),
])  # fmt: skip
def test_a_cue_ends_it_and_is_no_music(words, cue):
    phrase = Phrase(parse_cue(words))
    played(phrase, cue)
    assert not phrase.has_ended(3), "there is nothing to answer yet"
    played(phrase, *note(60, 3.5, 4))
    assert not phrase.has_ended(20)
    played(phrase, cue)
    assert phrase.has_ended(20) and len(phrase) == 1


@pytest.mark.parametrize("words", ["cc", "cc:200", "key:", "bell"])
def test_an_unknown_cue_is_refused(words):
    with pytest.raises(ConfigError, match="ends_by.*cc:NUMBER"):
        parse_cue(words)


def test_a_long_phrase_forgets_its_beginning():
    phrase = played(Phrase(), *(event for n in range(200) for event in note(60, n, n + 0.5)))
    assert len(phrase) == 200 and phrase.notes(200).onset[0] == 71
