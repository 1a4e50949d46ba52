"""The desk with lib.generation.generate behind it, as notebook 06 has it: what it plays is what its code plays."""

import threading
from functools import partial

import numpy as np
import pytest

from lib.display import controls
from lib.display.controls import solo_controls
from lib.generation.generate import generate, infill, load_improviser
from lib.generation.request import GenerateRequest
from lib.music.audio import Audio

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def improviser(tiny_runs):
    return load_improviser(tiny_runs / "brad_final", device="cpu")


@pytest.fixture
def desk(improviser, monkeypatch):
    silent = Audio(np.zeros((100, 2), np.float32), 44100, "sine", "")
    monkeypatch.setattr(controls, "render_audio", lambda notes, soundfont: silent)
    play, anew = partial(generate, improviser), partial(infill, improviser)
    panel = solo_controls(play, GenerateRequest, sorted(improviser.styles.names), None, anew, in_background=True)
    panel.knobs["temperature"].value = 1.5  # hardly trained, it would rest
    return panel


def press(panel, name, passage):
    panel.actions.passage = passage
    panel.actions.buttons[name].click()
    assert panel.wait(60) and not panel.play.disabled, panel.message.value


def test_takes_are_what_their_code_plays(desk, improviser):
    desk.play.click()
    assert desk.wait(60) and len(desk.strip.takes) == 1, desk.message.value
    assert len(desk.strip.takes[0].notes)
    press(desk, "continue", (1.0, 6.0))
    press(desk, "resample", (2.0, 4.0))
    first, second, third = desk.strip.takes
    assert second.notes.end_s > 6.0 and np.array_equal(second.notes.until(5.9).onset_s, first.notes.until(5.9).onset_s)
    names = {"improviser": improviser}
    exec(desk.code.value, names)
    for take in (first, second, third):
        played = names[f"take_{take.number}"].notes
        assert np.array_equal(played.onset_s, take.notes.onset_s) and np.array_equal(played.pitch, take.notes.pitch)


def test_a_pianist_nobody_knows_and_a_passage_that_is_none(desk):
    desk.knobs["style"].options = [*desk.knobs["style"].options, ("Nobody", "Nobody")]
    desk.knobs["style"].value = "Nobody"
    desk.play.click()
    assert desk.wait(60) and "Unknown pianist" in desk.faults["style"].value and not desk.strip.takes
    desk.knobs["style"].value = ""
    desk.play.click()
    assert desk.wait(60) and desk.faults["style"].layout.display == "none"
    press(desk, "resample", (3.0, 3.0))
    assert "is not a passage" in desk.faults["passage"].value


def test_it_is_cancelled_between_two_steps(desk):
    desk.knobs["seconds"].value, desk.knobs["rules"].value = 120, "always"
    began = threading.Event()
    desk.progress.observe(lambda _: began.set(), "value")
    desk.play.click()
    assert began.wait(60)
    desk.cancel.click()
    assert desk.message.value == "cancelled" and desk.wait(1.0), "the model stopped within a second"
    assert desk.message.value == "cancelled" and not desk.strip.takes and desk.progress.value < 0.5
