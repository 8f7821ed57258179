"""Covariances: features and natural parameters against SciPy's densities, moments against plain sums."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from scoremix.arrays import to_numpy
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.interface import CollapsedError, are_positive
from scoremix.models.covariance.types import covariance_of

KINDS = ("full", "tied", "diag", "spherical")
K, D = 3, 4


def parameters(kind, seed=0, k=K, d=D):
    """Weights, means and a covariance of a kind, in general position."""
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((k, d, d))
    full = roots @ np.swapaxes(roots, 1, 2) / d + 0.3 * np.eye(d)
    values = {"full": full, "tied": full[0], "diag": full.diagonal(axis1=1, axis2=2), "spherical": full[:, 0, 0]}[kind]
    return rng.dirichlet(np.ones(k)), rng.standard_normal((k, d)), covariance_of(kind, values, d)


@pytest.mark.parametrize("kind", KINDS)
def test_natural_parameters_give_the_density(xp, kind):
    weights, means, covariance = parameters(kind)
    x = np.random.default_rng(1).standard_normal((D, 50)) * 2
    frame = np.full(D, 0.7)
    phi = to_numpy(covariance.features(xp.asarray(x), frame))
    assert phi.shape == (covariance.n_sums(D), 50)
    dense = covariance.dense(K, D)
    expected = [
        np.log(w) + multivariate_normal(m, s).logpdf(x.T) for w, m, s in zip(weights, means, dense, strict=True)
    ]
    # Terms of size 100: rounding 100 x 2e-16 x the condition number, about 30.
    np.testing.assert_allclose(covariance.natural(weights, means - frame) @ phi, expected, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_features(kind):
    _, _, covariance = parameters(kind)
    rng = np.random.default_rng(2)
    x, c = rng.standard_normal((D, 5)), rng.standard_normal((covariance.n_sums(D), 5))
    h, zero = 1e-6, np.zeros(D)

    def value(y):
        return np.sum(c * covariance.features(y, zero), axis=0)

    numeric = [(value(x + h * e[:, None]) - value(x - h * e[:, None])) / (2 * h) for e in np.eye(D)]
    # Quadratics have no third derivative: central differences are exact but for rounding 1e-15 / 1e-6.
    np.testing.assert_allclose(covariance.gradient(c, x), numeric, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_second_moments_are_those_about_the_means(kind):
    _, means, covariance = parameters(kind)
    rng = np.random.default_rng(3)
    x, shares, frame = rng.standard_normal((D, 60)), rng.dirichlet(np.ones(K), 60).T, np.full(D, -0.4)
    sums = shares @ covariance.features(x, frame).T
    local = x - frame[:, None]
    second = covariance.second(sums, local @ local.T, means - frame)
    offsets = x.T[None] - means[:, None]
    full = np.einsum("kn,kni,knj->kij", shares, offsets, offsets)
    expected = {
        "full": full,
        "tied": full.sum(axis=0),
        "diag": full.diagonal(axis1=1, axis2=2),
        "spherical": full.trace(axis1=1, axis2=2),
    }[kind]
    np.testing.assert_allclose(second, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_small_functions_agree_with_the_dense_matrices(kind):
    _, means, covariance = parameters(kind)
    dense = covariance.dense(K, D)
    np.testing.assert_allclose(covariance.log_det(K, D), np.linalg.slogdet(dense)[1], rtol=1e-10, atol=1e-12)
    offsets = means - 1.0
    expected = np.einsum("ki,kij,kj->k", offsets, np.linalg.inv(dense), offsets)
    np.testing.assert_allclose(covariance.squared_distance(means, np.ones(D)), expected, rtol=1e-10)
    np.testing.assert_allclose(covariance.plus(0.5).dense(K, D), dense + 0.5 * np.eye(D))
    columns = np.array([2, 0])
    np.testing.assert_allclose(covariance.marginal(columns).dense(K, 2), dense[:, columns[:, None], columns])
    factors = covariance.precisions_cholesky()
    if kind in ("full", "tied"):
        np.testing.assert_allclose(factors, np.triu(factors))
        product = factors @ np.swapaxes(factors, -1, -2)
        np.testing.assert_allclose(product, np.linalg.inv(covariance.values), rtol=1e-8, atol=1e-10)
    else:
        np.testing.assert_allclose(factors, covariance.values**-0.5)


def test_condition_is_at_least_the_ratio_of_eigenvalues():
    covariance = Full(np.array([np.eye(2), np.diag([1.0, 1e-6])]))
    assert 1e6 <= covariance.condition(2) <= 2e6


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_a_collapsed_component_is_raised_relative_to_a_typical_one(kind):
    _, _, covariance = parameters(kind)
    values = covariance.values.copy()
    values[1] = 0.0
    guarded = covariance.with_values(values).guarded(1e-6)
    np.testing.assert_array_equal(guarded.values[[0, 2]], values[[0, 2]])
    smallest = np.linalg.eigvalsh(guarded.dense(K, D)[1])[0]
    typical = np.linalg.eigvalsh(covariance.dense(K, D))
    assert 1e-6 * typical.min() * 0.999 <= smallest <= 1e-6 * typical.max() * 1.001


@pytest.mark.parametrize("kind", KINDS)
def test_healthy_covariances_stay_as_they_are(kind):
    _, _, covariance = parameters(kind)
    np.testing.assert_array_equal(covariance.guarded(1e-6).values, covariance.values)


def test_columns_of_very_different_scales_are_no_collapse():
    scale = np.array([1.0, 1e-7])
    matrices = np.array([[[1.0, 0.5], [0.5, 1.0]], [[2.0, 0.0], [0.0, 0.1]]]) * np.outer(scale, scale)
    np.testing.assert_array_equal(Full(matrices).guarded(1e-6).values, matrices)


def test_a_matrix_that_no_double_can_hold_is_raised_to_one():
    line = np.array([1.0, -2.0, 3.0, 1.0, 1.0])
    matrices = np.array([np.eye(5), 1e12 * np.outer(line, line) + 1e-6 * np.eye(5), np.eye(5)])
    assert are_positive(Full(matrices)).tolist() == [True, False, True]
    guarded = Full(matrices).guarded(1e-6)
    assert are_positive(guarded).all()
    np.testing.assert_array_equal(guarded.values[[0, 2]], matrices[[0, 2]])
    np.testing.assert_allclose(guarded.values[1], matrices[1], atol=1e-9 * matrices[1].max())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_left_is_an_error_that_says_what_to_do(kind):
    _, _, covariance = parameters(kind)
    with pytest.raises(CollapsedError, match="increase reg_covar"):
        covariance.with_values(np.zeros_like(covariance.values)).guarded(1e-6)


@pytest.mark.parametrize(("kind", "number"), [("full", 30), ("tied", 10), ("diag", 12), ("spherical", 3)])
def test_number_of_parameters(kind, number):
    assert parameters(kind)[2].n_parameters(K, D) == number


@pytest.mark.parametrize("kind", ["full", "diag", "spherical", "tied"])
def test_positive_covariances_are_told_from_others(kind):
    good, bad = np.diag([1.0, 4.0]), np.array([[1.0, 1.0], [1.0, 1.0 + 1e-16]])
    values = {
        "full": np.array([good, bad, good]),
        "diag": np.array([[1.0, 4.0], [1.0, 0.0], [2.0, 1.0]]),
        "spherical": np.array([1.0, 0.0, 2.0]),
        "tied": bad,
    }[kind]
    expected = [False] if kind == "tied" else [True, False, True]
    assert are_positive(covariance_of(kind, values, 2)).tolist() == expected
    if kind != "tied":
        assert are_positive(covariance_of(kind, values[:0], 2)).shape == (0,)
