"""Call and response on a stage without time: on the next beat, late, gone on, given way, cued, stopped."""

import numpy as np
import pytest
from mido import Message
from stage import Stage

from lib.apps.live.model_process import PROMPT_BEATS
from lib.apps.live.partner import CallAndResponse
from lib.apps.live.tempo import ClockTempo

BEAT_S = 0.5


def test_the_answer_begins_on_the_next_beat():
    stage = Stage(CallAndResponse)
    begun_s, ended_s = stage.phrase()
    stage.wait(3)
    first_s, pitch = stage.played[0]
    assert pitch == 60 and (first_s - begun_s) / BEAT_S == pytest.approx(round((first_s - begun_s) / BEAT_S))
    assert ended_s + 2 * BEAT_S <= first_s < ended_s + 3 * BEAT_S + 0.04
    assert stage.kinds()[:3] == ["phrase_ended", "placed", "answers"]
    (ask,) = stage.model.asks
    assert len(ask.prompt) == 4 and ask.beats == 4


def test_it_is_as_long_as_asked_and_then_listens():
    stage = Stage(CallAndResponse, bars=2)
    stage.phrase()
    stage.wait(8)
    times_s = [at_s for at_s, _ in stage.played]
    assert len(times_s) == 16 and max(span.off_s for span in stage.output.spans) <= times_s[0] + 8 * BEAT_S + 1e-6
    assert stage.kinds()[-1] == "listens"
    stage.phrase()
    stage.wait(5)
    assert stage.kinds().count("answers") == 2


@pytest.mark.parametrize(("metre", "beats"), [("4/4", 4), ("7/8", 3.5)])
def test_what_is_late_says_so_and_enters_whole_bars_later_so_that_its_bars_are_those_of_the_grid(metre, beats):
    stage = Stage(CallAndResponse, takes_s=2.3, metre=metre)
    stage.model.expected_s = 0.5
    begun_s, _ = stage.phrase()
    stage.wait(6)
    assert stage.kinds()[:4] == ["phrase_ended", "late", "placed", "answers"]
    late = (stage.played[0][0] - begun_s) / BEAT_S - stage.model.asks[0].start
    assert late > 0 and late % beats == pytest.approx(0)


def test_a_model_that_is_known_to_be_slow_is_asked_for_a_beat_that_it_can_be_ready_for():
    stage = Stage(CallAndResponse, takes_s=1.5)
    begun_s, _ = stage.phrase()
    stage.wait(6)
    assert stage.kinds()[:3] == ["phrase_ended", "placed", "answers"]
    first = (stage.played[0][0] - begun_s) / BEAT_S
    assert first == pytest.approx(stage.model.asks[0].start) == pytest.approx(7)


def test_an_answer_that_is_ready_long_before_it_was_expected_enters_whole_bars_earlier():
    stage = Stage(CallAndResponse, takes_s=0.5)
    stage.model.expected_s = 5.0
    begun_s, _ = stage.phrase()
    stage.wait(6)
    first, start = (stage.played[0][0] - begun_s) / BEAT_S, stage.model.asks[0].start
    assert start > 12 and 4 <= first < 8.1 and (start - first) % 4 == pytest.approx(0)


def test_nothing_of_an_answer_is_shifted():
    stage = Stage(CallAndResponse)
    stage.model.late = 1 / 12
    begun_s, _ = stage.phrase()
    stage.wait(6)
    beats = [(at_s - begun_s) / BEAT_S * 2 for at_s, _ in stage.played]
    assert beats == pytest.approx([round(beat) + 1 / 6 for beat in beats])


def test_a_phrase_is_heard_on_its_beats_and_the_silence_after_it_too():
    stage = Stage(CallAndResponse, tempo_bpm=90, metre="12/8")  # a beat a second
    stage.phrase(notes=4, seconds=0.25)
    stage.wait(4)
    (ask,) = stage.model.asks
    assert ask.prompt.onset.tolist() == pytest.approx([PROMPT_BEATS - ask.start + n / 4 for n in range(4)])
    assert ask.beat_s == 1 and ask.beats == 4 and 3 < ask.start <= 4


def test_a_tempo_that_changes_within_a_phrase_bends_no_beat_of_it():
    stage = Stage(CallAndResponse, clock="in")
    stage.partner.tempo = ClockTempo()
    stage.partner.receive(Message("start"), stage.now_s)
    for number in range(16):  # a note a beat, from the first tick on; half of them at 120, half at 90
        beat_s = BEAT_S if number < 8 else 60 / 90
        stage.send("note_on", note=60 + number, velocity=80)
        clock(stage, 12, beat_s)
        stage.send("note_off", note=60 + number)
        clock(stage, 12, beat_s)
    clock(stage, 48, 60 / 90)
    prompt, start = stage.model.asks[-1].prompt, stage.model.asks[-1].start
    assert len(prompt) == 16 and prompt.onset + start - PROMPT_BEATS == pytest.approx(np.arange(16), abs=0.03)


def test_a_draft_that_has_not_heard_the_whole_phrase_is_never_played():
    stage = Stage(CallAndResponse)
    stage.phrase()
    stage.wait(0.7)  # the draft is ready
    assert len(stage.model.asks) == 1 and stage.partner.answer is not None
    stage.phrase(5)
    stage.wait(3)
    assert len(stage.model.asks) == 2 and len(stage.model.asks[1].prompt) == 9
    assert stage.played[0][0] > stage.now_s - 3 + 2 * BEAT_S - 0.01
    assert stage.partner.num_questions == 2


def test_who_goes_on_before_the_entry_is_not_interrupted():
    stage = Stage(CallAndResponse, takes_s=0.2)
    begun_s, ended_s = stage.phrase()
    while "placed" not in stage.kinds():
        stage.wait(0.005)
    stage.send("note_on", note=72, velocity=80)
    assert stage.output.orders[-1] == "clear" and stage.played == [] and stage.kinds()[-1] == "went_on"
    stage.wait(0.1)
    stage.send("note_off", note=72)
    stage.wait(3)
    assert len(stage.model.asks[-1].prompt) == 5 and stage.kinds().count("answers") == 1 and ended_s > begun_s


@pytest.mark.parametrize("gives_way", [True, False])
def test_playing_into_an_answer(gives_way):
    stage = Stage(CallAndResponse, bars=4, give_way=gives_way)
    stage.phrase()
    while "answers" not in stage.kinds():
        stage.wait(0.05)
    stage.wait(1)
    stage.send("note_on", note=72, velocity=80)
    assert ("clear" in stage.output.orders) == gives_way
    stage.wait(0.2)
    stage.send("note_off", note=72)
    stage.wait(12)
    answers = 2  # the note is a phrase of its own
    assert stage.kinds().count("answers") == answers and len(stage.model.asks[-1].prompt) == 1


def test_a_cue_is_answered_at_once_from_what_was_made_while_playing():
    stage = Stage(CallAndResponse, ends_by="cc:20")
    begun_s, _ = stage.phrase(8)
    stage.send("control_change", control=20, value=127)
    cued_s = stage.now_s
    stage.wait(2)
    first_s = stage.played[0][0]
    assert cued_s <= first_s <= cued_s + BEAT_S + 0.04 and "late" not in stage.kinds()
    assert (first_s - begun_s) / BEAT_S % 1 == pytest.approx(0, abs=1e-6)


def test_all_sound_off_is_a_panic_and_all_notes_off_is_not():
    stage = Stage(CallAndResponse)
    stage.phrase()
    stage.wait(2)
    stage.send("control_change", control=123, value=0)
    assert "panic" not in stage.output.orders
    stage.send("control_change", control=120, value=0)
    assert stage.output.orders[-1] == "panic"
    played = len(stage.played)
    stage.wait(5)
    assert len(stage.played) == played and not stage.partner.planned


def test_a_clock_that_stops_stops_the_answer():
    stage = Stage(CallAndResponse, clock="in")
    stage.partner.tempo = ClockTempo()
    stage.partner.receive(Message("start"), stage.now_s)
    clock(stage, 48)
    for pitch in (60, 62, 64):
        stage.send("note_on", note=pitch, velocity=80)
        clock(stage, 12)
        stage.send("note_off", note=pitch)
    clock(stage, 84)
    assert stage.kinds()[-1] == "answers" and stage.played
    beats = [(at_s - 1000.0) / BEAT_S for at_s, _ in stage.played[:1]]
    assert beats[0] == pytest.approx(round(beats[0]), abs=0.01)
    stage.send("stop")
    stage.wait(0.1)
    assert stage.output.orders[-1] == "clear" and stage.kinds()[-1] == "halt"


def clock(stage, ticks, beat_s=BEAT_S):
    """So many ticks of a clock."""
    for _ in range(ticks):
        stage.send("clock")
        stage.wait(beat_s / 24)
