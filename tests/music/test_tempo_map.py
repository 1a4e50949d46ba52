"""Seconds and beats map to each other, across tempo changes, bars and the map's ends."""

from fractions import Fraction

import numpy as np
import pytest

from lib.music.bar_lines import BarPath, map_from_beats
from lib.music.tempo_map import (
    BEATS_ONLY,
    IN_BARS,
    NO_BEAT,
    Metre,
    TempoMap,
    TempoMapError,
    bar_table,
    fold,
    map_without_beat,
)


def jump_map():
    """Eight beats at 90 a minute, then eight at 140."""
    periods = np.r_[np.full(8, 60 / 90), np.full(8, 60 / 140)]
    beats_s = 0.5 + np.r_[0, np.cumsum(periods)]
    return TempoMap(beats_s, bar_table(4.0 * np.arange(4), np.full(4, 4.0), IN_BARS, 1.0, Metre.parse("4/4")))


def test_onset_and_release_across_a_jump_of_tempo_map_separately():
    tempo_map = jump_map()
    onset_s = tempo_map.beats_s[8] - 0.5 * 60 / 90  # half a beat before the jump
    release_s = tempo_map.beats_s[8] + 0.5 * 60 / 140  # half a beat after it
    assert tempo_map.to_beats([onset_s, release_s]) == pytest.approx([7.5, 8.5])
    assert tempo_map.to_seconds([7.5, 8.5]) == pytest.approx([onset_s, release_s])


def test_mapping_there_and_back_is_exact_inside_and_outside_the_map():
    tempo_map = jump_map()
    seconds = np.linspace(-3, 15, 500)
    assert tempo_map.to_seconds(tempo_map.to_beats(seconds)) == pytest.approx(seconds, abs=1e-9)
    assert tempo_map.to_beats(tempo_map.beats_s[0] - 60 / 90) == pytest.approx(-1)
    assert tempo_map.to_beats(tempo_map.beats_s[-1] + 60 / 140) == pytest.approx(17)


def test_tempo_of_each_beat():
    assert jump_map().bpm == pytest.approx(np.r_[np.full(8, 90), np.full(8, 140)])


def test_bar_of_a_position():
    tempo_map = jump_map()
    assert tempo_map.bar_index([-0.5, 0, 3.99, 4, 15.9, 99]).tolist() == [-1, 0, 0, 1, 3, 3]
    assert tempo_map.bar_lines_s() == pytest.approx(tempo_map.beats_s[:16:4])


@pytest.mark.parametrize(
    ("text", "beats", "felt"),
    [
        ("4/4", 4, (1, 4)),
        ("3/4", 3, (1, 4)),
        ("7/8", 3.5, (1, 4)),
        ("12/8", 4, (3, 8)),
        ("6/8", 2, (3, 8)),
        ("2/2", 2, (1, 2)),
    ],
)
def test_metres_in_felt_beats(text, beats, felt):
    metre = Metre.parse(text)
    assert (metre.beats, metre.felt, str(metre)) == (beats, Fraction(*felt), text)


@pytest.mark.parametrize("text", ["", "4", "4/5", "0/4", "four/4", "-3/4"])
def test_a_metre_that_is_none_is_refused_by_name(text):
    with pytest.raises(TempoMapError, match="metre"):
        Metre.parse(text)


def test_constant_tempo():
    tempo_map = TempoMap.constant(120, Metre.parse("7/8"), 4, start_s=1.0)
    assert tempo_map.bars["start"].tolist() == [0, 3.5, 7, 10.5]
    assert tempo_map.bar_lines_s() == pytest.approx(1 + 0.5 * 3.5 * np.arange(4))


def test_taps_begin_anew_on_each_bar_line_and_rest_where_there_is_no_beat():
    sevens = TempoMap.constant(120.0, Metre.parse("7/8"), 2)
    assert sevens.taps_s() == pytest.approx(0.5 * np.array([0, 1, 2, 3, 3.5, 4.5, 5.5, 6.5]))
    bars = [bar_table([0], [2], NO_BEAT, 0.0), bar_table([2], [3], BEATS_ONLY, 0.5), bar_table([5], [3], IN_BARS, 1.0, Metre(3, 4))]
    assert TempoMap(np.arange(9.0), np.concatenate(bars)).taps_s() == pytest.approx(np.arange(2.0, 8.0))
    assert not len(map_without_beat(4.0).taps_s())


def test_a_map_grows_to_cover_a_recording():
    tempo_map = jump_map()
    wide = tempo_map.covering(-1.0, 20.0)
    assert wide.beats_s[0] <= -1.0 and wide.beats_s[-1] >= 20.0
    seconds = np.linspace(0.5, 10, 50)
    shift = wide.to_beats(seconds) - tempo_map.to_beats(seconds)
    assert shift == pytest.approx(np.full(50, shift[0])) and shift[0] == round(shift[0])
    assert wide.bars["kind"][0] == BEATS_ONLY and wide.bars["kind"][-1] == BEATS_ONLY
    assert wide.bar_lines_s() == pytest.approx(tempo_map.bar_lines_s())
    assert tempo_map.covering(1.0, 5.0).num_beats == tempo_map.num_beats


def test_what_is_added_around_a_map_is_felt_as_its_bars_are():
    wide = TempoMap.constant(80, Metre.parse("12/8"), 2).covering(-3.0, 20.0)
    assert wide.bars["felt"].tolist() == [[3, 8]] * 4 and wide.bars["numerator"].tolist() == [0, 12, 12, 0]


def test_a_map_from_one_of_its_beats_on():
    tempo_map = jump_map()
    rest = tempo_map.from_beat(4)
    assert rest.beats_s == pytest.approx(tempo_map.beats_s[4:]) and rest.bars["start"].tolist() == [0, 4, 8]
    assert (rest.bars["kind"] == IN_BARS).all() and rest.bars["numerator"].tolist() == [4, 4, 4]
    assert tempo_map.from_beat(0).fingerprint() == tempo_map.fingerprint()
    within = tempo_map.from_beat(6)
    assert within.bars["start"].tolist() == [0, 2, 6] and within.bars["beats"].tolist() == [2, 4, 4]
    assert within.bars["kind"].tolist() == [BEATS_ONLY, IN_BARS, IN_BARS]
    assert within.bars["numerator"].tolist() == within.bars["denominator"].tolist() == [0, 4, 4], (
        "no bar of 4/4 has two"
    )
    assert within.to_seconds(3.3) == pytest.approx(tempo_map.to_seconds(9.3))


@pytest.mark.parametrize(("at", "kinds"), [(8, [2, 2, 2, 2]), (6, [2, 1, 2, 2]), (0, [2, 2])])
def test_a_map_goes_on_as_another(at, kinds):
    earlier = jump_map()
    later = TempoMap.constant(100, Metre.parse("3/4"), 2, start_s=float(earlier.beats_s[at]))
    both = earlier.followed_by(later, at)
    assert both.bars["kind"].tolist() == kinds and both.bars["beats"][-2:].tolist() == [3, 3]
    assert both.num_beats == at + later.num_beats
    positions = np.linspace(0, 6, 20)
    assert both.to_seconds(at + positions) == pytest.approx(later.to_seconds(positions))
    assert both.to_seconds(positions * at / 6) == pytest.approx(earlier.to_seconds(positions * at / 6))
    assert (both.bars["numerator"] == [{2: 4, 1: 0}[kind] for kind in kinds[:-2]] + [3, 3]).all()


def test_bars_of_thirds_of_a_beat_are_whole_far_into_a_map():
    """A bar of 4/4 among dotted quarters has 2 2/3 beats, which no float32 holds exactly."""
    starts = np.arange(600) * 8 / 3
    tempo_map = TempoMap(np.arange(1601) * 0.5, bar_table(starts, np.full(600, 8 / 3), IN_BARS, 1.0, Metre(4, 4)))
    assert (tempo_map.from_beat(1200).bars["kind"] == IN_BARS).all()


def test_how_long_bars_of_a_kind_last():
    tempo_map = jump_map().covering(-1.0, 20.0)
    assert tempo_map.seconds_of(IN_BARS) == pytest.approx(8 * 60 / 90 + 8 * 60 / 140)
    assert tempo_map.seconds_of(IN_BARS, BEATS_ONLY) == pytest.approx(tempo_map.beats_s[-1] - tempo_map.beats_s[0])


def test_the_fingerprint_tells_maps_apart():
    tempo_map = jump_map()
    moved = TempoMap(tempo_map.beats_s + 0.001, tempo_map.bars)
    free = TempoMap(tempo_map.beats_s, bar_table([0.0], [16.0], NO_BEAT, 0.0))
    prints = {m.fingerprint() for m in (tempo_map, moved, free)}
    assert len(prints) == 3 and tempo_map.fingerprint() == jump_map().fingerprint()


@pytest.mark.parametrize("beats_s", [[1.0], [0, 1, 1], [0, 2, 1], [0, np.nan, 2]])
def test_beats_that_are_no_map_are_refused(beats_s):
    with pytest.raises(TempoMapError, match="beats_s"):
        TempoMap(np.array(beats_s), bar_table([], [], NO_BEAT, 0))


def test_bars_with_a_gap_are_refused():
    with pytest.raises(TempoMapError, match="bars"):
        TempoMap(np.arange(9.0), bar_table([0.0, 5.0], [4.0, 4.0], IN_BARS, 0))


@pytest.mark.parametrize(
    ("bpm", "felt"), [(75, 75), (170, 170), (60, 120), (30, 120), (200, 100), (400, 100), (120, 120)]
)
def test_the_felt_level_lies_between_75_and_170(bpm, felt):
    beats_s = 1.0 + 60 / bpm * np.arange(33)
    folded = fold(beats_s)
    assert 60 / np.diff(folded) == pytest.approx(felt) and folded[0] == beats_s[0]
    assert folded[-1] == pytest.approx(beats_s[-1])


def test_a_map_without_a_beat_runs_at_125():
    tempo_map = map_without_beat(4.8)
    assert tempo_map.num_beats == 11 and tempo_map.bpm == pytest.approx(125)
    assert tempo_map.bars["kind"].tolist() == [NO_BEAT] and tempo_map.bars["beats"].tolist() == [10]


def test_a_rubato_introduction_before_a_waltz():
    beats_s = np.r_[0, 0.9, 1.5, 2.6, 3.0 + 0.5 * np.arange(13)]
    in_time = np.arange(16) >= 4
    bars = BarPath((np.arange(16) - 4) % 3, np.full(16, 3), np.where(np.arange(16) < 10, 0.99, 0.4))
    tempo_map = map_from_beats(beats_s, np.where(in_time, 0.5, -0.1), in_time, bars, 0.8)
    assert tempo_map.bars["kind"].tolist() == [NO_BEAT, IN_BARS, IN_BARS, BEATS_ONLY]
    assert tempo_map.bars["beats"].tolist() == [6, 3, 3, 6]  # 3 s at about 125 a minute, two bars, what is left
    assert tempo_map.bar_lines_s() == pytest.approx([3.0, 4.5])
    assert tempo_map.beats_s[6:] == pytest.approx(beats_s[4:])
    assert np.diff(tempo_map.beats_s[:7]) == pytest.approx(0.5) and tempo_map.bars["confidence"][1] == pytest.approx(
        0.5
    )


def test_a_bar_that_is_cut_short_stays_unknown():
    bars = BarPath(np.array([0, 1, 2, 3, 0, 1, 0, 1, 2, 3]), np.full(10, 4), np.ones(10))
    tempo_map = map_from_beats(0.5 * np.arange(11), np.ones(10), np.ones(10, dtype=bool), bars, 0.8)
    assert tempo_map.bars["kind"].tolist() == [IN_BARS, BEATS_ONLY, IN_BARS]
    assert tempo_map.bars["beats"].tolist() == [4, 2, 4]
