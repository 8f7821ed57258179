"""Stepwise EM: the first batch is a step of EM, statistics move with the means, streams are learnt."""

import numpy as np
import pytest

from scoremix.learning.em.em import e_step, m_step, run_em
from scoremix.learning.em.stepwise import FORGETTING, Running
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

KINDS = ("full", "tied", "diag", "spherical")
K, D = 3, 2
REG = 1e-6


def data(n, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    return centres[rng.integers(K, size=n)] + rng.standard_normal((n, D)) @ np.array([[1.0, 0.3], [0.0, 0.7]])


def start(kind):
    values = {
        "full": np.tile(np.eye(D), (K, 1, 1)),
        "tied": np.eye(D),
        "diag": np.ones((K, D)),
        "spherical": np.ones(K),
    }
    means = np.array([[0.5, -0.5], [3.0, 1.0], [1.0, 3.0]])
    return Mixture(np.array([0.5, 0.3, 0.2]), means, covariance_of(kind, 1.5 * values[kind], D))


def raw_moments(mixture, x):
    """Masses, first and second moments about the origin, per row."""
    _, shares = mixture.evaluate(x)
    second = np.einsum("nk,ni,nj->kij", shares, x, x)
    return [part / len(x) for part in (shares.sum(axis=0), shares.T @ x, second)]


def by_definition(kind, moments):
    """The mixture of moments about the origin, from the definition."""
    mass, first, second = moments
    means = first / mass[:, None]
    central = second - mass[:, None, None] * means[:, :, None] * means[:, None, :]
    values = {
        "full": central / mass[:, None, None] + REG * np.eye(D),
        "tied": central.sum(axis=0) + REG * np.eye(D),
        "diag": central.diagonal(axis1=1, axis2=2) / mass[:, None] + REG,
        "spherical": central.trace(axis1=1, axis2=2) / (D * mass) + REG,
    }[kind]
    return Mixture(mass, means, covariance_of(kind, values, D))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_batch_is_a_step_of_em(kind):
    begin = start(kind)
    expected = e_step(ArraySource(data(400)), begin)
    running = Running.start(expected)
    ours, _ = running.maximise(begin, REG)
    theirs = m_step(expected, begin, REG)
    assert running.n_batches == 1
    np.testing.assert_allclose(running.expected.weight, 1.0, rtol=1e-15)
    np.testing.assert_allclose(running.expected.log_likelihood, expected.mean_log_likelihood, rtol=1e-14)
    # The same sums, divided by 400 before instead of after.
    np.testing.assert_allclose(ours.weights, theirs.weights, rtol=1e-13)
    np.testing.assert_allclose(ours.means, theirs.means, atol=1e-13)
    np.testing.assert_allclose(ours.covariance.values, theirs.covariance.values, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_move_with_the_means(kind):
    mixture, running, mixed = start(kind), None, None
    for batch in range(4):
        x = data(200 + 100 * batch, batch)
        expected = e_step(ArraySource(x), mixture)
        here = raw_moments(mixture, x)
        if running is None:
            running, mixed = Running.start(expected), here
        else:
            rate = running.rate
            running = running.mix(expected)
            mixed = [(1 - rate) * old + rate * new for old, new in zip(mixed, here, strict=True)]
        mixture, running = running.maximise(mixture, REG)
        hand = by_definition(kind, mixed)
        # Second moments of size 20 about the origin, in units of 2e-16, over masses of .2.
        np.testing.assert_allclose(mixture.weights, hand.weights, atol=1e-12)
        np.testing.assert_allclose(mixture.means, hand.means, atol=1e-12)
        np.testing.assert_allclose(mixture.covariance.values, hand.covariance.values, atol=1e-11)
        # About the new means there is no first moment left.
        np.testing.assert_allclose(running.expected.first, 0.0, atol=1e-12)
        np.testing.assert_allclose(running.expected.weight, 1.0, rtol=1e-14)
        assert running.n_batches == batch + 1


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_weights_of_rows_count_as_repetitions(kind):
    begin, x, y = start(kind), data(100, 1), data(80, 2)
    weight = np.random.default_rng(3).integers(1, 4, len(y))
    first = Running.start(e_step(ArraySource(x), begin))
    ours, _ = first.mix(e_step(ArraySource(y, weight.astype(float)), begin)).maximise(begin, REG)
    theirs, _ = first.mix(e_step(ArraySource(np.repeat(y, weight, axis=0)), begin)).maximise(begin, REG)
    np.testing.assert_allclose(ours.means, theirs.means, atol=1e-12)
    np.testing.assert_allclose(ours.covariance.values, theirs.covariance.values, atol=1e-12)


def test_rates_fall_and_average():
    expected = e_step(ArraySource(data(50)), start("full"))
    running, rates = Running.start(expected), []
    for _ in range(200):
        rates.append(running.rate)
        running = running.mix(expected)
    rates = np.array(rates)
    assert np.all((rates > 0) & (rates < 1))
    assert np.all(np.diff(rates) < 0)
    # Robbins and Monro: the sum of the rates has no limit, that of their squares has.
    assert 0.5 < FORGETTING <= 1
    np.testing.assert_allclose(rates, (np.arange(200) + 3.0) ** -FORGETTING, rtol=1e-12)
    # A mean of equal statistics is the same.
    np.testing.assert_allclose(running.expected.mass, expected.mass / 50, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_learnt_almost_as_well_as_by_batch_em(kind):
    stream, fresh = data(60 * 300), data(10_000, 99)
    mixture, running = start(kind), None
    before = mixture.log_density(fresh).mean()
    for x in np.split(stream, 60):
        expected = e_step(ArraySource(x), mixture)
        running = Running.start(expected) if running is None else running.mix(expected)
        mixture, running = running.maximise(mixture, REG)
    best = run_em(ArraySource(stream), start(kind), tol=1e-7, max_iter=300).mixture.log_density(fresh).mean()
    after = mixture.log_density(fresh).mean()
    # The last rate 1/17 averages over some 30 batches, 9,000 rows: 17 / (2 x 9000) nats, and a slow last approach.
    assert best - after < 0.02
    assert after - before > 0.1
