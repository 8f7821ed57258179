"""Coordinates of a search: units, columns that others determine, and the way back."""

import numpy as np
import pytest

from scoremix.learning.coordinates import IndependentColumns
from scoremix.learning.em.posterior import InMemorySamples
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture

KINDS = ("full", "tied", "diag", "spherical")


def rows_of(x):
    return InMemorySamples(np.asarray(x, dtype=float), np.ones(len(x)))


def mixture_of(kind, k=3, d=3, seed=0):
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((k, d, d))
    full = roots @ np.swapaxes(roots, 1, 2) + np.eye(d)
    values = {"full": full, "tied": full[0], "diag": full.diagonal(axis1=1, axis2=2), "spherical": full[:, 0, 0]}[kind]
    return Mixture(np.full(k, 1 / k), rng.standard_normal((k, d)), covariance_of(kind, values, d))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_have_unit_variance_by_weight(kind):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((300, 3)) * [1e-3, 1.0, 50.0] + [1.0, 2.0, 3.0], rng.integers(1, 5, 300)
    plain = InMemorySamples(x, weight.astype(float))
    seen = IndependentColumns.of(plain, kind)
    repeated = np.repeat(seen.rows(plain).x, weight, axis=0)
    np.testing.assert_allclose(repeated.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(seen.rows(plain).x * seen.scale + seen.origin, x, rtol=1e-12)
    if kind == "spherical":
        assert np.ptp(seen.scale) == 0
        assert repeated.var(axis=0).mean() == pytest.approx(1)
    else:
        np.testing.assert_allclose(repeated.var(axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [7.0, 0.1, 1e9, 5.16367649e-121])
@pytest.mark.parametrize("n_rows", [10, 96])  # the mean of 96 equal numbers need not be that number
def test_constant_columns_are_not_seen(kind, value, n_rows):
    x = np.stack([np.arange(float(n_rows)), np.full(n_rows, value)], axis=1)
    seen = IndependentColumns.of(rows_of(x), kind)
    assert seen.kept.tolist() == [0]
    assert kind == "spherical" or seen.scale[1] == 1
    whole = seen.outside(mixture_of(kind, d=1))
    np.testing.assert_allclose(whole.means[:, 1], value, rtol=1e-12)


def test_where_all_columns_are_constant_one_is_seen():
    seen = IndependentColumns.of(rows_of(np.ones((5, 3))), "full")
    np.testing.assert_array_equal(seen.rows(rows_of(np.ones((5, 3)))).x, np.zeros((5, 1)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counting", [False, True])
def test_columns_that_others_determine_are_followed(kind, counting):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 3)) * ([1.0, 1.0, 1.0] if kind == "spherical" else [1.0, 1e-4, 1e5]) + 3.0
    wide = np.column_stack([x, x[:, 1], 2 * x[:, 0] - x[:, 2], np.full(200, 5.0)])
    seen = IndependentColumns.of(rows_of(wide), kind, counting=counting)
    if not counting and kind in ("diag", "spherical"):
        assert seen.kept.tolist() == [0, 1, 2, 3, 4]
        return
    assert len(seen.kept) == 3
    whole = seen.rows(rows_of(wide)).x @ seen.loads.T
    np.testing.assert_allclose(whole, (wide - seen.origin) / seen.scale, atol=1e-9)
    found = mixture_of(kind)
    whole = seen.outside(found)
    np.testing.assert_allclose(whole.means[:, 3], whole.means[:, 1], rtol=1e-9)
    assert np.all(np.isfinite(np.linalg.cholesky(whole.covariances)))  # which does not depend on units
    np.testing.assert_allclose(seen.inside(whole).means, found.means, atol=1e-9)
    if kind in ("full", "tied"):
        np.testing.assert_allclose(seen.inside(whole).covariances, found.covariances, atol=1e-9)
        # The density of all columns ranks points as that of those which are seen.
        by_all, by_some = whole.evaluate(wide)[1], found.evaluate(seen.rows(rows_of(wide)).x)[1]
        np.testing.assert_allclose(by_all, by_some, atol=1e-4)


def test_nearly_determined_columns_are_seen():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((500, 1))
    for noise, n_seen in ((1e-3, 2), (1e-7, 1)):
        wide = np.column_stack([x, x[:, 0] + noise * rng.standard_normal(500)])
        assert len(IndependentColumns.of(rows_of(wide), "full").kept) == n_seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("far", [1e4, 1e9, 1e100])
def test_a_few_rows_do_not_rule_scales(kind, far):
    x = np.random.default_rng(3).standard_normal((300, 2))
    x[7] = far
    seen = IndependentColumns.of(rows_of(x), kind)
    assert seen.kept.tolist() == [0, 1]  # which two numbers that agree far out would deny
    # Robust deviations of 300 rows: 1 / sqrt(2.7 x 300) = .035 of them, six.
    np.testing.assert_allclose(seen.scale, 1, atol=6 * 0.035)
    assert np.all(np.abs(seen.origin) < 6 * 1.25 / np.sqrt(300))


def test_rare_categories_rule_nothing():
    x = np.column_stack([np.random.default_rng(4).standard_normal(1000), np.arange(1000) < 3])
    seen = IndependentColumns.of(rows_of(x), "full")
    assert seen.kept.tolist() == [0, 1]
    assert seen.scale[1] == pytest.approx(np.sqrt(0.003 * 0.997))
