"""Merges: moments of pairs, costs against brute force over the rows of either, pairs that are near and disjoint."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from scoremix.learning.em import posterior
from scoremix.learning.em.posterior import InMemorySamples, Posterior
from scoremix.learning.search.merges import (
    NEAREST,
    OVERLAPPING,
    cheapest_disjoint,
    merge_costs,
    merge_moments,
    merge_pairs,
    near_pairs,
)
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture

KINDS = ("full", "tied", "diag", "spherical")


def model(kind, k=5, d=3, spread=2.0, seed=0):
    rng = np.random.default_rng(seed)
    roots = np.eye(d) + 0.4 * rng.standard_normal((k, d, d))
    dense = roots @ np.swapaxes(roots, 1, 2)
    values = {
        "full": dense,
        "tied": dense[0],
        "diag": dense.diagonal(axis1=1, axis2=2).copy(),
        "spherical": dense[:, 0, 0],
    }[kind]
    return Mixture(rng.dirichlet(np.full(k, 5.0)), spread * rng.standard_normal((k, d)), covariance_of(kind, values, d))


def joint_density(mixture, x):
    """``w_k N_k(x)``, shape (n, k), by scipy."""
    parts = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    return np.array([w * multivariate_normal(mean, cov).pdf(x) for w, mean, cov in parts]).T


def every_pair(k):
    return np.array(list(combinations(range(k), 2))).T


def rows_of_model(mixture, n=400, seed=1, weighted=True):
    rng = np.random.default_rng(seed)
    x = mixture.sample(n, rng)[0]
    return InMemorySamples(x, rng.integers(1, 4, n).astype(float) if weighted else np.ones(n))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_costs_are_those_of_replacing_the_pair(kind, weighted):
    mixture = model(kind)
    rows = rows_of_model(mixture, weighted=weighted)
    i, j = every_pair(5)
    pairs, joint = merge_moments(mixture, i, j), joint_density(mixture, rows.x)
    fused = joint_density(pairs, rows.x)
    density, owner = joint.sum(axis=1), np.argmax(joint, axis=1)
    reference = []
    for p, (a, b) in enumerate(zip(i, j, strict=True)):
        change = np.log(density - joint[:, a] - joint[:, b] + fused[:, p]) - np.log(density)
        mine = (owner == a) | (owner == b)
        reference.append(-(rows.weight * change)[mine].sum() / rows.weight.sum())
    costs = merge_costs(rows.posterior(mixture), i, j)
    # Batches are weighted with zeros and ones in single precision, sums are double.
    np.testing.assert_allclose(costs, reference, rtol=1e-9, atol=1e-12)
    assert np.ptp(costs) > 0.01


def test_small_batches_give_the_same_costs(monkeypatch):
    mixture = model("full")
    state = rows_of_model(mixture).posterior(mixture)
    i, j = every_pair(5)
    whole = merge_costs(state, i, j)
    monkeypatch.setattr(posterior, "BATCH_NUMBERS", 50)
    np.testing.assert_allclose(merge_costs(state, i, j), whole, rtol=1e-12)


def test_single_precision_costs_are_close():
    mixture = model("full")
    rows = rows_of_model(mixture)
    i, j = every_pair(5)
    single = merge_costs(rows.single().posterior(mixture), i, j)
    np.testing.assert_allclose(single, merge_costs(rows.posterior(mixture), i, j), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_merging_two_copies_of_one_component_costs_nothing(kind):
    mixture = model(kind, k=3)
    copies = np.array([0, 1, 2, 2])
    doubled = Mixture(mixture.weights[copies] * [1, 1, 0.3, 0.7], mixture.means[copies], mixture.covariance)
    if kind != "tied":
        doubled = Mixture(doubled.weights, doubled.means, mixture.covariance.take(copies))
    costs = merge_costs(rows_of_model(mixture).posterior(doubled), np.array([0, 2]), np.array([1, 3]))
    assert abs(costs[1]) < 1e-12
    if kind != "tied":  # the one matrix for all grows with the pair, to which others may say yes
        assert costs[0] > 1e-4


def test_far_clusters_cost_much_though_their_density_underflows():
    covariance = covariance_of("full", np.tile(np.eye(2), (2, 1, 1)), 2)
    mixture = Mixture(np.full(2, 0.5), np.array([[0.0, 0.0], [1e4, 0.0]]), covariance)
    rows = rows_of_model(mixture)
    cost = merge_costs(rows.single().posterior(mixture), np.array([0]), np.array([1]))[0]
    # The one has the standard deviation 5000 along the line: log 5000 minus log 2 for the choice that is saved. Half
    # the mean square along it, of 400 rows with weights 1 to 3: sqrt(1 / (2 * 400) * 14 / 12) = 0.038, six of these.
    assert cost == pytest.approx(np.log(5e3) - np.log(2), abs=0.23)


@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_component_has_the_moments_of_the_pair(kind):
    mixture = model(kind)
    i, j = every_pair(5)
    pairs = merge_moments(mixture, i, j)
    for p, (a, b) in enumerate(zip(i, j, strict=True)):
        two = mixture.take(np.array([a, b]))
        weight = two.weights.sum()
        alone = Mixture(two.weights / weight, two.means, two.covariance)
        assert pairs.weights[p] == pytest.approx(weight)
        np.testing.assert_allclose(pairs.means[p], alone.mean(), rtol=1e-12, atol=1e-13)
        if kind == "tied":  # the change of the one matrix for all: the spread of this pair, by its weight
            between = alone.cov() - mixture.covariance.values
            np.testing.assert_allclose(pairs.covariances[p], mixture.covariance.values + weight * between, rtol=1e-10)
            continue
        dense = alone.cov()
        kept = {
            "full": dense,
            "diag": np.diag(np.diag(dense)),
            "spherical": np.trace(dense) / 3 * np.eye(3),
        }[kind]
        np.testing.assert_allclose(pairs.covariances[p], kept, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_disjoint_merges_keep_weights_and_moments(kind):
    mixture = model(kind, k=6)
    after = merge_pairs(mixture, np.array([4, 1]), np.array([0, 3]))
    assert after.n_components == 4
    assert after.weights.sum() == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(after.mean(), mixture.mean(), atol=1e-13)
    if kind == "full":
        np.testing.assert_allclose(after.cov(), mixture.cov(), atol=1e-12)
    else:
        assert np.trace(after.cov()) == pytest.approx(np.trace(mixture.cov()))
    for kept in (2, 5):
        at = int(np.argmin(np.abs(after.means - mixture.means[kept]).max(axis=1)))
        np.testing.assert_array_equal(after.means[at], mixture.means[kept])
        assert after.weights[at] == pytest.approx(mixture.weights[kept])


def test_tied_merges_keep_the_matrix_until_the_next_pass():
    mixture = model("tied")
    after = merge_pairs(mixture, np.array([0]), np.array([2]))
    np.testing.assert_array_equal(after.covariance.values, mixture.covariance.values)
    assert after.n_components == 4
    assert after.weights.sum() == pytest.approx(1)


def test_all_components_can_be_merged_to_one():
    mixture = model("full", k=2)
    one = merge_pairs(mixture, np.array([0]), np.array([1]))
    assert one.n_components == 1
    np.testing.assert_allclose(one.means[0], mixture.mean(), atol=1e-13)
    np.testing.assert_allclose(one.covariances[0], mixture.cov(), atol=1e-12)


def overlapping(means, shares, weight):
    """A posterior of which only means and shares matter."""
    k, d = means.shape
    mixture = Mixture(np.full(k, 1 / k), means, covariance_of("spherical", np.ones(k), d))
    return Posterior(InMemorySamples(np.zeros((len(shares), d)), weight), mixture, np.zeros(len(shares)), shares)


@given(st.integers(2, 25), st.integers(0, 50))
def test_near_pairs_are_the_nearest_and_the_most_overlapping_of_either(k, seed):
    rng = np.random.default_rng(seed)
    means, shares, weight = rng.standard_normal((k, 2)) + 1e3, rng.dirichlet(np.full(k, 0.2), 60), rng.random(60)
    distance = np.linalg.norm(means[:, None] - means, axis=2)
    apart = -np.einsum("n,ni,nj->ij", weight, shares, shares)
    expected = set()
    for order, most in ((distance, NEAREST), (apart, OVERLAPPING)):
        for a in range(k):
            others = sorted(set(range(k)) - {a}, key=lambda b, row=order[a]: row[b])
            expected |= {(min(a, b), max(a, b)) for b in others[:most]}
    i, j = near_pairs(overlapping(means, shares, weight))
    assert len(i) == len(expected)
    assert set(zip(i.tolist(), j.tolist(), strict=True)) == expected


def test_a_wide_component_is_paired_with_those_it_covers():
    means = np.array([[0.0, 0.0], [20.0, 0.0], [20.1, 0.0], [19.9, 0.0], [20.0, 0.1], [20.0, -0.1]])
    variances = np.array([100.0, 1.0, 1e-4, 1e-4, 1e-4, 1e-4])
    mixture = Mixture(np.full(6, 1 / 6), means, covariance_of("spherical", variances, 2))
    i, j = near_pairs(rows_of_model(mixture).posterior(mixture))
    assert (0, 1) in set(zip(i.tolist(), j.tolist(), strict=True))


def test_one_component_has_no_pair():
    i, j = near_pairs(overlapping(np.zeros((1, 2)), np.ones((5, 1)), np.ones(5)))
    assert len(i) == len(j) == 0


@given(st.integers(2, 7), st.integers(0, 10), st.integers(0, 40))
def test_the_cheapest_disjoint_pairs_are_taken_greedily(k, most, seed):
    i, j = every_pair(k)
    costs = np.random.default_rng(seed).random(len(i))
    chosen = cheapest_disjoint(costs, i, j, most)
    left, expected = dict(enumerate(costs)), []
    while left and len(expected) < most:
        best = min(left, key=left.get)
        expected.append(best)
        left = {p: c for p, c in left.items() if not {i[p], j[p]} & {i[best], j[best]}}
    np.testing.assert_array_equal(chosen, expected)


def test_a_component_paired_with_itself_uses_itself_only():
    chosen = cheapest_disjoint(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1]), np.array([0, 1, 1]), 5)
    np.testing.assert_array_equal(chosen, [0, 2])
