"""Bootstrap intervals: they hold the truth as often as they say, and recordings are drawn whole."""

import numpy as np
import pytest

from lib.apps.evaluate.intervals import Figure, draw_weights, estimate, mean_of


def test_intervals_of_a_mean_hold_the_truth_about_as_often_as_they_say():
    generator, held = np.random.default_rng(0), 0
    for trial in range(200):
        figure = mean_of(generator.normal(3.0, 1.0, 40), range(40), draws=200, seed=trial)
        held += figure.low <= 3.0 <= figure.high
    assert 178 <= held <= 198


def test_clips_of_one_recording_say_less_than_as_many_recordings():
    values = np.repeat(np.random.default_rng(1).normal(size=8), 10)
    alone, together = mean_of(values, range(80)), mean_of(values, np.repeat(range(8), 10))
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_weights_are_of_whole_recordings():
    weights = draw_weights(["a", "a", "b", "c", "c", "c"], np.random.default_rng(3), 5)[2]
    assert weights[0] == weights[1] and len(set(weights[3:])) == 1
    assert weights[0] + weights[2] + weights[3] == 3
    alone = draw_weights(["a"] * 5, np.random.default_rng(0), 9)  # one recording: its clips are drawn
    assert alone.sum(1).tolist() == [5] * 9 and alone.std() > 0


def test_samples_of_the_same_recordings_are_drawn_together():
    apart = estimate(lambda one, other: float(np.abs(one - other).sum()), list("abcd"), list("efgh"))
    assert apart.high > 0
    together = estimate(lambda one, other: float(np.abs(one - other).sum()), list("abcd"), list("abcd"))
    assert (together.value, together.low, together.high) == (0, 0, 0)


def test_a_centred_interval_is_around_the_value_and_within_its_bounds():
    def largest(weights):
        return float(weights.max())  # drawing moves it up, away from the value

    assert estimate(largest, range(20)).low >= 1
    centred = estimate(largest, range(20), centred=True, bounds=(0.5, np.inf))
    assert centred.low < centred.value < centred.high and centred.low >= 0.5


def test_what_is_no_number_is_left_out_and_nothing_is_none():
    assert mean_of([1.0, np.nan, 3.0], list("abc")).value == 2 and mean_of([1.0, np.nan, 3.0], list("abc")).count == 2
    nothing = mean_of([np.nan], ["a"])
    assert np.isnan(nothing.value) and nothing.count == 0
    assert np.isnan(estimate(lambda weights: np.nan, ["a", "b"]).low)


@pytest.mark.parametrize(("low", "high", "includes"), [(-1, 1, True), (0.1, 1, False), (-2, -1, False), (0, 1, True)])
def test_zero(low, high, includes):
    assert Figure(0.5, low, high, 3).includes_zero is includes
