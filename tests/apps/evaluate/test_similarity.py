"""Distances between sets: known answers, and what changes nothing changes nothing."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import gaussian_kde

from lib.apps.evaluate.measures import ATTRIBUTES
from lib.apps.evaluate.similarity import ClipMeasures, Densities, Similarity, frechet_distance, nearest_are_own


def ones(*samples):
    return tuple(np.ones(len(sample)) for sample in samples)


@pytest.fixture
def samples():
    generator = np.random.default_rng(0)
    return generator.normal(0, 1, 300), generator.normal(1, 1, 300)


def test_the_overlapping_area_is_that_of_kernel_densities(samples):
    own, other = samples
    found = Densities(own, other).overlapping_area(*ones(own, other))
    grid = np.linspace(-10, 11, 3000)
    lower = np.minimum(gaussian_kde(own)(grid), gaussian_kde(other)(grid))
    assert found == pytest.approx(np.trapezoid(lower, grid), abs=0.01)
    assert found == pytest.approx(0.617, abs=0.06)  # of two normal distributions one deviation apart
    assert Densities(own, own).overlapping_area(*ones(own, own)) == pytest.approx(1, abs=0.002)
    assert Densities([2.0, 2.0], [2.0]).overlapping_area(*ones([1, 1], [1])) == 1


def test_divergence_of_normal_distributions(samples):
    own, other = samples
    assert Densities(own, other).divergence(*ones(own, other)) == pytest.approx(0.5, abs=0.15)
    assert Densities(own, own).divergence(*ones(own, own)) == 0
    assert Densities(own, own + 30).divergence(*ones(own, own)) > 3


def test_weights_count_clips_as_if_they_were_there_so_often(samples):
    own, other = (sample[:20] for sample in samples)
    weights = np.array([2, 0] * 10)
    densities = Densities(own, other)
    spelt_out = densities.curves(weights, np.ones(20))[0]
    assert spelt_out == pytest.approx(densities.kernels[0][::2].mean(0))


def test_frechet_distance_of_known_distributions():
    generator = np.random.default_rng(1)
    own = generator.normal(size=(4000, 3))
    far = own + [3.0, 0, 0]
    assert frechet_distance(own, far, *ones(own, far)) == pytest.approx(9, abs=1e-6)
    wide = 2 * generator.normal(size=(4000, 3))
    assert frechet_distance(own, wide, *ones(own, wide)) == pytest.approx(3, abs=0.25)  # (2 - 1)^2 in three directions
    few = own[:2]  # fewer points than directions are no trouble
    assert np.isfinite(frechet_distance(few, own, *ones(few, own)))


@pytest.mark.parametrize("count", [5, 40])
def test_frechet_distance_is_that_of_its_formula(count):
    """With weights as if clips were there so often, and the matrix square root that the paper has; also of few clips."""
    generator = np.random.default_rng(count)
    own, other = generator.normal(size=(2, count, 8)) * np.linspace(0.2, 2, 8)
    weights = generator.integers(0, 3, count)
    weights[:2] = 1
    (mean, covariance), (other_mean, other_covariance) = (
        (points.mean(0), np.cov(points.T, ddof=0)) for points in (np.repeat(own, weights, 0), other)
    )
    root = np.trace(sqrtm(covariance @ other_covariance).real)
    expected = ((mean - other_mean) ** 2).sum() + np.trace(covariance + other_covariance) - 2 * root
    assert frechet_distance(own, other, weights, np.ones(count)) == pytest.approx(expected, abs=1e-4)


def test_nearest_neighbours_tell_what_differs_and_not_what_is_alike():
    generator = np.random.default_rng(2)
    own, other = generator.normal(size=(2, 200, 2))
    names, others = [f"a{i}" for i in range(200)], [f"b{i}" for i in range(200)]
    alike = np.concatenate(nearest_are_own(own, other, names, others)).mean()
    assert alike == pytest.approx(0.5, abs=0.08)
    assert np.concatenate(nearest_are_own(own, other + 9, names, others)).mean() == 1


def test_clips_of_one_recording_are_no_neighbours():
    own, other = np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([[0.2], [0.3], [5.2], [5.3]])
    names = ["a", "a", "b", "b"]
    apart = nearest_are_own(own, other, names, ["c", "c", "d", "d"])
    assert not np.concatenate(apart).any(), "with the own recording left out, the other set is nearest"


def test_neighbours_among_attributes_do_not_depend_on_their_units():
    def nearest(units):
        sides = []
        for number in range(2):
            columns = (np.random.default_rng(number).normal(size=(30, len(ATTRIBUTES))) * units).T
            groups = tuple(f"{number} {clip}" for clip in range(30))
            sides.append(ClipMeasures(groups, dict(zip(ATTRIBUTES, columns)), np.full((30, 8), np.nan)))
        return Similarity(*sides, np.eye(8)).statistics["nearest_attributes"](np.ones(30), np.ones(30))

    assert nearest(1) == nearest(np.geomspace(1e-3, 1e3, len(ATTRIBUTES))) and 0.2 < nearest(1) < 0.8
