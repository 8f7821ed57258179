"""Rows in memory: draws and weights, posteriors against scipy, batches that cover every entry once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from scoremix.learning.em import posterior
from scoremix.learning.em.em import e_step
from scoremix.learning.em.posterior import InMemorySamples, load_samples, ragged_batches, total_weight
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

KINDS = ("full", "tied", "diag", "spherical")


def mixture(kind, d=3):
    rng = np.random.default_rng(4)
    roots = np.eye(d) + 0.4 * rng.standard_normal((3, d, d))
    dense = roots @ np.swapaxes(roots, 1, 2)
    values = {
        "full": dense,
        "tied": dense[0],
        "diag": dense.diagonal(axis1=1, axis2=2),
        "spherical": dense[:, 0, 0],
    }[kind]
    return Mixture(np.array([0.2, 0.5, 0.3]), 2 * rng.standard_normal((3, d)), covariance_of(kind, values, d))


def test_all_rows_come_with_their_weights():
    x = np.random.default_rng(0).standard_normal((7, 2))
    weight = np.array([1.0, 0.0, 2.5, 1.0, 0.0, 3.0, 0.5])
    rows = load_samples(ArraySource(x, weight), 7, np.random.default_rng(0))
    np.testing.assert_array_equal(rows.x, x[weight > 0])
    np.testing.assert_array_equal(rows.weight, weight[weight > 0])
    assert rows.total == 8.0
    plain = load_samples(ArraySource(x), 100, np.random.default_rng(0))
    np.testing.assert_array_equal(plain.x, x)
    np.testing.assert_array_equal(plain.weight, np.ones(7))


def test_at_most_so_many_rows_are_drawn():
    x = np.arange(1000.0)[:, None]
    rows = load_samples(ArraySource(x), 200, np.random.default_rng(0))
    assert rows.x.shape == (200, 1)
    np.testing.assert_array_equal(rows.weight, np.ones(200))
    assert np.all(np.isin(rows.x, x))


def test_rows_are_drawn_by_weight():
    x, weight = np.arange(4.0)[:, None].repeat(1000, axis=0), np.repeat([0.0, 1.0, 2.0, 5.0], 1000)
    rows = load_samples(ArraySource(x, weight), 2000, np.random.default_rng(0))
    shares = np.bincount(rows.x[:, 0].astype(int), minlength=4) / 2000
    assert shares[0] == 0
    # Shares of 2,000 draws: standard deviations of at most 0.011.
    np.testing.assert_allclose(shares, [0, 1 / 8, 2 / 8, 5 / 8], atol=0.045)
    assert rows.total == 2000


@pytest.mark.parametrize("n", [1, 10, 70_000])  # one chunk, and more than one
def test_weights_are_added_up(n):
    weight = np.random.default_rng(0).integers(0, 5, n).astype(np.float32)
    weight[0] = 1
    x = np.zeros((n, 1), dtype=np.float32)
    assert total_weight(ArraySource(x, weight)) == weight.sum(dtype=np.float64)
    assert total_weight(ArraySource(x)) == n


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_posterior_is_that_of_scipy(kind, weighted):
    rng, model = np.random.default_rng(1), mixture(kind)
    x = 2 * rng.standard_normal((200, 3))
    weight = rng.random(200) if weighted else np.ones(200)
    state = InMemorySamples(x, weight).posterior(model)
    log_joint = np.array(
        [
            np.log(w) + multivariate_normal(mean, cov).logpdf(x)
            for w, mean, cov in zip(model.weights, model.means, model.covariances, strict=True)
        ]
    ).T
    log_density = logsumexp(log_joint, axis=1)
    shares = np.exp(log_joint - log_density[:, None])
    np.testing.assert_allclose(state.log_density, log_density, rtol=1e-11, atol=1e-10)
    np.testing.assert_allclose(state.shares, shares, atol=1e-10)
    assert state.log_likelihood == pytest.approx(np.average(log_density, weights=weight), rel=1e-11, abs=1e-11)
    np.testing.assert_allclose(state.expected.mass, weight @ shares, rtol=1e-9)
    assert state.expected.weight == pytest.approx(weight.sum())
    np.testing.assert_array_equal(state.expected.second, e_step(state.rows.source, model, 1).second)


def test_single_precision_is_close():
    x = np.random.default_rng(0).standard_normal((500, 3))
    rows = InMemorySamples(x, np.full(500, 0.1))
    single = rows.single()
    assert single.x.dtype == single.weight.dtype == np.float32
    assert single.total == pytest.approx(50, rel=1e-6)
    model = mixture("full")
    assert single.posterior(model).log_likelihood == pytest.approx(rows.posterior(model).log_likelihood, abs=1e-5)
    back = InMemorySamples(np.ones((2, 3)), np.ones(2)).like(single)
    assert back.x.dtype == back.weight.dtype == np.float32
    assert rows.like(rows).x.dtype == np.float64


@given(st.lists(st.integers(0, 70), min_size=1, max_size=40), st.integers(1, 6), st.integers(20, 2000))
def test_batches_cover_every_entry_once(sizes, width, numbers):
    sizes = np.array(sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    seen, items = np.zeros(sizes.sum(), dtype=int), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posterior, "BATCH_NUMBERS", numbers)
        for batch in ragged_batches(starts, sizes, width):
            items.extend(batch.items)
            assert batch.index.shape == batch.valid.shape == (len(batch.items), sizes[batch.items].max())
            # What is padded stays within its segment, so that it can be read.
            last = (starts + sizes)[batch.items][:, None]
            assert np.all((batch.index >= starts[batch.items][:, None]) & (batch.index < last))
            np.testing.assert_array_equal(batch.valid.sum(axis=1), sizes[batch.items])
            assert set(np.unique(batch.valid)) <= {0.0, 1.0}
            np.add.at(seen, batch.index, batch.valid.astype(int))
            assert batch.index.size * width <= numbers or len(batch.items) == 1
            assert sizes[batch.items].max() < 2 * sizes[batch.items].min()
    np.testing.assert_array_equal(seen, 1)
    assert sorted(items) == list(np.flatnonzero(sizes))


def test_no_segments_give_no_batches():
    nothing = np.zeros(3, dtype=np.intp)
    assert list(ragged_batches(nothing, nothing, 2)) == []
