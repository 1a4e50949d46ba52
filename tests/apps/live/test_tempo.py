"""Where the beats are: own tempo, and a clock with all that clocks do."""

import numpy as np
import pytest
from mido import Message

from lib.apps.live.tempo import COMMON, BeatGrid, ClockTempo, OwnTempo
from lib.music.tempo_map import Metre


def test_a_grid_counts_beats_and_bars():
    grid = BeatGrid(10.0, 0.5, Metre(3, 4))
    assert grid.beat_at(11.25) == 2.5 and grid.time_of(4) == 12.0
    assert grid.next_beat(11.0) == 2 and grid.next_beat(11.01) == 3
    assert [grid.next_like(0, at_s) for at_s in (10.0, 10.01, 11.5)] == [0, 3, 3]
    assert grid.next_like(7, 11.6) == 4 and grid.next_like(1, 10.0) == 1


def test_beats_of_seven_eight_begin_anew_with_each_bar():
    grid = BeatGrid(0.0, 0.5, Metre.parse("7/8"))
    assert [grid.next_beat(beat / 2) for beat in (2.9, 3.0, 3.1, 3.5, 3.6, 6.6)] == [3, 3, 3.5, 3.5, 4.5, 7]
    assert grid.next_like(0, 0.1) == 3.5 and grid.next_beat(-0.01) == 0


def test_a_beat_of_twelve_eight_is_a_dotted_quarter():
    tempo = OwnTempo(120, Metre.parse("12/8"))
    tempo.begin(0.0)
    assert tempo.grid(0.0).beat_s == 0.75 and tempo.metre.beats == 4
    clock = started(120, metre=Metre.parse("12/8"))[0]
    assert clock.grid(101.9).beat_s == pytest.approx(0.75) and clock.grid(101.9).beat_at(101.5) == pytest.approx(2)


def test_own_tempo_begins_where_it_is_told():
    tempo = OwnTempo(90)
    tempo.begin(5.0)
    assert tempo.grid(6.0) == BeatGrid(5.0, 60 / 90)


def tick(tempo, times_s):
    """Clock messages at times."""
    for at_s in times_s:
        tempo.receive(Message("clock"), at_s)
    return times_s[-1]


def ticks(start_s, bpm, count):
    return start_s + np.arange(count) * 60 / bpm / 24


def started(bpm=120.0, count=96, start_s=100.0, metre=COMMON):
    tempo = ClockTempo(metre)
    tempo.receive(Message("start"), start_s - 0.001)
    return tempo, tick(tempo, ticks(start_s, bpm, count))


def test_a_clock_gives_tempo_and_place():
    tempo, now_s = started(132)
    grid = tempo.grid(now_s)
    assert grid.beat_s == pytest.approx(60 / 132) and grid.time_of(0) == pytest.approx(100.0)


def test_ticks_without_start_say_nothing():
    tempo = ClockTempo()
    assert tempo.grid(tick(tempo, ticks(0, 120, 96))) is None


def test_jitter_hardly_moves_the_beat():
    tempo = ClockTempo()
    tempo.receive(Message("start"), 0)
    times_s = ticks(100, 120, 240) + np.random.default_rng(0).normal(0, 0.002, 240)
    grid = tempo.grid(tick(tempo, times_s))
    assert abs(grid.time_of(9) - 104.5) < 0.0015


def test_ticks_that_are_held_up_mislead_nobody():
    tempo, now_s = started(120, 96)
    late = ticks(100, 120, 192)[96:120]
    tick(tempo, np.full(24, late[-1]))  # a beat of them at once
    tick(tempo, ticks(100, 120, 192)[120:])
    grid = tempo.grid(103.9)
    assert now_s < 102 and grid.time_of(8) == pytest.approx(104.0, abs=0.001) and grid.beat_s == pytest.approx(0.5, abs=0.001)


def test_a_new_tempo_is_taken_up_within_a_beat():
    tempo, now_s = started(120, 96)
    times_s = ticks(now_s + 60 / 160 / 24, 160, 24)
    grid = tempo.grid(tick(tempo, times_s))
    assert grid.beat_s == pytest.approx(60 / 160, rel=0.01)
    assert grid.time_of(5) == pytest.approx(times_s[-1] + 60 / 160 / 24, abs=0.003)


def test_stop_continue_and_song_position():
    tempo, now_s = started(120, 96)
    tempo.receive(Message("stop"), now_s)
    assert tempo.grid(now_s) is None
    tempo.receive(Message("songpos", pos=64), now_s + 1)  # beat 16
    tempo.receive(Message("continue"), now_s + 1)
    tick(tempo, ticks(now_s + 1.1, 120, 24))
    assert tempo.grid(now_s + 2.1).beat_at(now_s + 1.1) == pytest.approx(16)
    tempo.receive(Message("start"), now_s + 3)
    tick(tempo, ticks(now_s + 3.1, 120, 24))
    assert tempo.grid(now_s + 4.1).beat_at(now_s + 3.1) == pytest.approx(0, abs=1e-6)


def test_a_clock_that_falls_silent_has_no_beat():
    tempo, now_s = started(120, 96)
    assert tempo.grid(now_s + 0.9) is not None and tempo.grid(now_s + 1.1) is None
