"""The desk: it plays, cancels, shows, keeps, goes on, and says under each field what is wrong with it."""

import html
import logging
import math
import re
import time
from dataclasses import dataclass

import numpy as np
import pretty_midi
import pytest

from lib.config import GUIDED_CANDIDATES, ConfigError, choose
from lib.display import controls
from lib.display.controls import VARIATIONS, solo_controls
from lib.display.take_strip import MOST_TAKES
from lib.generation.request import GenerateRequest
from lib.music.audio import Audio
from lib.music.chart import Chart
from lib.music.notes import Notes, read_midi
from lib.music.piano_roll import notes_to_piano_roll
from lib.music.tempo_map import Metre, TempoMap, in_beats

MAP = TempoMap.constant(120.0, Metre(4, 4), 4)
SILENT = Audio(np.zeros((100, 2), np.float32), 44100, "sine", "")


@dataclass
class Played:
    notes: Notes
    chords: list
    tempo_map: TempoMap
    begins_s: float = 0.0


@pytest.fixture(autouse=True)
def quick_sound(monkeypatch):
    monkeypatch.setattr(controls, "render_audio", lambda notes, soundfont: SILENT)


class Pianist:
    """Plays as lib.generation.generate does, with its callback, but at once (or with `step_s` a step) and one note a second."""

    def __init__(self, step_s=0.0, num_steps=4):
        self.step_s, self.num_steps, self.asked, self.steps, self.maps = step_s, num_steps, [], 0, []

    def improvise(self, request, callback=None, prompt=None, tempo_map=None):
        Chart.parse(request.chords)
        if request.style and "Nobody" in request.style:
            choose("pianist", "Nobody", ["Ann"])
        self.asked.append((request, prompt))
        notes = Notes.from_arrays(np.arange(4.0), [0.9] * 4, np.arange(4) + 60 + request.seed % 12, [80] * 4)
        self.report(callback, notes)
        metre, beat = Metre.parse(request.metre), 0
        if prompt is not None:
            self.maps.append(tempo_map)
            beat = math.ceil(tempo_map.to_beats(prompt.end_s) - 1e-6)
        begins_s = float(tempo_map.to_seconds(beat)) if beat else 0.0
        own = TempoMap.constant(request.tempo_bpm, metre, 4, begins_s)
        if prompt is None:
            return Played(notes, [(0.0, "Cmaj7")], own)
        both = tempo_map.followed_by(own, beat)
        return Played(prompt.followed_by(notes, begins_s), [(begins_s, "Cmaj7")], both, begins_s)

    def infill(self, request, notes, from_s, to_s, callback=None, tempo_map=None):
        if from_s >= notes.end_s:
            reason = f"is not a passage of a performance of {notes.end_s:.1f} s."
            raise ConfigError(f"--from {from_s:g} --to {to_s:g} {reason}", {"passage": f"{from_s:g} to {to_s:g} {reason}"})
        self.asked.append((request, notes, from_s, to_s))
        self.maps.append(tempo_map)
        self.report(callback, notes)
        return Played(notes.until(from_s), [], tempo_map, from_s)

    def report(self, callback, notes):
        for window in range(2):
            for step in range(1, self.num_steps + 1):
                time.sleep(self.step_s)
                self.steps += 1
                place = {"step": step, "num_steps": self.num_steps, "window": window, "num_windows": 2}
                callback({**place, "piano_roll": lambda: notes_to_piano_roll(in_beats(notes, MAP), 512)})


def desk(pianist=None, **more):
    pianist = pianist or Pianist()
    return solo_controls(pianist.improvise, GenerateRequest, ("Ann", "Ben"), infill=pianist.infill, **more), pianist


def press(panel, name):
    panel.actions.buttons[name].click()


def shown_faults(panel):
    shown = {name: fault.value for name, fault in panel.faults.items() if fault.layout.display != "none"}
    return {name: html.unescape(re.sub("<.*?>", "", text)) for name, text in shown.items()}


def until(condition, timeout_s=5.0):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it took too long"
        time.sleep(0.005)


def test_cancel_stops_within_a_second():
    panel, pianist = desk(Pianist(step_s=0.05, num_steps=1000), in_background=True)
    panel.play.click()
    until(lambda: panel.preview.value and "left" in panel.message.value)
    assert panel.play.disabled and not panel.cancel.disabled and 0 < panel.progress.value < 0.5
    began_s = time.monotonic()
    panel.cancel.click()
    assert panel.message.value == "cancelled" and not panel.play.disabled and panel.cancel.disabled
    assert panel.wait(1.0), "the thread ended too"
    assert time.monotonic() - began_s < 1.0
    steps = pianist.steps
    time.sleep(0.15)
    assert pianist.steps == steps and not panel.strip.takes and not panel.player.value
    assert panel.message.value == "cancelled" and panel.preview.value == ""


def test_after_a_cancel_the_next_one_plays_even_where_a_step_is_slow():
    panel, pianist = desk(Pianist(step_s=0.3, num_steps=100), in_background=True)
    panel.play.click()
    until(lambda: pianist.asked)
    panel.cancel.click()
    assert not panel.play.disabled
    pianist.step_s, pianist.num_steps = 0.0, 4
    panel.knobs["seed"].value = 7
    panel.play.click()
    assert panel.wait(5.0) and [take.call.request.seed for take in panel.strip.takes] == [7]
    assert panel.message.value == "4 notes"


def test_progress_preview_and_the_solo():
    panel, _ = desk(Pianist(step_s=0.02), in_background=True)
    values = []
    panel.progress.observe(lambda change: values.append(change["new"]), "value")
    panel.play.click()
    until(lambda: "<img alt=\"Piano roll of window" in panel.preview.value)
    assert not panel.progress.layout.display
    assert panel.wait(5.0)
    assert values == [0.125 * n for n in range(1, 9)] and panel.progress.layout.display == "none"
    assert "srcdoc" in panel.player.value and panel.preview.value == "" and panel.message.value == "4 notes"


def test_without_a_notebook_it_plays_while_one_waits():
    panel, pianist = desk()
    panel.play.click()
    assert len(panel.strip.takes) == 1 and not panel.play.disabled and len(pianist.asked) == 1


def test_chords_are_checked_while_they_are_written():
    panel, pianist = desk()
    assert "Gm7" in panel.knob_panel.chart.value and not shown_faults(panel)
    panel.knobs["chords"].value = "Cmaj7 | Qm7"
    assert "'Qm7'" in shown_faults(panel)["chords"] and panel.knob_panel.chart.value == ""
    panel.play.click()
    assert set(shown_faults(panel)) == {"chords"} and not pianist.asked and "Qm7" in panel.message.value
    panel.knobs["chords"].value = "blues in Bb"
    assert not shown_faults(panel) and "Bb7" in panel.knob_panel.chart.value and "12 bars, 24.0 s" in panel.knob_panel.chart.value
    panel.knobs["tempo_bpm"].value = 240
    assert "12 bars, 12.0 s" in panel.knob_panel.chart.value
    panel.knobs["metre"].value = "3/4"
    assert "12 bars, 9.0 s" in panel.knob_panel.chart.value and "played 1.1 times in 10 s" in panel.knob_panel.chart.value


def test_choruses_take_the_place_of_seconds():
    panel, pianist = desk()
    panel.knobs["chords"].value, panel.knobs["choruses"].value = "blues in Bb", 3
    assert "3 choruses, 72.0 s" in panel.knob_panel.chart.value and panel.knobs["seconds"].layout.display == "none"
    panel.play.click()
    panel.knobs["choruses"].value = 0
    assert panel.knobs["seconds"].layout.display == ""
    panel.play.click()
    assert [(request.choruses, request.seconds) for request, _ in pianist.asked] == [(3, None), (None, 10.0)]
    assert "choruses=3" in panel.strip.takes[0].call.code() and "seconds" not in panel.strip.takes[0].call.code()


def test_an_error_stands_under_its_field():
    panel, pianist = desk()
    panel.knobs["style"].options = [*panel.knobs["style"].options, ("Nobody", "Nobody")]
    panel.knobs["style"].value = "Nobody"
    panel.play.click()
    assert shown_faults(panel) == {"style": "Unknown pianist 'Nobody'. Valid: Ann."}
    panel.knobs["style"].value = ""
    panel.play.click()
    assert not shown_faults(panel) and len(pianist.asked) == 1
    panel.actions.passage = (4.0, 4.0)
    press(panel, "resample")
    assert "is not a passage of a performance of 3.9 s" in shown_faults(panel)["passage"] and not panel.play.disabled
    panel.knobs["tempo_bpm"].max, panel.knobs["tempo_bpm"].value = 900, 800
    panel.play.click()
    assert "less than or equal to 400" in shown_faults(panel)["tempo_bpm"] and list(shown_faults(panel)) == ["tempo_bpm"]


def test_what_breaks_is_said_and_the_desk_goes_on(caplog):
    def broken(request, callback):
        raise RuntimeError("CUDA out of memory")

    panel = solo_controls(broken, GenerateRequest)
    with caplog.at_level(logging.ERROR):
        panel.play.click()
    assert "RuntimeError: CUDA out of memory" in panel.message.value and not panel.play.disabled
    assert "could not be played" in caplog.text


def test_knobs_make_the_request():
    panel, pianist = desk()
    knobs = panel.knobs
    assert [name for name, knob in knobs.items() if knob.layout.display == "none"] == ["style_share"]
    knobs["style"].value, knobs["style_mix"].value, knobs["style_share"].value = "Ann", "Ben", 0.25
    assert knobs["style_share"].layout.display == ""
    knobs["register"].value, knobs["guidance_scale"].value = 64, 1.5
    knobs["metre"].value, knobs["feel"].value = "7/8", "swing"
    panel.play.click()
    request = pianist.asked[0][0]
    assert request.style == "Ann:0.75,Ben:0.25" and request.register == 64 and request.guidance_scale == 1.5
    assert request.num_candidates == GUIDED_CANDIDATES and request.density is None
    assert (request.metre, request.feel) == ("7/8", "swing")


@pytest.mark.parametrize(
    ("rules", "density", "candidates"), [("asked", 0, 1), ("asked", 5, 4), ("always", 0, 4), ("off", 5, 1)]
)
def test_rules_on_and_off(rules, density, candidates):
    panel, _ = desk()
    panel.knobs["rules"].value, panel.knobs["density"].value, panel.knobs["num_candidates"].value = rules, density, 4
    request = controls.request_of(GenerateRequest, panel.knobs)
    assert request.num_candidates == candidates and request.density == (density or None)


def test_the_die_gives_another_seed():
    panel, _ = desk()
    seeds = set()
    for _ in range(5):
        panel.knob_panel.die.click()
        seeds.add(panel.knobs["seed"].value)
    assert len(seeds) > 1 and all(0 < seed < 10_000 for seed in seeds)


def test_takes_are_heard_again_and_compared():
    panel, _ = desk()
    for seed in (1, 2):
        panel.knobs["seed"].value = seed
        panel.play.click()
    second = panel.player.value
    first = panel.strip.cards[0]
    first.hear.click()
    assert panel.player.value != second and panel.strip.chosen is first.take and first.hear.button_style == "info"
    press(panel, "compare")
    assert "Tick A/B" in panel.message.value
    for card in panel.strip.cards:
        card.tick.value = True
    press(panel, "compare")
    assert "1: seed 1" in panel.player.value and "2: seed 2" in panel.player.value


def test_a_take_is_kept_as_a_file_and_stays(tmp_path):
    panel, _ = desk(folder=tmp_path)
    panel.play.click()
    card = panel.strip.cards[0]
    card.keep.value = True
    assert panel.message.value == "kept as take_1_seed_1.mid" and len(read_midi(tmp_path / "take_1_seed_1.mid")) == 4
    for _ in range(MOST_TAKES + 2):
        panel.play.click()
    assert len(panel.strip.cards) == MOST_TAKES and panel.strip.cards[0] is card
    assert panel.strip.takes[-1].number == MOST_TAKES + 3 and panel.strip.takes[1].number == 5


def test_going_on_from_a_take(tmp_path):
    panel, pianist = desk(folder=tmp_path)
    panel.play.click()
    assert panel.actions.passage == (2.0, 4.0) and panel.actions.layout.display == ""
    panel.actions.passage, panel.knobs["chords"].value = (0.0, 2.5), "Fm7"
    press(panel, "continue")
    request, before = pianist.asked[1]
    assert request.chords == "Fm7" and before.onset_s.tolist() == [0.0, 1.0, 2.0] and before.end_s == 2.5
    assert pianist.maps == [panel.strip.takes[0].tempo_map], "it is continued by the map that it was played in"
    assert panel.strip.chosen.number == 2 and panel.actions.passage[1] >= 6.4
    panel.strip.cards[1].keep.value = True
    kept = pretty_midi.PrettyMIDI(str(tmp_path / "take_2_seed_1.mid"))
    assert [change.time for change in kept.time_signature_changes] == [0.0, 2.5], "bars begin anew where it goes on"
    assert panel.strip.takes[1].tempo_map.bar_lines_s().tolist() == [0.0, 2.5, 4.5, 6.5, 8.5], "of the cut bar no line is known"


def test_a_take_goes_on_at_another_tempo_and_a_passage_of_it_keeps_the_map(tmp_path):
    panel, pianist = desk(folder=tmp_path)
    panel.play.click()
    panel.knobs["tempo_bpm"].value, panel.knobs["metre"].value = 90, "3/4"
    panel.actions.passage = (0.0, 2.0)
    press(panel, "continue")
    both = panel.strip.chosen.tempo_map
    assert both.bar_lines_s().tolist() == pytest.approx([0.0, 2.0, 4.0, 6.0, 8.0])
    assert np.diff(both.beats_s)[[0, -1]] == pytest.approx([0.5, 2 / 3])
    assert "&quot;tempo&quot;: [90.0, 120.0]" in panel.player.value
    panel.strip.cards[1].keep.value = True
    kept = pretty_midi.PrettyMIDI(str(tmp_path / "take_2_seed_1.mid"))
    assert kept.get_tempo_changes()[1] == pytest.approx([120, 90], rel=1e-4)
    assert [(c.numerator, c.time) for c in kept.time_signature_changes] == [(4, 0.0), (3, 2.0)]
    panel.actions.passage = (2.7, 3.2)
    assert panel.actions.passage == (2.666, 3.333), "passages are in the take's own beats"
    press(panel, "resample")
    assert pianist.maps[-1] is both and panel.strip.chosen.tempo_map is both and pianist.asked[-1][2:] == (2.666, 3.333)


def test_takes_that_are_compared_keep_their_maps():
    panel, _ = desk()
    panel.play.click()
    panel.knobs["tempo_bpm"].value = 90
    panel.play.click()
    for card in panel.strip.cards:
        card.tick.value = True
    press(panel, "compare")
    assert all(f"&quot;tempo&quot;: [{tempo}]" in panel.player.value for tempo in (120.0, 90.0))


def test_a_passage_anew():
    panel, pianist = desk()
    panel.play.click()
    panel.actions.passage = (1.0, 3.0)
    press(panel, "resample")
    request, notes, from_s, to_s = pianist.asked[1]
    assert (from_s, to_s) == (1.0, 3.0) and notes is panel.strip.takes[0].notes and "resampled" in panel.strip.chosen.name
    assert solo_controls(pianist.improvise, GenerateRequest).actions.buttons["resample"].layout.display == "none"


def test_variations_have_the_next_seeds_and_are_compared():
    panel, pianist = desk()
    panel.play.click()
    for seeds in ([2, 3, 4], [5, 6, 7]):
        panel.strip.cards[0].hear.click()
        press(panel, "vary")
        assert [request.seed for request, _ in pianist.asked[-VARIATIONS:]] == seeds
        assert all(f"seed {seed}" in panel.player.value for seed in [1, *seeds])
    assert panel.message.value == "3 variations beside take 1"


def test_the_code_asks_for_the_same(monkeypatch):
    panel, pianist = desk()
    panel.knobs["density"].value, panel.knobs["style"].value, panel.knobs["chords"].value = 6.0, "Ben", "A: C6 | 'x"
    panel.knobs["chords"].value = "A: Cmaj7 | G7/B; B: F#m7b5; AABA"
    panel.show_code.value = True
    assert panel.code.layout.display == ""
    asked = []
    monkeypatch.setattr("lib.generation.generate.generate", lambda improviser, request: asked.append(request))
    exec(panel.code.value, {"improviser": None})
    panel.play.click()
    assert asked == [pianist.asked[0][0]] and isinstance(asked[0], GenerateRequest)
    exec(panel.code.value, {"improviser": None})
    assert asked[1] == asked[0] and "take_1 = " in panel.code.value
    panel.knobs["seed"].value = 99
    assert "seed=99" in panel.code.value, "it follows the knobs"


def test_nothing_starts_twice():
    panel, pianist = desk(Pianist(step_s=0.02), in_background=True)
    panel.play.click()
    panel.play.click()
    assert panel.wait(5.0) and len(pianist.asked) == 1


def test_no_name_hides_one_of_ipywidgets():
    """Such as _compare, with which widgets of version 8 make their repr, and so show themselves."""
    panel, _ = desk()
    panel.play.click()
    for widget in (panel, panel.knob_panel, panel.strip, panel.actions, panel.strip.cards[0]):
        (base,) = type(widget).__bases__
        plain = type("Plain", (base,), {})
        own = {*vars(type(widget)), *vars(widget)} - {*vars(plain), *vars(plain())} - {"__init__"}
        assert not own & set(dir(base))
        assert type(widget).__name__ in repr(widget) and widget.model_id
