"""Features: orthonormality by exact quadrature, NumPy's own Hermite polynomials, explicit products."""

import itertools
from math import factorial, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import hermite_e

from scoremix.arrays import to_numpy
from scoremix.features import MAX_FEATURES, Hermite, hermite_size, packed, packed_size

SIZES = [(d, m) for d in range(1, 5) for m in range(6) if hermite_size(d, m) <= 130]


def normalised(u, order):
    """h_m = He_m / sqrt(m!) by NumPy."""
    return hermite_e.hermeval(u, [0] * order + [1]) / sqrt(factorial(order))


@given(st.sampled_from([(1, 7), (2, 4), (3, 3), (2, 0)]))
def test_orthonormal_under_the_normal_law(size):
    d, degree = size
    nodes, weights = hermite_e.hermegauss(degree + 1)  # exact up to degree 2 m + 1
    u = np.array(list(itertools.product(nodes, repeat=d))).T
    w = np.prod(list(itertools.product(weights / weights.sum(), repeat=d)), axis=1)
    phi = Hermite(d, degree)(u)
    np.testing.assert_allclose((phi * w) @ phi.T, np.eye(len(phi)), atol=1e-12)


@given(st.lists(st.floats(-6, 6), min_size=1, max_size=20), st.integers(1, 9))
def test_one_variable_gives_numpys_polynomials(values, degree):
    u = np.array(values)
    for order, ours in enumerate(Hermite(1, degree)(u[None, :])):
        # Rounding relative to the size of the terms, at most 6^9 / sqrt(9!) = 2e4.
        np.testing.assert_allclose(ours, normalised(u, order), rtol=1e-11, atol=1e-9)


@given(st.sampled_from(SIZES), st.integers(0, 99))
def test_features_are_products_of_one_variable(size, seed):
    d, degree = size
    u = 2 * np.random.default_rng(seed).standard_normal((d, 5))
    features = Hermite(d, degree)
    expected = [np.prod([normalised(u[v], e) for v, e in enumerate(row)], axis=0) for row in features.exponents]
    np.testing.assert_allclose(features(u), expected, rtol=1e-10, atol=1e-10)


@given(st.sampled_from(SIZES))
def test_lower_degrees_are_leading_blocks(size):
    d, degree = size
    features = Hermite(d, degree)
    total = features.exponents.sum(axis=1)
    assert np.all(np.diff(total) >= 0)
    assert features.sizes == tuple(np.count_nonzero(total <= m) for m in range(degree + 1))
    assert len({tuple(row) for row in features.exponents.tolist()}) == hermite_size(d, degree)  # all, none twice
    u = np.random.default_rng(0).standard_normal((d, 4))
    for m in range(degree + 1):
        np.testing.assert_array_equal(features(u)[: features.sizes[m]], Hermite(d, m)(u))


@pytest.mark.parametrize("degree", [0, 1, 4])
def test_leading_axes_and_weights(xp, degree):
    rng = np.random.default_rng(0)
    u, weight = rng.standard_normal((3, 2, 6)), rng.random((3, 6))
    features = Hermite(2, degree)
    given = xp.asarray(np.zeros((3, features.sizes[-1], 6)))
    if degree:
        given[:, 1:3, :] = xp.asarray(u)
    features.complete(given, xp.asarray(weight))
    out = to_numpy(given)
    np.testing.assert_array_equal(to_numpy(features(xp.asarray(u))), np.stack([features(one) for one in u]))
    expected = np.stack([features(u[j]) * weight[j] for j in range(3)])
    np.testing.assert_allclose(out, expected, rtol=1e-13, atol=1e-15)


def test_library_precision_and_input_are_kept(xp):
    u = xp.asarray(np.random.default_rng(0).standard_normal((2, 6)), dtype=xp.float32)
    before = to_numpy(u).copy()
    for out in (Hermite(2, 3)(u), packed(u)):
        assert out.dtype == xp.float32
        assert type(out) is type(u)
    np.testing.assert_array_equal(to_numpy(u), before)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
def test_packed_is_the_explicit_products(d, n, seed):
    x = np.random.default_rng(seed).standard_normal((d, n))
    products = [x[i] * x[j] for i in range(d) for j in range(i, d)]
    expected = np.concatenate([np.ones((1, n)), x, products])
    assert packed_size(d) == len(expected)
    np.testing.assert_array_equal(packed(x), expected)


def test_packed_in_every_library(xp):
    x = np.random.default_rng(1).standard_normal((3, 4))
    np.testing.assert_array_equal(to_numpy(packed(xp.asarray(x))), packed(x))


@pytest.mark.parametrize(("d", "degree"), [(62, 2), (100, 2), (10**6, 1), (21, 3)])
def test_too_many_features_are_refused(d, degree):
    size = hermite_size(d, degree)
    assert size > MAX_FEATURES
    with pytest.raises(ValueError, match=rf"degree={degree} in {d} dimensions means {size} .*choose a lower degree"):
        Hermite(d, degree)


def test_the_largest_allowed_size_is_built():
    assert len(Hermite(61, 2).exponents) == hermite_size(61, 2) == 1953


def test_exponents_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        Hermite(2, 2).exponents[0, 0] = 1
