"""Total variation against Gaussians whose distance is known."""

import numpy as np
import pytest
from scipy.stats import norm

from scoremix.evaluation import histogram_total_variation, make_gaussian_mixture, total_variation
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth


def _normal(mean, d=1):
    means = np.zeros((1, d))
    means[0, 0] = mean
    return GaussianMixtureTruth(np.ones(1), means, np.ones((1, d)), None, 1.0)


@pytest.mark.parametrize("shift", [0.1, 1.0, 4.0])
def test_distance_of_two_normals(shift):
    # TV(N(0, I), N(m, I)) = 2 Phi(|m| / 2) - 1.
    value, error = total_variation(_normal(0.0, 5), _normal(shift, 5), 20_000, 0)
    assert abs(value - (2 * norm.cdf(shift / 2) - 1)) < 4 * error
    assert error < 0.5 / np.sqrt(20_000)


def test_distance_is_symmetric_and_bounded():
    p, q = _normal(0.0), _normal(80.0)
    assert total_variation(p, q, 100, 0).value == pytest.approx(1.0)
    near = _normal(0.5)
    one, other = total_variation(p, near, 20_000, 1), total_variation(near, p, 20_000, 2)
    assert abs(one.value - other.value) < 4 * np.hypot(one.standard_error, other.standard_error)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_equal_laws_are_at_the_floor(d):
    truth = make_gaussian_mixture(3, d, 4.0, random_state=0)
    rng = np.random.default_rng(0)
    result = histogram_total_variation(truth.sample(10_000, rng), truth.sample(10_000, rng))
    assert abs(result.excess) < 4 * result.standard_error
    assert 0.005 < result.floor < 0.15


def test_floor_is_the_value_of_two_equal_samples_on_average():
    truth, rng = _normal(0.0, 2), np.random.default_rng(1)
    runs = [histogram_total_variation(truth.sample(2000, rng), truth.sample(1000, rng), n_bins=10) for _ in range(40)]
    spread = np.mean([run.standard_error for run in runs])
    # Mean of 40 independent excesses: standard error spread / sqrt(40).
    assert abs(np.mean([run.excess for run in runs])) < 4 * spread / np.sqrt(40)
    assert np.std([run.value for run in runs]) == pytest.approx(spread, rel=0.5)


def test_histogram_sees_a_shift():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((50_000, 1)), rng.standard_normal((50_000, 1)) + 0.5
    result = histogram_total_variation(a, b, n_bins=30)
    # Bins of width .2 lose a per cent of TV = 2 Phi(.25) - 1 = .197, the sampling error is .003.
    assert result.value == pytest.approx(2 * norm.cdf(0.25) - 1, abs=0.012)
    assert result.excess > 20 * result.standard_error


def test_outer_bins_are_open():
    a = np.random.default_rng(3).standard_normal((1000, 2))
    far = a.copy()
    far[0] = 1e6
    assert histogram_total_variation(a, far, n_bins=5).value <= 0.001 + 1e-12


def test_constant_column_is_no_obstacle():
    a = np.random.default_rng(4).standard_normal((1000, 2)) * [1, 0]
    assert histogram_total_variation(a, a, n_bins=5).value == 0.0


def test_floor_is_reproducible():
    a = np.random.default_rng(5).standard_normal((1000, 2))
    assert histogram_total_variation(a[:500], a[500:]) == histogram_total_variation(a[:500], a[500:])


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((10, 4), (10, 4)), {}, "project"),
        (((10, 2), (10, 3)), {}, "a and b must have shapes"),
        (((10,), (10,)), {}, "a and b must have shapes"),
        (((0, 2), (10, 2)), {}, "a and b must have shapes"),
        (((10, 2), (10, 2)), {"n_bins": 1}, "n_bins"),
        (((10, 2), (10, 2)), {"n_bins": 0}, "n_bins"),
    ],
)
def test_useless_histograms_are_refused(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        histogram_total_variation(*(np.zeros(shape) for shape in shapes), **options)
