"""Searches where values are missing: by the likelihood of what rows show."""

import numpy as np
import pytest

from scoremix import GaussianMixture
from scoremix.learning.em.incomplete import IncompleteSamples, draw_missing, load_rows
from scoremix.learning.em.missing import Filled
from scoremix.learning.em.posterior import InMemorySamples
from scoremix.learning.em.shrinkage import rounding_floor
from scoremix.learning.search.merges import merge_costs, merge_moments
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture, joined
from scoremix.samples.source import ArraySource

KINDS = ("full", "tied", "diag", "spherical")


def mixture_of(kind):
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((3, 3, 3))
    full = roots @ np.swapaxes(roots, 1, 2) + 0.3 * np.eye(3)
    values = {"full": full, "tied": full[0], "diag": full.diagonal(axis1=1, axis2=2), "spherical": full[:, 0, 0]}[kind]
    return Mixture(np.array([0.2, 0.3, 0.5]), 2 * rng.standard_normal((3, 3)), covariance_of(kind, values, 3))


def triangle(seed, n=400):
    """Three clusters, eight standard deviations apart, and two columns that say nothing."""
    rng = np.random.default_rng(seed)
    centers = np.array([[0.0, 0, 0, 0], [8, 0, 0, 0], [4, 7, 0, 0]])
    return centers[rng.integers(3, size=n)] + rng.standard_normal((n, 4)), rng


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_moments_of_what_is_missing(kind):
    mixture, n = mixture_of(kind), 20_000
    row = np.array([np.nan, 0.5, np.nan])
    drawn = draw_missing(mixture, np.tile(row, (n, 1)), np.random.default_rng(1))
    np.testing.assert_array_equal(drawn[:, 1], 0.5)
    given = GaussianMixture.from_parameters(
        mixture.weights, mixture.means, mixture.covariance.values, covariance_type=kind
    ).conditional({1: 0.5})
    mean, drawn = given.weights_ @ given.means_, drawn[:, [0, 2]]
    about = given.means_ - mean
    dense = covariance_of(given.covariance_type, given.covariances_, 2).dense(3, 2)
    covariance = np.einsum("k,kij->ij", given.weights_, dense + about[:, :, None] * about[:, None, :])
    # Six standard errors of means, and of second moments, of the draws themselves.
    assert np.all(np.abs(drawn.mean(axis=0) - mean) < 6 * drawn.std(axis=0) / np.sqrt(n))
    products = (drawn - mean)[:, :, None] * (drawn - mean)[:, None, :]
    assert np.all(np.abs(products.mean(axis=0) - covariance) < 6 * products.std(axis=0) / np.sqrt(n))


def test_rows_are_completed_within_their_columns():
    x, rng = triangle(0)
    x = np.where(rng.random(x.shape) < 0.4, np.nan, np.c_[x[:, :3], np.full(len(x), 5.0)])
    whole = IncompleteSamples(x, np.ones(len(x))).whole.x
    seen = ~np.isnan(x)
    np.testing.assert_allclose(whole[seen], x[seen], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(whole[:, 3], 5.0)  # a column that is constant stays so


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_what_a_merge_costs_is_what_the_rows_lose(kind):
    mixture = mixture_of(kind)
    x, _ = mixture.sample(300, np.random.default_rng(2))
    x[np.random.default_rng(3).random(x.shape) < 0.5] = np.nan
    before = IncompleteSamples(x, np.random.default_rng(4).random(300)).posterior(mixture)
    i, j = np.array([0, 0, 1]), np.array([1, 2, 2])
    for pair, cost in enumerate(merge_costs(before, i, j)):
        rest = mixture.take(np.array([3 - i[pair] - j[pair]]))
        after = before.rows.posterior(joined([rest, merge_moments(mixture, i[[pair]], j[[pair]])]))
        np.testing.assert_allclose(cost, before.log_likelihood - after.log_likelihood, rtol=1e-9)


def test_rounded_columns_are_found_beside_holes():
    x, rng = triangle(1)
    rounded = np.round(x)
    x = np.where(rng.random(x.shape) < 0.3, np.nan, rounded)
    np.testing.assert_array_equal(rounding_floor(x), rounding_floor(rounded))


def test_rows_of_sources_with_holes_are_marked():
    x, rng = triangle(2, 50)
    x[3, 1] = np.nan
    source = ArraySource(x)
    assert isinstance(load_rows(Filled.of(source), 100, rng), IncompleteSamples)
    assert type(load_rows(source, 100, rng)) is InMemorySamples


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_components_with_missing_values(kind):
    for share, right in ((0.3, (3,)), (0.7, (1, 2, 3))):
        x, rng = triangle(3)
        x = np.where(rng.random(x.shape) < share, np.nan, x)
        model = GaussianMixture("auto", covariance_type=kind, missing_values=np.nan, random_state=0).fit(x)
        assert model.n_components_ in right


def test_a_cluster_that_is_never_complete_counts():
    x, _ = triangle(4, 3000)
    x[x[:, 1] > 3.5, 0] = np.nan  # which values are missing depends on what is seen
    model = GaussianMixture("auto", missing_values=np.nan, random_state=0).fit(x)
    assert model.n_components_ == 3
    assert model.merge_cost_ > max(model.split_gain_, 0.02)


def test_the_start_is_as_good_as_the_truth():
    rng = np.random.default_rng(5)
    means = rng.normal(0, 5, (6, 4))
    x = means[rng.integers(6, size=1500)] + rng.standard_normal((1500, 4))
    x[rng.random(x.shape) < 0.5] = np.nan
    asked = {"covariance_type": "tied", "missing_values": np.nan, "random_state": 0}
    ours = GaussianMixture(6, **asked).fit(x)
    theirs = GaussianMixture(6, means_init=means, **asked).fit(x)
    assert ours.lower_bound_ > theirs.lower_bound_ - 0.01  # ten times the tolerance of EM
