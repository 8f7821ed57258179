"""Log densities from scores: the heat equation at fixed points."""

import numpy as np
import pytest

from scoremix.arrays import to_numpy
from scoremix.evaluation import make_gaussian_mixture, make_ring
from scoremix.sampling import log_density
from scoremix.sampling.density import divergence, heat_weights

SIGMAS = np.geomspace(12.0, 0.15, 24)
TRUTHS = {"clusters": make_gaussian_mixture(4, 2, 4, random_state=0), "ring": make_ring()}


@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)
def test_exact_scores_give_the_density(truth):
    x = truth.sample(500, np.random.default_rng(0))
    mean, cov = (m := truth.sample(100_000, np.random.default_rng(1))).mean(axis=0), np.cov(m.T)
    found = log_density(truth.denoise, x, np.append(SIGMAS, 0.0), mean, cov)
    # The trapezoidal rule at a ratio of 1.5 in t costs .003 on average; that the ring is no Gaussian at the top, .005.
    assert np.mean(np.abs(found - truth.log_density(x))) < (0.005 if truth is TRUTHS["clusters"] else 0.01)


def test_one_gaussian_in_one_dimension():
    x = np.linspace(-3, 3, 7)[:, None]
    found = log_density(lambda y, sigma: y * 4 / (4 + sigma**2), x, SIGMAS, np.zeros(1), np.array([[4.0]]))
    np.testing.assert_allclose(found, -(x[:, 0] ** 2) / 8 - np.log(2 * np.sqrt(2 * np.pi)), atol=5e-3)


def test_moments_are_those_of_the_points_by_default():
    x = TRUTHS["clusters"].sample(300, np.random.default_rng(0))
    given = log_density(TRUTHS["clusters"].denoise, x, SIGMAS, x.mean(axis=0), np.cov(x.T, bias=True))
    np.testing.assert_array_equal(log_density(TRUTHS["clusters"].denoise, x, SIGMAS), given)


def test_library_and_precision_are_those_of_the_points(xp):
    x = np.random.default_rng(0).standard_normal((5, 2))
    for dtype in (xp.float32, xp.float64):
        found = log_density(
            lambda y, sigma: y / (1 + sigma**2), xp.asarray(x, dtype=dtype), SIGMAS, np.zeros(2), np.eye(2)
        )
        assert found.dtype == dtype
        np.testing.assert_allclose(to_numpy(found), -np.sum(x**2, axis=1) / 2 - np.log(2 * np.pi), atol=0.01)


def test_divergence_of_a_quadratic_field_is_exact():
    y = np.random.default_rng(0).standard_normal((6, 3))
    found = divergence(lambda z, sigma: sigma * z**2, y, 1e-3, 0.5)
    np.testing.assert_allclose(found, y.sum(axis=1), atol=1e-10)  # rounding 1e-16 over a step of 1e-3, a few times


@pytest.mark.parametrize("end", [0.0, SIGMAS[-1]])
def test_weights_integrate_one_over_t_exactly_and_the_bottom_as_a_constant(end):
    weights, t = heat_weights(SIGMAS, end), SIGMAS**2
    assert weights @ (1 / t) == pytest.approx(np.log(t[0] / t[-1]) + (t[-1] - end**2) / t[-1])


@pytest.mark.parametrize("sigmas", [[1.0], [1.0, 0.0], [1.0, 2.0]])
def test_levels_that_are_none_are_refused(sigmas):
    with pytest.raises(ValueError, match="give at least two, decreasing"):
        log_density(lambda y, sigma: y, np.zeros((2, 2)), sigmas)
