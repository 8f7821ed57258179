"""Searches in many columns: directions by products, splits and merges seen in a few of them, fits of all kinds."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from scoremix import GaussianMixture
from scoremix.learning.em import shrinkage
from scoremix.learning.em.posterior import InMemorySamples
from scoremix.learning.em.shrinkage import EmpiricalBayesShapePrior, FixedShapePrior
from scoremix.learning.search import merges, splits
from scoremix.learning.search.directions import leading_directions, least_moment
from scoremix.learning.search.global_start import SeenRows, check_optimality
from scoremix.learning.search.merges import exact_costs, merge_costs, near_pairs
from scoremix.learning.search.moves import split_components
from scoremix.learning.search.projection import leading_directions as leading_of_rows
from scoremix.learning.search.projection import n_directions
from scoremix.learning.search.splits import split_gains
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

KINDS = ("full", "tied", "diag", "spherical")
D = 80


def clusters(k=4, n=800, d=D, spread=1.0, seed=0):
    """Clusters in all directions, whose widths fall."""
    rng = np.random.default_rng(seed)
    widths = np.geomspace(1, 0.2, d)
    centers = spread * rng.standard_normal((k, d)) * widths
    labels = rng.integers(k, size=n)
    return centers[labels] + rng.standard_normal((n, d)) * widths, labels, centers, widths


def mixture_of(kind, x, labels, k):
    """The moments of labelled rows."""
    means = np.array([x[labels == j].mean(axis=0) for j in range(k)])
    local = x - means[labels]
    dense = np.array([np.cov(local[labels == j].T, bias=True) for j in range(k)]) + 0.01 * np.eye(x.shape[1])
    values = {
        "full": dense,
        "tied": dense.mean(axis=0),
        "diag": dense.diagonal(axis1=1, axis2=2).copy(),
        "spherical": dense.trace(axis1=1, axis2=2) / x.shape[1],
    }[kind]
    return Mixture(np.bincount(labels) / len(x), means, covariance_of(kind, values, x.shape[1]))


def test_leading_directions_are_those_of_the_moments():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 300, D)) * np.r_[9.0, 7, 5, np.ones(D - 3)]
    weight = rng.uniform(0.5, 1.5, (2, 300))
    found = leading_directions(x, weight, 6)
    for one, w, direction in zip(x, weight, found, strict=True):
        _, axes = np.linalg.eigh((one.T * w) @ one)
        np.testing.assert_allclose(direction.T @ direction, np.eye(6), atol=1e-9)
        # Gaps of at least 49 to 25 in the variance, three turns with six vectors: errors of a few per cent.
        assert np.all(np.abs(np.sum(direction[:, :2] * axes[:, :-3:-1], axis=0)) > 0.95)


def test_the_least_moment_is_found_where_it_stands_out():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 400, D))
    x[0, :, 3] *= 0.1
    x[1, :, 5] *= 0.1
    direction = least_moment(x, np.full((2, 400), 1 / 400))
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1.0, atol=1e-9)
    assert abs(direction[0, 3, 0]) > 0.7
    assert abs(direction[1, 5, 0]) > 0.7


def test_the_least_moment_stays_among_few_rows():
    x = np.random.default_rng(2).standard_normal((1, 12, D))
    direction = least_moment(x, np.full((1, 12), 1 / 12))[0, :, 0]
    inside = np.linalg.qr(x[0].T)[0]
    np.testing.assert_allclose(np.linalg.norm(inside.T @ direction), 1.0, atol=1e-6)


def test_few_directions_hold_what_tells_clusters_apart():
    x, labels, _, _ = clusters(spread=3.0)
    seen = x @ leading_of_rows(x - x.mean(axis=0), 16, np.random.default_rng(0))[0].astype(np.float64)
    centers = np.array([seen[labels == j].mean(axis=0) for j in range(4)])
    nearest = np.argmin(((seen[:, None] - centers) ** 2).sum(axis=2), axis=1)
    assert np.mean(nearest == labels) > 0.99
    assert n_directions(4, 63) is None
    assert n_directions(4, 64) == 16
    assert n_directions(40, 91) is None
    assert n_directions(40, 92) == 46
    assert n_directions(10**6, 10**6) == 64


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_a_split_gains_what_it_says(kind):
    x, labels, _, _ = clusters(k=3, spread=2.0)
    both = mixture_of(kind, x, np.where(labels == 2, 1, labels), 2)  # of two clusters one component
    rows = InMemorySamples(x, np.ones(len(x)))
    state = rows.posterior(both)
    found = split_gains(state, FixedShapePrior(kind, 1.0, np.eye(D)), 1e-9)
    assert int(np.argmax(found.gain)) == 1
    one = np.array([1])
    parts = [both.take(np.array([0])), found.first.take(one), found.second.take(one)]
    density = sum(
        w * multivariate_normal(mean, cov).pdf(x)
        for part in parts
        for w, mean, cov in zip(part.weights, part.means, part.covariances, strict=True)
    )
    assert np.mean(np.log(density)) - state.log_likelihood == pytest.approx(found.gain[1], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_two_clusters_in_one_component_fall_apart(kind):
    x, labels, _, _ = clusters(k=3, spread=3.0)
    both = mixture_of(kind, x, np.where(labels == 2, 1, labels), 2)
    fold = np.random.default_rng(3).integers(0, 2, len(x)).astype(float)
    prior = FixedShapePrior(kind, 50.0 * (kind != "spherical"), np.eye(D) if kind in ("full", "tied") else np.ones(D))
    found = split_gains(InMemorySamples(x, np.ones(len(x))).posterior(both), prior, 1e-6, fold)
    assert found.gain[1] > 0.1
    assert found.held_out[1] > 0.1
    assert found.held_out[0] < 0.5 * found.held_out[1]


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_the_cheapest_merge_costs_what_it_costs(kind):
    x, labels, _, _ = clusters(k=9, n=1800, spread=0.8)
    state = InMemorySamples(x, np.ones(len(x))).posterior(mixture_of(kind, x, labels, 9))
    i, j = near_pairs(state)
    assert len(i) > merges.SURELY
    ours, exact = merge_costs(state, i, j), exact_costs(state, i, j)
    cheapest = int(np.argmin(ours))
    assert ours[cheapest] == pytest.approx(exact[cheapest], rel=1e-9)
    # Which is cheapest is estimated where costs are nearly the same: here they differ by a twentieth.
    assert exact.min() <= ours[cheapest] < 1.05 * exact.min()
    if kind == "tied":
        np.testing.assert_allclose(merges.rough_costs(state, i, j), exact, rtol=1e-6)


@pytest.mark.parametrize("flat", [False, True])
def test_evidence_by_determinants_is_that_by_eigenvalues(monkeypatch, flat):
    rng = np.random.default_rng(4)
    d, mass = 12, np.array([30.0, 60.0, 200.0, 90.0])
    second = np.array([np.cov(rng.standard_normal((d, int(n)))) * n for n in mass])
    if flat:  # a column that is constant in all components
        second[:, 3] = second[:, :, 3] = 0.0
    small = EmpiricalBayesShapePrior("full", d)._shapes(mass, second)
    monkeypatch.setattr(shrinkage, "LARGE", 1)
    large = EmpiricalBayesShapePrior("full", d)._shapes(mass, second)
    assert large[0] == small[0]
    for a, b in zip(large[1:], small[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_an_update_of_large_matrices_is_that_of_small_ones(monkeypatch):
    rng = np.random.default_rng(5)
    d, mass = 12, np.array([30.0, 60.0])
    second = np.array([np.cov(rng.standard_normal((d, int(n)))) * n for n in mass])
    first, left, shift = rng.standard_normal((3, 2, d))

    def answers():
        fitted = Full(second).fitted(mass, second, 0.1)
        moved = Full(second).recentered(second, first, left, shift)
        return fitted.values, moved, fitted.precisions_cholesky(), fitted.guarded(1e-6).values

    small = answers()
    for module in ("full", "interface"):
        monkeypatch.setattr(f"scoremix.models.covariance.{module}.WIDE", 1)
    for a, b in zip(answers(), small, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_collapsed_matrix_among_many_columns_is_raised():
    values = np.tile(np.eye(D), (3, 1, 1))
    values[1, 5, 5] = 1e-12
    raised = Full(values).guarded(1e-6)
    np.testing.assert_allclose(np.linalg.eigvalsh(raised.values)[:, 0], [1.0, 1e-6, 1.0], rtol=1e-6)
    assert Full(values[::2]).guarded(1e-6).values is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_clusters_in_many_columns_are_found(kind, weighted):
    x, labels, _, _ = clusters(k=5, n=500, spread=1.5)
    weight = np.random.default_rng(6).integers(1, 3, len(x)) if weighted else None
    model = GaussianMixture(5, covariance_type=kind, random_state=0).fit(x, sample_weight=weight)
    # Distances between clusters are 1.5 sqrt(2 D) = 19 standard deviations.
    assert adjusted_rand_score(labels, model.predict(x)) == 1.0
    assert model.split_gain_ < model.merge_cost_


def test_the_number_of_clusters_in_many_columns_is_found():
    x, labels, _, _ = clusters(k=3, n=400, spread=2.0)
    model = GaussianMixture("auto", covariance_type="tied", random_state=0).fit(x)
    assert model.n_components_ == 3
    assert adjusted_rand_score(labels, model.predict(x)) == 1.0


def test_medians_of_some_rows_see_a_column_that_few_rule():
    from scoremix.learning.coordinates import IndependentColumns

    x = np.random.default_rng(7).standard_normal((2000, D))
    x[3, 7] = 1e6
    found = IndependentColumns.of(InMemorySamples(x, np.ones(len(x))), "diag")
    # A median absolute deviation of 2,000 rows has a relative standard error of 1.2 sqrt(2 / 2000) < 4 %.
    assert found.scale[7] == pytest.approx(1.0, abs=0.25)
    assert splits.MANY_COLUMNS <= D


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_one_cluster_in_many_columns_stays_one(kind):
    x = clusters(k=1, n=300)[0]
    assert GaussianMixture("auto", covariance_type=kind, random_state=0).fit(x).n_components_ == 1


@pytest.mark.parametrize("kind", KINDS)
def test_units_of_many_columns_do_not_matter(kind):
    x, labels, _, _ = clusters(k=3, n=300, spread=2.0)
    units = np.ones(D) if kind == "spherical" else np.geomspace(1e-6, 1e6, D)
    model = GaussianMixture(3, covariance_type=kind, reg_covar=0.0, random_state=0).fit(x * units)
    assert adjusted_rand_score(labels, model.predict(x * units)) == 1.0


@pytest.mark.parametrize("kind", ["diag", "spherical"])
@pytest.mark.parametrize("number", [np.float64, np.float32])
def test_products_of_all_rows_say_what_looks_at_some_do(kind, number, monkeypatch):
    x, labels, _, _ = clusters(spread=0.7)
    weight = np.random.default_rng(1).uniform(0.5, 1.5, len(x))
    rows = InMemorySamples(x.astype(number), weight.astype(number))
    posterior = rows.posterior(mixture_of(kind, x, labels, 4))
    i, j = near_pairs(posterior)
    together = exact_costs(posterior, i, j)
    monkeypatch.setattr(merges, "FEW_COMPONENTS", 0)
    # Rows that are mostly of a third component add what the two have in them: a few in a thousand of the cost.
    np.testing.assert_allclose(together, exact_costs(posterior, i, j), rtol=0.02)
    known, again = posterior.expected, rows.step(rows.source, posterior.mixture, 1)
    # Single precision: sums of 800 numbers, which may be 10 times as large as what remains of them.
    rtol, atol = (1e-9, 1e-9) if number is np.float64 else (2e-3, 2e-2)
    for name in ("mass", "first", "second", "log_likelihood", "weight"):
        np.testing.assert_allclose(getattr(known, name), getattr(again, name), rtol=rtol, atol=atol)


@pytest.mark.parametrize("kind", ["diag", "spherical"])
def test_gain_of_a_split_is_the_rise_of_the_likelihood(kind):
    x, labels, _, _ = clusters(spread=1.0)
    rows = InMemorySamples(x, np.ones(len(x)))
    posterior = rows.posterior(mixture_of(kind, x, np.minimum(labels, 2), 3))
    found = split_gains(posterior, FixedShapePrior(kind, 0.0, np.ones(D)), 1e-6)
    parted = rows.posterior(split_components(posterior.mixture, found, np.array([2])))
    # Rows of which it has less than a twentieth are left out.
    assert parted.log_likelihood - posterior.log_likelihood == pytest.approx(found.gain[2], rel=0.02)
    assert found.gain[2] > 10 * max(found.gain[0], 0.1)


@pytest.mark.parametrize("d", [3, D])
def test_optimality_is_that_of_rows_seen_before(d):
    x, _, _, _ = clusters(d=d, n=400)
    source = ArraySource(x)
    model = GaussianMixture(3, covariance_type="diag", random_state=0).fit(x)
    mixture = Mixture(model.weights_, model.means_, covariance_of("diag", model.covariances_, d))
    seen = SeenRows.of_all(source, "diag")
    assert SeenRows.of_all(ArraySource(np.zeros((10_001, 1))), "diag") is None
    again = check_optimality(source, mixture, seen)
    assert (model.split_gain_, model.merge_cost_) == pytest.approx(again, rel=1e-5)
    # The direction of least fourth moment is looked for from where the order of the rows says.
    assert check_optimality(source, mixture) == pytest.approx(again, rel=1e-4 if d == 3 else 0.5)
