"""Trading fours and comping on a stage without time."""

import numpy as np
import pytest
from stage import Stage

from lib.apps.live.duet_request import DuetRequest
from lib.apps.live.model_process import PROMPT_BEATS, Question, chart_of, order_of, request_of
from lib.apps.live.partner import COUNT_IN_DELAY_S, Turns
from lib.music.chart import Chart
from lib.music.tempo_map import BeatNotes, Metre

BEAT_S = 0.5


def begun(takes_s=0.5, **options):
    """A stage with the count-in under way; and when the music begins."""
    stage = Stage(Turns, takes_s, **options)
    stage.partner.count_in(stage.now_s)
    return stage, stage.now_s + COUNT_IN_DELAY_S + stage.partner.offset * BEAT_S


def clicks(stage):
    return [(span.on_s, span.on) for span in stage.output.spans if span.on.channel == 9]


def piano(stage):
    return sorted(span.on_s for span in stage.output.spans if span.on.channel == 0)


def test_it_counts_in_and_leaves_the_first_four_to_you():
    stage, music_s = begun(mode="fours", count_in=2)
    stage.until(music_s + 33 * 4 * BEAT_S)
    assert [round((at_s - music_s) / BEAT_S) for at_s, _ in clicks(stage)] == list(range(-8, 0))
    assert [on.note for _, on in clicks(stage)] == [76, 77, 77, 77] * 2
    bars = {int((at_s - music_s) / BEAT_S / 4 + 1e-6) for at_s in piano(stage)}
    assert bars == {4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31}
    assert "late" not in stage.kinds()


def test_the_model_hears_you_as_long_as_it_can_and_knows_the_bar():
    stage, music_s = begun(mode="fours", chords="C | F | G | Am | Dm | Em | Bdim | C7")
    stage.until(music_s)
    stage.phrase(16, 0.4)
    stage.until(music_s + 8.5)
    (ask,) = stage.model.asks
    assert ask.start == 16 and ask.beats == 16 and len(ask.prompt) >= 16
    assert ask.prompt.onset[0] == pytest.approx(4)  # of the 20 beats before its turn
    order = order_of(ask, stage.request, Chart.parse(stage.request.form))
    assert order.chart.text() == "Dm | Em | Bdim | C7" and len(order.notes) == len(ask.prompt)


def test_what_is_late_enters_on_a_bar_line_with_the_bars_left_out():
    stage, music_s = begun(mode="fours", first="me")
    stage.model.takes_s, stage.model.expected_s = 3.1, 0.5
    stage.until(music_s + 8)
    first = (piano(stage)[0] - music_s) / BEAT_S
    assert "late" in stage.kinds() and first % 4 == pytest.approx(0) and 4 <= first < 16
    placed = dict(stage.events)["placed"]
    assert placed["late"] and placed["ends_s"] == pytest.approx(music_s + 16 * BEAT_S)


def test_seven_eight_is_counted_in_and_turns_begin_on_its_bar_lines():
    stage, music_s = begun(mode="fours", first="me", metre="7/8", count_in=2)
    stage.until(music_s + 32.5 * 3.5 * BEAT_S)
    assert [(at_s - music_s) / BEAT_S for at_s, _ in clicks(stage)] == pytest.approx([-7, -6, -5, -4, -3.5, -2.5, -1.5, -0.5])
    assert [on.note for _, on in clicks(stage)] == [76, 77, 77, 77] * 2
    bars = {int((at_s - music_s) / BEAT_S / 3.5 + 1e-6) for at_s in piano(stage)}
    assert bars == {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27, 32}
    assert {ask.start % 3.5 for ask in stage.model.asks} == {0} and {ask.beats for ask in stage.model.asks} == {14}


def test_a_turn_that_comes_too_late_is_missed_and_a_later_one_is_not():
    stage, music_s = begun(mode="fours", first="me")
    stage.model.takes_s = 20
    stage.until(music_s + 24)
    assert stage.kinds() == ["late", "missed"] and not piano(stage)
    stage.model.takes_s = 0.5
    stage.until(music_s + 64)
    assert (piano(stage)[0] - music_s) / BEAT_S == pytest.approx(96), "the first turn that so slow a model has the time for"


def test_a_model_slower_than_its_turns_plays_some_of_them():
    stage, music_s = begun(mode="comp")
    stage.model.takes_s, stage.model.expected_s = 7.0, 0.5  # a turn lasts 4 s
    stage.until(music_s + 60)
    placed = [values for kind, values in stage.events if kind == "placed"]
    assert len(placed) >= 3 and not all(values["late"] for values in placed) and len(piano(stage)) > 20


def test_comping_has_no_gaps():
    stage, music_s = begun(mode="comp")
    stage.until(music_s + 16)
    beats = {int((at_s - music_s) / BEAT_S + 1e-6) for at_s in piano(stage)}
    assert beats >= set(range(32))
    assert len(stage.model.asks[3].prompt) > 8, "it hears itself"


def question(number=1, start=0.0, beats=4.0, beat_s=0.5, played=()):
    """A Question after eighths that begin on some of the PROMPT_BEATS."""
    on = np.array(played, float)
    notes = BeatNotes(on, on + 0.5, np.full(len(on), 60), np.full(len(on), 80), np.zeros((0, 2)))
    return Question(number, notes, start, beats, beat_s)


def test_a_request_says_what_is_request():
    comp = request_of(question(3, beats=8.0), DuetRequest(mode="comp", style="Bill Evans", seed=10, feel="swing"))
    assert (comp.density, comp.register, comp.style, comp.seed) == (4.0, 50.0, "Bill Evans", 13)
    assert (comp.tempo_bpm, comp.metre, comp.feel, comp.choruses) == (120, "4/4", "swing", 1)
    assert comp.guidance == 3.0 and request_of(question(), DuetRequest()).guidance_scale == 1.0
    assert request_of(question(), DuetRequest(guidance_scale=3)).guidance_scale == 3.0
    assert request_of(question(), DuetRequest()).chords == "N.C."
    slow = request_of(question(beat_s=0.75), DuetRequest(metre="12/8"), own_changes=True)
    assert (slow.tempo_bpm, slow.metre, slow.bars) == (120, "12/8", 1)


def test_an_ask_has_its_part_of_the_chart_and_own_changes_have_none():
    request = DuetRequest(chords="Cmaj7 | Dm7 G7")
    order = order_of(question(start=2.0, beats=8.0), request, chart_of(request, None))
    assert order.chart.text() == "T24 Cmaj7 | T44 Dm7 G7 | T24 Cmaj7" and order.chart.quarters == 8
    own = DuetRequest(chords=" Own")
    assert own.own_changes and chart_of(own, None) is None
    order = order_of(question(start=2.0), own, None)
    assert order.request.own_changes and order.chart is None and order.into_bar == 2


@pytest.mark.parametrize(("metre", "tempo_bpm", "start"), [
    ("4/4", 120, 6), ("3/4", 120, 7), ("12/8", 120, 5), ("7/8", 120, 6), ("4/4", 216, 5), ("3/4", 60, 7), ("4/4", 380, 4),
])  # fmt: skip
def test_a_prompt_lies_in_the_bars_of_the_duet(metre, tempo_bpm, start):
    """The map that the model is given: beats of the metre, or halves or doubles of them, and bar lines of the grid."""
    asked = Metre.parse(metre)
    beat_s = 60 / tempo_bpm * float(asked.quarters_per_beat)
    order = order_of(question(start=float(start), beat_s=beat_s, played=[15, 18.5]), DuetRequest(metre=metre), None)
    begins_s = order.to_s
    assert begins_s == pytest.approx(PROMPT_BEATS * beat_s) and order.notes.onset_s == pytest.approx([15 * beat_s, 18.5 * beat_s])
    assert order.tempo_map.to_beats(begins_s) == pytest.approx(round(float(order.tempo_map.to_beats(begins_s))))
    lines = (order.tempo_map.bar_lines_s()[1:] - begins_s) / beat_s + start  # beats of the grid
    assert len(lines) >= 4 and lines / asked.beats == pytest.approx(np.round(lines / asked.beats))
    assert 75 <= order.tempo_map.bpm[0] <= 170 and order.request.timing.felt_bpm == pytest.approx(order.tempo_map.bpm[0])


def test_an_answer_goes_on_from_the_chords_that_were_heard():
    class Knows:
        changes = {"Me": np.array([[0, 1, 0, 0], [5, 1, 5, 0]] * 20, dtype=np.int8)}

    class KnowsNone:
        changes = {}

    assert chart_of(DuetRequest(), Knows) is None and chart_of(DuetRequest(), KnowsNone).text() == "N.C."
    assert chart_of(DuetRequest(chords="C"), Knows).text() == "C"
    assert len(chart_of(DuetRequest(mode="fours"), Knows).bars) == 12
