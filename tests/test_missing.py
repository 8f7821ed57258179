"""Missing values: every row against SciPy's marginals and conditionals, one by one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from scoremix import GaussianMixture
from scoremix.arrays import to_numpy
from scoremix.learning.em import missing
from scoremix.learning.em.em import e_step, run_em
from scoremix.learning.em.missing import (
    Filled,
    evaluate_with_missing,
    expectation_with_missing,
    holes_of,
    impute,
    swept,
)
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

KINDS = ("full", "tied", "diag", "spherical")
K, D = 3, 4


def mixture_of(kind, seed=0, k=K, d=D):
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((k, d, d))
    full = roots @ np.swapaxes(roots, 1, 2) / d + 0.3 * np.eye(d)
    values = {"full": full, "tied": full[0], "diag": full.diagonal(axis1=1, axis2=2), "spherical": full[:, 0, 0]}[kind]
    return Mixture(rng.dirichlet(np.full(k, 5.0)), 2 * rng.standard_normal((k, d)), covariance_of(kind, values, d))


def data(mixture, n=120, share=0.3, seed=1):
    """Rows with holes, the first one empty and the second one complete; and the rows without holes."""
    rng = np.random.default_rng(seed)
    x, _ = mixture.sample(n, rng)
    holes = rng.random(x.shape) < share
    holes[0], holes[1] = True, False
    return np.where(holes, np.nan, x), x


def log_joint(mixture, row):
    """Log of the weights times the marginal densities of what a row shows."""
    seen = np.flatnonzero(~np.isnan(row))
    densities = [
        multivariate_normal(mean[seen], cov[np.ix_(seen, seen)]).logpdf(row[seen]) if len(seen) else 0.0
        for mean, cov in zip(mixture.means, mixture.covariances, strict=True)
    ]
    return np.log(mixture.weights) + np.array(densities)


def conditional(mean, cov, row):
    """Mean and covariance of a whole row, given what it shows of it."""
    hole = np.isnan(row)
    filled, left = np.where(hole, mean, row), np.zeros_like(cov)
    left[np.ix_(hole, hole)] = cov[np.ix_(hole, hole)]
    if not np.all(hole):
        gain = cov[np.ix_(hole, ~hole)] @ np.linalg.inv(cov[np.ix_(~hole, ~hole)])
        filled[hole] += gain @ (row - mean)[~hole]
        left[np.ix_(hole, hole)] -= gain @ cov[np.ix_(~hole, hole)]
    return filled, left


def brute_force(mixture, x, weight):
    """Mass, moments about the means and log likelihood, row by row."""
    k, d = mixture.means.shape
    mass, first, full, total = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d)), 0.0
    for row, w in zip(x, weight, strict=True):
        joint = log_joint(mixture, row)
        density = np.logaddexp.reduce(joint)
        shares = w * np.exp(joint - density)
        total += w * density
        for j in range(k):
            filled, left = conditional(mixture.means[j], mixture.covariances[j], row)
            offset = filled - mixture.means[j]
            mass[j] += shares[j]
            first[j] += shares[j] * offset
            full[j] += shares[j] * (np.outer(offset, offset) + left)
    second = {
        "full": full,
        "tied": full.sum(axis=0),
        "diag": full.diagonal(axis1=1, axis2=2),
        "spherical": full.trace(axis1=1, axis2=2),
    }[mixture.covariance.kind]
    return mass, first, second, total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_pass_adds_up_conditional_moments(xp, kind, weighted):
    mixture = mixture_of(kind)
    x, _ = data(mixture)
    weight = np.random.default_rng(2).integers(0, 4, len(x)).astype(float) if weighted else np.ones(len(x))
    if weighted:
        weight[0] = 2.0  # the empty row
    ours = expectation_with_missing(
        ArraySource(xp.asarray(x), xp.asarray(weight) if weighted else None), mixture, n_threads=1
    )
    mass, first, second, log_likelihood = brute_force(mixture, x, weight)
    # 120 terms of size 100, condition numbers of about 30.
    np.testing.assert_allclose(ours.mass, mass, atol=1e-10)
    np.testing.assert_allclose(ours.first, first, atol=1e-10)
    np.testing.assert_allclose(ours.second, second, atol=1e-9)
    np.testing.assert_allclose(ours.log_likelihood, log_likelihood, rtol=1e-11)
    np.testing.assert_allclose(ours.weight, weight.sum(), rtol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_show_nothing_change_nothing(kind):
    mixture = mixture_of(kind)
    x, weight = np.full((7, D), np.nan), np.arange(7.0)
    ours = expectation_with_missing(ArraySource(x, weight), mixture)
    np.testing.assert_allclose(ours.mass, 21 * mixture.weights, rtol=1e-14)
    np.testing.assert_array_equal(ours.first, 0.0)
    assert (ours.log_likelihood, ours.weight) == (0.0, 21.0)
    updated = run_em(ArraySource(x, weight), mixture, step=expectation_with_missing, max_iter=1, reg=0.0).mixture
    # Multiplied by a mass and divided by it.
    np.testing.assert_allclose(updated.weights, mixture.weights, rtol=1e-14)
    np.testing.assert_allclose(updated.means, mixture.means, rtol=1e-14)
    np.testing.assert_allclose(updated.covariance.values, mixture.covariance.values, rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_complete_data_are_an_ordinary_pass(kind, weighted):
    mixture = mixture_of(kind)
    _, x = data(mixture, n=500)
    weight = np.random.default_rng(2).random(500) if weighted else None
    ours = expectation_with_missing(ArraySource(x, weight), mixture)
    theirs = e_step(ArraySource(x, weight), mixture)
    # 500 terms of size 100 in another order.
    np.testing.assert_allclose(ours.mass, theirs.mass, atol=1e-10)
    np.testing.assert_allclose(ours.first, theirs.first, atol=1e-9)
    np.testing.assert_allclose(ours.second, theirs.second, atol=1e-9)
    np.testing.assert_allclose(ours.log_likelihood, theirs.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(ours.weight, theirs.weight, rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_chunks_nor_threads_change_the_sums(monkeypatch, kind):
    mixture = mixture_of(kind)
    x, _ = data(mixture, n=600)
    weight = np.random.default_rng(2).random(600)
    whole = expectation_with_missing(ArraySource(x, weight), mixture, 1)
    monkeypatch.setattr(missing, "CHUNK_ROWS", 50)
    filled = Filled.of(ArraySource(x, weight)).means
    np.testing.assert_allclose(filled, np.nansum(weight[:, None] * x, axis=0) / (weight @ ~np.isnan(x)), atol=1e-13)
    for threads in (1, 3):
        again = expectation_with_missing(ArraySource(x, weight), mixture, threads)
        np.testing.assert_allclose(again.first, whole.first, atol=1e-10)
        np.testing.assert_allclose(again.second, whole.second, atol=1e-10)
        np.testing.assert_allclose(again.log_likelihood, whole.log_likelihood, rtol=1e-12)


@settings(max_examples=15)  # every pass visits up to 16 patterns
@given(st.sampled_from(KINDS), st.integers(0, 30), st.floats(0.05, 0.7))
def test_the_observed_likelihood_never_falls(kind, seed, share):
    x, _ = data(mixture_of(kind, seed), n=100, share=share, seed=seed)
    run = run_em(
        ArraySource(x), mixture_of(kind, seed + 1), step=expectation_with_missing, tol=1e-9, max_iter=15, reg=0.0
    )
    assume(
        run.mixture.weights.min() * 100 > D + 2
    )  # a component of as many rows as parameters collapses, and is guarded
    # Rounding of a mean of 100 logarithms, times condition numbers of components that get narrow.
    assert np.all(np.diff(run.lower_bounds) > -1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_fits_with_holes_come_near_the_truth(kind):
    truth = mixture_of(kind)
    x, whole = data(truth, n=4000)
    ours = run_em(ArraySource(x), truth, step=expectation_with_missing, tol=1e-6, max_iter=200).mixture
    # 44 parameters at most: 44 / (2 x 4000) nats with all values, about twice that with these holes; filled in means
    # would cost tenths.
    assert truth.log_density(whole).mean() - ours.log_density(whole).mean() < 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", [np.float64, np.float32])
def test_densities_are_those_of_the_marginals(kind, precision):
    mixture = mixture_of(kind)
    x = data(mixture)[0].astype(precision)
    log_density, shares = evaluate_with_missing(mixture, x)
    joint = np.array([log_joint(mixture, row.astype(np.float64)) for row in x])
    expected = np.logaddexp.reduce(joint, axis=1)
    # Terms of size 100 with condition numbers of about 30.
    tolerance = 1e-11 if precision == np.float64 else 1e-3
    np.testing.assert_allclose(log_density, expected, atol=tolerance)
    np.testing.assert_allclose(shares, np.exp(joint - expected[:, None]), atol=tolerance)
    assert log_density.dtype == shares.dtype == precision
    assert log_density[0] == 0.0
    np.testing.assert_array_equal(shares[0], mixture.weights.astype(precision))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", [np.float64, np.float32])
def test_holes_are_filled_with_posterior_means(kind, precision):
    mixture = mixture_of(kind)
    x = data(mixture)[0].astype(precision)
    before = x.copy()
    filled = impute(mixture, x)
    expected = []
    for row in x.astype(np.float64):
        joint = log_joint(mixture, row)
        shares = np.exp(joint - np.logaddexp.reduce(joint))
        pairs = zip(mixture.means, mixture.covariances, strict=True)
        expected.append(shares @ np.array([conditional(mean, cov, row)[0] for mean, cov in pairs]))
    np.testing.assert_allclose(filled, expected, atol=1e-11 if precision == np.float64 else 1e-3)
    assert filled.dtype == precision
    np.testing.assert_array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])
    np.testing.assert_array_equal(x, before)


def test_a_single_gaussian_fills_with_its_regression():
    mean, cov = np.array([1.0, -2.0]), np.array([[2.0, 0.6], [0.6, 0.5]])
    one = Mixture(np.ones(1), mean[None], covariance_of("full", cov[None], 2))
    x = np.array([[3.0, np.nan], [np.nan, -1.0], [np.nan, np.nan]])
    expected = [[3.0, -2.0 + 0.6 / 2.0 * 2.0], [1.0 + 0.6 / 0.5 * 1.0, -1.0], mean]
    np.testing.assert_allclose(impute(one, x), expected, rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_filling_beats_the_means_of_the_columns(kind):
    mixture = replace(mixture_of(kind), means=5 * np.eye(K, D))
    x, whole = data(mixture, n=2000)
    holes = np.isnan(x)
    ours = np.mean((impute(mixture, x) - whole)[holes] ** 2)
    columns = np.mean((np.nanmean(x, axis=0) - whole)[holes] ** 2)
    # The posterior mean has the least squared error; components explain most of the variance here.
    assert ours < 0.8 * columns


def test_holes_cover_all_rows_that_have_some_once():
    x, _ = data(mixture_of("full"), n=300)
    groups = list(holes_of(x))
    rows = np.concatenate([holes.rows for holes in groups])
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(np.isnan(x).any(axis=1)))
    assert [len(holes.columns) for holes in groups] == [1, 2, 3, 4]
    for holes in groups:
        np.testing.assert_array_equal(np.isnan(x[holes.rows]).sum(axis=1), len(holes.columns))
        assert np.all(np.isnan(x[holes.rows, holes.columns[:, holes.pattern]]))
        assert len({tuple(columns) for columns in holes.columns.T}) == holes.columns.shape[1]
        np.testing.assert_array_equal(holes.starts, np.flatnonzero(np.diff(holes.pattern, prepend=-1)))


def test_holes_of_many_columns_are_told_apart():
    x = np.zeros((4, 70))
    x[0, [0, 69]] = x[1, [1, 69]] = x[2, [0, 69]] = np.nan
    (holes,) = holes_of(x)
    assert sorted(map(tuple, holes.columns.T)) == [(0, 69), (1, 69)]
    assert sorted(np.bincount(holes.pattern)) == [1, 2]


@pytest.mark.parametrize("m", [1, 2, 9])
def test_sweeping_inverts(m):
    roots = np.random.default_rng(0).standard_normal((5, 3, m, m))
    matrices = roots @ np.swapaxes(roots, -1, -2) + np.eye(m)
    inverses, log_det = swept(np.moveaxis(matrices, (2, 3), (0, 1)).copy())
    # Condition numbers of up to 30.
    np.testing.assert_allclose(np.moveaxis(inverses, (0, 1), (2, 3)), np.linalg.inv(matrices), atol=1e-12)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrices)[1], atol=1e-12)


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_columns_that_nearly_determine_each_other_keep_their_digits(kind):
    """Of a condition number of 1e8 a density row by row keeps half the digits, and so does this."""
    mixture = mixture_of(kind)
    scale = np.array([1.0, 1e-4, 1.0, 1.0])
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((D, D)))[0] * scale
    values = turn.T @ mixture.covariance.values @ turn + 1e-9 * np.eye(D)
    thin = Mixture(mixture.weights, mixture.means, covariance_of(kind, values, D))
    x, _ = data(thin, n=200)
    joint = np.array([log_joint(thin, row) for row in x])
    # Terms of size 100 times a condition number of 1e9 times the precision.
    np.testing.assert_allclose(evaluate_with_missing(thin, x)[0], np.logaddexp.reduce(joint, axis=1), atol=1e-4)


def test_a_component_of_weight_zero_is_not_asked():
    mixture = mixture_of("full")
    without = Mixture(np.array([0.4, 0.6]), mixture.means[:2], mixture.covariance.take(np.arange(2)))
    nothing = Mixture(np.array([0.4, 0.6, 0.0]), mixture.means, mixture.covariance)
    x, _ = data(mixture)
    for ours, theirs in zip(evaluate_with_missing(nothing, x), evaluate_with_missing(without, x), strict=True):
        np.testing.assert_array_equal(ours if ours.ndim == 1 else ours[:, :2], theirs)
    x[-1] = 1e3  # a complete row, nowhere near any of them
    ours, theirs = (expectation_with_missing(ArraySource(x), some, 1) for some in (nothing, without))
    np.testing.assert_array_equal(ours.mass, [*theirs.mass, 0.0])
    assert ours.log_likelihood == theirs.log_likelihood


@pytest.mark.parametrize("precision", [np.float64, np.float32])
def test_filled_sources_show_column_means_instead_of_holes(xp, precision):
    x = np.array([[1.0, np.nan, 5.0], [3.0, 4.0, np.nan], [np.nan, 8.0, np.nan], [100.0, 7.0, np.nan]], precision)
    weight = np.array([1.0, 1.0, 3.0, 0.0])
    filled = Filled.of(ArraySource(xp.asarray(x), xp.asarray(weight)))
    np.testing.assert_allclose(filled.means, [2.0, 7.0, 5.0], rtol=1e-14)
    assert (filled.n_rows, filled.n_features) == (4, 3)
    whole = np.array([[1.0, 7.0, 5.0], [3.0, 4.0, 5.0], [2.0, 8.0, 5.0], [100.0, 7.0, 5.0]])
    chunks = list(filled.chunks(3))
    assert [(chunk.start, chunk.stop) for chunk in chunks] == [(0, 3), (3, 4)]
    np.testing.assert_array_equal(np.concatenate([to_numpy(chunk.x) for chunk in chunks]), whole)
    np.testing.assert_array_equal(np.concatenate([to_numpy(chunk.weight) for chunk in chunks]), weight)
    assert all(to_numpy(chunk.x).dtype == precision for chunk in chunks)
    drawn = to_numpy(filled.draw(50, np.random.default_rng(0)))
    assert drawn.dtype == precision
    np.testing.assert_array_equal(np.unique(drawn, axis=0), np.unique(whole[:3], axis=0))


def test_a_column_without_any_value_is_refused():
    x = np.array([[1.0, np.nan], [3.0, np.nan]])
    with pytest.raises(ValueError, match="column 1 of X has only missing values"):
        GaussianMixture(1, missing_values=np.nan).fit(x)


def test_filled_sources_without_weights():
    x = np.array([[1.0, np.nan], [3.0, 4.0], [np.nan, np.nan]])
    filled = Filled.of(ArraySource(x))
    np.testing.assert_array_equal(filled.means, [2.0, 4.0])
    np.testing.assert_array_equal(filled.draw(3, np.random.default_rng(0)), [[1.0, 4.0], [3.0, 4.0], [2.0, 4.0]])
    assert next(iter(filled.chunks(10))).weight is None
