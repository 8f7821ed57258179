"""Moves: what is promising, what they keep, and that they leave optima that EM cannot."""

from dataclasses import replace

import numpy as np
import pytest

from scoremix.learning.coordinates import IndependentColumns
from scoremix.learning.em.posterior import InMemorySamples
from scoremix.learning.em.seeding import mixture_of_cells
from scoremix.learning.search.global_start import make_search
from scoremix.learning.search.moves import LEAST_GAIN, PROMISING, SplitMergeOffers, split_components
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture

KINDS = ("full", "tied", "diag", "spherical")
CENTRES = 10.0 * np.array([[0, 0], [1, 0], [2, 0], [10, 0], [11, 0], [12, 0]])
GRID = 10.0 * np.array([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]])


def clusters(n=900, seed=0, weighted=False, centres=CENTRES):
    """Six clusters of unit variance, in two groups of three."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 6
    x = centres[label] + rng.standard_normal((n, 2))
    weight = rng.integers(1, 4, n).astype(float) if weighted else np.ones(n)
    return InMemorySamples(x, weight), label


def standardised(rows, kind):
    """Rows as a search sees them, with the scale and the origin."""
    coordinates = IndependentColumns.of(rows, kind)
    return coordinates.rows(rows), coordinates.scale, coordinates.origin


def trapped(kind, weighted=False):
    """A search, and a start with four centres on three clusters, and two on the other three."""
    plain, label = clusters(weighted=weighted)
    rows, scale, origin = standardised(plain, kind)
    search = make_search(rows, (CENTRES - origin) / scale, kind)
    wrong = np.array([[-1.0, 0.0], [1.0, 0.0], [10.0, 0.0], [20.0, 0.0], [100.0, 0.0], [115.0, 0.0]])
    centers = (wrong - origin) / scale
    start = mixture_of_cells(search.rows.source, rows.x, centers, kind, search.reg, search.prior)
    best = mixture_of_cells(search.rows.source, rows.x, (CENTRES - origin) / scale, kind, search.reg, search.prior)
    return search, start, search.rows.posterior(search.em(best, 50)), label


def offers(gains, costs):
    return SplitMergeOffers(None, np.array(gains), np.array(costs))


def test_gains_above_costs_are_promising():
    some = offers([0.1, 0.5, 0.0, 0.3], [0.01, 0.1, 0.9])
    # Of 0.5, 0.3 and 0.1 the last would have to pay 0.9.
    np.testing.assert_array_equal(some.promising(10), [1, 3])
    np.testing.assert_array_equal(some.promising(1), [1])


def test_what_gains_nothing_or_less_than_it_costs_is_not_promising():
    cost = 0.2 / PROMISING
    assert len(offers([0.1, 0.199], [cost]).promising(5)) == 0
    np.testing.assert_array_equal(offers([0.1, 0.201], [cost]).promising(5), [1])
    assert len(offers([LEAST_GAIN / 2] * 3, [0.0, 0.0, 0.0]).promising(5)) == 0
    assert len(offers([5.0], []).promising(5)) == 0  # nothing to merge


@pytest.mark.parametrize("kind", KINDS)
def test_em_stays_in_the_trap_and_moves_leave_it(kind):
    search, start, best, label = trapped(kind)
    stuck = search.rows.posterior(search.em(start, 200))
    assert stuck.log_likelihood < best.log_likelihood - 0.05
    found = search.improved(start)
    assert found.log_likelihood > best.log_likelihood - 1e-3
    assert found.mixture.n_components == 6
    assert found.mixture.weights.sum() == pytest.approx(1)
    labels = np.argmax(found.shares, axis=1)
    assert len({(int(a), int(b)) for a, b in zip(labels, label, strict=True)}) == 6


def test_moves_take_weights():
    search, start, best, _ = trapped("full", weighted=True)
    assert search.improved(start).log_likelihood > best.log_likelihood - 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_moves_never_lower_the_likelihood(kind, seed):
    rng = np.random.default_rng(seed)
    rows, _, _ = standardised(InMemorySamples(rng.standard_normal((800, 2)) ** 3, np.ones(800)), kind)
    centers = rows.x[rng.choice(800, 7, replace=False)]
    search = make_search(rows, centers, kind)
    start = search.em(mixture_of_cells(search.rows.source, rows.x, centers, kind, search.reg, search.prior), 100)
    # The prior of EM goes on to trade some likelihood for it while it settles; moves are kept only where they gain.
    settled = search.rows.posterior(search.em(start, 10, LEAST_GAIN)).log_likelihood
    assert search.improved(start).log_likelihood >= settled


def test_nothing_moves_at_the_optimum():
    search, _, best, _ = trapped("full")
    np.testing.assert_allclose(search.improved(best.mixture).mixture.means, best.mixture.means, atol=1e-4)
    assert len(SplitMergeOffers.of(search, best).promising(3)) == 0


def test_what_was_seen_is_not_looked_for_again(monkeypatch):
    search, start, _, _ = trapped("full")
    start = search.em(search.improved(start).mixture, 500, 0.0)  # EM has nothing left to gain
    found, looks = search.improved(start), []
    monkeypatch.setattr("scoremix.learning.search.moves.split_gains", lambda *_: looks.append(1) or found.offers.splits)
    again = search.improved(found.mixture, last=found)
    assert not looks
    assert again.log_likelihood == pytest.approx(found.log_likelihood, abs=LEAST_GAIN)
    other = replace(search, rows=InMemorySamples(search.rows.x, search.rows.weight))
    other.improved(found.mixture, max_rounds=0, last=found)  # rows that may be others
    search.improved(start, max_rounds=0, last=replace(found, log_density=found.log_density - 1))  # EM gains
    assert len(looks) == 2


def test_no_rounds_make_no_moves():
    search, start, _, _ = trapped("full")
    kept, settled = search.improved(start, max_rounds=0), search.em(start, 10, LEAST_GAIN)
    np.testing.assert_array_equal(kept.mixture.means, settled.means)


def test_one_component_stays_one():
    rows, _, _ = standardised(clusters()[0], "full")
    search = make_search(rows, np.zeros((1, 2)), "full")
    found = search.improved(Mixture(np.ones(1), np.zeros((1, 2)), covariance_of("full", np.eye(2)[None], 2)))
    assert found.mixture.n_components == 1
    np.testing.assert_allclose(found.mixture.means, np.zeros((1, 2)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_merges_reduce_to_the_clusters(kind):
    # On a grid, so that columns of unit variance keep its distances: all kinds of covariances see the clusters then.
    plain, label = clusters(centres=GRID)
    rows, scale, origin = standardised(plain, kind)
    centers = np.concatenate([rows.x[label == k][:4] for k in range(6)])  # four in each
    search = make_search(rows, centers, kind)
    many = mixture_of_cells(search.rows.source, rows.x, centers, kind, search.reg, search.prior)
    found = search.reduced(search.em(many, 3), 6)
    assert found.n_components == 6
    found = search.em(found, 30)
    means = found.means * scale + origin
    means = means[np.lexsort(np.round(means.T / 10))]
    # Means of 150 rows: standard deviation 0.08, six of these.
    np.testing.assert_allclose(means, GRID, atol=0.5)


def test_reducing_to_what_there_is_changes_nothing():
    search, start, _, _ = trapped("full")
    assert search.reduced(start, 6) is start


@pytest.mark.parametrize("kind", KINDS)
def test_a_split_replaces_the_component_by_its_two(kind):
    search, start, _, _ = trapped(kind)
    state = search.rows.posterior(search.em(start, 10))
    splits, which = search.splits(state), np.array([4, 1])
    larger = split_components(state.mixture, splits, which)
    assert larger.n_components == 8
    assert larger.weights.sum() == pytest.approx(1)
    for part in (splits.first, splits.second):
        for mean in part.take(which).means:
            assert np.any(np.all(larger.means == mean, axis=1))
    for k in (0, 2, 3, 5):
        assert np.any(np.all(larger.means == state.mixture.means[k], axis=1))
    rise = search.rows.posterior(larger).log_likelihood - state.log_likelihood
    if kind != "tied":  # gains of parts whose rows are not those of others add up
        assert rise == pytest.approx(splits.gain[which].sum(), rel=0.05, abs=2e-3)


def test_offers_are_the_gains_and_the_costs_in_order():
    search, start, _, _ = trapped("full")
    state = search.rows.posterior(search.em(start, 20))
    there = SplitMergeOffers.of(search, state)
    assert there.gains.shape == (6,)
    assert np.all(np.diff(there.costs) >= 0)
    # The component that covers two clusters is promising, two that share one cost nearly nothing.
    assert np.argmax(there.gains) in there.promising(1)
    assert there.gains.max() > 10 * there.costs[0]
