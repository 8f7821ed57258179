"""Metrics against cases whose value is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from scoremix.evaluation import (
    kl_bound,
    make_gaussian_mixture,
    make_ring,
    parameter_error,
    posterior_regret,
    score_error,
)

GAUSSIAN = make_gaussian_mixture(1, 3, 1.0)  # N(0, I) in three dimensions


def _gaussian_score(variance):
    return lambda y, sigma: -y / (variance + sigma**2)


def test_score_error_of_a_wrong_variance():
    # s - s_hat = y (1/(v + t) - 1/(1 + t)) with E|y|^2 = 3 (1 + t).
    value, error = score_error(_gaussian_score(2.0), GAUSSIAN, 0.5, 20_000, 0)
    expected = 3 * 1.25 * (1 / 1.25 - 1 / 2.25) ** 2
    assert abs(value - expected) < 4 * error
    assert 0 < error < 0.02 * expected


def test_score_error_of_the_truth_is_zero():
    ring = make_ring()
    assert score_error(ring.score, ring, 1.0, 100, 0) == (0.0, 0.0)


def test_kl_bound_tends_to_the_divergence():
    # Two Gaussians of variance 1 and 2: KL(p || q) is half the integral of the score error over t.
    sigmas = np.geomspace(60, 0.02, 400)
    bound = kl_bound(SimpleNamespace(sigmas=sigmas, score=_gaussian_score(2.0)), GAUSSIAN, 2000, 0)
    exact = 3 / 2 * (np.log(2) - 0.5)
    # Left-hand rectangles of a decreasing function with 400 steps of 2 % err by up to 2 %.
    assert bound.value == pytest.approx(exact, abs=4 * bound.standard_error + 0.02 * exact)
    assert bound.per_level.shape == (400,)
    assert bound.value == pytest.approx(bound.per_level.sum())


def test_kl_bound_counts_the_last_step_to_zero():
    ladder = SimpleNamespace(sigmas=np.array([2.0, 1.0]), score=lambda y, sigma: GAUSSIAN.score(y, sigma) + 1.0)
    value, error, per_level = kl_bound(ladder, GAUSSIAN, 10, 0)
    np.testing.assert_allclose(per_level, [0.5 * 3 * 3, 0.5 * 3 * 1])
    assert value == pytest.approx(6.0)
    assert error == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("sigmas", [[1.0, 2.0], [1.0, 1.0], [1.0, 0.0]])
def test_kl_bound_refuses_levels_that_do_not_decrease(sigmas):
    with pytest.raises(ValueError, match="decreasing"):
        kl_bound(SimpleNamespace(sigmas=np.array(sigmas), score=None), GAUSSIAN)


def test_regret_of_oracle_and_identity():
    ring = make_ring()
    assert posterior_regret(ring.posterior_mean, ring, 1000, 0).value == 0.0
    # The identity has risk E|x - mu|^2 = 2.
    value, error = posterior_regret(lambda x: x, ring, 50_000, 1)
    x, mu = ring.sample_latent(200_000, np.random.default_rng(2))
    oracle_risk = np.mean(np.sum((mu - ring.posterior_mean(x)) ** 2, axis=1))
    # The reference's own error is below .3 % (200,000 draws).
    assert abs(value - (2 / oracle_risk - 1)) < 4 * error + 0.01
    assert 0 < error < 0.05


def test_standard_error_is_the_spread_over_seeds():
    runs = [posterior_regret(lambda x: 0.9 * x, make_ring(), 500, seed) for seed in range(200)]
    # The spread of 200 runs has relative error 1 / sqrt(400) = 5 %; four of them.
    ratio = np.std([run.value for run in runs]) / np.mean([run.standard_error for run in runs])
    assert 0.8 < ratio < 1.2


def test_parameter_error_matches_before_it_measures():
    true = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    error = parameter_error(true[[2, 0, 1]] + [3.0, 4.0], true)
    assert error.value == pytest.approx(5.0)
    assert error.largest == pytest.approx(5.0)
    assert error.pairs.tolist() == [[0, 2], [1, 0], [2, 1]]
    assert (error.n_missing, error.n_extra, error.weight_error) == (0, 0, None)


def test_parameter_error_counts_what_finds_no_partner():
    true = np.array([[0.0], [10.0], [20.0]])
    few = parameter_error([[10.5], [0.0]], true, [0.5, 0.5], [0.4, 0.4, 0.2])
    assert (few.n_missing, few.n_extra) == (1, 0)
    assert few.largest == pytest.approx(0.5)
    assert few.weight_error == pytest.approx(0.2)
    many = parameter_error(np.vstack([true, [[99.0]]]), true, [0.3, 0.3, 0.3, 0.1], np.full(3, 1 / 3))
    assert (many.n_missing, many.n_extra, many.value) == (0, 1, 0.0)
    assert many.weight_error == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.0]], [[0.0, 1.0]]), "means and true_means"),
        ((np.empty((0, 2)), [[0.0, 1.0]]), "means and true_means"),
        (([[0.0]], [[0.0]], [1.0]), "weights and true_weights"),
        (([[0.0]], [[0.0]], [0.5, 0.5], [1.0]), "weights and true_weights"),
    ],
)
def test_parameter_error_refuses_shapes_that_do_not_agree(arguments, message):
    with pytest.raises(ValueError, match=message):
        parameter_error(*arguments)
