"""What a generator is told of time: clock, tempo, feel, and where windows may begin."""

import numpy as np
import pytest
import torch

from lib.models.conditions import feel
from lib.music.tempo_map import (
    BEATS_ONLY,
    IN_BARS,
    LONGEST_BAR,
    NO_BEAT,
    UNKNOWN_CLOCK,
    Metre,
    TempoMap,
    bar_table,
    clock_frames,
    tempo_frames,
    window_starts,
)


@pytest.mark.parametrize(
    ("metre", "latents"), [("4/4", 24), ("3/4", 18), ("12/8", 24), ("6/8", 12), ("7/8", 21), ("5/4", 30)]
)
def test_the_clock_of_a_metre(metre, latents):
    clock = clock_frames(TempoMap.constant(120, Metre.parse(metre), 3), 3 * latents)
    assert (clock[:, 2] == latents).all() and clock[:, 1].tolist() == 3 * list(range(latents))
    assert (clock[:, 0] == clock[:, 1] % 6).all()  # of 7/8, the last beat of the bar is a half one


def mixed():
    """Rubato for four beats, beats alone for four, a bar of 4/4, and one too long to be known."""
    kinds = [
        bar_table([0.0], [4.0], NO_BEAT, 0.0),
        bar_table([4.0], [4.0], BEATS_ONLY, 0.5),
        bar_table([8.0], [4.0], IN_BARS, 1.0, Metre(4, 4)),
        bar_table([12.0], [9.0], IN_BARS, 1.0, Metre(9, 4)),
    ]
    beats_s = np.concatenate([np.arange(4) * 0.48, 4 * 0.48 + np.arange(18) * 0.5])
    return TempoMap(beats_s, np.concatenate(kinds))


def test_what_is_not_known_is_said_so():
    clock = clock_frames(mixed(), 150)
    assert (clock[:24] == UNKNOWN_CLOCK).all() and (clock[126:] == UNKNOWN_CLOCK).all()  # rubato; beyond the map
    assert clock[24:48, 0].tolist() == 4 * list(range(6)) and (clock[24:48, 1:] == [LONGEST_BAR, 0]).all()
    assert clock[48:72, 1].tolist() == list(range(24))
    assert clock[72:126, 0].tolist() == 9 * list(range(6)) and (clock[72:126, 1:] == [LONGEST_BAR, 0]).all()


def test_the_tempo_is_one_value_a_bar_and_none_without_a_beat():
    bpm = tempo_frames(mixed(), 126)
    assert np.isnan(bpm[:24]).all() and not np.isnan(bpm[24:]).any() and len(set(bpm[48:72])) == 1
    assert bpm[60] == pytest.approx(120, rel=1e-3)
    rising = TempoMap(np.cumsum(60 / np.linspace(80, 160, 33)), bar_table(4.0 * np.arange(8), [4.0] * 8, IN_BARS, 1.0))
    bars = tempo_frames(rising, 8 * 24)[::24]
    assert (np.diff(bars) > 0).all() and 80 < bars[0] < 95 and 145 < bars[-1] < 160


def onsets(*phases):
    """Four bars whose beats have an onset at each of these phases."""
    frames = torch.zeros(1, 16, 24)
    for phase in phases:
        frames[:, :, round(phase * 24)] = 1
    clock = clock_frames(TempoMap.constant(120, Metre(4, 4), 4), 96)
    return frames.view(1, 96, 4), torch.from_numpy(clock[None, :, 0]).long()


def test_the_feel_is_that_of_the_onsets():
    assert feel(*onsets(0, 1 / 2))[0].tolist() == pytest.approx([-1, 0, 0])
    assert feel(*onsets(0, 2 / 3))[0].tolist() == pytest.approx([1, 0.5, 0])
    assert feel(*onsets(0, 1 / 4, 1 / 2, 3 / 4))[0].tolist() == pytest.approx([-1, 0, 0.5])
    assert feel(*onsets(0, 1 / 3, 2 / 3))[0, 1] == pytest.approx(2 / 3)
    assert feel(*onsets())[0].isnan().all()  # nothing begins
    frames, beat = onsets(0, 1 / 2)
    assert feel(frames, torch.full_like(beat, UNKNOWN_CLOCK[0]))[0].isnan().all()  # no beat is known


def test_windows_begin_on_bars_else_on_beats():
    starts = window_starts(clock_frames(mixed(), 126), 24)
    assert starts.tolist() == [0, 6, 12, 18, 24, 30, 36, 42, 48, 72, 78, 84, 90, 96, 102]
    assert window_starts(clock_frames(mixed(), 10), 24).tolist() == [0]
