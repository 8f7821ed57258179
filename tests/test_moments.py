"""Moments against NumPy, the ridge solve against an augmented least-squares problem."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import lstsq

from scoremix.learning.moments import chunk_moments
from scoremix.learning.regression.normal_equations import NormalEquations, ridge_solve, squared_loss
from scoremix.samples.source import ArraySource, Chunk


def rows_of(n=200, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return 100.0 + rng.standard_normal((n, d)) @ rng.standard_normal((d, d)), rng.integers(0, 4, n).astype(float)


def test_moments_are_numpys(xp):
    x, _ = rows_of()
    moments = chunk_moments(Chunk(0, xp.asarray(x), None), x[0])
    np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance, np.cov(x.T, bias=True), rtol=1e-10, atol=1e-12)
    assert moments.effective_rows == len(x)
    np.testing.assert_allclose(moments.reach, np.abs(x - x[0]).max(axis=0), rtol=1e-15)
    assert moments.first.dtype == moments.second.dtype == np.float64


def test_a_weight_is_a_repetition(xp):
    x, weight = rows_of()
    weighted = chunk_moments(Chunk(0, xp.asarray(x), xp.asarray(weight)), x[0])
    repeated = chunk_moments(Chunk(0, np.repeat(x, weight.astype(int), axis=0), None), x[0])
    for name in ("weight", "first", "second", "mean", "covariance"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(weighted.effective_rows, weight.sum() ** 2 / np.sum(weight**2), rtol=1e-14)


@given(st.integers(1, 300), st.booleans())
def test_moments_of_chunks_add(rows, weighted):
    x, weight = rows_of()
    source = ArraySource(x, weight if weighted else None)
    total, whole = None, chunk_moments(next(iter(source.chunks(200))), x[0])
    for chunk in source.chunks(rows):
        part = chunk_moments(chunk, x[0])
        total = part if total is None else total + part
    np.testing.assert_array_equal(total.reach, whole.reach)
    for name in ("weight", "squared_weight", "first", "second"):
        # Sums of 200 terms of size 100.
        np.testing.assert_allclose(getattr(total, name), getattr(whole, name), rtol=1e-11, atol=1e-11)


def test_the_origin_does_not_matter_but_far_ones_cost_digits():
    x, _ = rows_of()
    near, far = (chunk_moments(Chunk(0, x, None), origin) for origin in (x[0], np.full(3, 1e4)))
    # (1e4)^2 2e-16 = 2e-8 of a covariance of size 1.
    np.testing.assert_allclose(near.covariance, far.covariance, atol=1e-6)


def problem(n=60, q=6, d=2, seed=0, spread=3):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((q, n)) * 10.0 ** np.linspace(-spread, spread, q)[:, None]
    return features, rng.standard_normal((d, n)), rng.integers(1, 4, n).astype(float)


@given(st.integers(0, 50), st.sampled_from([1e-8, 1e-4, 1.0]))
def test_ridge_is_the_augmented_least_squares_problem(seed, ridge):
    features, target, weight = problem(seed=seed, spread=2)
    gram, cross = (features * weight) @ features.T, (features * weight) @ target.T
    root = np.sqrt(weight)
    # min sum w |T - c^T F|^2 + ridge sum_q (sum w F_q^2) |c_q|^2
    left = np.concatenate([(features * root).T, np.diag(np.sqrt(ridge * np.diagonal(gram)))])
    right = np.concatenate([(target * root).T, np.zeros((6, 2))])
    expected, *_ = lstsq(left, right)
    # Scaled to unit diagonal the condition is below 100, so both are right to 1e-13; unscaled (units 1e-2 to 1e2) the
    # expectation itself loses 1e-16 x 1e4 in relation to the largest term.
    unit = np.sqrt(np.diagonal(gram))[:, None]
    coef = ridge_solve(gram, cross, float(weight.sum()), ridge)
    np.testing.assert_allclose(coef * unit, expected * unit, atol=1e-9 * np.abs(expected * unit).max())


def test_units_of_the_features_do_not_matter():
    features, target, _ = problem(spread=0)
    unit = 10.0 ** np.arange(-3, 3)
    one = ridge_solve(features @ features.T, features @ target.T, 60.0, 0.1)
    scaled = features * unit[:, None]
    np.testing.assert_allclose(
        ridge_solve(scaled @ scaled.T, scaled @ target.T, 60.0, 0.1) * unit[:, None], one, rtol=1e-12
    )


def test_singular_gram_matrices_are_solved():
    features, target, _ = problem(spread=0)
    twice = np.concatenate([features, features[:2]])
    coef = ridge_solve(twice @ twice.T, twice @ target.T, 60.0, 1e-8)
    alone = ridge_solve(features @ features.T, features @ target.T, 60.0, 1e-8)
    # Two equal features share the coefficient; the ridge of 1e-8 is all that the fits differ in.
    np.testing.assert_allclose(coef[:2], coef[6:], atol=1e-6)
    np.testing.assert_allclose(coef.T @ twice, alone.T @ features, atol=1e-6)


def test_features_that_never_fire_have_no_coefficient():
    features, target, _ = problem(spread=0)
    features[2] = 0
    coef = ridge_solve(features @ features.T, features @ target.T, 60.0, 1e-4)
    assert np.all(np.isfinite(coef))
    np.testing.assert_array_equal(coef[2], 0)
    np.testing.assert_array_equal(ridge_solve(np.zeros((3, 3)), np.zeros((3, 2)), 5.0, 1e-4), np.zeros((3, 2)))


def test_without_weight_the_solution_is_zero():
    np.testing.assert_array_equal(ridge_solve(np.zeros((3, 3)), np.zeros((3, 2)), 0.0, 1e-4), np.zeros((3, 2)))


def test_inputs_are_kept():
    features, target, _ = problem()
    gram, cross = features @ features.T, features @ target.T
    kept = gram.copy(), cross.copy()
    ridge_solve(gram, cross, 60.0, 1e-4)
    np.testing.assert_array_equal(gram, kept[0])
    np.testing.assert_array_equal(cross, kept[1])


def test_squared_loss_is_the_change_of_the_residuals():
    features, target, weight = problem(spread=0)
    coef = np.random.default_rng(1).standard_normal((6, 2))
    gram, cross = (features * weight) @ features.T, (features * weight) @ target.T
    change = np.sum(weight * (target - coef.T @ features) ** 2) - np.sum(weight * target**2)
    np.testing.assert_allclose(squared_loss(coef, gram, cross), change, rtol=1e-11)


def test_normal_equations_add_into_the_left_operand():
    def equations(value):
        shapes = ((2, 1, 3, 3), (2, 1, 3, 2), (2, 1), (2, 1))
        return NormalEquations(*(np.full(shape, value + i) for i, shape in enumerate(shapes)))

    left, right = equations(1.0), equations(10.0)
    total = left + right
    assert total is left
    for i, name in enumerate(("gram", "cross", "target", "weight")):
        np.testing.assert_array_equal(getattr(total, name), 11.0 + 2 * i)
        np.testing.assert_array_equal(getattr(right, name), 10.0 + i)


def test_reach_is_that_of_rows_with_weight(xp):
    x = xp.asarray(np.array([[1.0, 2.0], [3.0, -1.0], [50.0, 50.0]]))
    moments = chunk_moments(Chunk(0, x, xp.asarray(np.array([1.0, 0.5, 0.0]))), np.array([1.0, 1.0]))
    np.testing.assert_array_equal(moments.reach, [2.0, 2.0])
